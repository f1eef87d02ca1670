//! Rows 5 and 6: replies to MAIL speak of the upstream, of the sender's address there, or of what the target lacks;
//! seldom of the mail.

use std::time::Duration;

use posthouse_config::reason::{Phase, Reason, UpstreamState};
use posthouse_gateway::mail::{QueueId, State};
use posthouse_tests::{Script, Turn, provider::Step};

use super::relaying::*;

const LATER: &str = "451 4.3.0 Later";

/// Row 5.
#[test]
fn a_transient_reply_to_mail_defers_and_it_is_tried_again() {
    let (relaying, provider) = Relaying::to(says(Step::Mail, LATER));
    let id = relaying.send(FROM, &[TO]);
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.state, progress.reason, progress.phase),
        (
            State::Deferred,
            Some(Reason::TransactionDeferred),
            Some(Phase::Mail)
        )
    );
    assert_eq!(progress.reply.as_deref(), Some(LATER));
    assert_eq!(
        (progress.attempts, progress.refusals, progress.lost),
        (1, 0, 0)
    );
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    assert_eq!(transactions(&provider), 1);
    provider.follow(Script::take());
    relaying.advance(minutes(2));
    relaying.assert_relayed(1);
    assert_eq!(transactions(&provider), 2);
}

/// Row 5: one message alone says nothing of the upstream, however often.
#[test]
fn one_message_deferred_at_mail_again_and_again_leaves_the_upstream_ready() {
    let (relaying, provider) = Relaying::to(refuses(Step::Mail, "bad@", LATER));
    let id = relaying.send("bad@shop.example", &[TO]);
    relaying.advance(minutes(120));
    assert!(relaying.progress(id).attempts > 5);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    relaying.assert_nothing_failed();
    provider.follow(Script::take());
    relaying.advance(minutes(12));
    relaying.assert_relayed(1);
}

