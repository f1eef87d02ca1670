//! The admin port: `/livez`, `/readyz`, `/metrics` and, where there is one, `/status`. Plain HTTP, read-only.
//!
//! Knows nothing of what it shows. It ends, with every connection, when its future is dropped.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tracing::{debug, warn};

const TEXT: &str = "text/plain; charset=utf-8";

/// How long a client may take to send its request: more is an idle connection that only costs a descriptor.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The status as JSON; `None` where there is none.
    fn status(&self) -> Option<Answer<'_, String>> {
        None
    }
}

/// Serves until it is dropped: probes and the operator want answers to the very end.
pub async fn serve(listener: TcpListener, shown: Arc<dyn Shown>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shown)));
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

async fn connection(stream: TcpStream, shown: Arc<dyn Shown>) {
    let service = service_fn(move |request| {
        let shown = Arc::clone(&shown);
        async move { Ok::<_, Infallible>(answer(&request, shown.as_ref()).await) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        debug!(%error, "admin: connection failed");
    }
}

async fn answer(request: &Request<Incoming>, shown: &dyn Shown) -> Response<Full<Bytes>> {
    match (request.method().as_str(), request.uri().path()) {
        ("GET" | "HEAD", "/livez") => response(StatusCode::OK, TEXT, "ok\n".into()),
        ("GET" | "HEAD", "/readyz") => match shown.ready() {
            Ok(()) => response(StatusCode::OK, TEXT, "ok\n".into()),
            Err(reason) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        ("GET" | "HEAD", "/metrics") => {
            let (text, kind) = shown.metrics().await;
            response(StatusCode::OK, kind, text)
        }
        ("GET" | "HEAD", "/status") => match shown.status() {
            Some(status) => response(StatusCode::OK, "application/json", status.await),
            None => not_found(),
        },
        ("GET" | "HEAD", _) => not_found(),
        _ => response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "this port is read-only\n".into(),
        ),
    }
}

fn not_found() -> Response<Full<Bytes>> {
    response(
        StatusCode::NOT_FOUND,
        TEXT,
        "there are /livez, /readyz and /metrics here, and /status unless it has a port of its own\n".into(),
    )
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
        fn status(&self) -> Option<Answer<'_, String>> {
            Some(Box::pin(std::future::ready("{}".into())))
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
}
