//! Conditions by the conventions of the Kubernetes API, for both kinds.
//!
//! What is observed becomes a list of [`Wanted`]; [`set`] adds what the conventions ask for: the generation on each,
//! and a `lastTransitionTime` that moves only when the status does. Conditions of types that are not wanted are left
//! out: they are either gone (`Stalled`) or belong to another field manager, whose they stay under server-side apply.
//! Pure.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether the object can be honoured.
pub const ACCEPTED: &str = "Accepted";

/// Whether everything it refers to is there.
pub const RESOLVED_REFS: &str = "ResolvedRefs";

/// Whether what it says is in effect.
pub const PROGRAMMED: &str = "Programmed";

/// Whether it can be used; what deploy tools wait for.
pub const READY: &str = "Ready";

/// Whether every upstream takes mail.
pub const UPSTREAMS_HEALTHY: &str = "UpstreamsHealthy";

/// Whether mail that was taken moves on.
pub const QUEUE_HEALTHY: &str = "QueueHealthy";

/// Whether nothing goes on without a person (kstatus).
pub const STALLED: &str = "Stalled";

/// The most octets of a message (`metav1.Condition`: `maxLength` 32,768).
const MESSAGE_OCTETS: usize = 32_768;

/// The most octets of a reason (`metav1.Condition`: `maxLength` 1,024).
const REASON_OCTETS: usize = 1_024;

/// What a reason becomes that has no octet the API server would take.
const NO_REASON: &str = "Unspecified";

/// Every type that a MailRelay's or a MailSender's conditions have.
pub const TYPES: [&str; 7] = [
    ACCEPTED,
    RESOLVED_REFS,
    PROGRAMMED,
    READY,
    UPSTREAMS_HEALTHY,
    QUEUE_HEALTHY,
    STALLED,
];

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can say yet.
    Unknown,
}

impl ConditionStatus {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A condition as it is to be, without what only its history can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its type, as in `Ready`.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, for programs: `CamelCase`.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

impl Wanted {
    /// A condition that is to be.
    pub fn new(
        type_: &'static str,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// The conditions to write: those wanted, in that order, about a generation.
///
/// `lastTransitionTime` is that of the previous condition of the same type while its status is the same (Kubernetes
/// API conventions, "Typical status properties"), else `now`.
pub fn set(
    previous: &[Condition],
    wanted: Vec<Wanted>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    wanted
        .into_iter()
        .map(|wanted| {
            let last_transition_time = find(previous, wanted.type_)
                .filter(|condition| condition.status == wanted.status.as_str())
                .map_or(Time(now), |condition| {
                    condition.last_transition_time.clone()
                });
            Condition {
                type_: wanted.type_.to_owned(),
                status: wanted.status.as_str().to_owned(),
                reason: reason(&wanted.reason),
                message: clipped(wanted.message, MESSAGE_OCTETS),
                observed_generation: Some(generation),
                last_transition_time,
            }
        })
        .collect()
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// A text of at most so many octets; an ellipsis says that there was more.
pub fn clipped(mut text: String, octets: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() > octets {
        let mut end = octets.saturating_sub(ELLIPSIS.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(ELLIPSIS);
    }
    text
}

/// A reason that the API server takes: `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`. One bad reason would make it refuse
/// the whole status.
fn reason(given: &str) -> String {
    let kept: String = given
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ',' | ':'))
        .skip_while(|c| !c.is_ascii_alphabetic())
        .take(REASON_OCTETS)
        .collect();
    match kept.trim_end_matches([',', ':']) {
        "" => NO_REASON.to_owned(),
        kept => kept.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(status: ConditionStatus, reason: &str) -> Vec<Wanted> {
        vec![Wanted::new("Ready", status, reason, "because")]
    }

    #[test]
    fn the_transition_time_moves_with_the_status_alone() {
        let first = set(&[], ready(ConditionStatus::False, "A"), 1, at(100));
        assert_eq!(first[0].last_transition_time, Time(at(100)));
        let same = set(&first, ready(ConditionStatus::False, "B"), 2, at(200));
        assert_eq!(same[0].last_transition_time, Time(at(100)));
        assert_eq!(same[0].reason, "B");
        assert_eq!(same[0].observed_generation, Some(2));
        let other = set(&same, ready(ConditionStatus::True, "B"), 2, at(300));
        assert_eq!(other[0].last_transition_time, Time(at(300)));
        assert_eq!(other[0].status, "True");
    }

    #[test]
    fn what_is_not_wanted_is_left_out() {
        let both = vec![
            Wanted::new("Stalled", ConditionStatus::True, "InvalidSpec", ""),
            Wanted::new("Ready", ConditionStatus::False, "InvalidSpec", ""),
        ];
        let before = set(&[], both, 1, at(1));
        let after = set(&before, ready(ConditionStatus::True, "Ready"), 2, at(2));
        assert_eq!(after.len(), 1);
        assert_eq!(after[0].type_, "Ready");
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let wanted = Wanted::new("Ready", ConditionStatus::True, "Ready", "ä".repeat(20_000));
        let written = set(&[], vec![wanted], 1, at(1));
        let message = &written[0].message;
        assert!(message.len() <= MESSAGE_OCTETS, "{}", message.len());
        assert!(message.len() > MESSAGE_OCTETS - 5);
        assert!(message.ends_with("ä…"));
        assert_eq!(clipped("short".to_owned(), 5), "short");
    }

    #[test]
    fn reasons_are_what_the_api_server_takes() {
        for (given, kept) in [
            ("InvalidSpec", "InvalidSpec"),
            ("no such thing!", "nosuchthing"),
            ("4xx", "xx"),
            ("a:", "a"),
            ("", NO_REASON),
            ("…", NO_REASON),
        ] {
            assert_eq!(reason(given), kept);
        }
        assert_eq!(reason(&"a".repeat(2_000)).len(), REASON_OCTETS);
    }
}
