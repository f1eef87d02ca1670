//! The spool as its callers see it.

mod damage;
mod faults;
mod model;
mod power_loss;

use std::{path::Path, sync::Arc};

use posthouse_smtp::{Mailbox, ReversePath};

use super::{
    durable::double::{Crash, Disk},
    *,
};
use crate::{
    clock::ManualClock,
    mail::{
        Body, ContentFacts, Edits, Origin, Progress, Recipient, SenderIdentity, State, Timestamp,
    },
};

/// The size of segments in tests.
const SEGMENT: u64 = 64 * 1024;

/// A message to so many recipients.
fn message(id: QueueId, recipients: usize) -> Message {
    let recipient = |i| Recipient {
        forward_path: Mailbox::parse(&format!("r{i}@example.com")).unwrap(),
        orcpt: None,
        notify: None,
        progress: Progress::default(),
    };
    Message {
        id,
        generation: 0,
        kind: Kind::Mail,
        accepted: Timestamp::from_millis(1_800_000_000_000),
        expiry_seconds: None,
        listener: "submission".into(),
        sender: SenderIdentity::Sender {
            namespace: "shop".into(),
            name: "orders".into(),
        },
        client: None,
        reverse_path: ReversePath::parse("shop@example.org").unwrap(),
        envid: None,
        return_full: false,
        body: Body::EightBitMime,
        smtputf8: false,
        recipients: (0..recipients).map(recipient).collect(),
        from: vec![Mailbox::parse("shop@example.org").unwrap()],
        message_id: "<1@example.org>".into(),
        facts: ContentFacts::default(),
        edits: Edits::default(),
        origin: Origin::Here,
    }
}

fn progress(state: State, attempts: u32) -> Progress {
    Progress {
        state,
        attempts,
        ..Progress::default()
    }
}

fn outcome(id: QueueId, recipient: u32, state: State, attempts: u32) -> Settlement {
    Settlement {
        id,
        outcomes: vec![Outcome {
            recipient,
            progress: progress(state, attempts),
        }],
        finished: false,
        report: None,
    }
}

fn finished(id: QueueId) -> Settlement {
    Settlement {
        id,
        outcomes: Vec::new(),
        finished: true,
        report: None,
    }
}

fn inline(content: &Content) -> &Bytes {
    match content {
        Content::Inline(bytes) => bytes,
        Content::File { .. } => panic!("content in a file"),
    }
}

fn open(path: &Path) -> (Spool, Vec<Queued>) {
    try_open(path).unwrap()
}

fn try_open(path: &Path) -> Result<(Spool, Vec<Queued>), OpenError> {
    let options = SpoolOptions {
        path: path.to_owned(),
        segment_bytes: SEGMENT,
    };
    let clock = Arc::new(ManualClock::new());
    let mut found = Vec::new();
    let metrics = Metrics::new("0.0.0").unwrap();
    let spool = Spool::open(options, clock, metrics, &mut |queued| found.push(queued))?;
    Ok((spool, found))
}

/// Opens a spool on a disk in memory.
fn boot(disk: &Disk) -> (Spool, Vec<Queued>) {
    try_boot(disk).unwrap()
}

fn try_boot(disk: &Disk) -> Result<(Spool, Vec<Queued>), OpenError> {
    let options = SpoolOptions {
        path: "/spool".into(),
        segment_bytes: SEGMENT,
    };
    let mut found = Vec::new();
    let metrics = Metrics::new("0.0.0").unwrap();
    let files = Arc::new(disk.clone());
    let clock = Arc::new(ManualClock::new());
    let spool = Spool::open_on(files, options, clock, metrics, &mut |queued| {
        found.push(queued);
    })?;
    Ok((spool, found))
}

/// Ends a spool as a death would; the disk of the next boot.
fn crash(spool: Spool, disk: &Disk, how: Crash) -> Disk {
    let next = disk.crash(how);
    drop(spool);
    next
}

/// The file of the oldest segment.
fn segment_of(spool: &Spool) -> PathBuf {
    let index = spool.shared().index();
    index
        .segments()
        .values()
        .next()
        .unwrap()
        .segment
        .path
        .clone()
}

async fn accept(spool: &Spool, recipients: usize, content: &[u8]) -> QueueId {
    let id = spool.next_id();
    let content = Content::Inline(Bytes::copy_from_slice(content));
    spool
        .commit(message(id, recipients), content)
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn what_was_accepted_is_read_back_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, found) = open(dir.path());
    assert!(found.is_empty());
    let small = accept(&spool, 2, b"small").await;
    let large = accept(&spool, 1, &vec![b'x'; INLINE_CONTENT + 1]).await;
    let done = accept(&spool, 1, b"done").await;
    spool
        .settle(outcome(small, 1, State::Deferred, 3))
        .await
        .unwrap();
    spool.settle(finished(done)).await.unwrap();
    drop(spool);
    let (spool, found) = open(dir.path());
    let ids: Vec<_> = found.iter().map(|queued| queued.message.id).collect();
    assert_eq!(ids, [small, large]);
    let stored = spool.read(small).await.unwrap();
    assert_eq!(inline(&stored.content), &b"small"[..]);
    assert_eq!(stored.message.recipients[0].progress, Progress::default());
    assert_eq!(
        stored.message.recipients[1].progress,
        progress(State::Deferred, 3)
    );
    assert_eq!(*stored.message, *found[0].message);
    let Content::File { path, length, .. } = spool.read(large).await.unwrap().content else {
        panic!("large content belongs into a file");
    };
    assert_eq!(length, INLINE_CONTENT as u64 + 1);
    assert_eq!(std::fs::metadata(&*path).unwrap().len(), length);
    assert!(matches!(spool.read(done).await, Err(ReadError::NotFound)));
    assert!(spool.next_id() > large);
}
