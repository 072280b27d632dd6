//! The product as it runs in a gateway pod: `l34-router run` with the objects of an API server.

use crate::lab::{Host, Lab};
use crate::process::Process;
use crate::router::{Router, start};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A drain with its pauses ends within this time.
const STOP: Duration = Duration::from_secs(60);

/// What the downward API and the DaemonSet's template tell a gateway pod.
#[derive(Clone, Debug)]
pub struct PodFacts<'a> {
    /// Namespace of Pod and Gateway.
    pub namespace: &'a str,
    /// The Gateway.
    pub gateway: &'a str,
    /// Name of the Pod.
    pub name: &'a str,
    /// UID of the Pod.
    pub uid: &'a str,
    /// Node that it runs on.
    pub node: &'a str,
    /// Its primary address.
    pub address: Ipv4Addr,
}

/// The router process of one gateway pod. The folder that a pod keeps over a restart of its container is there.
#[derive(Debug)]
pub struct GatewayPod {
    host: Host,
    socket: PathBuf,
    log: PathBuf,
    program: Vec<String>,
    process: Process,
    address: Ipv4Addr,
}

impl GatewayPod {
    /// Starts the router on a host and waits until it answers. `options` are further arguments of `run`, split at spaces.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, kubeconfig: &Path, pod: &PodFacts<'_>, options: &str) -> Self {
        let fixed =
            ["run", "--namespace", pod.namespace, "--gateway", pod.gateway].into_iter().map(str::to_owned);
        let args: Vec<String> = fixed.chain(options.split_whitespace().map(str::to_owned)).collect();
        Self::start_with(lab, host, kubeconfig, pod, &args)
    }

    /// As [`start`](Self::start), with the arguments of the Pod's container, which say whose router it is.
    #[track_caller]
    pub fn start_with(
        lab: &Lab,
        host: &Host,
        kubeconfig: &Path,
        pod: &PodFacts<'_>,
        args: &[String],
    ) -> Self {
        let state = lab.folder(&format!("{}-state", pod.name));
        let socket = state.join("router.sock");
        let log = lab.file(&format!("{}-router.log", pod.name));
        let program = [
            format!("POD_NAME={}", pod.name),
            format!("POD_UID={}", pod.uid),
            format!("POD_IPS={}", pod.address),
            format!("NODE_NAME={}", pod.node),
            Router::binary(),
        ];
        // What a pod has by itself: its account's token, and a folder under /run.
        let own = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--state-dir={}", state.display()),
            format!("--admin={}", socket.display()),
        ];
        let program: Vec<String> = program.into_iter().chain(args.iter().cloned()).chain(own).collect();
        let process = start(host, "env", &program, &socket, &log);
        GatewayPod { host: host.clone(), socket, log, program, process, address: pod.address }
    }

    /// `l34-router show WHAT -o json`.
    pub fn try_show(&self, what: &str) -> Result<Value, String> {
        crate::router::show(&self.host, &self.socket, what)
    }

    /// What the probes and Prometheus get: the status and the body.
    ///
    /// # Errors
    /// Nobody answers over HTTP.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        crate::http::get(&self.host.netns, &format!("{}:9474", self.address), path)
    }

    /// SIGTERM: drains and ends.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop(STOP)
    }

    /// SIGKILL: the container crashes.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The container starts again after [`stop`](Self::stop) or [`kill`](Self::kill).
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process = start(&self.host, "env", &self.program, &self.socket, &self.log);
    }

    /// The process, to signal it or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
