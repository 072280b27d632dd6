//! What the charts render: `golden/CHART/CASE.values.yaml` gives `golden/CHART/CASE.yaml`.
//!
//! `L34_ACCEPT=1 cargo test -p l34-charts --test golden` writes the second anew; read the difference.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use l34_charts::{CHARTS, Chart, helm, root};

#[test]
fn every_case_renders_what_is_written_down() -> Result<(), Box<dyn Error>> {
    let accept = std::env::var_os("L34_ACCEPT").is_some();
    let mut different = Vec::new();
    for chart in CHARTS {
        let cases = cases(&chart)?;
        assert!(!cases.is_empty(), "{} has no case", chart.name);
        for (values, wanted) in cases {
            let values = values.display().to_string();
            let rendered = chart.template(&["--values", &values])?.map_err(|e| format!("{values}: {e}"))?;
            if accept {
                fs::write(&wanted, &rendered)?;
            } else if fs::read_to_string(&wanted).unwrap_or_default() != rendered {
                different.push(wanted.display().to_string());
            }
        }
    }
    assert!(different.is_empty(), "rendered otherwise: {different:#?}\n{HINT}");
    Ok(())
}

#[test]
fn lint_has_nothing_to_say() -> Result<(), Box<dyn Error>> {
    for chart in CHARTS {
        let folder = root().join(chart.folder).display().to_string();
        for values in cases(&chart)?.into_iter().map(|(values, _)| values.display().to_string()) {
            helm(&[
                "lint",
                &folder,
                "--strict",
                "--quiet",
                "--kube-version",
                "1.34.4",
                "--values",
                &values,
            ])??;
        }
    }
    Ok(())
}

/// Files with values, and with what they render to.
fn cases(chart: &Chart) -> Result<Vec<(PathBuf, PathBuf)>, Box<dyn Error>> {
    let folder = root().join("tests/charts/golden").join(chart.name);
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(case) = name.strip_suffix(".values.yaml") {
            cases.push((folder.join(&name), folder.join(format!("{case}.yaml"))));
        }
    }
    cases.sort();
    Ok(cases)
}

const HINT: &str = "L34_ACCEPT=1 writes them anew; `git diff` shows the difference";
