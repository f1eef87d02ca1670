//! The admin port: `/livez`, `/readyz`, `/metrics` and, where there is one, `/status`. HTTP, read-only.
//!
//! Plain, or over whatever an [`Accept`] makes of a connection; `/status` may have a port of its own. Knows nothing of
//! what it shows. It ends, with every connection, when its future is dropped.

use std::{
    collections::VecDeque, convert::Infallible, future::Future, io, pin::Pin, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing::{debug, warn};

const TEXT: &str = "text/plain; charset=utf-8";

/// How long a client may take to send its request: more is an idle connection that only costs a descriptor.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a handshake may take: the far side is in the same cluster.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last, its one answer written and read: nobody waits longer for one.
const LIFETIME: Duration = Duration::from_secs(30);

/// An answer that has to be asked for elsewhere.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// After an error of `accept`, which is nearly always a lack of file descriptors: trying at once would only spin.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// What the admin port shows.
pub trait Shown: Send + Sync + 'static {
    /// `Err` with the reason while no mail is taken.
    fn ready(&self) -> Result<(), String>;
    /// All metrics and their content type.
    fn metrics(&self) -> Answer<'_, (String, &'static str)>;
    /// The status as JSON, or why it cannot be told now; `None` where there is none.
    fn status(&self) -> Option<Answer<'_, Result<String, String>>> {
        None
    }
}

/// Which pages a port has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Probes, metrics and, where there is one, the status.
    All,
    /// Probes and metrics: the status has a port of its own.
    Probes,
    /// The status alone.
    Status,
}

impl Pages {
    /// Connections at a time; another one ends the oldest. The status is for one process that asks now and then. Probes
    /// and metrics may be asked for by many.
    const fn connections(self) -> usize {
        match self {
            Self::All | Self::Probes => 512,
            Self::Status => 64,
        }
    }

    const fn has_status(self) -> bool {
        matches!(self, Self::All | Self::Status)
    }

    const fn has_probes(self) -> bool {
        matches!(self, Self::All | Self::Probes)
    }

    const fn named(self) -> &'static str {
        match self {
            Self::All => "there are /livez, /readyz, /metrics and /status here\n",
            Self::Probes => "there are /livez, /readyz and /metrics here\n",
            Self::Status => "there is /status here\n",
        }
    }
}

/// What becomes of a connection before anything is asked over it: a handshake, or nothing.
pub trait Accept: Send + Sync + 'static {
    /// What is spoken over.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Makes it of a connection, or refuses the connection.
    fn accept(
        &self,
        connection: TcpStream,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Plain HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Accept for Plain {
    type Stream = TcpStream;

    async fn accept(&self, connection: TcpStream) -> io::Result<TcpStream> {
        Ok(connection)
    }
}

/// Serves all pages in plain HTTP until it is dropped: probes and the operator want answers to the very end.
pub async fn serve(listener: TcpListener, shown: Arc<dyn Shown>) {
    serve_pages(listener, Plain, Pages::All, shown).await;
}

/// Serves some pages over what `accept` makes of a connection, until it is dropped.
pub async fn serve_pages<A: Accept>(
    listener: TcpListener,
    accept: A,
    pages: Pages,
    shown: Arc<dyn Shown>,
) {
    let port = Arc::new(Port {
        accept,
        pages,
        shown,
    });
    let mut connections = JoinSet::new();
    let mut open = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    make_room(&mut open, pages.connections());
                    open.push_back(connections.spawn(Arc::clone(&port).connection(stream)));
                }
                Err(error) => {
                    warn!(%error, "admin: accept failed");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Ends the oldest connections where there are too many. Whoever only holds them must not lock out a probe: a gateway
/// whose probe is not answered is restarted.
fn make_room(open: &mut VecDeque<AbortHandle>, most: usize) {
    if open.len() < most {
        return;
    }
    open.retain(|connection| !connection.is_finished());
    while open.len() >= most
        && let Some(oldest) = open.pop_front()
    {
        oldest.abort();
    }
}

/// What all connections of a port share.
struct Port<A> {
    accept: A,
    pages: Pages,
    shown: Arc<dyn Shown>,
}

impl<A: Accept> Port<A> {
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let stream = match timeout(HANDSHAKE_TIMEOUT, self.accept.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "admin: connection refused"),
            Err(_) => return debug!("admin: handshake timed out"),
        };
        if timeout(LIFETIME, self.converse(stream)).await.is_err() {
            debug!("admin: connection lasted too long");
        }
    }

    /// One answer: who asks for the status shows every time who it is, and nobody holds a connection for long.
    async fn converse(self: Arc<Self>, stream: A::Stream) {
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .keep_alive(false);
        let service = service_fn(move |request| {
            let port = Arc::clone(&self);
            async move { Ok::<_, Infallible>(answer(&request, port.pages, &*port.shown).await) }
        });
        if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
            debug!(%error, "admin: connection failed");
        }
    }
}

