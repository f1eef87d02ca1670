use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use posthouse_admin::admin::{self, Pages, Shown};
use posthouse_config::Status;
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsConnector;

use super::*;
use crate::status::tests::{DOCUMENT, board, snapshot};

/// A status port, and what its gateway goes by.
struct Port {
    address: SocketAddr,
    snapshots: watch::Sender<Arc<Snapshot>>,
    _serving: JoinHandle<()>,
}

async fn port(first: Arc<Snapshot>) -> Port {
    let (snapshots, receiver) = watch::channel(first);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shown = Arc::new(board(receiver.clone())) as Arc<dyn Shown>;
    let serving = admin::serve_pages(listener, Link::new(receiver), Pages::Status, shown);
    Port {
        address,
        snapshots,
        _serving: tokio::spawn(serving),
    }
}

fn with_key(octet: u8) -> Arc<Snapshot> {
    snapshot(DOCUMENT, &[("link.key", &[octet; 32])])
}

impl Port {
    /// Asks as the operator does: code and body, or nothing if it is not let in.
    async fn ask(&self, octet: u8, method: &str, path: &str) -> Option<(u16, Bytes)> {
        let key = Key::try_from(&[octet; 32][..]).unwrap();
        let connector = TlsConnector::from(link::client(&key).unwrap());
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = connector.connect(link::server_name(), stream).await.ok()?;
        let (mut asking, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gateway")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = asking.send_request(request).await.ok()?;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((code, body))
    }

    async fn status(&self, octet: u8) -> Option<Status> {
        let (code, body) = self.ask(octet, "GET", "/status").await?;
        assert_eq!(code, 200);
        Some(serde_json::from_slice(&body).unwrap())
    }
}

#[tokio::test]
async fn who_has_the_key_is_told_the_status_and_nothing_else() {
    let port = port(with_key(1)).await;
    let status = port.status(1).await.unwrap();
    assert_eq!(status.pod_uid, "6f1ed002-ab5c-4a5e-8b1a-000000000009");
    for (method, path, code) in [
        ("GET", "/livez", 404),
        ("GET", "/metrics", 404),
        ("GET", "/", 404),
        ("POST", "/status", 405),
        ("DELETE", "/status", 405),
    ] {
        let (answer, _) = port.ask(1, method, path).await.unwrap();
        assert_eq!(answer, code, "{method} {path}");
    }
    assert!(port.status(2).await.is_none());
}

#[tokio::test]
async fn plain_http_is_no_handshake() {
    let port = port(with_key(1)).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let request = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request)
        .await
        .unwrap();
    let mut answer = Vec::new();
    // A reset says the same as a close.
    let _ = stream.read_to_end(&mut answer).await;
    // At most a TLS alert (RFC 8446 §6): content type 21.
    assert!(
        answer.first().is_none_or(|&first| first == 21),
        "{answer:?}"
    );
}

/// The key comes, is renewed and goes: each counts for the next connection.
#[tokio::test]
async fn a_key_counts_without_a_restart() {
    let port = port(snapshot(DOCUMENT, &[])).await;
    assert!(port.status(1).await.is_none());
    port.snapshots.send_replace(with_key(1));
    assert!(port.status(1).await.is_some());
    port.snapshots.send_replace(with_key(2));
    assert!(port.status(1).await.is_none());
    assert!(port.status(2).await.is_some());
    let none = DOCUMENT.replace(", link: link.key", "");
    port.snapshots.send_replace(snapshot(&none, &[]));
    assert!(port.status(2).await.is_none());
}

#[test]
fn what_is_wrong_with_the_key_is_kept_until_it_changes() {
    let short = snapshot(DOCUMENT, &[("link.key", b"short")]);
    let (sender, receiver) = watch::channel(snapshot(DOCUMENT, &[]));
    let link = Link::new(receiver);
    let reason = || {
        assert!(link.acceptor().is_none());
        match &*link.door.lock().unwrap() {
            Door::Closed(reason) => reason.clone(),
            Door::Unused | Door::Open(..) => panic!("it is not closed"),
        }
    };
    assert_eq!(reason(), "link.key is missing");
    sender.send_replace(short);
    assert_eq!(reason(), "the link key must hold exactly 32 octets, has 5");
    sender.send_replace(snapshot(&DOCUMENT.replace(", link: link.key", ""), &[]));
    assert_eq!(reason(), "the document names no link key");
}
