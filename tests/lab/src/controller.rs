//! The product: `l34-controller run` beside a control plane, with its service account's own token.

use crate::control_plane::ControlPlane;
use crate::netns::Netns;
use crate::process::Process;
use crate::product::product;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// It gives its Lease back and ends within this time.
const STOP: Duration = Duration::from_secs(20);

/// One controller process.
#[derive(Debug)]
pub struct Controller {
    netns: Netns,
    args: Vec<String>,
    log: PathBuf,
    address: String,
    process: Process,
}

/// Each has a port of its own: replicas stand on the same host here.
static PORTS: AtomicU16 = AtomicU16::new(9500);

impl Controller {
    /// Starts the controller. The chart must be installed. `identity` is its name in the Lease and in the user agent;
    /// `options` are further arguments of `run`, split at spaces.
    #[track_caller]
    pub fn start(plane: &ControlPlane, identity: &str, options: &str) -> Self {
        let kubeconfig = plane.kubeconfig(ControlPlane::SYSTEM, "l34-controller");
        let address = format!("127.0.0.1:{}", PORTS.fetch_add(1, Ordering::Relaxed));
        let log = PathBuf::from(plane.file(&format!("{identity}.log"), ""));
        let kubeconfig = kubeconfig.display().to_string();
        let fixed = [
            "run",
            "--kubeconfig",
            &kubeconfig,
            "--lease-namespace",
            ControlPlane::SYSTEM,
            "--identity",
            identity,
            "--listen",
            &address,
        ];
        let args: Vec<String> =
            fixed.iter().copied().chain(options.split_whitespace()).map(str::to_owned).collect();
        let netns = plane.host().netns.clone();
        let process = start(&netns, &args, &log);
        Controller { netns, args, log, address, process }
    }

    /// Path of the binary under test.
    #[track_caller]
    pub fn binary() -> String {
        product("l34-controller")
    }

    /// Where it answers probes, in the namespace of the control plane.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process, to signal it or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGTERM: gives the Lease back and ends.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop(STOP)
    }

    /// SIGKILL: a crash.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill).
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process = start(&self.netns, &self.args, &self.log);
    }
}

#[track_caller]
fn start(netns: &Netns, args: &[String], log: &Path) -> Process {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Process::start(netns, &Controller::binary(), &args, log)
}
