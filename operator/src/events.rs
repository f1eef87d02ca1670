//! Which transitions of conditions become Events: one per transition that a person cares for.
//!
//! A condition that turns False, or False for another reason, is a warning; one that recovers is not. Silence of a
//! gateway is Unknown and a warning all the same: nobody else would tell of it. Waiting (`Pending`) is no event, nor is
//! what follows from another condition: `Ready` tells only of itself. Pure: both statuses are given.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use posthouse_api::{mail_relay::status::MailRelayStatus, mail_sender::status::MailSenderStatus};

use crate::{
    condition::{
        ACCEPTED, ConditionStatus, PROGRAMMED, QUEUE_HEALTHY, READY, RESOLVED_REFS,
        UPSTREAMS_HEALTHY, clipped, find,
    },
    mail_relay::{plan::Notice, status::Reason},
};

/// The most octets of a note (`events.k8s.io`: 1,024).
const NOTE_OCTETS: usize = 1_024;

/// What conditions are about, as the action of an Event: what was being done when it turned out so.
const ACTIONS: [(&str, &str); 6] = [
    (ACCEPTED, "Validate"),
    (RESOLVED_REFS, "Resolve"),
    (PROGRAMMED, "Program"),
    (READY, "Serve"),
    (UPSTREAMS_HEALTHY, "Relay"),
    (QUEUE_HEALTHY, "Queue"),
];

/// What people are told of a MailRelay; `old` is what was last written.
pub fn transitions(old: Option<&MailRelayStatus>, new: &MailRelayStatus) -> Vec<Notice> {
    let old = old.map_or(&[][..], |status| &status.conditions);
    of_conditions(old, &new.conditions)
}

/// What people are told of a MailSender; `old` is what was last written.
pub fn sender_transitions(old: Option<&MailSenderStatus>, new: &MailSenderStatus) -> Vec<Notice> {
    let old = old.map_or(&[][..], |status| &status.conditions);
    of_conditions(old, &new.conditions)
}

fn of_conditions(old: &[Condition], new: &[Condition]) -> Vec<Notice> {
    ACTIONS
        .iter()
        .filter_map(|(type_, action)| {
            let after = find(new, type_)?;
            let is_warning = is_told(find(old, type_), after)?;
            Some(Notice {
                is_warning,
                reason: after.reason.clone(),
                action: (*action).to_owned(),
                note: clipped(after.message.clone(), NOTE_OCTETS),
            })
        })
        .collect()
}

