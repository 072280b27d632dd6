//! `helm` in the control plane's namespace, and our chart.

use super::ControlPlane;
use super::assets::binary;
use crate::netns::Netns;
use crate::product::source_file;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// `helm` with all rights.
#[derive(Debug)]
pub(super) struct Helm {
    netns: Netns,
    kubeconfig: PathBuf,
    home: PathBuf,
    installed: Once,
}

impl Helm {
    pub(super) fn new(netns: &Netns, kubeconfig: &Path, home: &Path) -> Self {
        Helm {
            netns: netns.clone(),
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
            installed: Once::new(),
        }
    }

    #[track_caller]
    pub(super) fn install_once(&self) {
        self.installed.call_once(|| {
            // The control plane has the CRDs already, and helm does not touch what others have installed.
            let chart = source_file("deploy/PoC").display().to_string();
            self.run(&["install", "poc", &chart, "--create-namespace", "--set=crds.install=false"]);
        });
    }

    #[track_caller]
    pub(super) fn run(&self, args: &[&str]) -> String {
        let output = self
            .netns
            .command(&binary("helm"))
            .env("KUBECONFIG", &self.kubeconfig)
            .envs(["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, &self.home)))
            .env("HELM_NAMESPACE", ControlPlane::SYSTEM)
            .args(args)
            .output();
        match output {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
            Ok(output) => panic!("`helm {}`: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("cannot start `helm`: {error}"),
        }
    }
}
