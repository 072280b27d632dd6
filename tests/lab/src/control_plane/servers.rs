//! etcd, kube-apiserver and kube-controller-manager: how they are called.

use super::assets::binary;
use super::keeper::Keeper;
use super::pki::Pki;
use super::{ADDRESS, Kubernetes, PORT, proxy};
use crate::lab::{Host, Lab};
use crate::process::Process;
use std::path::{Path, PathBuf};

pub(super) const ETCD_PORT: u16 = 2379;

/// What is not here would disturb: Pods on Nodes without kubelet would be evicted or collected.
const CONTROLLERS: &[&str] = &[
    "clusterrole-aggregation-controller",
    "daemonset-controller",
    "deployment-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
];

/// Everything that is answered, with who asked for what.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
";

/// The processes of a control plane and their files.
#[derive(Debug)]
pub(super) struct Servers {
    host: Host,
    kubernetes: Kubernetes,
    keeper: Keeper,
    api_server: Option<Process>,
    others: Vec<Process>,
    data: PathBuf,
    audit_policy: PathBuf,
    audit_log: PathBuf,
    logs: [PathBuf; 4],
}

impl Servers {
    #[track_caller]
    pub(super) fn new(lab: &Lab, host: &Host, kubernetes: Kubernetes) -> Self {
        Servers {
            host: host.clone(),
            kubernetes,
            keeper: Keeper::new(),
            api_server: None,
            others: Vec::new(),
            data: lab.folder("etcd"),
            audit_policy: lab.write("audit-policy.yaml", AUDIT_POLICY),
            audit_log: lab.file("audit.json"),
            logs: ["etcd.log", "kube-apiserver.log", "kube-controller-manager.log", "kubectl-proxy.log"]
                .map(|name| lab.file(name)),
        }
    }

    /// Starts etcd.
    #[track_caller]
    pub(super) fn start_etcd(&mut self) {
        let client = format!("http://127.0.0.1:{ETCD_PORT}");
        let args = vec![
            format!("--data-dir={}", self.data.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let etcd = self.start("etcd", args, &self.logs[0]);
        self.others.push(etcd);
    }

    /// Starts the API server, with what it stored earlier.
    #[track_caller]
    pub(super) fn start_api_server(&mut self, pki: &Pki) {
        let args = vec![
            format!("--etcd-servers=http://127.0.0.1:{ETCD_PORT}"),
            format!("--advertise-address={ADDRESS}"),
            format!("--secure-port={PORT}"),
            "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            // Some distributions have it on: owner references that block a deletion need a right of their own.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
            format!("--client-ca-file={}", pki.file("ca.crt")),
            format!("--tls-cert-file={}", pki.file("api-server.crt")),
            format!("--tls-private-key-file={}", pki.file("api-server.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", pki.file("service-accounts.key")),
            format!("--service-account-signing-key-file={}", pki.file("service-accounts.key")),
            format!("--audit-policy-file={}", self.audit_policy.display()),
            format!("--audit-log-path={}", self.audit_log.display()),
            "--profiling=false".to_owned(),
        ];
        let program = match self.kubernetes {
            Kubernetes::V1_34 => "kube-apiserver",
            Kubernetes::V1_30 => "kube-apiserver-1.30",
        };
        self.api_server = Some(self.start(program, args, &self.logs[1]));
    }

    /// Starts the controller manager.
    #[track_caller]
    pub(super) fn start_controller_manager(&mut self, pki: &Pki) {
        let args = vec![
            format!("--kubeconfig={}", pki.kubeconfig("controllers").display()),
            format!("--controllers={}", CONTROLLERS.join(",")),
            format!("--service-account-private-key-file={}", pki.file("service-accounts.key")),
            format!("--root-ca-file={}", pki.file("ca.crt")),
            "--use-service-account-credentials=true".to_owned(),
            "--leader-elect=false".to_owned(),
            "--profiling=false".to_owned(),
        ];
        let controllers = self.start("kube-controller-manager", args, &self.logs[2]);
        self.others.push(controllers);
    }

    /// Starts `kubectl proxy`.
    #[track_caller]
    pub(super) fn start_proxy(&mut self, pki: &Pki) {
        let args = vec![
            format!("--kubeconfig={}", pki.kubeconfig("admin").display()),
            "proxy".to_owned(),
            format!("--port={}", proxy::PORT),
        ];
        let proxy = self.start("kubectl", args, &self.logs[3]);
        self.others.push(proxy);
    }

    /// Kills the API server.
    pub(super) fn stop_api_server(&mut self) {
        self.api_server = None;
    }

    /// Panics when a server has ended: there is nothing to wait for.
    #[track_caller]
    pub(super) fn check_alive(&mut self) {
        for process in self.api_server.iter_mut().chain(&mut self.others) {
            if let Err(ended) = process.check_alive() {
                panic!("{ended}");
            }
        }
    }

    pub(super) fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    #[track_caller]
    fn start(&self, name: &str, args: Vec<String>, log: &Path) -> Process {
        let (netns, program, log) = (self.host.netns.clone(), binary(name), log.to_owned());
        self.keeper.run(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            Process::start(&netns, &program, &args, &log)
        })
    }
}
