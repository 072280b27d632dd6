//! `kubectl` in the control plane's namespace, with somebody's rights.

use super::assets::binary;
use crate::netns::Netns;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// `kubectl` with one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    netns: Netns,
    program: String,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    #[track_caller]
    pub(super) fn new(netns: &Netns, kubeconfig: &Path, cache: &Path) -> Self {
        Kubectl {
            netns: netns.clone(),
            program: binary("kubectl"),
            kubeconfig: kubeconfig.to_owned(),
            cache: cache.to_owned(),
        }
    }

    pub(super) fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Kubectl { kubeconfig: kubeconfig.to_owned(), ..self.clone() }
    }

    /// Path of the binary.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Its kubeconfig, for other programs.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs it and returns its standard output. Panics with what it said when it fails.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        match self.try_run(args) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`run`](Self::run), with the failure in words instead of a panic.
    pub fn try_run(&self, args: &[&str]) -> Result<String, String> {
        self.try_run_with("", args)
    }

    /// As [`try_run`](Self::try_run), with a text on its standard input.
    pub fn try_run_with(&self, input: &str, args: &[&str]) -> Result<String, String> {
        let mut child = self
            .netns
            .command(&self.program)
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--cache-dir={}", self.cache.display()))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start `kubectl`: {error}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A kubectl that ended without reading has said why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| format!("`kubectl`: {error}"))?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(stdout.into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("`kubectl {}`: {}{}", args.join(" "), stderr.trim(), stdout.trim()))
    }

    /// `kubectl apply` of manifests, as users do it.
    #[track_caller]
    pub fn apply(&self, namespace: &str, manifests: &str) {
        if let Err(error) = self.try_apply(namespace, manifests) {
            panic!("{error}");
        }
    }

    /// As [`apply`](Self::apply), with what kubectl said: on failure the refusals of all objects that were refused.
    pub fn try_apply(&self, namespace: &str, manifests: &str) -> Result<String, String> {
        self.try_run_with(manifests, &["apply", "-n", namespace, "-f", "-"])
    }

    /// An object (`gateway/my-kpng-gateway`), or a list of all of a kind (`gateways`).
    #[track_caller]
    pub fn get(&self, namespace: &str, what: &str) -> Value {
        match self.try_get(namespace, what) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`get`](Self::get), with the failure in words instead of a panic.
    pub fn try_get(&self, namespace: &str, what: &str) -> Result<Value, String> {
        let text = self.try_run(&["get", what, "-n", namespace, "-o", "json"])?;
        serde_json::from_str(&text).map_err(|error| format!("`kubectl get {what}`: {error}: {text}"))
    }

    /// `kubectl auth can-i`: whether RBAC allows it. `what` as `list secrets -n default`, split at spaces.
    #[track_caller]
    pub fn can_i(&self, what: &str) -> bool {
        let mut args = vec!["auth", "can-i"];
        args.extend(what.split_whitespace());
        match self.try_run(&args) {
            Ok(_) => true,
            // It says no, or why it could not ask.
            Err(said) if said.ends_with("no") => false,
            Err(said) => panic!("{said}"),
        }
    }
}

pub(super) fn node(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}).to_string()
}

pub(super) fn binding(pod: &str, node: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
    .to_string()
}

pub(super) fn running(address: &str) -> String {
    json!({"status": {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }})
    .to_string()
}
