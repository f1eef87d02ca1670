//! Rows 10–13: what happens from DATA up to the final dot. Nobody can have taken what was not finished.

use std::sync::atomic::{AtomicUsize, Ordering};

use posthouse_config::reason::{Phase, Reason, UpstreamState};
use posthouse_gateway::mail::{QueueId, State};
use posthouse_tests::{Provider, Script, Turn, provider::Step};

use super::relaying::*;

/// More than sockets buffer: the provider acts while we are still writing.
const LARGE: usize = 16 << 20;

/// Accepts a large message of an address.
fn send_large(relaying: &Relaying, from: &str) -> QueueId {
    let id = relaying.accept(&Mail {
        from,
        body: &b"0123456789012345678901234567890123456789\r\n".repeat(LARGE / 42),
        ..Mail::default()
    });
    relaying.settle();
    id
}

/// A script that does this when content of an address begins to come.
fn in_content_of(from: &'static str, turn: Turn) -> Script {
    Script::new(move |exchange| match exchange.step {
        Step::Content if exchange.line.contains(from) => turn.clone(),
        _ => Turn::Usual,
    })
}

/// Row 10.
#[test]
fn a_354_without_recipients_is_answered_by_a_dot_alone_and_means_nothing() {
    const OTHER: &str = "nobody@customer.example";
    let script = Script::new(|exchange| match exchange.step {
        Step::Rcpt if exchange.line.contains("customer.example") => Turn::reply("550 5.1.1 Who?"),
        Step::Data => Turn::reply("354 Go ahead"),
        _ => Turn::Usual,
    });
    let (relaying, provider) = Relaying::to(script);
    let id = relaying.send(FROM, &[TO, OTHER]);
    assert_eq!(relaying.stored(id), None);
    relaying.assert_reported(&provider, &[(TO, "5.1.1"), (OTHER, "5.1.1")]);
    let empty = &provider.mails()[0];
    assert_eq!(
        (empty.recipients.len(), empty.octets),
        (0, 0),
        "the provider says 250 to the dot, and nothing was relayed"
    );
    assert_eq!(transactions(&provider), 1);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
}

/// Row 11, as row 5.
#[test]
fn a_transient_reply_to_data_defers_and_three_messages_make_the_upstream_unreachable() {
    let (relaying, provider) = Relaying::to(says(Step::Data, "451 4.3.0 Later"));
    let id = relaying.send(FROM, &[TO]);
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.state, progress.reason, progress.phase),
        (
            State::Deferred,
            Some(Reason::TransactionDeferred),
            Some(Phase::Data)
        )
    );
    relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
    assert_eq!(relaying.reply("provider"), "Data: 451 4.3.0 Later");
    relaying.assert_nothing_failed();
    provider.follow(Script::take());
    relaying.advance(minutes(15));
    relaying.assert_relayed(3);
}

/// Row 11, as row 17.
#[test]
fn a_permanent_reply_to_data_is_asked_again_and_fails_only_while_other_mail_passes() {
    // DATA tells no message from another; the session's last MAIL does.
    let is_bad = AtomicUsize::new(0);
    let script = Script::new(move |exchange| match exchange.step {
        Step::Rcpt => {
            is_bad.store(exchange.line.contains("bad@").into(), Ordering::Relaxed);
            Turn::Usual
        }
        Step::Data if is_bad.load(Ordering::Relaxed) == 1 => Turn::reply("554 5.7.0 No"),
        _ => Turn::Usual,
    });
    let (relaying, provider) = Relaying::to(script);
    let id = relaying.send(FROM, &["bad@customer.example"]);
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.state, progress.reason, progress.refusals),
        (State::Deferred, Some(Reason::MessageRefused), 1)
    );
    relaying.advance(minutes(14));
    assert_eq!(transactions(&provider), 1, "not before 15 minutes");
    relaying.send(FROM, &[TO]);
    relaying.advance(minutes(2));
    assert_eq!(relaying.stored(id), None);
    relaying.assert_reported(&provider, &[("bad@customer.example", "5.7.0")]);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
}

/// Row 12.
#[test]
fn a_connection_lost_in_the_content_defers_and_is_counted() {
    let (relaying, provider) = Relaying::to(in_content_of(FROM, Turn::Close));
    let id = send_large(&relaying, FROM);
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.state, progress.reason, progress.lost),
        (State::Deferred, Some(Reason::ConnectionLost), 1)
    );
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    provider.follow(Script::take().keep(0));
    relaying.advance(minutes(2));
    relaying.assert_relayed(1);
    assert_eq!(transactions(&provider), 2);
}

/// Row 12, time-outs (RFC 5321 §4.5.3.2.4, §4.5.3.2.5).
#[test]
fn a_provider_that_stalls_before_the_dot_defers_the_mail() {
    let (relaying, provider) = Relaying::to(at(Step::Data, Turn::Stall));
    let id = accept(&relaying, FROM);
    relaying.time_out(minutes(2));
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.reason, progress.phase, progress.lost),
        (Some(Reason::ConnectionLost), Some(Phase::Data), 1)
    );
    provider.follow(Script::take());
    relaying.advance(minutes(2));
    relaying.assert_relayed(1);

    let (relaying, _provider) = Relaying::to(in_content_of(FROM, Turn::Stall));
    let large = relaying.accept(&Mail {
        body: &b"0123456789012345678901234567890123456789\r\n".repeat(LARGE / 42),
        ..Mail::default()
    });
    relaying.time_out_of_writing(minutes(3));
    assert_eq!(
        (
            relaying.progress(large).phase,
            relaying.progress(large).lost
        ),
        (Some(Phase::Content), 1)
    );
    relaying.assert_nothing_failed();
}