/// Whether a transition is told, and as a warning.
fn is_told(before: Option<&Condition>, after: &Condition) -> Option<bool> {
    let is = |condition: &Condition, status: ConditionStatus| condition.status == status.as_str();
    let reason = |reason: Reason| after.reason == reason.as_str();
    // The same state again, whatever its message says by now.
    if before.is_some_and(|before| before.status == after.status && before.reason == after.reason) {
        return None;
    }
    // Ready repeats the first of the others: those tell for themselves.
    let is_own = after.type_ != READY || reason(Reason::NoReadyGateway) || reason(Reason::Ready);
    if is(after, ConditionStatus::False) {
        // A deletion was asked for.
        return is_own.then(|| !reason(Reason::Draining));
    }
    if is(after, ConditionStatus::True) {
        // A rollout makes references unknown until the first new gateway has reported: that is no recovery.
        let is_recovery = before.is_some_and(|before| {
            is(before, ConditionStatus::False)
                || (is(before, ConditionStatus::Unknown) && after.type_ != RESOLVED_REFS)
        });
        return is_recovery.then_some(false);
    }
    let was_known = before.is_some_and(|before| !is(before, ConditionStatus::Unknown));
    (after.type_ == QUEUE_HEALTHY && reason(Reason::NoReport) && was_known).then_some(true)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn status(type_: &str, status: &str, reason: &str) -> MailRelayStatus {
        MailRelayStatus {
            conditions: vec![Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: "because".to_owned(),
                observed_generation: Some(1),
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            }],
            ..MailRelayStatus::default()
        }
    }

    /// What is told of a transition: nothing, a warning or not.
    fn told(type_: &str, before: Option<(&str, &str)>, after: (&str, &str)) -> Option<bool> {
        let old = before.map(|(is, reason)| status(type_, is, reason));
        let notices = transitions(old.as_ref(), &status(type_, after.0, after.1));
        assert!(notices.len() <= 1);
        notices.first().map(|notice| {
            assert_eq!(notice.reason, after.1);
            assert_eq!(notice.note, "because");
            notice.is_warning
        })
    }

    type Is = (&'static str, &'static str);
    type Row = (&'static str, Option<Is>, Is, Option<bool>);

    const WARNING: Option<bool> = Some(true);
    const NORMAL: Option<bool> = Some(false);

    /// Type, status and reason before and after, and whether it is told: as a warning or not.
    const ROWS: &[Row] = &[
        (ACCEPTED, None, ("True", "Accepted"), None),
        (ACCEPTED, None, ("False", "InvalidSpec"), WARNING),
        (
            ACCEPTED,
            Some(("True", "Accepted")),
            ("True", "Accepted"),
            None,
        ),
        (
            ACCEPTED,
            Some(("False", "InvalidSpec")),
            ("False", "InvalidSpec"),
            None,
        ),
        (
            ACCEPTED,
            Some(("False", "InvalidSpec")),
            ("False", "NamespaceNotServed"),
            WARNING,
        ),
        (
            ACCEPTED,
            Some(("False", "InvalidSpec")),
            ("True", "Accepted"),
            NORMAL,
        ),
        (
            RESOLVED_REFS,
            Some(("Unknown", "Pending")),
            ("False", "SecretNotFound"),
            WARNING,
        ),
        (
            RESOLVED_REFS,
            Some(("True", "ResolvedRefs")),
            ("Unknown", "Pending"),
            None,
        ),
        (
            RESOLVED_REFS,
            Some(("Unknown", "Pending")),
            ("True", "ResolvedRefs"),
            None,
        ),
        (
            RESOLVED_REFS,
            Some(("False", "SecretNotFound")),
            ("True", "ResolvedRefs"),
            NORMAL,
        ),
        (
            PROGRAMMED,
            Some(("Unknown", "Pending")),
            ("True", "Programmed"),
            NORMAL,
        ),
        (
            PROGRAMMED,
            Some(("True", "Programmed")),
            ("False", "Draining"),
            NORMAL,
        ),
        (
            PROGRAMMED,
            Some(("True", "Programmed")),
            ("False", "RolloutStalled"),
            WARNING,
        ),
        (
            READY,
            Some(("True", "Ready")),
            ("False", "InvalidSpec"),
            None,
        ),
        (
            READY,
            Some(("True", "Ready")),
            ("False", "NoReadyGateway"),
            WARNING,
        ),
        (
            READY,
            Some(("False", "NoReadyGateway")),
            ("True", "Ready"),
            NORMAL,
        ),
        (READY, Some(("True", "Ready")), ("Unknown", "Pending"), None),
        (
            UPSTREAMS_HEALTHY,
            Some(("True", "Relaying")),
            ("False", "AuthenticationFailed"),
            WARNING,
        ),
        (
            UPSTREAMS_HEALTHY,
            Some(("False", "AuthenticationFailed")),
            ("False", "Unreachable"),
            WARNING,
        ),
        (
            UPSTREAMS_HEALTHY,
            Some(("False", "AuthenticationFailed")),
            ("Unknown", "Untried"),
            None,
        ),
        (
            UPSTREAMS_HEALTHY,
            Some(("Unknown", "Untried")),
            ("True", "Relaying"),
            NORMAL,
        ),
        (
            UPSTREAMS_HEALTHY,
            Some(("True", "Relaying")),
            ("Unknown", "NoReport"),
            None,
        ),
        (
            QUEUE_HEALTHY,
            Some(("True", "Flowing")),
            ("Unknown", "NoReport"),
            WARNING,
        ),
        (
            QUEUE_HEALTHY,
            Some(("False", "Held")),
            ("Unknown", "NoReport"),
            WARNING,
        ),
        (QUEUE_HEALTHY, None, ("Unknown", "NoReport"), None),
        (
            QUEUE_HEALTHY,
            Some(("Unknown", "NoReport")),
            ("True", "Flowing"),
            NORMAL,
        ),
        ("Stalled", None, ("True", "InvalidSpec"), None),
    ];
    #[test]
    fn one_event_per_transition_that_people_care_for() {
        for (type_, before, after, expected) in ROWS {
            assert_eq!(
                told(type_, *before, *after),
                *expected,
                "{type_}: {before:?} -> {after:?}"
            );
        }
    }

    #[test]
    fn several_transitions_are_several_events_with_bounded_notes() {
        let mut new = status(PROGRAMMED, "False", "ApplyFailed");
        new.conditions
            .extend(status(ACCEPTED, "True", "Accepted").conditions);
        new.conditions[0].message = "x".repeat(30_000);
        let old = status(ACCEPTED, "False", "InvalidSpec");
        let notices = transitions(Some(&old), &new);
        let told: Vec<_> = notices
            .iter()
            .map(|notice| {
                (
                    notice.action.as_str(),
                    notice.reason.as_str(),
                    notice.note.len(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("Validate", "Accepted", 7),
                ("Program", "ApplyFailed", 1_024)
            ]
        );
    }

    #[test]
    fn senders_too() {
        let sender = |is: &str, reason: &str| MailSenderStatus {
            conditions: status(PROGRAMMED, is, reason).conditions,
            ..MailSenderStatus::default()
        };
        let old = sender("Unknown", "Pending");
        let notices = sender_transitions(Some(&old), &sender("False", "SecretConflict"));
        assert_eq!(notices.len(), 1);
        assert!(notices[0].is_warning);
        assert!(sender_transitions(None, &old).is_empty());
    }
}