async fn answer(
    request: &Request<Incoming>,
    pages: Pages,
    shown: &dyn Shown,
) -> Response<Full<Bytes>> {
    if !matches!(request.method().as_str(), "GET" | "HEAD") {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "this port is read-only\n".into(),
        );
    }
    match request.uri().path() {
        "/livez" if pages.has_probes() => response(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" if pages.has_probes() => match shown.ready() {
            Ok(()) => response(StatusCode::OK, TEXT, "ok\n".into()),
            Err(reason) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        "/metrics" if pages.has_probes() => {
            let (text, kind) = shown.metrics().await;
            response(StatusCode::OK, kind, text)
        }
        "/status" if pages.has_status() => match shown.status() {
            Some(status) => match status.await {
                Ok(status) => response(StatusCode::OK, "application/json", status),
                Err(reason) => {
                    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n"))
                }
            },
            None => response(StatusCode::NOT_FOUND, TEXT, Pages::Probes.named().into()),
        },
        _ => response(StatusCode::NOT_FOUND, TEXT, pages.named().into()),
    }
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Fixed;

    impl Shown for Fixed {
        fn ready(&self) -> Result<(), String> {
            Err("recovering".into())
        }
        fn metrics(&self) -> Answer<'_, (String, &'static str)> {
            Box::pin(std::future::ready((
                "a 1\n".into(),
                "text/plain; version=0.0.4",
            )))
        }
        fn status(&self) -> Option<Answer<'_, Result<String, String>>> {
            Some(Box::pin(std::future::ready(Ok("{}".into()))))
        }
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(
                format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_probes_and_refuses_changes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Fixed)));
        for (request, expected) in [
            ("GET /livez", "HTTP/1.1 200"),
            ("GET /readyz", "HTTP/1.1 503"),
            ("GET /metrics", "HTTP/1.1 200"),
            ("GET /status", "HTTP/1.1 200"),
            ("GET /other", "HTTP/1.1 404"),
            ("POST /status", "HTTP/1.1 405"),
        ] {
            let answer = ask(address, request).await;
            assert!(answer.starts_with(expected), "{request}: {answer}");
        }
        assert!(ask(address, "GET /readyz").await.ends_with("recovering\n"));
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn each_port_has_its_pages_and_no_other() {
        for (pages, status, probes) in [(Pages::Probes, 404, 200), (Pages::Status, 200, 404)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let _server = tokio::spawn(serve_pages(listener, Plain, pages, Arc::new(Fixed)));
            for (request, expected) in [
                ("GET /status", status),
                ("GET /livez", probes),
                ("GET /metrics", probes),
                ("POST /status", 405),
                ("DELETE /", 405),
            ] {
                let answer = ask(address, request).await;
                let expected = format!("HTTP/1.1 {expected}");
                assert!(
                    answer.starts_with(&expected),
                    "{pages:?} {request}: {answer}"
                );
            }
        }
    }

    /// Refuses everybody.
    struct Closed;

    impl Accept for Closed {
        type Stream = TcpStream;
        async fn accept(&self, _: TcpStream) -> io::Result<TcpStream> {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_refused_gets_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _server = tokio::spawn(serve_pages(listener, Closed, Pages::All, Arc::new(Fixed)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        assert!(
            stream
                .read_to_end(&mut answer)
                .await
                .is_ok_and(|read| read == 0)
        );
    }

    /// Some that ask and do not read, some that do not even ask: a probe is answered at once.
    #[tokio::test]
    async fn who_holds_connections_locks_nobody_out() {
        for (pages, page) in [
            (Pages::Probes, "GET /livez"),
            (Pages::All, "GET /livez"),
            (Pages::Status, "GET /status"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let _server = tokio::spawn(serve_pages(listener, Plain, pages, Arc::new(Fixed)));
            let mut held = Vec::new();
            for _ in 0..pages.connections() {
                let mut stream = TcpStream::connect(address).await.unwrap();
                if held.len() % 2 == 0 {
                    stream
                        .write_all(b"GET /metrics HTTP/1.1\r\n")
                        .await
                        .unwrap();
                }
                held.push(stream);
            }
            let answer = timeout(HEADER_TIMEOUT / 2, ask(address, page)).await;
            assert!(answer.unwrap().starts_with("HTTP/1.1 200"), "{pages:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_has_one_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _server = tokio::spawn(serve(listener, Arc::new(Fixed)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let twice = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
        stream.write_all(twice.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The second question may be met by a reset.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    }
}
