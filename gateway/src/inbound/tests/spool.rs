//! The real spool behind a session: what was confirmed is found again.

use super::*;
use crate::spool::{Spool, SpoolOptions};

fn open(folder: &tempfile::TempDir, house: &House) -> (Spool, Vec<Queued>) {
    let options = SpoolOptions {
        path: folder.path().to_owned(),
        segment_bytes: 1 << 20,
    };
    let mut found = Vec::new();
    let metrics = house.inbound.parts.metrics.clone();
    let spool = Spool::open(options, house.clock.clone(), metrics, &mut |queued| {
        found.push(queued);
    });
    (spool.unwrap(), found)
}

/// A session before a spool: what was said in all.
async fn played(house: &House, spool: &Spool, sent: &str) -> String {
    let inbound = Inbound::new(Parts {
        store: spool.clone(),
        intake: house.told.clone(),
        snapshot: house.inbound.parts.snapshot.clone(),
        clock: house.clock.clone(),
        metrics: house.inbound.parts.metrics.clone(),
        redactor: house.inbound.parts.redactor.clone(),
        shutdown: house.inbound.parts.shutdown.clone(),
        ordinal: 0,
    });
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let place = inbound.sessions.enter(|| 1).await;
    let session = Arc::clone(&inbound).session(far, house.listener(), house.client, place, None);
    let session = tokio::spawn(session);
    near.write_all(sent.as_bytes()).await.unwrap();
    near.shutdown().await.unwrap();
    let mut said = String::new();
    near.read_to_string(&mut said).await.unwrap();
    session.await.unwrap();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_is_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(PLAIN, "");
    let (spool, found) = open(&folder, &house);
    assert!(found.is_empty());
    let small = "From: a@shop.example\r\n\r\n..small\r\n";
    let large = format!(
        "From: a@shop.example\r\n\r\n{}",
        "0123456789\r\n".repeat(20_000)
    );
    let transaction = |content: &str| {
        format!("MAIL FROM:<a@shop.example>\r\nRCPT TO:<b@else.example>\r\nDATA\r\n{content}.\r\n")
    };
    let sent = format!(
        "EHLO me\r\n{}\r\n{}{}MAIL FROM:<a@shop.example>\r\nRCPT TO:<b@else.example>\r\nDATA\r\nFrom: a@shop.example\r\n\r\nunfinished",
        login(),
        transaction(small),
        transaction(&large)
    );
    let said = played(&house, &spool, &sent).await;
    assert_eq!(
        said.matches("250 2.0.0 Ok: queued as ").count(),
        2,
        "{said}"
    );
    spool.close().await;
    drop(spool);
    let (spool, found) = open(&folder, &house);
    let ids: Vec<QueueId> = found.iter().map(|queued| queued.message.id).collect();
    assert_eq!(*house.told.accepted.lock().unwrap(), ids);
    for (id, content) in ids.into_iter().zip([".small", "0123456789"]) {
        let stored = spool.read(id).await.unwrap();
        let octets = match stored.content {
            Content::Inline(octets) => octets.to_vec(),
            Content::File { path, .. } => std::fs::read(path).unwrap(),
        };
        assert_eq!(octets.len() as u64, stored.message.facts.length);
        let text = String::from_utf8(octets).unwrap();
        assert!(text.starts_with(&format!("From: a@shop.example\r\n\r\n{content}\r\n")));
        assert!(stored.message.edits.prepend.starts_with(b"Received: by"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_content_that_is_refused_at_its_end_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let strict = PLAIN.replace(" }", ", bareNewlines: Refuse }");
    let house = House::new(&strict, "limits: { messageBytes: 200000 }");
    let (spool, _) = open(&folder, &house);
    for (end, expected) in [
        ("bare\n", "\r\n554 5.6.0 Lines must end with CRLF"),
        (&*"0123456789\r\n".repeat(10_000), "\r\n552 5.3.4 "),
        ("", "\r\n250 2.0.0 Ok: queued"),
    ] {
        let large = "0123456789\r\n".repeat(10_000);
        let content = format!("From: a@shop.example\r\n\r\n{large}{end}\r\n.\r\nQUIT\r\n");
        let said = played(&house, &spool, &(envelope() + &content)).await;
        assert!(said.contains(expected), "{said}");
        let files = std::fs::read_dir(folder.path().join("content")).unwrap();
        assert_eq!(files.count(), usize::from(expected.contains("250")));
    }
    spool.close().await;
}
