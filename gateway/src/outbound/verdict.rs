//! What an event means: the one place that turns what happened into outcomes. Pure.
//!
//! The rule behind the rows: a permanent reply fails mail only where we have reason to believe that it is about the
//! mail; every other one waits or holds. A comment `row N` names the row of the table in the gateway's reference.
//! Asked in this order, the first that fits decides: the dictionary; rows 13 and 18–21, whatever the phase; the rows
//! of the phase; and last, on what would fail, row 23 and the breaker.
//!
//! Three questions have their own file: why a session could not be opened ([`opening`]), what a transaction brought
//! ([`transaction`], its values in [`ruling`]), and whether a target lacks what a message needs ([`lacking`]).

pub(crate) mod lacking;
pub(crate) mod opening;
pub(crate) mod ruling;
pub(crate) mod transaction;

use std::time::Duration;

use posthouse_config::reason::{Phase, Reason, UpstreamState};

use super::content::Unreadable;
use crate::{
    mail::Timestamp,
    queue::deliver::{Evidence, Verdict},
};

/// Octets of a reply that are kept with a recipient.
const KEPT_REPLY: usize = 512;

/// A refusal that may be about our account or a passing fault of the provider is asked about again after this.
pub(crate) const SECOND_OPINION: Duration = Duration::from_mins(15);

/// The upstream as a whole cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The state it is in from now on.
    pub(crate) state: UpstreamState,
    /// When it is next probed, where that differs from the state's timetable.
    pub(crate) wait: Option<Duration>,
    /// What happened.
    pub(crate) evidence: Evidence,
    /// What a person can do, where the dictionary knows better than the state.
    pub(crate) remedy: Option<&'static str>,
}

/// What is known of one recipient from earlier attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// Permanent refusals that did not fail it.
    pub(crate) refusals: u16,
    /// When the first of them came.
    pub(crate) first_refusal: Option<Timestamp>,
    /// Connections lost while its content was sent.
    pub(crate) lost: u16,
    /// Final dots without a reply.
    pub(crate) unconfirmed: u16,
}

/// What is known of an upstream, as far as it bears on one message. No evidence fails nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// When it last relayed another message of this reverse-path.
    pub(crate) relayed_of_reverse_path: Option<Timestamp>,
    /// When it last relayed any other message.
    pub(crate) relayed_other: Option<Timestamp>,
    /// It relayed other content since a connection was first lost with this message's.
    pub(crate) relayed_since_lost: bool,
    /// Different other messages of this reverse-path refused in a row, without a 2yz between.
    pub(crate) others_refused: usize,
    /// One more permanent refusal opens the breaker.
    pub(crate) breaker_is_due: bool,
}

/// What it means that our own stored content could not be read: nobody's fault but ours, nothing that a retry at once
/// would mend, and for a person if the disk gives something else than it was given.
pub(crate) fn unreadable(error: &Unreadable) -> Verdict {
    let evidence = evidence(Phase::Content, error);
    match error {
        Unreadable::Io(_) => Verdict::Deferred {
            reason: Reason::TransactionDeferred,
            evidence,
            wait: SECOND_OPINION,
            refused: false,
            lost: false,
        },
        Unreadable::Damaged => Verdict::Held(Reason::ContentDamaged, evidence),
    }
}

/// Evidence of a phase and what was said or happened, cut to what is kept.
pub(crate) fn evidence(phase: Phase, what: &impl ToString) -> Evidence {
    let mut text = what.to_string();
    if text.len() > KEPT_REPLY {
        let end = (0..=KEPT_REPLY)
            .rev()
            .find(|&end| text.is_char_boundary(end))
            .unwrap_or_default();
        text.truncate(end);
    }
    Evidence {
        phase,
        reply: text.into(),
    }
}
