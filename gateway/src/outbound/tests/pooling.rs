//! Connections are used again, up to their limits, and a dead one costs nothing.

use std::time::Duration;

use posthouse_config::reason::{Reason, UpstreamState};

use super::{fixture::*, provider::*};

#[tokio::test]
async fn one_connection_serves_many_messages() {
    let script = [probe(), taken(), taken(), taken()].concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    for number in 1..=3 {
        let report = fixture.attempt(message(number, 1)).await;
        assert_eq!(words(&report), [("relayed", None)]);
    }
    assert_eq!(connections(&fixture), 1);
}

fn connections(fixture: &Fixture) -> i64 {
    fixture
        .metrics
        .upstream_connections
        .with_label_values(&["a"])
        .get()
}

#[tokio::test]
async fn a_connection_is_left_in_order_after_its_messages() {
    let provider = Provider::start(vec![
        [probe(), taken(), taken()].concat(),
        [hello(&["PIPELINING"]), taken()].concat(),
    ])
    .await;
    let smtp = "limits: { messagesPerConnection: 2 }";
    let fixture = Fixture::new(&upstream("a", provider.address.port(), smtp), &[]);
    fixture.until("a", UpstreamState::Ready).await;
    for number in 1..=3 {
        let report = fixture.attempt(message(number, 1)).await;
        assert_eq!(words(&report), [("relayed", None)]);
    }
    assert!(provider.heard().contains(&"QUIT".to_owned()));
    assert_eq!(connections(&fixture), 1);
}

#[tokio::test]
async fn an_old_connection_is_not_used_again() {
    let provider = Provider::start(vec![
        [probe(), vec![Hear("QUIT")]].concat(),
        [hello(&["PIPELINING"]), taken()].concat(),
    ])
    .await;
    let smtp = "limits: { connectionSeconds: 10 }";
    let fixture = Fixture::new(&upstream("a", provider.address.port(), smtp), &[]);
    fixture.until("a", UpstreamState::Ready).await;
    fixture.clock.advance(Duration::from_secs(10));
    let report = fixture.attempt(message(1, 1)).await;
    assert_eq!(words(&report), [("relayed", None)]);
    assert_eq!(connections(&fixture), 1);
}

/// A server closes an idle session whenever it likes (RFC 5321 §3.8): that says nothing of it or of the message.
#[tokio::test]
async fn a_session_that_died_idle_is_replaced_without_a_word() {
    for script in [
        [probe(), vec![Close]].concat(),
        [probe(), vec![say("421 4.4.2 idle"), Close]].concat(),
        [probe(), vec![Hear("MAIL"), say("421 4.4.2 idle"), Close]].concat(),
        [probe(), vec![Hear("MAIL"), Close]].concat(),
    ] {
        let second = [hello(&["PIPELINING"]), taken()].concat();
        let provider = Provider::start(vec![script, second]).await;
        let fixture = Fixture::ready(provider.address.port()).await;
        let report = fixture.attempt(message(1, 1)).await;
        assert_eq!(words(&report), [("relayed", None)]);
        assert_eq!(fixture.view("a").state, UpstreamState::Ready);
        assert_eq!(fixture.view("a").last_failure, None);
    }
}

#[tokio::test]
async fn recipients_are_split_to_what_one_transaction_takes() {
    let group = |recipients: &[&'static str]| {
        let mut steps = vec![Hear("MAIL")];
        steps.extend(recipients.iter().map(|&line| Hear(line)));
        let replies = "250 ok\n".repeat(recipients.len() + 1) + "354 go";
        steps.extend([Hear("DATA"), say(&replies), HearContent, say("250 taken")]);
        steps
    };
    let script = [
        probe(),
        group(&["RCPT TO:<r0@", "RCPT TO:<r1@"]),
        group(&["RCPT TO:<r2@", "RCPT TO:<r3@"]),
        group(&["RCPT TO:<r4@"]),
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let smtp = "limits: { recipientsPerMessage: 2 }";
    let fixture = Fixture::new(&upstream("a", provider.address.port(), smtp), &[]);
    fixture.until("a", UpstreamState::Ready).await;
    let report = fixture.attempt(message(1, 5)).await;
    assert_eq!(words(&report), [("relayed", None); 5]);
}

/// More replies than both socket buffers hold come while commands are still being written.
#[tokio::test]
async fn a_long_pipeline_does_not_stand_still() {
    let recipients = 5000;
    let mut script = [probe(), vec![Hear("MAIL"), say("250 ok")]].concat();
    let reply = format!("250 2.1.5 {}", "x".repeat(900));
    for _ in 0..recipients {
        script.extend([Hear("RCPT"), say(&reply)]);
    }
    script.extend([Hear("DATA"), say("354 go"), HearContent, say("250 taken")]);
    let provider = Provider::start(vec![script]).await;
    let smtp = "limits: { recipientsPerMessage: 10000 }";
    let fixture = Fixture::new(&upstream("a", provider.address.port(), smtp), &[]);
    fixture.until("a", UpstreamState::Ready).await;
    let report = fixture.attempt(message(1, recipients)).await;
    assert!(words(&report).iter().all(|word| *word == ("relayed", None)));
}

#[tokio::test]
async fn large_content_is_sent_whole() {
    let script = [probe(), taken()].concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let content = b".0123456789\r\n".repeat(300_000);
    let path = fixture.folder.path().join("content");
    std::fs::write(&path, &content).unwrap();
    let mut offer = fixture.offer(message(1, 1), &content);
    offer.content = crate::mail::Content::File {
        path: path.into(),
        length: content.len() as u64,
        crc: crc32c::crc32c(&content),
    };
    let report = fixture.outbound.offer(offer).await;
    assert_eq!(words(&report), [("relayed", None)]);
    let expected = [b"..0123456789\r\n".repeat(300_000), b".\r\n".to_vec()].concat();
    assert!(provider.heard().last().unwrap().as_bytes() == expected);
}

#[tokio::test]
async fn damaged_content_is_held_and_its_session_left_without_a_final_dot() {
    let script = [
        up_to_data("250 a\n250 b\n354 go"),
        vec![HearContent, say("250 taken")],
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let content = b"0123456789\r\n".repeat(300_000);
    let path = fixture.folder.path().join("content");
    std::fs::write(&path, &content).unwrap();
    let mut offer = fixture.offer(message(1, 1), &content);
    offer.content = crate::mail::Content::File {
        path: path.into(),
        length: content.len() as u64,
        crc: crc32c::crc32c(&content) ^ 1,
    };
    let report = fixture.outbound.offer(offer).await;
    assert_eq!(words(&report), [("held", Some(Reason::ContentDamaged))]);
    let cut_off = async {
        while provider.heard().last().unwrap() != "(cut off)" {
            tokio::task::yield_now().await;
        }
    };
    let deadline = std::time::Duration::from_secs(20);
    tokio::time::timeout(deadline, cut_off).await.unwrap();
    assert!(fixture.view("a").state.is_ready());
}
