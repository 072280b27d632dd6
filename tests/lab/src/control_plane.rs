//! A real Kubernetes control plane: etcd, the API server and the controller manager in a network namespace.
//!
//! Nodes, kubelet and scheduler are missing: tests write Nodes and the status of Pods themselves. What garbage
//! collection, DaemonSets, EndpointSlices and service accounts do is the controller manager's own doing.
//!
//! ```text
//!   a host of a lab   eth0 10.89.x.y ---- lo 10.89.0.1:6443   control plane
//! ```

mod assets;
mod audit;
mod helm;
mod keeper;
mod kubectl;
mod pki;
mod proxy;
mod servers;

pub use audit::Request;
pub use kubectl::Kubectl;

use crate::lab::{Host, Lab};
use crate::wait::wait_until;
use helm::Helm;
use pki::Pki;
use serde_json::Value;
use servers::Servers;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the API server listens.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);
const PORT: u16 = 6443;

/// Time for a server to answer on a busy machine; a quiet one takes three seconds.
const START: Duration = Duration::from_secs(120);
/// Time for what controllers do at once.
const SOON: Duration = Duration::from_secs(20);

/// A running control plane. Usable from several threads at once; everything goes when it is dropped, or with the
/// process.
#[derive(Debug)]
pub struct ControlPlane {
    servers: Mutex<Servers>,
    pki: Pki,
    kubectl: Kubectl,
    helm: Helm,
    host: Host,
    links: AtomicU16,
    options: Options,
    // The last field: dropped last.
    lab: Mutex<Lab>,
}

/// What a control plane is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The CRDs of the Gateway API; none when absent.
    pub gateway_api: Option<GatewayApi>,
    /// The CRDs of this product, and the one of Multus.
    pub our_crds: bool,
    /// With a controller manager. It starts after the CRDs are in place: its garbage collector looks for new kinds
    /// twice a minute only.
    pub controller_manager: bool,
    /// Which API server.
    pub kubernetes: Kubernetes,
}

/// A version of the API server. The controller manager has one version only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kubernetes {
    /// 1.34, as most tests have it.
    #[default]
    V1_34,
    /// 1.30, the oldest one that the charts take.
    V1_30,
}

/// A version and channel of the Gateway API's CRDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayApi {
    /// 1.6.3, standard channel.
    V1_6Standard,
    /// 1.6.3, experimental channel.
    V1_6Experimental,
    /// 1.1.0, standard channel: its Gateways have no `spec.infrastructure`.
    V1_1Standard,
    /// 1.1.0, experimental channel.
    V1_1Experimental,
}

impl Options {
    /// What most tests want: Gateway API 1.6 standard, our CRDs, a controller manager.
    pub const ALL: Options = Options {
        gateway_api: Some(GatewayApi::V1_6Standard),
        our_crds: true,
        controller_manager: true,
        kubernetes: Kubernetes::V1_34,
    };
}

impl ControlPlane {
    /// The namespace of the chart.
    pub const SYSTEM: &str = "l34-system";

