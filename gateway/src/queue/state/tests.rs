use posthouse_config::reason::Phase;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

fn policy() -> Policy {
    Policy {
        initial: Duration::from_mins(1),
        maximum: Duration::from_hours(2),
        jitter: 1000,
        expiry: NOW.plus(Duration::from_hours(120)),
    }
}

fn evidence() -> Evidence {
    Evidence {
        phase: Phase::Final,
        reply: "4xx".into(),
    }
}

fn deferred(reason: Reason, wait: u64, refused: bool, lost: bool) -> Verdict {
    Verdict::Deferred {
        reason,
        evidence: evidence(),
        wait: Duration::from_secs(wait),
        refused,
        lost,
    }
}

fn after(progress: &Progress, verdict: Verdict) -> Progress {
    next(
        progress.clone(),
        Event::Attempted {
            upstream: "isp",
            verdict,
        },
        NOW,
        &policy(),
    )
}

fn waits(progress: &Progress) -> u64 {
    progress.next_attempt.unwrap().since(NOW).as_secs()
}

#[test]
fn accepted_by_the_upstream_is_relayed() {
    let relayed = after(&Progress::default(), Verdict::Relayed(evidence()));
    assert_eq!(
        (relayed.state, relayed.reason, relayed.attempts),
        (State::Relayed, None, 1)
    );
    assert_eq!(
        (
            relayed.upstream.as_deref(),
            relayed.reply.as_deref(),
            relayed.phase
        ),
        (Some("isp"), Some("4xx"), Some(Phase::Final))
    );
}

#[test]
fn refused_about_the_mail_is_failed() {
    let failed = after(
        &Progress::default(),
        Verdict::Failed(Reason::RecipientRefused, evidence()),
    );
    assert_eq!(
        (failed.state, failed.reason),
        (State::Failed, Some(Reason::RecipientRefused))
    );
    assert_eq!(failed.next_attempt, None);
}

#[test]
fn try_later_is_deferred_and_the_wait_doubles_up_to_the_maximum() {
    let mut progress = Progress::default();
    for expected in [60, 120, 240, 480, 960, 1920, 3840, 7200, 7200] {
        progress = after(
            &progress,
            deferred(Reason::TransactionDeferred, 0, false, false),
        );
        assert_eq!(
            (progress.state, waits(&progress)),
            (State::Deferred, expected)
        );
    }
    assert_eq!(progress.attempts, 9);
}

#[test]
fn a_refusal_that_does_not_fail_yet_is_counted_and_its_wait_is_kept() {
    let once = after(
        &Progress::default(),
        deferred(Reason::RecipientRefused, 900, true, false),
    );
    assert_eq!(
        (once.refusals, once.first_refusal, waits(&once)),
        (1, Some(NOW), 900)
    );
    let lost = after(&once, deferred(Reason::ConnectionLost, 0, false, true));
    assert_eq!(
        (lost.refusals, lost.lost, lost.first_refusal),
        (1, 1, Some(NOW))
    );
}

#[test]
fn the_last_attempt_is_made_when_the_mail_becomes_too_old() {
    let policy = Policy {
        expiry: NOW.plus(Duration::from_secs(90)),
        ..policy()
    };
    let progress = Progress {
        attempts: 5,
        ..Progress::default()
    };
    let event = |wait| Event::Attempted {
        upstream: "isp",
        verdict: deferred(Reason::TransactionDeferred, wait, false, false),
    };
    assert_eq!(waits(&next(progress.clone(), event(0), NOW, &policy)), 90);
    assert_eq!(
        waits(&next(progress, event(900), NOW, &policy)),
        900,
        "what the verdict demands comes first"
    );
}

#[test]
fn a_refused_reverse_path_holds_without_a_time_of_its_own() {
    let held = after(
        &Progress::default(),
        deferred(Reason::ReversePathRefused, 0, true, false),
    );
    assert_eq!(
        (held.state, held.reason, held.next_attempt),
        (State::Held, Some(Reason::ReversePathRefused), None)
    );
}

#[test]
fn a_message_held_for_itself_is_tried_once_a_day() {
    let held = after(
        &Progress::default(),
        Verdict::Held(Reason::ConnectionLost, evidence()),
    );
    assert_eq!((held.state, waits(&held)), (State::Held, 24 * 3600));
    let poisoned = next(Progress::default(), Event::Poisoned, NOW, &policy());
    assert_eq!(
        (poisoned.state, poisoned.reason, waits(&poisoned)),
        (State::Held, Some(Reason::Poison), 24 * 3600)
    );
}

