use std::collections::BTreeMap;

use posthouse_config::Document;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::{Clock, ManualClock},
    inbound,
    mail::{Redactor, redact::AddressStyle},
    outbound::Outbound,
    queue::{self, QueueParts, QueueTask, Recovered, deliver::Deliver},
    spool::SpoolOptions,
};

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
    let (first, second) = (first.unwrap(), second.unwrap());
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
    let status = board(snapshots).assemble().await.unwrap();
    assert_eq!(status.files.invalid, ["ca.crt holds no certificate"]);
}

#[tokio::test]
async fn a_key_file_that_holds_no_key_is_invalid() {
    let files: [(&str, &[u8]); 2] = [("relay-1.key", &[1; 32]), ("link.key", b"short")];
    let (_sender, snapshots) = watch::channel(snapshot(DOCUMENT, &files));
    let status = board(snapshots).assemble().await.unwrap();
    assert_eq!(
        status.files.invalid,
        ["link.key must hold exactly 32 octets, has 5"]
    );
}

/// Everything that runs behind a board, on a spool of its own.
fn running(
    folder: &TempDir,
    snapshots: &watch::Receiver<Arc<Snapshot>>,
    shutdown: &Shutdown,
) -> (Running, QueueTask) {
    let metrics = Metrics::new("0").unwrap();
    let clock = Arc::new(ManualClock::new()) as Arc<dyn Clock>;
    let options = SpoolOptions {
        path: folder.path().to_owned(),
        segment_bytes: 1 << 20,
    };
    let mut recovered = Recovered::new(Arc::clone(&snapshots.borrow()), &*clock);
    let add = &mut |queued| recovered.add(queued);
    let spool = Spool::open(options, Arc::clone(&clock), metrics.clone(), add).unwrap();
    let outbound = Outbound::new(
        snapshots.clone(),
        spool.captured_dir(),
        0,
        Arc::clone(&clock),
        metrics.clone(),
    );
    let upstreams = outbound.upstreams();
    let parts = QueueParts {
        spool: spool.clone(),
        deliver: Arc::new(outbound),
        snapshots: snapshots.clone(),
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
        redactor: Arc::new(Redactor::new(AddressStyle::Redacted)),
        shutdown: shutdown.clone(),
    };
    let (task, queue) = queue::queue(parts, recovered);
    let inbound = Inbound::new(inbound::Parts {
        store: spool.clone(),
        intake: Arc::new(queue.clone()),
        snapshot: snapshots.clone(),
        clock,
        metrics,
        redactor: Arc::new(Redactor::new(AddressStyle::Redacted)),
        shutdown: shutdown.clone(),
        ordinal: 0,
    });
    let running = Running {
        spool,
        inbound,
        queue,
        upstreams,
    };
    (running, task)
}

/// The operator believes what a draining gateway says: "no messages" must never mean "not known".
#[tokio::test]
async fn once_the_queue_has_ended_nothing_is_told() {
    let folder = TempDir::new().unwrap();
    let (_sender, snapshots) = watch::channel(snapshot(DOCUMENT, &[]));
    let (stage, shutdown) = Shutdown::channel();
    let (running, task) = running(&folder, &snapshots, &shutdown);
    let board = board(snapshots);
    board.runs(running);
    let task = tokio::spawn(task.run());
    let status = board.status().unwrap().await.unwrap();
    assert!(status.contains("\"messages\":0"), "{status}");
    stage.send_replace(Stage::Stopping);
    task.await.unwrap();
    let refused = board.status().unwrap().await.unwrap_err();
    assert_eq!(refused, "stopping: the queue tells nothing any more");
}
