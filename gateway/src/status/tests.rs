use std::collections::BTreeMap;

use posthouse_config::Document;

use super::*;

pub(super) const DOCUMENT: &str = r#"
format: 1
number: 4
generation: 2
relay: { namespace: mail-system, name: outbound }
hostname: mail.example.com
replicas: 1
keys: { relay: [{ rotation: 1, path: relay-1.key }], link: link.key }
listeners:
  - { name: plain, protocol: Smtp, address: "127.0.0.1:0", tls: Disabled }
upstreams:
  - { name: kept, transport: { capture: {} } }
routes:
  - { name: default, targets: [{ upstream: kept }] }
reports: { sender: postmaster@mail.example.com }
"#;

/// The snapshot of a document with these files.
pub(super) fn snapshot(document: &str, files: &[(&str, &[u8])]) -> Arc<Snapshot> {
    let files: BTreeMap<String, Arc<[u8]>> = files
        .iter()
        .map(|(path, octets)| ((*path).to_owned(), Arc::from(*octets)))
        .collect();
    let document = Document::parse(document).unwrap();
    Arc::new(Snapshot::new(Arc::new(document), Arc::default(), files))
}

/// What a gateway shows before its spool is open.
pub(super) fn board(snapshot: watch::Receiver<Arc<Snapshot>>) -> Board {
    let (_, shutdown) = Shutdown::channel();
    let metrics = Metrics::new("0").unwrap();
    let uid = "6f1ed002-ab5c-4a5e-8b1a-000000000009".to_owned();
    Board::new(metrics, snapshot, Arc::default(), shutdown, 0, uid)
}

#[tokio::test]
async fn each_answer_says_who_gives_it_and_comes_after_the_last() {
    let (_sender, snapshots) = watch::channel(snapshot(DOCUMENT, &[]));
    let board = board(snapshots);
    let (first, second) = (board.assemble().await, board.assemble().await);
    assert_eq!(first.pod_uid, "6f1ed002-ab5c-4a5e-8b1a-000000000009");
    assert_eq!((first.sequence, second.sequence), (1, 2));
}

#[tokio::test]
async fn a_file_of_authorities_that_names_none_is_invalid() {
    let document = DOCUMENT.replace(
        "{ capture: {} }",
        "{ smtp: { host: smtp.example, port: 587, tls: { mode: StartTls, ca: ca.crt } } }",
    );
    let files: [(&str, &[u8]); 1] = [("ca.crt", b"none")];
    let (_sender, snapshots) = watch::channel(snapshot(&document, &files));
    let status = board(snapshots).assemble().await;
    assert_eq!(status.files.invalid, ["ca.crt holds no certificate"]);
}

#[tokio::test]
async fn a_key_file_that_holds_no_key_is_invalid() {
    let files: [(&str, &[u8]); 2] = [("relay-1.key", &[1; 32]), ("link.key", b"short")];
    let (_sender, snapshots) = watch::channel(snapshot(DOCUMENT, &files));
    let status = board(snapshots).assemble().await;
    assert_eq!(
        status.files.invalid,
        ["link.key must hold exactly 32 octets, has 5"]
    );
}
