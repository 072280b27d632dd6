//! The admin socket: one line of JSON asks, one line of JSON answers.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::app::Shared;
use crate::cli::What;
use crate::{explain, views};

/// Where the sockets lie when nobody says otherwise.
pub(crate) const FOLDER: &str = "/run/l34-router";
/// Longest question, in octets.
const QUESTION_MAX: u64 = 4096;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "ask")]
pub(crate) enum Question {
    Peers,
    Vips,
    Routes { limit: usize },
    Bfd,
    Services,
    Problems,
    Explain { subject: String },
}

impl Question {
    pub(crate) fn show(what: What, limit: usize) -> Question {
        match what {
            What::Peers => Question::Peers,
            What::Vips => Question::Vips,
            What::Routes => Question::Routes { limit },
            What::Bfd => Question::Bfd,
            What::Services => Question::Services,
            What::Problems => Question::Problems,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// The listening socket; its file goes with it.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The socket of a Gateway when nobody says otherwise.
pub(crate) fn default_path(namespace: &str, gateway: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{namespace}.{gateway}.sock"))
}

/// Opens the socket, for its owner alone. A file left by a router that is gone is replaced.
pub(crate) fn listen(path: &Path) -> Result<Socket> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another router answers on {}; choose another --admin", path.display());
    }
    // Nobody answers: a socket that lies there is a leftover. Any other file is somebody's, and binding fails.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        let _ = std::fs::remove_file(path);
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot open {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    Ok(Socket { listener, path: path.to_owned() })
}

/// Answers questions, for ever.
pub(crate) async fn serve(socket: Socket, app: Shared) {
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let app = app.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = talk(stream, &app).await {
                        tracing::debug!("admin socket: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("admin socket: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn talk(stream: UnixStream, app: &Shared) -> Result<()> {
    let (from, mut to) = stream.into_split();
    let mut line = String::new();
    BufReader::new(from.take(QUESTION_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(question) => answer(question, app).await,
        Err(error) => Err(anyhow::anyhow!("not a question: {error}")),
    };
    let answer = answer.map_or_else(|error| Answer::Error(format!("{error:#}")), Answer::Ok);
    let mut octets = serde_json::to_vec(&answer)?;
    octets.push(b'\n');
    to.write_all(&octets).await?;
    Ok(())
}

async fn answer(question: Question, app: &Shared) -> Result<Value> {
    Ok(match question {
        Question::Peers => serde_json::to_value(views::peers(app).await?)?,
        Question::Vips => serde_json::to_value(views::vips(app).await?)?,
        Question::Routes { limit } => serde_json::to_value(views::routes(app, limit).await?)?,
        Question::Bfd => serde_json::to_value(views::bfd(app))?,
        Question::Services => serde_json::to_value(views::services(app))?,
        Question::Problems => serde_json::to_value(views::problems(app))?,
        Question::Explain { subject } => serde_json::to_value(explain::explain(app, &subject).await?)?,
    })
}

/// Asks a running router.
pub(crate) fn ask(path: Option<&Path>, question: &Question) -> Result<Value> {
    use std::io::{BufRead, Write};
    let path = path.map_or_else(only_socket, |path| Ok(path.to_owned()))?;
    let mut stream = std::os::unix::net::UnixStream::connect(&path)
        .with_context(|| format!("no router answers on {}", path.display()))?;
    let mut line = serde_json::to_string(question)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut reply = String::new();
    std::io::BufReader::new(stream).read_line(&mut reply)?;
    match serde_json::from_str(&reply).context("the router's answer is cut")? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(error) => bail!("{error}"),
    }
}

/// The only socket in the usual folder.
fn only_socket() -> Result<PathBuf> {
    let entries = std::fs::read_dir(FOLDER).map(|entries| entries.flatten().collect::<Vec<_>>());
    let mut sockets: Vec<PathBuf> = entries
        .unwrap_or_default()
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "sock"))
        .collect();
    match (sockets.pop(), sockets.len()) {
        (Some(path), 0) => Ok(path),
        (None, _) => bail!("no router runs here (no socket in {FOLDER}); name its socket with --admin"),
        (Some(_), more) => bail!("{} routers have a socket in {FOLDER}; name one with --admin", more + 1),
    }
}
