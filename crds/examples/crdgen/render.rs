//! The text of the CRD files.

use std::path::{Path, PathBuf};

/// Each CRD file: its path and its whole text.
pub(crate) fn files() -> Result<Vec<(PathBuf, String)>, serde_saphyr::ser::Error> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    l34_crds::crds()
        .iter()
        .map(|crd| {
            let name = crd.metadata.name.as_deref().unwrap_or_default();
            let text = format!("{HEADER}{}", serde_saphyr::to_string(crd)?);
            Ok((folder.join(format!("{name}.yaml")), text))
        })
        .collect()
}

const HEADER: &str =
    "# Generated from the types; write it anew with `cargo run -p l34-crds --example crdgen`.\n";
