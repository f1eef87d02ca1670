//! TLS: STARTTLS, TLS from the first octet, and what must not be sent ahead of it.

use posthouse_config::document::listener::Certificate;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::inbound::tls::ListenerTls;

const REQUIRED: &str = "{ name: submission, protocol: Submission, address: '127.0.0.1:0', tls: Required, \
                        certificate: { chain: c, key: k } }";

/// A house with a certificate, and what trusts it.
fn house(listener: &str) -> (House, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["mail.example.com".into()]).unwrap();
    let snapshot = Snapshot::new(
        Arc::new(document(listener, "")),
        Arc::new(senders()),
        files(&made),
    );
    let mut tls = ListenerTls::default();
    let certificate = Certificate {
        chain: "c".into(),
        key: "k".into(),
    };
    tls.refresh(&snapshot, &certificate).unwrap();
    let mut house = House::of(snapshot);
    house.acceptor = tls.acceptor().cloned();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (house, TlsConnector::from(Arc::new(config)))
}

/// A house whose listener requires TLS, with all its files.
pub(super) fn certified() -> House {
    house(REQUIRED).0
}

fn files(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> BTreeMap<String, Arc<[u8]>> {
    let file = |octets: &[u8]| Arc::from(octets);
    [
        ("c".to_owned(), file(made.cert.pem().as_bytes())),
        (
            "k".to_owned(),
            file(made.signing_key.serialize_pem().as_bytes()),
        ),
        ("keys/1".to_owned(), file(key().as_bytes())),
    ]
    .into()
}

async fn shake(connector: &TlsConnector, stream: DuplexStream) -> TlsStream<DuplexStream> {
    let name = ServerName::try_from("mail.example.com").unwrap();
    connector.connect(name, stream).await.unwrap()
}

/// Sends lines under TLS and gives back everything that was said.
async fn under_tls(mut stream: TlsStream<DuplexStream>, lines: &str) -> String {
    stream.write_all(lines.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

#[tokio::test]
async fn mail_is_taken_after_starttls() {
    let (house, connector) = house(REQUIRED);
    let mut client = house.connect().await;
    client.reply().await;
    let offered = client.ask("EHLO me").await;
    assert!(
        offered.contains("STARTTLS") && !offered.contains("AUTH"),
        "{offered}"
    );
    assert!(client.ask(&login()).await.starts_with("530 5.7.0"));
    assert!(
        client
            .ask("MAIL FROM:<a@shop.example>")
            .await
            .starts_with("530 5.7.0")
    );
    assert!(client.ask("STARTTLS").await.starts_with("220 2.0.0"));
    let stream = shake(&connector, client.stream).await;
    let lines = envelope() + "From: a@shop.example\r\n\r\n.\r\nQUIT\r\n";
    let said = under_tls(stream, &lines).await;
    assert!(
        said.contains("AUTH PLAIN LOGIN") && !said.contains("STARTTLS"),
        "{said}"
    );
    assert!(said.contains("250 2.0.0 Ok: queued as "), "{said}");
    let added = String::from_utf8(house.kept()[0].0.edits.prepend.clone()).unwrap();
    assert!(
        added.starts_with("Received: by mail.example.com with ESMTPSA\r\n"),
        "{added}"
    );
    assert_eq!(house.rejected("tls_required"), 2);
}

#[tokio::test]
async fn what_is_sent_ahead_of_the_handshake_closes_the_session() {
    let (house, _) = house(REQUIRED);
    let said = house
        .play([b"EHLO me\r\nSTARTTLS\r\nMAIL FROM:<a@shop.example>\r\n".as_slice()])
        .await;
    assert!(said.ends_with("220 2.0.0 Go ahead\r\n"), "{said}");
    assert_eq!(house.ended("tls_failed"), 1);
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_is_let_go() {
    let (house, _) = house(REQUIRED);
    let mut client = house.connect().await;
    client.reply().await;
    client.ask("EHLO me").await;
    client.ask("STARTTLS").await;
    client.send("EHLO me\r\nEHLO me\r\n").await;
    client.session.await.unwrap();
    assert_eq!(house.ended("tls_failed"), 1);
}

#[tokio::test]
async fn submissions_is_tls_from_the_first_octet() {
    let listener = REQUIRED.replace("protocol: Submission", "protocol: Submissions");
    let (house, connector) = house(&listener);
    let client = house.connect().await;
    let stream = shake(&connector, client.stream).await;
    let said = under_tls(
        stream,
        &(envelope() + "From: a@shop.example\r\n\r\n.\r\nQUIT\r\n"),
    )
    .await;
    assert!(said.starts_with("220 mail.example.com"), "{said}");
    assert!(said.contains("queued as"), "{said}");
    assert_eq!(house.ended("completed"), 1);
}
