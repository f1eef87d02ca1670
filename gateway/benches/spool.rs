//! Group commit: how many durable commits a second, by writers at the same time.
//!
//! Each element is one message of 4 KiB accepted (written and synced) and removed again, as on its way through a
//! gateway with an empty queue. The figure depends on the disk: `bare` is one 4 KiB write and `fdatasync` on the same
//! file system.

#![allow(clippy::expect_used, missing_docs)] // a benchmark that cannot go on stops; criterion makes items of its own
#![expect(
    clippy::disallowed_methods,
    reason = "the sync itself is what is measured"
)]

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use posthouse_gateway::{
    clock::SystemClock,
    mail::{
        Body, Content, ContentFacts, Edits, Kind, Message, Origin, Progress, QueueId, Recipient,
        SenderIdentity, Timestamp,
    },
    metrics::Metrics,
    spool::{Settlement, Spool, SpoolOptions},
};
use posthouse_smtp::{Mailbox, ReversePath};

/// Messages of each writer in one sample.
const EACH: usize = 50;

fn message(id: QueueId) -> Message {
    let mailbox = |text| Mailbox::parse(text).expect("a valid address");
    Message {
        id,
        generation: 0,
        kind: Kind::Mail,
        accepted: Timestamp::from_millis(1_800_000_000_000),
        expiry_seconds: None,
        listener: "submission".into(),
        sender: SenderIdentity::Anonymous,
        client: None,
        reverse_path: ReversePath::Mailbox(mailbox("shop@example.org")),
        envid: None,
        return_full: false,
        body: Body::EightBitMime,
        smtputf8: false,
        recipients: vec![Recipient {
            forward_path: mailbox("someone@example.com"),
            orcpt: None,
            notify: None,
            progress: Progress::default(),
        }],
        from: vec![mailbox("shop@example.org")],
        message_id: "<1@example.org>".into(),
        facts: ContentFacts::default(),
        edits: Edits::default(),
        origin: Origin::Here,
    }
}

async fn writer(spool: Spool, content: Bytes) {
    for _ in 0..EACH {
        let id = spool.next_id();
        let stored = spool.commit(message(id), Content::Inline(content.clone()));
        stored.await.expect("stored");
        spool.begin(id);
        let settlement = Settlement {
            id,
            outcomes: Vec::new(),
            finished: true,
            report: None,
        };
        spool.settle(settlement).await.expect("settled");
    }
}

fn group_commit(criterion: &mut Criterion) {
    // Beside the build, so on a disk rather than on tmpfs.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let options = SpoolOptions {
        path: dir.path().to_owned(),
        segment_bytes: 32 * 1024 * 1024,
    };
    let metrics = Metrics::new("bench").expect("metrics");
    let clock = Arc::new(SystemClock::default());
    let spool = Spool::open(options, clock, metrics, &mut |_| {}).expect("a spool");
    let content = Bytes::from(vec![b'x'; 4096]);
    let mut group = criterion.benchmark_group("spool");
    for writers in [1, 20, 64] {
        group.throughput(Throughput::Elements((writers * EACH) as u64));
        group.bench_function(BenchmarkId::new("commit_and_settle", writers), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let tasks: Vec<_> = (0..writers)
                        .map(|_| tokio::spawn(writer(spool.clone(), content.clone())))
                        .collect();
                    for task in tasks {
                        task.await.expect("no panic");
                    }
                });
            });
        });
    }
    let file = File::create(dir.path().join("bare")).expect("a file");
    let mut at = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            file.write_all_at(&content, at).expect("written");
            file.sync_data().expect("synced");
            at += 4096;
        });
    });
    group.finish();
    runtime.block_on(spool.close());
}

criterion_group!(benches, group_commit);
criterion_main!(benches);
