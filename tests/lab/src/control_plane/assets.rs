//! What `tests/setup/kubernetes` has put in place.

use super::GatewayApi;
use crate::product::source_file;
use std::path::{Path, PathBuf};

/// The CRD of NetworkAttachmentDefinitions as Multus installs it.
pub(super) const MULTUS: &str = include_str!("multus.yaml");

/// Path of a binary: in `$KUBEBUILDER_ASSETS` if it is there, else in the cache.
#[track_caller]
pub(super) fn binary(name: &str) -> String {
    let given = std::env::var_os("KUBEBUILDER_ASSETS").map(|assets| Path::new(&assets).join(name));
    let path = given.filter(|path| path.exists()).unwrap_or_else(|| cache().join("bin").join(name));
    assert!(path.exists(), "{} is missing: tests/setup/kubernetes builds it", path.display());
    path.display().to_string()
}

/// The CRDs of the Gateway API, and the policy that comes with them.
#[track_caller]
pub(super) fn gateway_api(which: GatewayApi) -> Vec<PathBuf> {
    let folder = match which {
        GatewayApi::V1_6Standard => "v1.6.3/standard",
        GatewayApi::V1_6Experimental => "v1.6.3/experimental",
        GatewayApi::V1_1Standard => "v1.1.0/standard",
        GatewayApi::V1_1Experimental => "v1.1.0/experimental",
    };
    yaml_files(&cache().join("gateway-api").join(folder), "gateway.networking.")
}

/// The CRDs of the product under test.
#[track_caller]
pub(super) fn our_crds() -> Vec<PathBuf> {
    yaml_files(&source_file("crds/yaml"), "")
}

#[track_caller]
fn yaml_files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten(),
        Err(error) => panic!("{}: {error}: tests/setup/kubernetes fetches it", folder.display()),
    };
    let wanted = |name: &str| name.starts_with(prefix) && name.ends_with(".yaml");
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(wanted))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

fn cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    variable("L34_CACHE")
        .or_else(|| Some(caches()?.join("l34-kubernetes")))
        .expect("without L34_CACHE, XDG_CACHE_HOME and HOME nobody knows where the cache is")
}
