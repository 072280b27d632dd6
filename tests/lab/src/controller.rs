//! The product: `l34-controller run` beside a control plane, with its service account's own token.

use crate::control_plane::ControlPlane;
use crate::netns::Netns;
use crate::process::Process;
use crate::product::product;
use std::path::PathBuf;
use std::process::{ExitStatus, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// It gives its Lease back and ends within this time.
const STOP: Duration = Duration::from_secs(20);

/// One controller process.
#[derive(Debug)]
pub struct Controller {
    launch: Launch,
    process: Process,
}

/// How one is started.
#[derive(Debug)]
struct Launch {
    netns: Netns,
    args: Vec<String>,
    log: PathBuf,
    address: String,
}

/// Each has a port of its own: replicas stand on the same host here.
static PORTS: AtomicU16 = AtomicU16::new(9500);

impl Controller {
    /// Starts the controller. The chart must be installed. `identity` is its name in the Lease and in the user agent;
    /// `options` are further arguments of `run`, split at spaces.
    #[track_caller]
    pub fn start(plane: &ControlPlane, identity: &str, options: &str) -> Self {
        Launch::new(plane, identity, options).start()
    }

    /// As [`start`](Self::start), for tests that share it: it runs until the process of the tests ends.
    #[track_caller]
    pub fn start_for_good(plane: &ControlPlane, identity: &str, options: &str) {
        let launch = Launch::new(plane, identity, options);
        let (started, is_started) = channel();
        thread::spawn(move || {
            let _controller = launch.start();
            let _ = started.send(());
            // A process dies with the thread that started it.
            loop {
                thread::park();
            }
        });
        if is_started.recv().is_err() {
            panic!("the controller cannot be started, see above");
        }
    }

    /// Runs `l34-controller cleanup`, with the same rights, to its end. `options` are further arguments, split at spaces.
    #[track_caller]
    pub fn cleanup(plane: &ControlPlane, options: &str) -> Output {
        let kubeconfig = plane.kubeconfig(ControlPlane::SYSTEM, "l34-controller").display().to_string();
        let args = ["cleanup", "--kubeconfig", &kubeconfig, "--lease-namespace", ControlPlane::SYSTEM];
        let mut command = plane.host().netns.command(&Controller::binary());
        match command.args(args).args(options.split_whitespace()).output() {
            Ok(output) => output,
            Err(error) => panic!("cannot start the controller: {error}"),
        }
    }

    /// Path of the binary under test.
    #[track_caller]
    pub fn binary() -> String {
        product("l34-controller")
    }

    /// What the probes and Prometheus get: the status and the body.
    ///
    /// # Errors
    /// Nobody answers over HTTP.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        crate::http::get(&self.launch.netns, &self.launch.address, path)
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
        self.process = self.launch.process();
    }
}

impl Launch {
    #[track_caller]
    fn new(plane: &ControlPlane, identity: &str, options: &str) -> Self {
        let kubeconfig = plane.kubeconfig(ControlPlane::SYSTEM, "l34-controller").display().to_string();
        let address = format!("127.0.0.1:{}", PORTS.fetch_add(1, Ordering::Relaxed));
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
        let args = fixed.iter().copied().chain(options.split_whitespace()).map(str::to_owned).collect();
        Launch {
            netns: plane.host().netns.clone(),
            args,
            log: PathBuf::from(plane.file(&format!("{identity}.log"), "")),
            address,
        }
    }

    #[track_caller]
    fn start(self) -> Controller {
        let process = self.process();
        Controller { launch: self, process }
    }

    #[track_caller]
    fn process(&self) -> Process {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        Process::start(&self.netns, &Controller::binary(), &args, &self.log)
    }
}
