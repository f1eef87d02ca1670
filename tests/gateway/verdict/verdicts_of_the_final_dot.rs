//! Rows 14–18: the reply to the final dot, or its absence.

use std::time::Duration;

use posthouse_config::reason::{Phase, Reason, UpstreamState};
use posthouse_gateway::mail::{QueueId, State};
use posthouse_tests::{Provider, Script, Turn, provider::Step};

use super::relaying::*;

const OTHER: &str = "other@customer.example";

/// A script that answers the final dot of one subject so.
fn to_bad(reply: &'static str) -> Script {
    refuses(Step::Final, "bad", reply)
}

fn send_bad(relaying: &Relaying, to: &[&str]) -> QueueId {
    let id = relaying.accept(&Mail {
        subject: "bad",
        to,
        ..Mail::default()
    });
    relaying.settle();
    id
}

/// Row 14.
#[test]
fn any_2yz_after_the_dot_is_relayed_and_its_text_is_kept() {
    let long: &'static str = Box::leak(format!("250 {}", "x".repeat(600)).into_boxed_str());
    for reply in [
        "250 2.0.0 Queued as 4711",
        "200 Hm",
        "299 5.1.1 550 no such luck",
        long,
    ] {
        let script = Script::new(move |exchange| match exchange.step {
            Step::Rcpt if exchange.line.contains(OTHER) => Turn::reply("450 4.2.1 Later"),
            Step::Final => Turn::reply(reply),
            _ => Turn::Usual,
        });
        let (relaying, provider) = Relaying::to(script);
        let id = relaying.send(FROM, &[TO, OTHER]);
        let stored = relaying.stored(id).unwrap();
        assert_eq!(
            (stored[0].state, stored[0].phase),
            (State::Relayed, Some(Phase::Final)),
            "{reply}"
        );
        let kept = reply.get(..512).unwrap_or(reply);
        assert_eq!(stored[0].reply.as_deref(), Some(kept));
        provider.follow(says(Step::Final, reply));
        relaying.advance(minutes(2));
        relaying.assert_relayed(2);
        assert_eq!(transactions(&provider), 2, "{reply}");
        assert!(relaying.upstream("provider").last_relayed.is_some());
    }
}

/// Row 14: what is shown to people later has no control characters.
#[test]
fn what_is_kept_of_a_reply_is_escaped() {
    let script = Script::new(|exchange| match exchange.step {
        Step::Rcpt if exchange.line.contains(OTHER) => Turn::reply("450 4.2.1 Later"),
        Step::Final => Turn::reply("250 2.0.0 \u{1b}[31mred\u{7}"),
        _ => Turn::Usual,
    });
    let (relaying, _provider) = Relaying::to(script);
    let id = relaying.send(FROM, &[TO, OTHER]);
    let stored = relaying.stored(id).unwrap();
    assert_eq!(stored[0].state, State::Relayed);
    let kept = stored[0].reply.as_deref().unwrap();
    assert!(
        kept.contains("red") && !kept.contains(char::is_control),
        "{kept:?}"
    );
}

/// Row 15.
#[test]
fn a_transient_reply_to_the_dot_defers_and_three_messages_make_the_upstream_unreachable() {
    let (relaying, provider) = Relaying::to(says(Step::Final, "451 4.3.0 Later"));
    let id = relaying.send(FROM, &[TO, OTHER]);
    let expected = (State::Deferred, Some(Reason::TransactionDeferred));
    assert_eq!(relaying.states(id), [expected, expected]);
    relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
    assert_eq!(relaying.reply("provider"), "Final: 451 4.3.0 Later");
    relaying.assert_nothing_failed();
    provider.follow(Script::take());
    relaying.advance(minutes(15));
    relaying.assert_relayed(4);
}

/// Row 16.
#[test]
fn a_message_that_is_too_large_or_ill_formed_fails_for_all_its_recipients_in_one_report() {
    for (reply, status) in [
        ("552 5.3.4 Too big", "5.3.4"),
        ("554 5.6.0 Malformed", "5.6.0"),
        ("550 5.6.1 Media", "5.6.1"),
    ] {
        let (relaying, provider) = Relaying::to(to_bad(reply));
        let id = send_bad(&relaying, &[TO, OTHER]);
        assert_eq!(relaying.stored(id), None, "{reply}");
        relaying.assert_reported(&provider, &[(TO, status), (OTHER, status)]);
        assert_eq!((transactions(&provider), provider.count()), (1, 1));
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    }
}

/// Row 17.
#[test]
fn an_unclear_refusal_after_the_dot_is_asked_again_and_fails_only_while_other_mail_passes() {
    for (reply, status) in [
        ("554 5.7.1 Spam", "5.7.1"),
        ("550 No", "5.0.0"),
        ("552 5.2.2 Full", "5.2.2"),
    ] {
        let (relaying, provider) = Relaying::to(to_bad(reply));
        let id = send_bad(&relaying, &[TO, OTHER]);
        let expected = (State::Deferred, Some(Reason::MessageRefused));
        assert_eq!(relaying.states(id), [expected, expected], "{reply}");
        relaying.advance(minutes(14));
        assert_eq!(transactions(&provider), 1, "not before 15 minutes");
        relaying.advance(minutes(2));
        assert_eq!(transactions(&provider), 2);
        assert_eq!(
            relaying.states(id),
            [expected, expected],
            "no evidence fails nothing"
        );
        relaying.assert_nothing_failed();
        relaying.send(FROM, &[TO]);
        relaying.advance(minutes(17));
        assert_eq!(relaying.stored(id), None);
        relaying.assert_reported(&provider, &[(TO, status), (OTHER, status)]);
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    }
}

