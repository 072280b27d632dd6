//! Durations as Go writes them: `2s`, `1m30s`, `1.5h`, `300ms`.

use std::str::FromStr;
use std::time::Duration;

/// A duration that can be read from text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

/// The text is no duration.
#[derive(Debug, PartialEq, Eq)]
pub struct NoDuration;

impl std::fmt::Display for NoDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no duration; write it as 300ms, 2s or 1m30s")
    }
}

impl std::error::Error for NoDuration {}

impl FromStr for GoDuration {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        if text == "0" {
            return Ok(GoDuration::default());
        }
        let mut rest = text;
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(NoDuration)?;
            let (number, behind) = rest.split_at(digits);
            let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
            let (unit, next) = behind.split_at(letters);
            let number: f64 = number.parse().map_err(|_| NoDuration)?;
            seconds += number * unit_seconds(unit).ok_or(NoDuration)?;
            rest = next;
        }
        if text.is_empty() {
            return Err(NoDuration);
        }
        Duration::try_from_secs_f64(seconds).map(GoDuration).map_err(|_| NoDuration)
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, millis) in [("2s", 2000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("300ms", 300), ("0", 0)]
        {
            assert_eq!(text.parse(), Ok(GoDuration(Duration::from_millis(millis))), "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "2", "s", "-1s", "1.2.3s", "2 s", "9e9s", "1d"] {
            assert_eq!(text.parse::<GoDuration>(), Err(NoDuration), "{text}");
        }
    }
}
