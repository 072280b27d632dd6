//! One connection: one request, one answer, the end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::places::Id;
use crate::{Answer, Server};

/// How long a client may take to ask, and how long it may stay at all.
const HEADER_TIME: Duration = Duration::from_secs(5);
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Octets that a question may have; a probe's has a tenth of it.
const BUFFER: usize = 8192;

/// A place in the table of connections. It is free again when this is dropped.
pub(crate) struct Place {
    pub(crate) id: Id,
    /// Ends when the place is needed for another connection.
    pub(crate) taken_away: oneshot::Receiver<Infallible>,
    pub(crate) server: Rc<Server>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.places.borrow_mut().leave(self.id);
        self.server.left.notify_waiters();
    }
}

/// Serves a connection to its end.
pub(crate) async fn talk(stream: TcpStream, mut place: Place) {
    let (id, server) = (place.id, place.server.clone());
    let service = service_fn(|request| answer(request, id, &server));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(BUFFER)
        // A client that comes seldom needs no place meanwhile.
        .keep_alive(false)
        .serve_connection(TokioIo::new(Watched { stream, id, server: server.clone() }), service);
    let mut connection = pin!(tokio::time::timeout(CONNECTION_TIME, connection));
    let end = poll_fn(|context| {
        if Pin::new(&mut place.taken_away).poll(context).is_ready() {
            return Poll::Ready("its place was needed".to_owned());
        }
        connection.as_mut().poll(context).map(|result| match result {
            Ok(Ok(())) => "answered".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the client took too long".to_owned(),
        })
    });
    let end = end.await;
    tracing::debug!("HTTP: {end}");
}

async fn answer(
    request: Request<Incoming>,
    id: Id,
    server: &Server,
) -> Result<Response<http_body_util::Full<hyper::body::Bytes>>, Infallible> {
    let path = request.uri().path();
    let refused = |status, why: &str| Ok(crate::questions::Ready::from(Answer::text(status, why)).into());
    if request.method() != Method::GET {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    let long = server.long.contains(&path);
    if !server.places.borrow_mut().asked(id, long, Instant::now().into_std()) {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "busy with other clients");
    }
    let answer = server.questions.ask(path).await;
    server.places.borrow_mut().answered(id, Instant::now().into_std());
    Ok(answer.into())
}

/// A stream that reports when something is read from it.
struct Watched {
    stream: TcpStream,
    id: Id,
    server: Rc<Server>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, into);
        if into.filled().len() > before {
            self.server.places.borrow_mut().heard(self.id);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