/// Row 5, → upstream.
#[test]
fn three_messages_in_a_row_deferred_at_mail_make_the_upstream_unreachable() {
    let (relaying, provider) = Relaying::to(says(Step::Mail, LATER));
    for number in 1..=3 {
        assert_eq!(
            relaying.state("provider"),
            UpstreamState::Ready,
            "before message {number}"
        );
        relaying.send(FROM, &[TO]);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
    assert_eq!(relaying.reply("provider"), format!("Mail: {LATER}"));
    let fourth = relaying.send(FROM, &[TO]);
    assert_eq!(
        relaying.shown(fourth),
        ("deferred", Some(Reason::Unreachable))
    );
    assert_eq!(transactions(&provider), 3, "the fourth is not offered");

    // A probe goes through; the first message of the same trouble is enough to go back.
    relaying.advance(minutes(1));
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
    assert_eq!(transactions(&provider), 4);
    provider.follow(Script::take());
    relaying.advance(minutes(15));
    relaying.assert_relayed(4);
}

/// Row 5, → upstream: a 2yz between ends the row.
#[test]
fn a_message_relayed_between_deferred_ones_leaves_the_upstream_ready() {
    let (relaying, _provider) = Relaying::to(refuses(Step::Mail, "bad@", LATER));
    for _ in 0..3 {
        relaying.send("bad@shop.example", &[TO]);
        relaying.send(FROM, &[TO]);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    assert_eq!(
        (relaying.outcomes("relayed"), relaying.figures().messages),
        (3, 3)
    );
    relaying.assert_nothing_failed();
}

fn is_held(relaying: &Relaying, id: QueueId) -> bool {
    relaying.shown(id) == ("held", Some(Reason::ReversePathRefused))
}

/// Row 6.
#[test]
fn a_refused_reverse_path_holds_its_mail_there_and_nobody_elses() {
    let (relaying, provider) =
        Relaying::to(refuses(Step::Mail, "bad@", "550 5.7.1 Not your address"));
    let first = relaying.send("bad@shop.example", &[TO]);
    let second = relaying.send("bad@shop.example", &[TO]);
    relaying.send(FROM, &[TO]);
    let progress = relaying.progress(first);
    assert_eq!(
        (progress.state, progress.reason, progress.next_attempt),
        (State::Held, Some(Reason::ReversePathRefused), None)
    );
    assert!(is_held(&relaying, first) && is_held(&relaying, second));
    let held = &relaying.figures().held_reasons;
    assert_eq!((held.len(), held[0].messages), (1, 2));
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    assert_eq!((transactions(&provider), provider.count()), (2, 1));

    relaying.advance(minutes(60));
    assert_eq!(transactions(&provider), 3, "one message an hour asks");
    assert!(is_held(&relaying, first) && is_held(&relaying, second));
    relaying.assert_nothing_failed();
    provider.follow(Script::take());
    relaying.advance(minutes(60));
    relaying.assert_relayed(3);
}

/// Row 6: a person has changed something, so it is worth asking.
#[test]
fn a_changed_upstream_has_its_refused_reverse_paths_tried_at_once() {
    let (mut relaying, provider) = Relaying::to(says(Step::Mail, "553 5.7.1 Not your address"));
    relaying.send(FROM, &[TO]);
    assert_eq!(transactions(&provider), 1);
    provider.follow(Script::take());
    relaying.site.transport("provider").limits.max_connections = 7;
    relaying.publish();
    relaying.assert_relayed(1);
}

/// Row 6: what is held at one target has others.
#[test]
fn mail_of_a_reverse_path_that_is_held_at_one_target_goes_to_the_next() {
    let (relaying, first, second) = Relaying::with_fallback(
        says(Step::Mail, "550 5.7.1 Not your address"),
        Script::take(),
    );
    relaying.send(FROM, &[TO]);
    relaying.send(FROM, &[TO]);
    relaying.assert_relayed(2);
    assert_eq!((transactions(&first), transactions(&second)), (1, 2));
}

/// Row 6.
#[test]
fn mail_of_a_reverse_path_that_is_held_everywhere_waits_and_never_fails() {
    let refused = || says(Step::Mail, "550 5.7.1 Not your address");
    let (relaying, first, second) = Relaying::with_fallback(refused(), refused());
    let id = relaying.send(FROM, &[TO]);
    relaying.advance(minutes(190));
    assert!(is_held(&relaying, id));
    assert_eq!(
        (transactions(&first), transactions(&second)),
        (4, 4),
        "once an hour each"
    );
    relaying.assert_nothing_failed();
}

/// Row 6, as row 22: the only target lacks it.
#[test]
fn a_552_to_mail_fails_where_no_other_target_could_take_it() {
    for reply in ["552 5.3.4 Too big", "550 5.3.4 Too big", "552 Too big"] {
        let script = Script::new(move |exchange| {
            if exchange.step == Step::Mail && !exchange.line.contains("<>") {
                Turn::reply(reply)
            } else {
                Turn::Usual
            }
        });
        let (relaying, provider) = Relaying::to(script);
        // Larger than the report on it.
        let id = relaying.accept(&Mail {
            body: &b"Hello.\r\n".repeat(1000),
            ..Mail::default()
        });
        relaying.settle();
        assert_eq!(relaying.stored(id), None, "{reply}");
        relaying.assert_reported(&provider, &[(TO, "5.3.4")]);
        assert_eq!(transactions(&provider), 1);
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    }
}

/// Row 6, as row 22: another target may have it.
#[test]
fn what_the_first_target_says_it_cannot_take_goes_to_the_next_at_once() {
    for reply in ["552 5.3.4 Too big", "552 Too big", "553 5.6.7 No SMTPUTF8"] {
        let (relaying, first, second) =
            Relaying::with_fallback(says(Step::Mail, reply), Script::take());
        relaying.send(FROM, &[TO]);
        relaying.advance(Duration::from_secs(2));
        relaying.assert_relayed(1);
        assert_eq!(
            (transactions(&first), transactions(&second)),
            (1, 1),
            "{reply}"
        );
        assert_eq!(relaying.state("first"), UpstreamState::Ready);
        // Only x.3.4 is plain enough to spare the next one of its kind the question.
        relaying.send(FROM, &[TO]);
        relaying.advance(Duration::from_secs(2));
        relaying.assert_relayed(2);
        let asked = if reply.contains("5.3.4") { 1 } else { 2 };
        assert_eq!(
            (transactions(&first), transactions(&second)),
            (asked, 2),
            "{reply}"
        );
    }
}