fn accept(relaying: &Relaying, from: &str) -> QueueId {
    relaying.accept(&Mail {
        from,
        ..Mail::default()
    })
}

/// Row 12, → upstream.
#[test]
fn three_messages_whose_connection_is_lost_make_the_upstream_unreachable() {
    let (relaying, provider) = Relaying::to(at(Step::Data, Turn::Close));
    for _ in 0..3 {
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
        relaying.send(FROM, &[TO]);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
    relaying.assert_nothing_failed();
    provider.follow(Script::take());
    relaying.advance(minutes(15));
    relaying.assert_relayed(3);
}

/// Row 12.
#[test]
fn a_message_that_loses_three_connections_while_others_pass_is_held_alone() {
    let (relaying, provider) = Relaying::to(in_content_of("bad@", Turn::Close).keep(0));
    let id = send_large(&relaying, "bad@shop.example");
    for lost in 1..3 {
        assert_eq!(relaying.progress(id).lost, lost);
        relaying.advance(minutes(1) / 2);
        relaying.send(FROM, &[TO]);
        until_offered(&relaying, &provider, 2 * usize::from(lost) + 1);
    }
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.state, progress.reason, progress.lost),
        (State::Held, Some(Reason::ConnectionLost), 3)
    );
    assert_eq!(relaying.shown(id), ("held", Some(Reason::ConnectionLost)));
    relaying.send(FROM, &[TO]);
    assert_eq!(relaying.outcomes("relayed"), 3, "others are not held");
    relaying.advance(minutes(23 * 60));
    assert_eq!(transactions(&provider), 6, "once a day");
    relaying.assert_nothing_failed();
    provider.follow(Script::take().keep(0));
    relaying.advance(minutes(70));
    relaying.assert_relayed(4);
}

/// Lets time pass until the provider saw so many transactions.
fn until_offered(relaying: &Relaying, provider: &Provider, count: usize) {
    for _ in 0..20 {
        if transactions(provider) >= count {
            break;
        }
        relaying.advance(minutes(1));
    }
    assert_eq!(transactions(provider), count);
}

/// Row 12: without other content that passed, it may be the upstream.
#[test]
fn a_message_that_loses_connections_while_nothing_passes_is_tried_on() {
    let (relaying, provider) = Relaying::to(at(Step::Data, Turn::Close));
    let id = relaying.send(FROM, &[TO]);
    until_offered(&relaying, &provider, 5);
    assert_eq!(
        relaying.states(id),
        [(State::Deferred, Some(Reason::ConnectionLost))]
    );
    relaying.assert_nothing_failed();
}

/// Row 13: the final reply, heard while we are writing and the server closes.
#[test]
fn a_refusal_in_the_middle_of_the_content_is_the_final_reply() {
    let refusal = Turn::ReplyAndClose("552 5.3.4 Enough".into());
    let (relaying, provider) = Relaying::to(in_content_of(FROM, refusal));
    let id = send_large(&relaying, FROM);
    assert_eq!(relaying.stored(id), None);
    relaying.assert_reported(&provider, &[(TO, "5.3.4")]);
    assert_eq!((transactions(&provider), provider.count()), (1, 1));

    let (relaying, provider) = Relaying::to(in_content_of(FROM, Turn::reply("452 4.3.1 Full")));
    let id = send_large(&relaying, FROM);
    assert_eq!(
        relaying.states(id),
        [(State::Deferred, Some(Reason::TransactionDeferred))]
    );
    assert_eq!(provider.count(), 0);

    let (relaying, provider) = Relaying::to(in_content_of(FROM, Turn::reply("550 5.7.1 No")));
    let id = send_large(&relaying, FROM);
    assert_eq!(
        relaying.states(id),
        [(State::Deferred, Some(Reason::MessageRefused))]
    );
    assert_eq!((relaying.progress(id).refusals, provider.count()), (1, 0));
    relaying.assert_nothing_failed();
}

/// Rows 13 and 20: a 250 too many would be taken for the reply to the dot.
#[test]
fn a_250_before_the_dot_is_never_taken_for_the_reply_to_it() {
    let early = "354 Go ahead\r\n250 2.0.0 Taken";
    let (relaying, provider) = Relaying::to(says(Step::Data, early));
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(
        relaying.states(id),
        [(State::Deferred, Some(Reason::ProtocolError))]
    );
    assert_eq!((relaying.outcomes("relayed"), provider.count()), (0, 0));
    let octets = String::from_utf8_lossy(&provider.octets()).into_owned();
    assert!(!octets.contains("Hello."), "stopped and closed");
    relaying.send(FROM, &[TO]);
    relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);

    for reply in ["250 2.0.0 Taken", "354 Go on"] {
        let (relaying, provider) = Relaying::to(in_content_of(FROM, Turn::reply(reply)));
        let id = send_large(&relaying, FROM);
        assert_eq!(
            relaying.states(id),
            [(State::Deferred, Some(Reason::ProtocolError))],
            "{reply}"
        );
        assert_eq!((relaying.outcomes("relayed"), provider.count()), (0, 0));
        provider.follow(Script::take().keep(0));
        relaying.advance(minutes(2));
        relaying.assert_relayed(1);
    }
}
