//! A spool that any release wrote is opened by this one, and holds exactly what that release put into it.
//!
//! `tests/golden/spool-<format>/` is such a spool, closed in good order, without its spare segments.
//! The one of the current format was written by [`write`] (`UPDATE_GOLDEN=1`); once released it is never written again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use posthouse_config::reason::{Phase, Reason};
use posthouse_gateway::{
    clock::ManualClock,
    mail::{
        Body, Client, Content, ContentFacts, Edits, Kind, Message, Origin, Outcome, Progress,
        QueueId, Queued, Recipient, SenderIdentity, State, Timestamp,
    },
    metrics::Metrics,
    spool::{INLINE_CONTENT, Settlement, Spool, SpoolOptions},
};
use posthouse_smtp::{Mailbox, ReversePath};

const SEGMENT: u64 = 1 << 20;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/spool-1")
}

fn open(path: &Path) -> (Spool, BTreeMap<String, Queued>) {
    let mut found = BTreeMap::new();
    let options = SpoolOptions {
        path: path.to_owned(),
        segment_bytes: SEGMENT,
    };
    let metrics = Metrics::new("0").unwrap();
    let spool = Spool::open(
        options,
        Arc::new(ManualClock::new()),
        metrics,
        &mut |queued| {
            found.insert(queued.message.message_id.to_string(), queued);
        },
    );
    (spool.unwrap(), found)
}

fn message(id: QueueId, name: &str, recipients: &[&str], content: &[u8]) -> Message {
    let recipient = |address: &&str| Recipient {
        forward_path: Mailbox::parse(address).unwrap(),
        orcpt: Some("rfc822;original@example.org".into()),
        notify: Some("FAILURE".into()),
        progress: Progress::default(),
    };
    Message {
        id,
        generation: 0,
        kind: Kind::Mail,
        accepted: Timestamp::from_millis(1_795_339_446_007),
        expiry_seconds: Some(3600),
        listener: "submission".into(),
        sender: SenderIdentity::Sender {
            namespace: "shop".into(),
            name: "checkout".into(),
        },
        client: Some(Client {
            address: "2001:db8::1".parse().unwrap(),
            hello: "client.example".into(),
        }),
        reverse_path: ReversePath::parse("jörg@shop.example").unwrap(),
        envid: Some("envelope+2Bid".into()),
        return_full: true,
        body: Body::EightBitMime,
        smtputf8: true,
        recipients: recipients.iter().map(recipient).collect(),
        from: vec![Mailbox::parse("\"a b\"@shop.example").unwrap()],
        message_id: name.into(),
        facts: ContentFacts {
            length: content.len() as u64,
            header_length: 18,
            longest_line: 78,
            eight_bit: true,
            header_utf8: true,
            signed: true,
        },
        edits: Edits {
            prepend: b"Received: by mail.example\r\n".to_vec(),
            remove: vec![0..4, 9..12],
        },
        origin: Origin::Here,
    }
}

fn deferred() -> Progress {
    Progress {
        state: State::Deferred,
        reason: Some(Reason::RecipientDeferred),
        upstream: Some("isp".into()),
        phase: Some(Phase::Rcpt),
        reply: Some("450 4.2.1 mailbox busy".into()),
        attempts: 3,
        refusals: 1,
        lost: 2,
        unconfirmed: 1,
        first_refusal: Some(Timestamp::from_millis(1_795_339_447_000)),
        next_attempt: Some(Timestamp::from_millis(1_795_339_999_000)),
    }
}

fn outcome(recipient: u32, progress: Progress) -> Outcome {
    Outcome {
        recipient,
        progress,
    }
}

const LARGE: usize = INLINE_CONTENT + 5000;

/// Writes the spool of the current format.
async fn write(path: &Path) {
    let _ = fs::remove_dir_all(path);
    let (spool, _) = open(path);
    let large = vec![b'x'; LARGE];
    for (name, recipients, content) in [
        (
            "<pending@shop.example>",
            &["one@example.org"][..],
            &b"Subject: a\r\n\r\nsmall\r\n"[..],
        ),
        (
            "<split@shop.example>",
            &["one@example.org", "two@example.org", "three@example.org"],
            b"Subject: b\r\n\r\n",
        ),
        ("<large@shop.example>", &["one@example.org"], &large),
        (
            "<settled@shop.example>",
            &["one@example.org"],
            b"Subject: d\r\n\r\n",
        ),
    ] {
        let message = message(spool.next_id(), name, recipients, content);
        let id = message.id;
        spool
            .commit(message, Content::Inline(Bytes::copy_from_slice(content)))
            .await
            .unwrap();
        spool.begin(id);
        let relayed = Progress {
            state: State::Relayed,
            ..Progress::default()
        };
        let (outcomes, finished) = match name {
            "<split@shop.example>" => (vec![outcome(0, relayed), outcome(1, deferred())], false),
            "<settled@shop.example>" => (vec![outcome(0, relayed)], true),
            _ => (Vec::new(), false),
        };
        let report = None;
        spool
            .settle(Settlement {
                id,
                outcomes,
                finished,
                report,
            })
            .await
            .unwrap();
    }
    spool.close().await;
    drop(spool);
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "spare")
        {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[tokio::test]
async fn format_1() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        write(&golden()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    copied(&golden(), &path);
    let (spool, found) = open(&path);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "<large@shop.example>",
            "<pending@shop.example>",
            "<split@shop.example>"
        ]
    );
    assert_eq!(spool.status().damaged_records, 0);

    let split = &found["<split@shop.example>"].message;
    let states: Vec<_> = split
        .recipients
        .iter()
        .map(|recipient| recipient.progress.state)
        .collect();
    assert_eq!(states, [State::Relayed, State::Deferred, State::Pending]);
    assert_eq!(split.recipients[1].progress, deferred());

    let pending = &found["<pending@shop.example>"].message;
    let content = b"Subject: a\r\n\r\nsmall\r\n";
    assert_eq!(
        **pending,
        message(
            pending.id,
            "<pending@shop.example>",
            &["one@example.org"],
            content
        )
    );
    let stored = spool.read(pending.id).await.unwrap();
    assert!(matches!(stored.content, Content::Inline(octets) if *octets == content[..]));

    let Content::File { path, length, .. } = spool
        .read(found["<large@shop.example>"].message.id)
        .await
        .unwrap()
        .content
    else {
        panic!("large content has a file");
    };
    assert_eq!(
        (fs::read(path).unwrap(), length),
        (vec![b'x'; LARGE], LARGE as u64)
    );
    assert!(
        found
            .values()
            .all(|queued| queued.message.id < spool.next_id()),
        "ids go on"
    );
}