    /// Starts one and waits until it is ready: `/readyz`, the CRDs, and the default service account if there is a
    /// controller manager.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        let lab = Lab::new();
        let host = lab.host("control-plane");
        host.ip(&format!("address add {ADDRESS}/32 dev lo"));
        let pki = Pki::make(&lab);
        let kubectl = Kubectl::new(&host.netns, &pki.kubeconfig("admin"), &lab.folder("kubectl-cache"));
        let plane = ControlPlane {
            servers: Mutex::new(Servers::new(&lab, &host, options.kubernetes)),
            pki,
            helm: Helm::new(&host.netns, kubectl.kubeconfig(), &lab.folder("helm")),
            kubectl,
            host,
            links: AtomicU16::new(2),
            options,
            lab: Mutex::new(lab),
        };
        plane.boot();
        plane
    }

    /// The control plane that all tests of a process share, [`Options::ALL`], each in Kubernetes namespaces of its own.
    /// The first caller starts it. It ends with the process.
    #[track_caller]
    pub fn shared() -> Shared {
        Self::shared_as("", |_| {})
    }

    /// As [`shared`](Self::shared), another one: for tests that need something at work in it which would disturb the
    /// rest. The first caller that gives a name starts and prepares it.
    #[track_caller]
    pub fn shared_as(name: &'static str, prepare: impl FnOnce(&ControlPlane)) -> Shared {
        let mut shared = lock(&SHARED);
        let plane = shared.entry(name).or_insert_with(|| {
            // SAFETY: the function given is safe to call at any time and does not unwind: it only drops values.
            unsafe { libc::atexit(end_of_shared) };
            let plane = ControlPlane::start(Options::ALL);
            prepare(&plane);
            Arc::new(plane)
        });
        Shared(Arc::clone(plane))
    }

    /// Links a host to the control plane by an interface `eth0`, as a Pod's primary one, and returns its address there.
    #[track_caller]
    pub fn link(&self, host: &Host) -> Ipv4Addr {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, 89, high, low);
        let (port, here) = (format!("link{number}"), self.host.netns.path());
        host.ip(&format!("link add eth0 type veth peer name {port} netns {here}"));
        host.ip(&format!("address add {address}/32 dev eth0"));
        host.ip("link set eth0 up");
        host.ip(&format!("route add {ADDRESS}/32 dev eth0 src {address}"));
        self.host.ip(&format!("link set {port} up"));
        self.host.ip(&format!("route add {address}/32 dev {port}"));
        address
    }

    /// The host that the servers run on. What is started there reaches the API server as well.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// `kubectl` with all rights.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// An object or a list by its path in the API, as `/api/v1/namespaces/a/services/b`, in about a millisecond: for looking
    /// again and again, where [`kubectl`](Self::kubectl) would keep a processor busy.
    pub fn read(&self, path: &str) -> Result<Value, String> {
        proxy::get_object(&self.host.netns, path)
    }

    /// The chart as `helm install` puts it into [`ControlPlane::SYSTEM`], without its CRDs, once. The controller's service
    /// account is called `l34-controller`. Nothing runs the controller's Pods.
    #[track_caller]
    pub fn install_chart(&self) {
        self.helm.install_once();
    }

    /// Runs `helm`, in the namespace [`ControlPlane::SYSTEM`]; the release is called `poc`.
    #[track_caller]
    pub fn helm(&self, args: &[&str]) -> String {
        self.helm.run(args)
    }

    /// A kubeconfig with a token of the service account, valid for a day. The account must exist.
    #[track_caller]
    pub fn kubeconfig(&self, namespace: &str, service_account: &str) -> PathBuf {
        let token =
            self.kubectl.run(&["create", "token", service_account, "-n", namespace, "--duration=24h"]);
        self.pki.kubeconfig_with_token(&lock(&self.lab), service_account, token.trim())
    }

    /// `kubectl` with the rights of a service account.
    #[track_caller]
    pub fn kubectl_as(&self, namespace: &str, service_account: &str) -> Kubectl {
        self.kubectl.with_kubeconfig(&self.kubeconfig(namespace, service_account))
    }

    /// Makes a Kubernetes namespace and waits for its default service account.
    #[track_caller]
    pub fn namespace(&self, name: &str) {
        self.kubectl.run(&["create", "namespace", name]);
        if self.options.controller_manager {
            self.has_default_account(name);
        }
    }

    /// Makes a Node that is ready. No kubelet stands behind it.
    #[track_caller]
    pub fn node(&self, name: &str) {
        self.kubectl.run(&["create", "-f", &self.file("node.json", &kubectl::node(name))]);
        // The API server marks every new Node as not ready.
        self.kubectl.run(&["patch", "node", name, "--type=merge", "-p", r#"{"spec": {"taints": null}}"#]);
        let ready = r#"{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}"#;
        self.kubectl.run(&["patch", "node", name, "--subresource=status", "-p", ready]);
    }

    /// Does to a Pod what scheduler and kubelet would: binds it to the Node unless it is bound already, and says that it
    /// runs, is ready and has this primary address.
    #[track_caller]
    pub fn run_pod(&self, namespace: &str, pod: &str, node: &str, address: &str) {
        if self.kubectl.get(namespace, &format!("pod/{pod}"))["spec"]["nodeName"].is_null() {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/binding");
            let binding = self.file("binding.json", &kubectl::binding(pod, node));
            self.kubectl.run(&["create", "--raw", &path, "-f", &binding]);
        }
        let status = kubectl::running(address);
        self.kubectl.run(&["patch", "pod", pod, "-n", namespace, "--subresource=status", "-p", &status]);
    }

    /// Ends a Pod, as a kubelet does it with one that is being deleted.
    #[track_caller]
    pub fn end_pod(&self, namespace: &str, pod: &str) {
        self.kubectl.run(&["delete", "pod", pod, "-n", namespace, "--grace-period=0", "--force"]);
    }

    /// Kills the API server. What it stored stays.
    pub fn stop_api_server(&self) {
        lock(&self.servers).stop_api_server();
    }

    /// Starts the API server again and waits until it is ready.
    #[track_caller]
    pub fn start_api_server(&self) {
        lock(&self.servers).start_api_server(&self.pki);
        self.ready();
    }

    /// All requests that the API server has answered, as its audit log has them.
    #[track_caller]
    pub fn requests(&self) -> Vec<Request> {
        audit::read(lock(&self.servers).audit_log())
    }

    /// A new file in the control plane's folder: its path.
    #[track_caller]
    pub fn file(&self, name: &str, text: &str) -> String {
        lock(&self.lab).write(name, text).display().to_string()
    }

    #[track_caller]
    fn boot(&self) {
        lock(&self.servers).start_etcd();
        wait_until(START, "etcd listens", || {
            lock(&self.servers).check_alive();
            self.host
                .netns
                .enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, servers::ETCD_PORT)))
                .map_err(|error| error.to_string())
        });
        lock(&self.servers).start_proxy(&self.pki);
        self.start_api_server();
        self.install_crds();
        if self.options.controller_manager {
            lock(&self.servers).start_controller_manager(&self.pki);
            self.has_default_account("default");
        }
    }

    #[track_caller]
    fn ready(&self) {
        wait_until(START, "the API server is ready", || {
            lock(&self.servers).check_alive();
            proxy::get(&self.host.netns, "/readyz")?;
            self.read("/api/v1/namespaces/default")
        });
    }

    #[track_caller]
    fn install_crds(&self) {
        let mut files = self.options.gateway_api.map(assets::gateway_api).unwrap_or_default();
        if self.options.our_crds {
            files.extend(assets::our_crds());
            files.push(self.file("multus.yaml", assets::MULTUS).into());
        }
        if files.is_empty() {
            return;
        }
        let files: Vec<String> = files.iter().map(|file| format!("--filename={}", file.display())).collect();
        let mut args = vec!["apply", "--server-side"];
        args.extend(files.iter().map(String::as_str));
        self.kubectl.run(&args);
        self.kubectl.run(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
    }

    #[track_caller]
    fn has_default_account(&self, namespace: &str) {
        wait_until(SOON, &format!("a default service account in {namespace}"), || {
            self.read(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/default"))
        });
    }
}

/// A control plane of [`ControlPlane::shared`] or [`ControlPlane::shared_as`], as one test has it.
#[derive(Debug)]
pub struct Shared(Arc<ControlPlane>);

impl std::ops::Deref for Shared {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.lab).keep();
        }
    }
}

static SHARED: Mutex<BTreeMap<&str, Arc<ControlPlane>>> = Mutex::new(BTreeMap::new());

/// Statics are not dropped: these have processes and folders.
extern "C" fn end_of_shared() {
    drop(std::mem::take(&mut *lock(&SHARED)));
}

/// A test that failed while it held the lock harms no other one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