/// Row 17, as row 9.
#[test]
fn three_messages_of_a_sender_refused_after_the_dot_hold_its_reverse_path() {
    let (relaying, provider) = Relaying::to(says(Step::Final, "554 5.7.1 Policy"));
    for _ in 0..2 {
        let id = relaying.send(FROM, &[TO]);
        assert_eq!(relaying.progress(id).state, State::Deferred);
    }
    let third = relaying.send(FROM, &[TO]);
    let fourth = relaying.send(FROM, &[TO]);
    assert_eq!(
        relaying.states(third),
        [(State::Held, Some(Reason::ReversePathRefused))]
    );
    assert_eq!(
        relaying.shown(fourth),
        ("held", Some(Reason::ReversePathRefused))
    );
    assert_eq!(transactions(&provider), 3);
    relaying.assert_nothing_failed();
    provider.follow(Script::take());
    relaying.send("somebody@shop.example", &[TO]);
    relaying.advance(minutes(60));
    relaying.assert_relayed(5);
}

fn assert_unconfirmed(relaying: &Relaying, id: QueueId, times: u16) {
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.state, progress.reason, progress.unconfirmed),
        (State::Unconfirmed, Some(Reason::Unconfirmed), times)
    );
}

/// Rows 18 and 20 (RFC 1047): it may have been taken.
#[test]
fn no_usable_reply_to_the_dot_is_unconfirmed_and_asked_again_after_a_quarter_of_an_hour() {
    for turn in [
        Turn::Close,
        Turn::reply("OK"),
        Turn::reply("999 What"),
        Turn::reply("354 Go on"),
        Turn::reply("199 Wait"),
    ] {
        let (relaying, provider) = Relaying::to(at(Step::Final, turn.clone()));
        let id = relaying.send(FROM, &[TO]);
        assert_unconfirmed(&relaying, id, 1);
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
        provider.follow(Script::take());
        relaying.advance(minutes(15));
        assert_eq!(transactions(&provider), 1, "{turn:?}");
        relaying.advance(minutes(1));
        relaying.assert_relayed(1);
        assert_eq!(transactions(&provider), 2, "{turn:?}");
    }
}

/// Row 18, time-out (RFC 5321 §4.5.3.2.6).
#[test]
fn ten_minutes_without_a_reply_to_the_dot_are_unconfirmed() {
    let (relaying, provider) = Relaying::to(at(Step::Final, Turn::Stall));
    let id = relaying.accept(&Mail::default());
    relaying.time_out(minutes(10));
    assert_unconfirmed(&relaying, id, 1);
    provider.follow(Script::take());
    relaying.advance(minutes(16));
    relaying.assert_relayed(1);
}

/// Row 18.
#[test]
fn unconfirmed_for_the_third_time_mail_is_held_for_a_person() {
    let (relaying, provider) = Relaying::to(at(Step::Final, Turn::Close));
    let id = relaying.send(FROM, &[TO]);
    relaying.advance(minutes(16));
    assert_unconfirmed(&relaying, id, 2);
    relaying.advance(minutes(17));
    assert_eq!(
        relaying.states(id),
        [(State::Held, Some(Reason::Unconfirmed))]
    );
    relaying.advance(minutes(25 * 60));
    assert_eq!(transactions(&provider), 3, "only a person tries it again");
    relaying.assert_nothing_failed();
    provider.follow(Script::take());
    relaying.retry(id);
    // Whatever the last probe found, another one comes within this time.
    relaying.advance(minutes(20));
    relaying.assert_relayed(1);
}

/// Row 18, with another eligible target.
#[test]
fn unconfirmed_mail_stays_with_its_upstream_twice_and_may_then_go_elsewhere() {
    let (relaying, first, second) =
        Relaying::with_fallback(at(Step::Final, Turn::Close), Script::take());
    let id = relaying.send(FROM, &[TO]);
    assert_unconfirmed(&relaying, id, 1);
    relaying.advance(minutes(16));
    assert_unconfirmed(&relaying, id, 2);
    assert_eq!((transactions(&first), transactions(&second)), (2, 0));
    relaying.advance(minutes(17));
    relaying.assert_relayed(1);
    assert_eq!((transactions(&first), transactions(&second)), (2, 1));
}

/// Row 18: while its upstream is away nobody else is given what may have arrived.
#[test]
fn unconfirmed_mail_waits_for_its_upstream_though_another_could_take_it() {
    let (relaying, first, second) =
        Relaying::with_fallback(at(Step::Final, Turn::Close), Script::take());
    let id = relaying.send(FROM, &[TO]);
    break_down(&relaying, &first);
    relaying.advance(minutes(60));
    assert_eq!(relaying.state("first"), UpstreamState::Unreachable);
    assert_eq!(relaying.progress(id).unconfirmed, 1);
    assert_eq!(second.count(), 1, "other mail goes there");
    first.follow(Script::take());
    relaying.advance(minutes(16));
    relaying.assert_relayed(2);
    assert_eq!(second.count(), 1);
}

/// Makes the first upstream unreachable by a message that the other then takes.
fn break_down(relaying: &Relaying, first: &Provider) {
    first.follow(Script::new(|exchange| match exchange.step {
        Step::Connect => Turn::reply("554 5.7.1 Go away"),
        Step::Mail => Turn::Close,
        _ => Turn::Usual,
    }));
    relaying.send(FROM, &[TO]);
    relaying.advance(Duration::from_secs(2));
}
