//! The rows that only a socket can show.

use std::time::Duration;

use posthouse_config::reason::{Reason, UpstreamState};

use super::{fixture::*, provider::*};
use crate::{
    queue::deliver::{Deliver, Verdict},
    shutdown::Stage,
};

async fn one(script: Vec<Step>) -> (Fixture, Provider, Vec<(&'static str, Option<Reason>)>) {
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let report = fixture.attempt(message(1, 1)).await;
    (fixture, provider, words(&report))
}

/// Row 1.
#[tokio::test]
async fn a_refused_connection_makes_it_unreachable_and_offers_nothing() {
    let provider = Provider::start(vec![[probe(), vec![Close]].concat()]).await;
    let port = provider.address.port();
    let fixture = Fixture::ready(port).await;
    drop(provider);
    // The old connection is dead; a new one is refused.
    let report = fixture.attempt(message(1, 1)).await;
    assert_eq!(words(&report), [("not offered", None)]);
    let view = fixture.until("a", UpstreamState::Unreachable).await;
    assert!(view.reply.unwrap().starts_with("Connect: "));
    assert_eq!(view.capacity, 0);
}

/// Row 1.
#[tokio::test]
async fn a_greeting_that_refuses_makes_it_unreachable() {
    let provider = Provider::start(vec![vec![say("554 5.7.1 not you")]]).await;
    let fixture = Fixture::new(&upstream("a", provider.address.port(), ""), &[]);
    let view = fixture.until("a", UpstreamState::Unreachable).await;
    assert_eq!(view.reply.as_deref(), Some("Greeting: 554 5.7.1 not you"));
}

#[tokio::test]
async fn each_recipient_has_its_own_verdict() {
    let script = [
        probe(),
        vec![
            Hear("MAIL"),
            Hear("RCPT TO:<r0@"),
            Hear("RCPT TO:<r1@"),
            Hear("RCPT TO:<r2@"),
            Hear("RCPT TO:<r3@"),
            Hear("DATA"),
            say("250 a\n250 b\n550 5.1.1 who\n451 later\n550 5.7.1 no\n354 go"),
            HearContent,
            say("250 taken"),
        ],
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let report = fixture.attempt(message(1, 4)).await;
    assert_eq!(
        words(&report),
        [
            ("relayed", None),
            ("failed", Some(Reason::RecipientRefused)),
            ("deferred", Some(Reason::RecipientDeferred)),
            ("deferred", Some(Reason::RecipientRefused)),
        ]
    );
    let positions: Vec<u32> = report.verdicts.iter().map(|(at, _)| *at).collect();
    assert_eq!(positions, [0, 1, 2, 3]);
}

/// Row 6.
#[tokio::test]
async fn a_refused_mail_holds_the_reverse_path_and_the_session_goes_on() {
    let script = [up_to_data("550 5.7.1 not you\n503 x\n503 x"), taken()].concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let report = fixture.attempt(message(1, 1)).await;
    assert!(report.hold_reverse_path);
    assert_eq!(
        words(&report),
        [("deferred", Some(Reason::ReversePathRefused))]
    );
    let report = fixture.attempt(message(2, 1)).await;
    assert_eq!(words(&report), [("relayed", None)]);
}

/// Row 7, second half.
#[tokio::test]
async fn the_recipients_that_were_too_many_go_at_once_in_another_transaction() {
    let script = [
        probe(),
        vec![
            Hear("MAIL"),
            Hear("RCPT TO:<r0@"),
            Hear("RCPT TO:<r1@"),
            Hear("RCPT TO:<r2@"),
            Hear("DATA"),
            say("250 a\n250 b\n452 4.5.3 too many\n452 4.5.3 too many\n354 go"),
            HearContent,
            say("250 first"),
            Hear("MAIL"),
            Hear("RCPT TO:<r1@"),
            Hear("RCPT TO:<r2@"),
            Hear("DATA"),
            say("250 a\n250 b\n250 c\n354 go"),
            HearContent,
            say("250 second"),
        ],
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let report = fixture.attempt(message(1, 3)).await;
    let said: Vec<String> = report
        .verdicts
        .iter()
        .map(|(_, verdict)| said(verdict))
        .collect();
    assert_eq!(
        said,
        ["Final: 250 first", "Final: 250 second", "Final: 250 second"]
    );
}

/// Row 10.
#[tokio::test]
async fn a_354_without_recipients_is_left_by_a_dot_and_means_nothing() {
    let script = [
        up_to_data("250 a\n550 5.1.1 who\n354 go"),
        vec![HearContent, say("250 queued")],
        taken(),
    ]
    .concat();
    let (fixture, provider, words) = one(script).await;
    assert_eq!(words, [("failed", Some(Reason::RecipientRefused))]);
    assert_eq!(provider.heard().last().unwrap(), ".\r\n");
    let report = fixture.attempt(message(2, 1)).await;
    assert_eq!(super::fixture::words(&report), [("relayed", None)]);
}

#[tokio::test]
async fn a_transaction_that_the_server_still_has_open_is_reset() {
    let script = [
        up_to_data("250 a\n550 5.1.1 who\n503 5.5.1 nobody"),
        vec![Hear("RSET"), say("250 ok")],
        taken(),
    ]
    .concat();
    let (fixture, _provider, words) = one(script).await;
    assert_eq!(words, [("failed", Some(Reason::RecipientRefused))]);
    let report = fixture.attempt(message(2, 1)).await;
    assert_eq!(super::fixture::words(&report), [("relayed", None)]);
}

/// Row 12.
#[tokio::test]
async fn a_connection_lost_in_the_content_is_deferred_and_counted() {
    let script = [
        up_to_data("250 a\n250 b\n354 go"),
        vec![HearOctets(1000), Close],
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let content = b"0123456789\r\n".repeat(2_000_000);
    let report = fixture.attempt_with(message(1, 1), &content).await;
    assert!(
        matches!(
            report.verdicts[0].1,
            Verdict::Deferred {
                reason: Reason::ConnectionLost,
                lost: true,
                ..
            }
        ),
        "{report:?}"
    );
}

/// Row 13: the reply must be read although we are writing and the server closes.
#[tokio::test]
async fn a_refusal_in_the_middle_of_content_is_heard() {
    let script = [
        up_to_data("250 a\n250 b\n354 go"),
        vec![HearOctets(1000), say("552 5.3.4 enough"), Close],
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let content = b"0123456789\r\n".repeat(2_000_000);
    let report = fixture.attempt_with(message(1, 1), &content).await;
    assert_eq!(words(&report), [("failed", Some(Reason::TooLarge))]);
    assert_eq!(said(&report.verdicts[0].1), "Content: 552 5.3.4 enough");
}

/// Rows 13 and 20: a 250 that is already there when the content begins.
#[tokio::test]
async fn a_250_before_the_dot_never_means_relayed() {
    let script = up_to_data("250 a\n250 b\n354 go\n250 2.0.0 taken already");
    let (_fixture, provider, words) = one(script).await;
    assert_eq!(words, [("deferred", Some(Reason::ProtocolError))]);
    assert!(!provider.heard().iter().any(|line| line.contains("Subject")));
}

/// Row 18.
#[tokio::test]
async fn a_close_after_the_dot_is_unconfirmed() {
    let script = [up_to_data("250 a\n250 b\n354 go"), vec![HearContent, Close]].concat();
    let (_fixture, _provider, words) = one(script).await;
    assert_eq!(words, [("unconfirmed", None)]);
}

/// Rows 18 and 20.
#[tokio::test]
async fn what_is_no_reply_after_the_dot_is_unconfirmed() {
    let script = [
        up_to_data("250 a\n250 b\n354 go"),
        vec![HearContent, say("OK")],
    ]
    .concat();
    let (_fixture, _provider, words) = one(script).await;
    assert_eq!(words, [("unconfirmed", None)]);
}

/// Row 19.
#[tokio::test]
async fn a_421_to_rcpt_defers_the_transaction() {
    let script = [up_to_data("250 a\n421 4.3.2 going down"), vec![Close]].concat();
    let (_fixture, _provider, words) = one(script).await;
    assert_eq!(words, [("deferred", Some(Reason::TransactionDeferred))]);
}

/// Row 20.
#[tokio::test]
async fn what_is_no_reply_defers() {
    for reply in [
        "250 a\n999 what",
        "250 a\n250-b\n550 c",
        "250 a\n199 b",
        "250 a\n354 b",
    ] {
        let (_fixture, _provider, words) = one(up_to_data(reply)).await;
        assert_eq!(
            words,
            [("deferred", Some(Reason::ProtocolError))],
            "{reply}"
        );
    }
}

/// Row 21.
#[tokio::test]
async fn three_messages_told_to_authenticate_make_it_refused() {
    let refused = || {
        vec![
            Hear("MAIL"),
            Hear("RCPT"),
            Hear("DATA"),
            say("530 5.7.0 authenticate\n503 x\n503 x"),
        ]
    };
    let script = [probe(), refused(), refused(), refused()].concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    for number in 1..=3 {
        assert_eq!(fixture.view("a").state, UpstreamState::Ready);
        let report = fixture.attempt(message(number, 1)).await;
        assert_eq!(words(&report), [("deferred", Some(Reason::SessionRefused))]);
    }
    let view = fixture.until("a", UpstreamState::Refused).await;
    assert_eq!(view.reply.as_deref(), Some("Mail: 530 5.7.0 authenticate"));
    let text = fixture.metrics.encode().0;
    for line in [
        "posthouse_upstream_state{state=\"refused\",upstream=\"a\"} 1",
        "posthouse_upstream_state{state=\"ready\",upstream=\"a\"} 0",
        "posthouse_upstream_up{upstream=\"a\"} 0",
        "posthouse_upstream_failures_total{reason=\"refused\",upstream=\"a\"} 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

/// Row 22.
#[tokio::test]
async fn a_message_larger_than_size_is_not_offered() {
    let script = [
        hello(&["PIPELINING", "SIZE 50"]),
        vec![Hear("NOOP"), say("250 ok")],
        taken(),
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let report = fixture.attempt_with(message(1, 1), &[b'x'; 51]).await;
    assert_eq!(words(&report), [("failed", Some(Reason::TooLarge))]);
    let mut offer = fixture.offer(message(2, 1), &[b'x'; 51]);
    offer.eligible = ["a".into(), "b".into()].into();
    let report = fixture.outbound.offer(offer).await;
    assert_eq!(words(&report), [("unsuitable", Some(Reason::TooLarge))]);
    let report = fixture.attempt_with(message(3, 1), &[b'x'; 50]).await;
    assert_eq!(words(&report), [("relayed", None)]);
    assert!(
        provider
            .heard()
            .contains(&"MAIL FROM:<s@a.example> SIZE=50".to_owned())
    );
}

/// Row 22.
#[tokio::test]
async fn a_message_that_needs_smtputf8_is_not_sent_where_it_is_not_offered() {
    let provider = Provider::start(vec![probe()]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let mut needy = message(1, 1);
    needy.facts.header_utf8 = true;
    let report = fixture.attempt(needy).await;
    assert_eq!(words(&report), [("failed", Some(Reason::Utf8Needed))]);
}

/// Row 22, recipient by recipient: an address in UTF-8 is no reason against the others.
#[tokio::test]
async fn only_the_recipients_that_need_smtputf8_fail_without_it() {
    let provider = Provider::start(vec![[probe(), taken()].concat()]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let mut mixed = message(1, 3);
    for position in [0, 2] {
        mixed.recipients[position].forward_path =
            posthouse_smtp::Mailbox::parse("jörg@b.example").unwrap();
    }
    let report = fixture.attempt(mixed).await;
    let needy = ("failed", Some(Reason::Utf8Needed));
    assert_eq!(words(&report), [needy, ("relayed", None), needy]);
    let heard = provider.heard();
    assert!(heard.iter().any(|line| line.starts_with("RCPT TO:<r1@")));
    assert!(!heard.iter().any(|line| line.contains("SMTPUTF8")));
}

/// Row 23.
#[tokio::test]
async fn a_fallback_that_refuses_does_not_fail_mail() {
    let script = [
        up_to_data("250 a\n550 5.1.1 who\n503 x"),
        vec![Hear("RSET"), say("250 ok")],
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let mut offer = fixture.offer(message(1, 1), CONTENT);
    offer.first_priority = false;
    let report = fixture.outbound.offer(offer).await;
    assert_eq!(
        words(&report),
        [("deferred", Some(Reason::FallbackRefused))]
    );
}

#[tokio::test]
async fn without_pipelining_one_command_waits_for_the_other() {
    let script = [
        hello(&[]),
        vec![
            Hear("NOOP"),
            say("250 ok"),
            Hear("MAIL"),
            say("250 a"),
            Hear("RCPT"),
            say("250 b"),
            Hear("DATA"),
            say("354 c"),
            HearContent,
            say("250 taken"),
        ],
    ]
    .concat();
    let (_fixture, _provider, words) = one(script).await;
    assert_eq!(words, [("relayed", None)]);
}

#[tokio::test]
async fn replies_that_come_octet_by_octet_are_the_same() {
    for (script, expected) in [
        ([probe(), taken()].concat(), ("relayed", None)),
        (
            [
                up_to_data("250 a\n250 b\n354 c"),
                vec![HearContent, say("550-5.6.0 bad\n550 5.6.0 content")],
            ]
            .concat(),
            ("failed", Some(Reason::MessageRefused)),
        ),
        (
            [
                up_to_data("250 a\n550-5.1.1 no\n550 5.1.1 one\n354 c"),
                vec![HearContent, say("250 x")],
            ]
            .concat(),
            ("failed", Some(Reason::RecipientRefused)),
        ),
    ] {
        let (_fixture, _provider, words) = one(dripping(script)).await;
        assert_eq!(words, [expected]);
    }
}

/// RFC 5321 §4.5.3.2: the clock stands still until the provider does.
#[tokio::test]
async fn every_wait_has_its_time_out() {
    for (script, limit, expected) in [
        (
            [probe(), vec![Hear("MAIL"), Stall]].concat(),
            Duration::from_mins(5),
            ("deferred", Some(Reason::ConnectionLost)),
        ),
        (
            [up_to_data("250 a"), vec![Stall]].concat(),
            Duration::from_mins(5),
            ("deferred", Some(Reason::ConnectionLost)),
        ),
        (
            [up_to_data("250 a\n250 b"), vec![Stall]].concat(),
            Duration::from_mins(2),
            ("deferred", Some(Reason::ConnectionLost)),
        ),
        (
            [up_to_data("250 a\n250 b\n354 c"), vec![HearContent, Stall]].concat(),
            Duration::from_mins(10),
            ("unconfirmed", None),
        ),
    ] {
        let mut provider = Provider::start(vec![script]).await;
        let fixture = Fixture::ready(provider.address.port()).await;
        let attempt = fixture.offer(message(1, 1), CONTENT);
        let outbound = std::sync::Arc::clone(&fixture.outbound);
        let running = tokio::spawn(async move { outbound.offer(attempt).await });
        provider.stalled().await;
        settled().await;
        assert!(fixture.clock.is_awaited(limit), "{limit:?}");
        fixture
            .clock
            .advance(limit.saturating_sub(Duration::from_secs(1)));
        settled().await;
        assert!(!running.is_finished(), "{limit:?}");
        fixture.clock.advance(Duration::from_secs(1));
        assert_eq!(words(&running.await.unwrap()), [expected], "{limit:?}");
    }
}

/// Lets every task run until it waits: what was said over loopback has arrived, and the scheduler looks at its sockets
/// at least every 61 turns.
async fn settled() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_unreachable() {
    for (tls, limit) in [
        ("tls: { mode: None }", Duration::from_mins(5)),
        ("tls: { mode: Implicit, ca: ca }", Duration::from_mins(1)),
    ] {
        let identity = Identity::of(&["127.0.0.1"]);
        let mut provider = Provider::start(vec![vec![Stall]]).await;
        let files = [("ca", identity.ca.as_str())];
        let fixture = Fixture::new(&upstream("a", provider.address.port(), tls), &files);
        provider.stalled().await;
        settled().await;
        assert!(fixture.clock.is_awaited(limit), "{tls}");
        fixture.clock.advance(limit);
        let view = fixture.until("a", UpstreamState::Unreachable).await;
        assert!(view.reply.unwrap().ends_with(": timed out"));
    }
}

#[tokio::test]
async fn a_stop_ends_an_attempt_and_says_how_far_it_came() {
    for (script, expected) in [
        (
            [up_to_data("250 a"), vec![Stall]].concat(),
            ("deferred", Some(Reason::Stopped)),
        ),
        (
            [up_to_data("250 a\n250 b\n354 c"), vec![HearContent, Stall]].concat(),
            ("unconfirmed", None),
        ),
    ] {
        let mut provider = Provider::start(vec![script]).await;
        let fixture = Fixture::ready(provider.address.port()).await;
        let attempt = fixture.offer(message(1, 1), CONTENT);
        let outbound = std::sync::Arc::clone(&fixture.outbound);
        let running = tokio::spawn(async move { outbound.offer(attempt).await });
        provider.stalled().await;
        fixture.stop(Stage::Stopping);
        tokio::task::yield_now().await;
        assert!(!running.is_finished());
        fixture.stop(Stage::Aborting);
        assert_eq!(words(&running.await.unwrap()), [expected]);
        assert_eq!(fixture.view("a").state, UpstreamState::Ready);
    }
}

/// A death in a later transaction must not have the first one's recipients offered again.
#[tokio::test]
async fn what_a_transaction_relayed_is_told_before_the_next_one_is_over() {
    let script = [
        probe(),
        taken(),
        vec![
            Hear("MAIL"),
            Hear("RCPT"),
            Hear("DATA"),
            say("250 a\n250 b\n354 go"),
            HearContent,
            Stall,
        ],
    ]
    .concat();
    let mut provider = Provider::start(vec![script]).await;
    let more = "limits: { recipientsPerMessage: 1 }";
    let fixture = Fixture::new(&upstream("a", provider.address.port(), more), &[]);
    fixture.until("a", UpstreamState::Ready).await;
    let mut offer = fixture.offer(message(1, 2), CONTENT);
    let (early, mut told) = tokio::sync::mpsc::unbounded_channel();
    offer.early = early;
    let outbound = fixture.outbound.clone();
    let attempt = tokio::spawn(async move { outbound.attempt(offer).await });
    provider.stalled().await;
    let first = told.recv().await.unwrap();
    assert!(matches!(first[..], [(0, Verdict::Relayed(_))]), "{first:?}");
    fixture.stop(Stage::Aborting);
    let report = attempt.await.unwrap();
    assert_eq!(words(&report), [("relayed", None), ("unconfirmed", None)]);
}

/// Row 22: the trace field we add is not held against a message that was accepted at the limit.
#[tokio::test]
async fn a_message_at_the_documents_bound_is_relayed_with_what_we_add() {
    let script = [
        hello(&["PIPELINING", "SIZE 100000"]),
        vec![Hear("NOOP"), say("250 ok")],
        taken(),
    ];
    let provider = Provider::start(vec![script.concat()]).await;
    let more = "limits: { messageBytes: 1024 }";
    let fixture = Fixture::new(&upstream("a", provider.address.port(), more), &[]);
    fixture.until("a", UpstreamState::Ready).await;
    let mut sent = message(1, 1);
    sent.edits.prepend = b"Received: x\r\n".to_vec();
    let content = CONTENT.repeat(1024 / CONTENT.len() + 1);
    let report = fixture.attempt_with(sent, &content[..1024]).await;
    assert_eq!(words(&report), [("relayed", None)]);
    let report = fixture.attempt_with(message(2, 1), &content[..1025]).await;
    assert_eq!(words(&report), [("failed", Some(Reason::TooLarge))]);
}
