//! A small HTTP/1.1 server, for probes and metrics. Whoever reaches it may be hostile: connections are few, short and
//! frugal, and what does not fit waits in the kernel or is closed.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
pub use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at a time, over all listeners.
const CONNECTIONS: usize = 32;
/// How long a client may take to ask, and how long it may stay at all.
const HEADER_TIME: Duration = Duration::from_secs(5);
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Room for a question; a probe's is a tenth of it.
const BUFFER: usize = 8192;

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

/// Answers GET of any path by `answer`, on each listener and for ever. To be called on a `LocalSet`.
pub fn serve<F>(listeners: Vec<TcpListener>, answer: impl Fn(String) -> F + 'static)
where
    F: Future<Output = Answer> + 'static,
{
    let (answer, room) = (Rc::new(answer), Arc::new(Semaphore::new(CONNECTIONS)));
    for listener in listeners {
        tokio::task::spawn_local(accept(listener, room.clone(), answer.clone()));
    }
}

async fn accept<F>(listener: TcpListener, room: Arc<Semaphore>, answer: Rc<impl Fn(String) -> F + 'static>)
where
    F: Future<Output = Answer> + 'static,
{
    loop {
        // It is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(talk(stream, permit, answer.clone()));
            }
            Err(error) => {
                tracing::debug!("HTTP: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn talk<F>(stream: TcpStream, _room: OwnedSemaphorePermit, answer: Rc<impl Fn(String) -> F + 'static>)
where
    F: Future<Output = Answer> + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let answer = match *request.method() {
                Method::GET => answer(request.uri().path().to_owned()).await,
                _ => Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
            };
            Ok::<_, Infallible>(response(answer))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(BUFFER)
        // A client that comes seldom needs no place meanwhile.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("HTTP: {error}"),
        Err(_) => tracing::debug!("HTTP: a client took too long"),
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body.into()));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::LocalSet;

    use super::*;

    async fn started() -> SocketAddr {
        let listeners = listen(&[([127, 0, 0, 1], 0).into()]).await.unwrap();
        let address = listeners[0].local_addr().unwrap();
        serve(listeners, |path| async move { Answer::text(StatusCode::OK, format!("this is {path}")) });
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
    fn clients_that_say_nothing_give_up_their_places() {
        run(async {
            let address = started().await;
            let mut silent = Vec::new();
            for _ in 0..2 * CONNECTIONS {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            let answer = ask(address, b"GET /healthz HTTP/1.1\r\nHost: pod\r\n\r\n").await;
            assert!(answer.ends_with("this is /healthz\n"), "{answer}");
        });
    }
}
