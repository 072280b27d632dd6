//! Where the API server is, and as whom we speak to it.

use std::path::Path;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Why there is nothing to connect to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file cannot be read or names no usable cluster.
    #[error("kubeconfig {0}: {1}")]
    Kubeconfig(String, #[source] kube::config::KubeconfigError),
    /// There is no file, and this is no pod with a service account either.
    #[error("not in a pod with a service account ({0}); outside one, use --kubeconfig")]
    InCluster(#[source] kube::config::InClusterError),
    /// The name of the program cannot stand in a header.
    #[error("{0:?} cannot be the name of a client")]
    UserAgent(String),
}

/// The configuration from `kubeconfig`, or of the pod that this process runs in. The server's audit log shows
/// `user_agent`.
///
/// # Errors
/// [`ConnectError`]. Nothing is sent yet.
pub async fn config(kubeconfig: Option<&Path>, user_agent: &str) -> Result<Config, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let in_words = |error| ConnectError::Kubeconfig(path.display().to_string(), error);
            let file = Kubeconfig::read_from(path).map_err(in_words)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(in_words)?
        }
        None => Config::incluster().map_err(ConnectError::InCluster)?,
    };
    let unusable = || ConnectError::UserAgent(user_agent.to_owned());
    let name = "user-agent".parse().map_err(|_| unusable())?;
    config.headers.push((name, user_agent.parse().map_err(|_| unusable())?));
    config.read_timeout = Some(SILENCE);
    Ok(config)
}

/// A server that is silent for so long is gone, also if nothing closed the connection. The server ends each watch after
/// 290 seconds itself, so that one with nothing to tell is not taken for dead.
const SILENCE: Duration = Duration::from_secs(300);
