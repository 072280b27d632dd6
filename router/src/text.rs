//! Aligned text for people.

use serde_json::Value;

/// A table with a header; columns as wide as their widest cell, the last one as it is.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&header).chain(rows).map(line).collect::<Vec<_>>().join("\n")
}

/// A time span as people say it: 850ms, 42s, 3m12s, 2h05m, 4d07h.
pub(crate) fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86400, s % 86400 / 3600),
    }
}

/// A text of a JSON object, or a dash.
pub(crate) fn cell(object: &Value, field: &str) -> String {
    match &object[field] {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_have_no_blank_end() {
        let rows =
            vec![vec!["a".into(), "b".into(), String::new()], vec!["long".into(), "x".into(), "y".into()]];
        assert_eq!(table(&["N", "M", "O"], &rows), "N     M  O\na     b\nlong  x  y");
    }

    #[test]
    fn ages_grow_coarser() {
        let said: Vec<String> = [850, 42_000, 192_000, 7_500_000, 372_000_000].map(age).into();
        assert_eq!(said, ["850ms", "42s", "3m12s", "2h05m", "4d07h"]);
    }
}
