//! The helm charts, and `helm` itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A chart of the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chart {
    /// Its name.
    pub name: &'static str,
    /// Its folder, as users name it.
    pub folder: &'static str,
    /// The page that tells its values.
    pub readme: &'static str,
}

/// All of them.
pub const CHARTS: [Chart; 3] = [POC, MULTUS, TARGET_APPLICATION];

/// The controller and the template of the gateway pods.
pub const POC: Chart = Chart { name: "poc", folder: "deployments/PoC", readme: "deploy/PoC/README.md" };

/// Secondary networks for kind.
pub const MULTUS: Chart =
    Chart { name: "multus", folder: "deployments/Multus", readme: "deploy/Multus/README.md" };

/// What answers behind the examples' Services.
pub const TARGET_APPLICATION: Chart = Chart {
    name: "target-application",
    folder: "examples/target-application/deployment/helm",
    readme: "examples/target-application/README.md",
};

impl Chart {
    /// Default values.
    ///
    /// # Errors
    /// When `values.yaml` cannot be read.
    pub fn values(&self) -> Result<Value, Box<dyn std::error::Error>> {
        Ok(serde_saphyr::from_str(&read(&format!("{}/values.yaml", self.folder))?)?)
    }

    /// `helm template` with more arguments: the text, or what helm says of an error.
    ///
    /// # Errors
    /// When helm cannot be started.
    pub fn template(&self, arguments: &[&str]) -> io::Result<Result<String, String>> {
        let folder = root().join(self.folder).display().to_string();
        // A cluster is not asked: its version is that of the tests' Kubernetes.
        let with = ["template", self.name, &folder, "--namespace", "l34", "--kube-version", "1.34.4"];
        helm(&[&with[..], arguments].concat())
    }

    /// The objects that [`Self::template`] makes.
    ///
    /// # Errors
    /// When helm cannot be started, refuses the arguments, or writes what is no YAML.
    pub fn objects(&self, arguments: &[&str]) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
        let objects: Vec<Value> = serde_saphyr::from_multiple(&self.template(arguments)??)?;
        Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
    }
}

/// Runs `helm`: the tests' own (`tests/setup/kubernetes helm`), else the machine's.
///
/// # Errors
/// When there is none.
pub fn helm(arguments: &[&str]) -> io::Result<Result<String, String>> {
    let own = cache().join("bin/helm");
    let program = if own.exists() { own } else { PathBuf::from("helm") };
    let output = Command::new(&program).args(arguments).output().map_err(|error| {
        io::Error::new(error.kind(), format!("helm: {error}: tests/setup/kubernetes helm makes it"))
    })?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// A file of the project.
///
/// # Errors
/// When it cannot be read; the error names it.
pub fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(root().join(path))
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("L34_CACHE").unwrap_or_else(|| {
        let caches = set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap_or_default().join(".cache"));
        caches.join("l34-kubernetes")
    })
}
