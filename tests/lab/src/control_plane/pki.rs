//! Keys, certificates and kubeconfigs, all made anew for each control plane.

use super::{ADDRESS, PORT};
use crate::lab::Lab;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with the keys of one control plane.
#[derive(Debug)]
pub(super) struct Pki {
    folder: PathBuf,
}

impl Pki {
    #[track_caller]
    pub(super) fn make(lab: &Lab) -> Self {
        let pki = Pki { folder: lab.folder("pki") };
        pki.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=l34-lab \
            -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.crt",
        );
        pki.openssl("ecparam -name prime256v1 -genkey -noout -out service-accounts.key");
        let names =
            format!("IP:{ADDRESS},IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes.default.svc,DNS:localhost");
        pki.certificate("api-server", "/CN=kube-apiserver", &names);
        for (name, subject) in
            [("admin", "/O=system:masters/CN=admin"), ("controllers", "/CN=system:kube-controller-manager")]
        {
            pki.certificate(name, subject, "DNS:localhost");
            pki.write_kubeconfig(
                &pki.kubeconfig(name),
                &format!(
                    "client-certificate: {}\n    client-key: {}",
                    pki.file(&format!("{name}.crt")),
                    pki.file(&format!("{name}.key"))
                ),
            );
        }
        pki
    }

    /// Path of a file in the folder.
    pub(super) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Path of the kubeconfig of `admin` or `controllers`.
    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    #[track_caller]
    pub(super) fn kubeconfig_with_token(&self, lab: &Lab, name: &str, token: &str) -> PathBuf {
        let path = lab.file(&format!("{name}.kubeconfig"));
        self.write_kubeconfig(&path, &format!("token: {token}"));
        path
    }

    #[track_caller]
    fn certificate(&self, name: &str, subject: &str, names: &str) {
        self.openssl(&format!(
            "req -x509 -CA ca.crt -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
            -subj {subject} -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth,clientAuth \
            -addext subjectAltName={names} -keyout {name}.key -out {name}.crt"
        ));
    }

    #[track_caller]
    fn write_kubeconfig(&self, path: &Path, user: &str) {
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: lab
contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]
clusters:
- name: lab
  cluster:
    server: https://{ADDRESS}:{PORT}
    certificate-authority: {ca}
users:
- name: lab
  user:
    {user}
",
            ca = self.file("ca.crt")
        );
        if let Err(error) = std::fs::write(path, text) {
            panic!("cannot write {}: {error}", path.display());
        }
    }

    /// Runs openssl in the folder with the given arguments, split at spaces.
    #[track_caller]
    fn openssl(&self, args: &str) {
        let output = Command::new("openssl").args(args.split_whitespace()).current_dir(&self.folder).output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!("`openssl {args}`: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("cannot start `openssl`: {error} (`make needs` names what is missing)"),
        }
    }
}
