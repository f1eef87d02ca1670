//! What is kept, in which form, and for how long.

use posthouse_config::reason::{Reason, UpstreamState};

use super::*;
use crate::outbound::tests::fixture::{Fixture, message, words};

const UPSTREAM: &str = "  - { name: a, transport: { capture: {} } }\n";

fn files(fixture: &Fixture) -> Vec<String> {
    let folder = fixture.folder.path().join("captured/a");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_message_becomes_a_file_with_its_envelope_on_top() {
    let fixture = Fixture::new(UPSTREAM, &[]);
    fixture.until("a", UpstreamState::Ready).await;
    let mut sent = message(1, 2);
    sent.edits.prepend = b"Received: x\r\n".to_vec();
    for _ in 0..2 {
        let report = fixture
            .attempt_with(sent.clone(), b"From: s@a.example\r\n\r\n.dot")
            .await;
        assert_eq!(words(&report), [("relayed", None); 2]);
    }
    let name = format!("{}.eml", sent.id);
    assert_eq!(files(&fixture), std::slice::from_ref(&name));
    let path = fixture.folder.path().join("captured/a").join(name);
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        "X-Posthouse-Reverse-Path: <s@a.example>\r\nX-Posthouse-Recipient: <r0@b.example>\r\n\
         X-Posthouse-Recipient: <r1@b.example>\r\nReceived: x\r\nFrom: s@a.example\r\n\r\n.dot\r\n"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_holds_nothing_against_the_mail() {
    let fixture = Fixture::new(UPSTREAM, &[]);
    fixture.until("a", UpstreamState::Ready).await;
    std::fs::write(fixture.folder.path().join("captured"), "in the way").unwrap();
    let report = fixture.attempt(message(1, 1)).await;
    assert_eq!(words(&report), [("not offered", None)]);
    let view = fixture.until("a", UpstreamState::Unreachable).await;
    assert!(view.remedy.unwrap().contains("volume"));
    std::fs::remove_file(fixture.folder.path().join("captured")).unwrap();
    fixture.clock.advance(std::time::Duration::from_mins(1));
    fixture.until("a", UpstreamState::Ready).await;
}

#[tokio::test]
async fn the_oldest_files_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::new(folder.path(), "a");
    fs::create_dir_all(&capture.folder).await.unwrap();
    let mut kept = Kept::default();
    for number in 0..MAXIMUM_FILES + 3 {
        let name = format!("{number:05}.eml");
        std::fs::write(capture.folder.join(&name), "x").unwrap();
        capture.make_room(&mut kept, name, 1).await;
    }
    assert_eq!(kept.files.len(), MAXIMUM_FILES);
    assert!(!capture.folder.join("00002.eml").exists());
    assert!(capture.folder.join("00003.eml").exists());
    let big = "big.eml".to_owned();
    std::fs::write(capture.folder.join(&big), "x").unwrap();
    capture
        .make_room(&mut kept, big.clone(), MAXIMUM_OCTETS)
        .await;
    assert_eq!(kept.files, [(big, MAXIMUM_OCTETS)]);
    assert_eq!(std::fs::read_dir(&capture.folder).unwrap().count(), 1);
}

#[tokio::test]
async fn what_an_earlier_process_kept_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::new(folder.path(), "a");
    fs::create_dir_all(&capture.folder).await.unwrap();
    std::fs::write(capture.folder.join("1.eml"), "four").unwrap();
    std::fs::write(capture.folder.join("2.tmp"), "half").unwrap();
    let kept = capture.scan().await.unwrap();
    assert_eq!(kept.files, [("1.eml".to_owned(), 4)]);
    assert_eq!(kept.octets, 4);
}

#[test]
fn a_name_is_one_component() {
    assert_eq!(file_name("isp-1"), "isp-1");
    assert_eq!(file_name("../x/y"), "___x_y");
}

/// One stored file that cannot be read says nothing of the folder.
#[tokio::test]
async fn content_that_cannot_be_read_leaves_the_upstream_as_it_is() {
    let fixture = Fixture::new(UPSTREAM, &[]);
    fixture.until("a", UpstreamState::Ready).await;
    let path = fixture.folder.path().join("content");
    let content = b"From: s@a.example\r\n\r\nx\r\n";
    let mut offer = fixture.offer(message(1, 2), content);
    offer.content = crate::mail::Content::File {
        path: path.as_path().into(),
        length: content.len() as u64,
        crc: 1,
    };
    let report = fixture.outbound.offer(offer.clone()).await;
    assert_eq!(
        words(&report),
        [("deferred", Some(Reason::TransactionDeferred)); 2]
    );
    std::fs::write(&path, content).unwrap();
    let report = fixture.outbound.offer(offer).await;
    assert_eq!(words(&report), [("held", Some(Reason::ContentDamaged)); 2]);
    assert_eq!(fixture.view("a").state, UpstreamState::Ready);
    assert!(files(&fixture).is_empty());
}
