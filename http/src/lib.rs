//! A small HTTP/1.1 server, for probes and metrics. Whoever reaches it may be hostile: connections are few, short and
//! frugal, a new one costs the oldest idle one its place, and long answers leave places for the short ones.

mod connection;
mod places;
mod questions;

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

pub use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

use connection::{Place, talk};
use places::{Limits, Places};
use questions::Questions;

/// Connections at a time, over all listeners.
const LIMITS: Limits = Limits { all: 256, silent: 64, long: 4, long_reply: Duration::from_secs(2) };
/// Accepted in a row before those that were accepted get their turn: far fewer than may be silent.
const ACCEPTED_AT_ONCE: usize = 8;
/// After a failure to accept: the process has no descriptor left, or the host no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<String>) -> Answer {
        Answer { status, content_type: "text/plain; charset=utf-8", body: body.into() + "\n" }
    }
}

/// Opens the listeners.
///
/// # Errors
/// An address that is not this host's, or a port that is taken; the error names it.
pub async fn listen(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        listeners.push(TcpListener::bind(address).await.map_err(named)?);
    }
    Ok(listeners)
}

/// Answers GET of any path by `answer`, on each listener and for ever. To be called on a `LocalSet`. `long` are the paths
/// whose answers are large or take their time: four of them at a time, further ones get status 503 at once. Clients
/// that ask for one path while its answer is being made share that answer.
pub fn serve<F>(
    listeners: Vec<TcpListener>,
    long: &'static [&'static str],
    answer: impl Fn(String) -> F + 'static,
) where
    F: Future<Output = Answer> + 'static,
{
    let places = RefCell::new(Places::new(LIMITS));
    let server = Rc::new(Server { places, left: Notify::new(), long, questions: Questions::new(answer) });
    for listener in listeners {
        tokio::task::spawn_local(accept(listener, server.clone()));
    }
}

/// What all connections share.
struct Server {
    places: RefCell<Places<oneshot::Sender<Infallible>>>,
    /// A connection has left its place.
    left: Notify,
    long: &'static [&'static str],
    questions: Questions,
}

impl Server {
    /// A place in the table. It is waited for only while all connections there are being answered.
    async fn place(self: &Rc<Self>) -> Place {
        let (mut keeps_open, taken_away) = oneshot::channel();
        loop {
            let left = self.left.notified();
            let place = self.places.borrow_mut().arrive(keeps_open);
            match place {
                Ok(id) => return Place { id, taken_away, server: self.clone() },
                Err(back) => keeps_open = back,
            }
            left.await;
        }
    }
}

async fn accept(listener: TcpListener, server: Rc<Server>) {
    for accepted in 1_usize.. {
        match listener.accept().await {
            Ok((stream, _)) => {
                let place = server.place().await;
                tokio::task::spawn_local(talk(stream, place));
            }
            Err(error) => {
                tracing::debug!("HTTP: {error}");
                server.places.borrow_mut().make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        if accepted.is_multiple_of(ACCEPTED_AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::LocalSet;

    use tokio::net::TcpStream;

    use super::*;

    /// More than the kernel takes for a client that does not read.
    const LONG: usize = 16 << 20;

    async fn started() -> SocketAddr {
        let listeners = listen(&[([127, 0, 0, 1], 0).into()]).await.unwrap();
        let address = listeners[0].local_addr().unwrap();
        serve(listeners, &["/long"], |path| async move {
            let rest = if path == "/long" { "x".repeat(LONG) } else { String::new() };
            Answer::text(StatusCode::OK, format!("{rest}this is {path}"))
        });
        address
    }

    async fn ask(address: SocketAddr, question: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may have closed already.
        let _ = stream.write_all(question).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Time passes at once when nobody has anything to do.
    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        LocalSet::new().block_on(&runtime.unwrap(), test);
    }

    #[test]
    fn questions_are_answered_and_nonsense_is_refused() {
        run(async {
            let address = started().await;
            let answer = ask(address, b"GET /readyz?verbose HTTP/1.1\r\nHost: pod\r\n\r\n").await;
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("this is /readyz\n"),
                "{answer}"
            );
            let answer = ask(address, b"POST / HTTP/1.1\r\ncontent-length: 4000000000\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
            for nonsense in [&b"\xff\x00\x16\x03\x01 \r\n\r\n"[..], &[b'A'; 100_000], b"GET / HTTP/9\r\n\r\n"]
            {
                let answer = ask(address, nonsense).await;
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
            }
            assert!(
                ask(address, b"GET / HTTP/1.0\r\n\r\n").await.ends_with("this is /\n"),
                "others are served"
            );
        });
    }

    #[test]
    fn clients_that_say_nothing_cost_each_other_their_places() {
        run(async {
            let address = started().await;
            let mut silent = Vec::new();
            for _ in 0..2 * LIMITS.all {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            let (asked, begun) = (tokio::time::Instant::now(), b"GET /healthz HTTP/1.1\r\nHost: pod\r\n\r\n");
            let answer = ask(address, begun).await;
            assert!(answer.ends_with("this is /healthz\n"), "{answer}");
            assert_eq!(asked.elapsed(), Duration::ZERO, "no other connection had to end first");
            let mut end = [0];
            assert_eq!(silent[0].read(&mut end).await.ok(), Some(0), "the oldest was closed");
        });
    }

    #[test]
    fn unread_long_answers_leave_places_for_short_ones() {
        run(async {
            let address = started().await;
            let question = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n").into_bytes();
            let mut unread = Vec::new();
            for _ in 0..LIMITS.long {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(&question("/long")).await.unwrap();
                let mut begin = [0; 12];
                stream.read_exact(&mut begin).await.unwrap();
                assert_eq!(&begin, b"HTTP/1.1 200");
                unread.push(stream);
            }
            let answer = ask(address, &question("/long")).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(ask(address, &question("/healthz")).await.ends_with("this is /healthz\n"));
            tokio::time::sleep(LIMITS.long_reply).await;
            let answer = ask(address, &question("/long")).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "the one that was not read is given up");
        });
    }
}