#[test]
fn unconfirmed_waits_15_minutes_and_the_third_time_is_held_for_a_person() {
    let once = after(&Progress::default(), Verdict::Unconfirmed(evidence()));
    assert_eq!(
        (once.state, once.unconfirmed, waits(&once)),
        (State::Unconfirmed, 1, 900)
    );
    let twice = after(&once, Verdict::Unconfirmed(evidence()));
    assert_eq!((twice.state, twice.unconfirmed), (State::Unconfirmed, 2));
    let thrice = after(&twice, Verdict::Unconfirmed(evidence()));
    assert_eq!(
        (thrice.state, thrice.reason, thrice.next_attempt),
        (State::Held, Some(Reason::Unconfirmed), None)
    );
}

#[test]
fn an_unsuitable_target_is_followed_by_another_at_once_and_then_by_time() {
    let first = after(
        &Progress::default(),
        Verdict::Unsuitable(Reason::TooLarge, evidence()),
    );
    assert_eq!(
        (first.state, first.next_attempt),
        (State::Deferred, Some(NOW))
    );
    assert_eq!(
        waits(&after(
            &first,
            Verdict::Unsuitable(Reason::TooLarge, evidence())
        )),
        120
    );
}

#[test]
fn not_offered_changes_nothing() {
    let before = Progress {
        attempts: 3,
        state: State::Deferred,
        ..Progress::default()
    };
    assert_eq!(
        after(&before, Verdict::NotOffered(Some(evidence()))),
        before
    );
}

#[test]
fn our_own_stop_makes_it_pending_and_costs_nothing() {
    let before = Progress {
        attempts: 3,
        state: State::Deferred,
        next_attempt: Some(NOW),
        ..Progress::default()
    };
    let stopped = after(&before, deferred(Reason::Stopped, 0, false, false));
    assert_eq!(
        (stopped.state, stopped.attempts, stopped.next_attempt),
        (State::Pending, 3, None)
    );
}

#[test]
fn whatever_waits_can_expire_be_cancelled_or_be_retried() {
    for state in [
        State::Pending,
        State::Deferred,
        State::Held,
        State::Unconfirmed,
    ] {
        let before = Progress {
            state,
            attempts: 2,
            next_attempt: Some(NOW),
            reply: Some("x".into()),
            ..Progress::default()
        };
        let expired = next(before.clone(), Event::Expired, NOW, &policy());
        assert_eq!(
            (expired.state, expired.reason, expired.reply.as_deref()),
            (State::Expired, Some(Reason::Expired), Some("x"))
        );
        let cancelled = next(before.clone(), Event::Cancelled, NOW, &policy());
        assert_eq!(
            (cancelled.state, cancelled.reason),
            (State::Cancelled, Some(Reason::ByHand))
        );
        let retried = next(before, Event::Retried, NOW, &policy());
        assert_eq!(
            (retried.state, retried.next_attempt, retried.attempts),
            (State::Pending, None, 2)
        );
    }
}

#[test]
fn an_end_is_never_left() {
    for state in [
        State::Relayed,
        State::Failed,
        State::Expired,
        State::Cancelled,
        State::Moved,
    ] {
        let end = Progress {
            state,
            ..Progress::default()
        };
        for event in [
            Event::Expired,
            Event::Cancelled,
            Event::Retried,
            Event::Poisoned,
            Event::Attempted {
                upstream: "isp",
                verdict: Verdict::Relayed(evidence()),
            },
        ] {
            assert_eq!(next(end.clone(), event, NOW, &policy()), end);
        }
    }
}

#[test]
fn jitter_stretches_the_schedules_own_wait_alone() {
    let policy = Policy {
        jitter: 1100,
        ..policy()
    };
    let verdict = |wait| deferred(Reason::RecipientDeferred, wait, false, false);
    let event = |wait| Event::Attempted {
        upstream: "isp",
        verdict: verdict(wait),
    };
    assert_eq!(
        waits(&next(Progress::default(), event(0), NOW, &policy)),
        66
    );
    assert_eq!(
        waits(&next(Progress::default(), event(900), NOW, &policy)),
        900
    );
}

/// Rows 9 and 17 count the refusals of one upstream.
#[test]
fn refusals_of_one_upstream_do_not_count_at_another() {
    let refused = || deferred(Reason::RecipientRefused, 0, true, false);
    let at = |progress: &Progress, upstream, verdict| {
        let event = Event::Attempted { upstream, verdict };
        next(progress.clone(), event, NOW, &policy())
    };
    let first = at(&Progress::default(), "a", refused());
    assert_eq!((first.refusals, first.first_refusal), (1, Some(NOW)));
    let later = at(
        &first,
        "b",
        deferred(Reason::TransactionDeferred, 0, false, false),
    );
    assert_eq!((later.refusals, later.first_refusal), (0, None));
    let event = Event::Attempted {
        upstream: "b",
        verdict: refused(),
    };
    let after = next(first, event, NOW.plus(Duration::from_secs(1)), &policy());
    assert_eq!(after.refusals, 1);
    assert!(after.first_refusal > Some(NOW));
}
