use std::{collections::HashMap, sync::atomic::AtomicUsize};

use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1 as server, service::service_fn};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

fn key(octet: u8) -> Key {
    Key::try_from([octet; 32].as_slice()).unwrap()
}

/// Both sides of a link: a certificate stands in for a key.
struct Pair {
    certificate: CertificateDer<'static>,
    server: Arc<ServerConfig>,
}

impl Pair {
    fn make() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
        let certificate = cert.der().clone();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        Self {
            certificate,
            server: Arc::new(server),
        }
    }

    fn client(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// A gateway that gives this answer to everything.
async fn gateway(pair: &Pair, code: u16, body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&pair.server));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let body = body.clone();
            let service = service_fn(move |request| {
                let request: Request<hyper::body::Incoming> = request;
                assert_eq!(request.uri().path(), "/status");
                let mut response = Response::new(Full::new(Bytes::from(body.clone())));
                *response.status_mut() = code.try_into().unwrap();
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            let _ = server::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    address
}

fn link(known: &[(u8, &Pair)]) -> (Link, Arc<AtomicUsize>) {
    let known: HashMap<[u8; 32], _> = known
        .iter()
        .map(|(octet, pair)| ([*octet; 32], pair.client()))
        .collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let link = Link::new(move |key: &Key| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        known.get(key.as_bytes()).cloned()
    });
    (link, asked)
}

fn question(address: SocketAddr, keys: &[u8]) -> Question {
    Question {
        address,
        keys: keys.iter().map(|octet| key(*octet)).collect(),
    }
}

fn status(uid: &str) -> Vec<u8> {
    let status = Status {
        pod_uid: uid.into(),
        sequence: 1,
        ..Status::default()
    };
    serde_json::to_vec(&status).unwrap()
}

#[tokio::test]
async fn the_previous_key_is_tried_after_the_current_one() {
    let (current, previous) = (Pair::make(), Pair::make());
    let address = gateway(&previous, 200, status("p1")).await;
    let (link, asked) = link(&[(2, &current), (1, &previous)]);
    let answer = link.ask(question(address, &[2, 1])).await.unwrap();
    assert_eq!(answer.pod_uid, "p1");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
    let stranger = link.ask(question(address, &[2])).await;
    assert!(matches!(stranger, Err(AskError::Link)));
}

#[tokio::test]
async fn only_a_status_is_an_answer_and_only_a_short_one() {
    let pair = Pair::make();
    let (link, _) = link(&[(1, &pair)]);
    let long = gateway(&pair, 200, vec![b' '; LONGEST + 1]).await;
    let error = link.ask(question(long, &[1])).await.unwrap_err();
    assert!(error.is_too_long(), "{error:?}");
    let other = gateway(&pair, 503, status("p1")).await;
    let error = link.ask(question(other, &[1])).await.unwrap_err();
    assert!(matches!(
        error,
        AskError::Refused(StatusCode::SERVICE_UNAVAILABLE)
    ));
    let garbage = gateway(&pair, 200, b"ok".to_vec()).await;
    let error = link.ask(question(garbage, &[1])).await.unwrap_err();
    assert!(matches!(error, AskError::Malformed(_)));
}

#[tokio::test]
async fn whoever_says_nothing_is_not_waited_for() {
    let pair = Pair::make();
    let (mut link, _) = link(&[(1, &pair)]);
    link.limit = Duration::from_millis(50);
    // Connections are made by the kernel, and nobody ever reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = link.ask(question(address, &[1])).await.unwrap_err();
    assert!(matches!(error, AskError::TimedOut), "{error:?}");
    drop(listener);
    link.limit = LIMIT;
    let error = link.ask(question(address, &[1])).await.unwrap_err();
    assert!(matches!(error, AskError::Connect(_)), "{error:?}");
}
