//! Rows 5–21 and 23: what a transaction brought, for one of its recipients.

use std::time::Duration;

use posthouse_config::reason::{Phase, Reason, UpstreamState};
use posthouse_smtp::{EnhancedStatus, Reply, reply::Severity};

use super::{
    Fault, SECOND_OPINION, evidence,
    ruling::{Blame, Case, Effects, Event, Lack, PathEffect, Ruling},
};
use crate::{
    mail::Timestamp,
    outbound::dictionary::{Entry, Meaning},
    queue::deliver::{Evidence, Verdict},
};

/// Different messages of one reverse-path refused in a row until the reverse-path is held.
const REFUSED_MESSAGES: usize = 3;

/// Connections lost with one message's content until the message is held.
const LOST_CONNECTIONS: u16 = 3;

/// Final dots of one message without a reply until the message is held.
const UNCONFIRMED_DOTS: u16 = 3;

/// What a case means.
pub(crate) fn of(case: Case<'_>) -> Ruling {
    let ruling = match case.event {
        Event::Stopped => stopped(case.phase),
        Event::Lost(what) => lost(case, what),
        Event::OutOfPlace(what) => out_of_place(case, what),
        Event::Replied(reply) => replied(case, reply),
    };
    last(case, ruling)
}

/// Row 23 and the breaker, asked last, on what would fail.
fn last(case: Case<'_>, ruling: Ruling) -> Ruling {
    match ruling {
        Ruling::Settled(Verdict::Failed(_, evidence), effects) if !case.first_priority => {
            let verdict = deferred(Reason::FallbackRefused, evidence, Duration::ZERO);
            Ruling::Settled(verdict, effects)
        }
        Ruling::Settled(Verdict::Failed(_, evidence), effects)
            if case.history.breaker_is_due && matches!(effects.upstream, Blame::Refusal(_)) =>
        {
            Ruling::Settled(Verdict::NotOffered(Some(evidence)), effects)
        }
        other => other,
    }
}

fn stopped(phase: Phase) -> Ruling {
    let evidence = evidence(phase, &"the gateway stopped");
    let verdict = if phase == Phase::Final {
        Verdict::Unconfirmed(evidence)
    } else {
        deferred(Reason::Stopped, evidence, Duration::ZERO)
    };
    Ruling::Settled(verdict, Effects::default())
}

fn lost(case: Case<'_>, what: &str) -> Ruling {
    let evidence = evidence(case.phase, &what);
    let effects = trouble(&evidence);
    if case.phase == Phase::Final {
        return Ruling::Settled(unconfirmed(case, evidence), Effects::default());
    }
    // row 12
    let is_third = case.earlier.lost.saturating_add(1) >= LOST_CONNECTIONS;
    let verdict = if is_third && case.history.relayed_since_lost {
        Verdict::Held(Reason::ConnectionLost, evidence)
    } else {
        Verdict::Deferred {
            reason: Reason::ConnectionLost,
            evidence,
            wait: Duration::ZERO,
            refused: false,
            lost: true,
        }
    };
    Ruling::Settled(verdict, effects)
}

/// Row 20.
fn out_of_place(case: Case<'_>, what: &str) -> Ruling {
    let evidence = evidence(case.phase, &what);
    let effects = trouble(&evidence);
    let verdict = if case.phase == Phase::Final {
        unconfirmed(case, evidence)
    } else {
        deferred(Reason::ProtocolError, evidence, Duration::ZERO)
    };
    Ruling::Settled(verdict, effects)
}

/// Row 18.
fn unconfirmed(case: Case<'_>, evidence: Evidence) -> Verdict {
    if case.earlier.unconfirmed.saturating_add(1) >= UNCONFIRMED_DOTS {
        Verdict::Held(Reason::Unconfirmed, evidence)
    } else {
        Verdict::Unconfirmed(evidence)
    }
}

fn replied(case: Case<'_>, reply: &Reply) -> Ruling {
    if let Some(entry) = case.dictionary.look_up(case.phase, reply) {
        return meant(case, entry, reply);
    }
    let said = evidence(case.phase, reply);
    match reply.code {
        // row 19
        421 => transient(said),
        // row 21
        500 | 502..=504 | 530 | 534 | 535 | 538 => Ruling::Settled(
            deferred(Reason::SessionRefused, said.clone(), Duration::ZERO),
            Effects {
                upstream: Blame::Session(said),
                reverse_path: PathEffect::Nothing,
            },
        ),
        _ => of_phase(case, reply, said),
    }
}

fn of_phase(case: Case<'_>, reply: &Reply, said: Evidence) -> Ruling {
    let Some(severity) = reply.severity() else {
        return out_of_place(case, &reply.to_string());
    };
    match (case.phase, severity) {
        // row 14
        (Phase::Final, Severity::Positive) => Ruling::Settled(
            Verdict::Relayed(said),
            Effects {
                upstream: Blame::Praise,
                reverse_path: PathEffect::Nothing,
            },
        ),
        // row 5; row 11; rows 13 and 15
        (Phase::Mail | Phase::Data | Phase::Content | Phase::Final, Severity::Transient) => {
            transient(said)
        }
        (Phase::Mail, Severity::Permanent) => mail(reply, said),
        (Phase::Rcpt, Severity::Transient) => rcpt_transient(case, reply, said),
        (Phase::Rcpt, Severity::Permanent) => rcpt_permanent(case, reply, said),
        // row 11
        (Phase::Data, Severity::Permanent) => maybe(case, reply, Reason::MessageRefused, said),
        // row 13
        (Phase::Content | Phase::Final, Severity::Permanent) => content(case, reply, said),
        (
            Phase::Connect
            | Phase::Greeting
            | Phase::Hello
            | Phase::Tls
            | Phase::Auth
            | Phase::Mail
            | Phase::Rcpt
            | Phase::Data
            | Phase::Content
            | Phase::Final,
            _,
        ) => out_of_place(case, &reply.to_string()),
    }
}

/// Row 5, and what is as row 5.
fn transient(said: Evidence) -> Ruling {
    let effects = trouble(&said);
    let verdict = deferred(Reason::TransactionDeferred, said, Duration::ZERO);
    Ruling::Settled(verdict, effects)
}

/// Row 6.
fn mail(reply: &Reply, said: Evidence) -> Ruling {
    match subject(reply) {
        Some((6, 7)) => Ruling::Lacking(Reason::Utf8Needed, said, Lack::Supposed),
        Some((3, 4)) => Ruling::Lacking(Reason::TooLarge, said, Lack::Known),
        _ if reply.code == 552 => Ruling::Lacking(Reason::TooLarge, said, Lack::Supposed),
        _ => held_path(said, Kind::OutsideRcpt),
    }
}

/// Row 7.
fn rcpt_transient(case: Case<'_>, reply: &Reply, said: Evidence) -> Ruling {
    if case.another_accepted && says_too_many(reply) {
        return Ruling::Again;
    }
    let verdict = deferred(Reason::RecipientDeferred, said, Duration::ZERO);
    Ruling::Settled(verdict, Effects::default())
}

/// 452, or 552 as RFC 821 had it (RFC 5321 §4.5.3.1.10).
fn says_too_many(reply: &Reply) -> bool {
    matches!(reply.code, 452 | 552) && subject(reply).is_none_or(|subject| subject == (5, 3))
}

/// Rows 7, 8 and 9.
fn rcpt_permanent(case: Case<'_>, reply: &Reply, said: Evidence) -> Ruling {
    if case.another_accepted && says_too_many(reply) {
        return Ruling::Again;
    }
    let is_about_recipient = match subject(reply) {
        // About the sender: as row 6.
        Some((1, 7 | 8)) => return held_path(said, Kind::Rcpt),
        Some((1, 1..=4 | 6 | 10) | (2, _)) => true,
        Some(_) => false,
        None => matches!(reply.code, 550 | 551 | 553) && case.another_accepted,
    };
    if is_about_recipient {
        let verdict = Verdict::Failed(Reason::RecipientRefused, said);
        return Ruling::Settled(verdict, Effects::default());
    }
    maybe(case, reply, Reason::RecipientRefused, said)
}

/// Rows 16 and 17.
fn content(case: Case<'_>, reply: &Reply, said: Evidence) -> Ruling {
    let reason = match subject(reply) {
        Some((3, 4)) => Reason::TooLarge,
        Some((6, _)) => Reason::MessageRefused,
        _ => return maybe(case, reply, Reason::MessageRefused, said),
    };
    let effects = Effects {
        upstream: Blame::Refusal(said.clone()),
        reverse_path: PathEffect::Nothing,
    };
    Ruling::Settled(Verdict::Failed(reason, said), effects)
}

/// Rows 9 and 17: a refusal of which it is not known whether it is about the mail. It fails only if it comes again
/// while other mail goes through.
fn maybe(case: Case<'_>, reply: &Reply, reason: Reason, said: Evidence) -> Ruling {
    // A 2yz of this very transaction is one between.
    let is_held = !case.relayed && case.history.others_refused + 1 >= REFUSED_MESSAGES;
    let effects = Effects {
        upstream: if case.phase == Phase::Rcpt {
            Blame::Nothing
        } else {
            Blame::Refusal(said.clone())
        },
        reverse_path: if is_held {
            PathEffect::Held
        } else {
            PathEffect::Refused
        },
    };
    // What holds the reverse-path is believed to be about the sender, and so fails nobody's mail.
    let verdict = if !is_held && is_confirmed(case, reply) {
        Verdict::Failed(reason, said)
    } else {
        Verdict::Deferred {
            reason,
            evidence: said,
            wait: SECOND_OPINION,
            refused: true,
            lost: false,
        }
    };
    Ruling::Settled(verdict, effects)
}

/// Whether the upstream relayed other mail since this recipient was first refused.
fn is_confirmed(case: Case<'_>, reply: &Reply) -> bool {
    let Some(first) = case.earlier.first_refusal else {
        return false;
    };
    let since = |relayed: Option<Timestamp>| relayed.is_some_and(|at| at > first);
    let names_mailbox = matches!(reply.code, 550 | 551 | 553) && reply.enhanced.is_none();
    case.earlier.refusals > 0
        && (since(case.history.relayed_of_reverse_path)
            || (names_mailbox && since(case.history.relayed_other)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rcpt,
    OutsideRcpt,
}

/// The second half of row 6.
fn held_path(said: Evidence, kind: Kind) -> Ruling {
    let upstream = match kind {
        Kind::Rcpt => Blame::Nothing,
        Kind::OutsideRcpt => Blame::Refusal(said.clone()),
    };
    let effects = Effects {
        upstream,
        reverse_path: PathEffect::Held,
    };
    let verdict = deferred(Reason::ReversePathRefused, said, Duration::ZERO);
    Ruling::Settled(verdict, effects)
}

/// What the dictionary says.
fn meant(case: Case<'_>, entry: &Entry, reply: &Reply) -> Ruling {
    let said = evidence(case.phase, reply);
    let fault = |state, wait| {
        let fault = Fault {
            state,
            wait,
            evidence: said.clone(),
            remedy: Some(entry.remedy),
        };
        let effects = Effects {
            upstream: Blame::Fault(Box::new(fault)),
            reverse_path: PathEffect::Nothing,
        };
        Ruling::Settled(Verdict::NotOffered(Some(said.clone())), effects)
    };
    match entry.meaning {
        Meaning::Recipient if case.phase == Phase::Rcpt => Ruling::Settled(
            Verdict::Failed(Reason::RecipientRefused, said),
            Effects::default(),
        ),
        // Said of the whole transaction it does not tell whom it means.
        Meaning::Recipient => maybe(case, reply, Reason::RecipientRefused, said),
        Meaning::Message => Ruling::Settled(
            Verdict::Failed(Reason::MessageRefused, said.clone()),
            Effects {
                upstream: Blame::Refusal(said),
                reverse_path: PathEffect::Nothing,
            },
        ),
        Meaning::Rate(wait) => fault(UpstreamState::Throttled, Some(wait)),
        Meaning::Quota(wait) => fault(UpstreamState::QuotaExhausted, Some(wait)),
        Meaning::Sender => held_path(said, Kind::Rcpt),
        Meaning::Account(state) => fault(state, None),
    }
}

fn trouble(said: &Evidence) -> Effects {
    Effects {
        upstream: Blame::Trouble(said.clone()),
        reverse_path: PathEffect::Nothing,
    }
}

fn deferred(reason: Reason, evidence: Evidence, wait: Duration) -> Verdict {
    Verdict::Deferred {
        reason,
        evidence,
        wait,
        refused: false,
        lost: false,
    }
}

/// Subject and detail of the enhanced status.
fn subject(reply: &Reply) -> Option<(u16, u16)> {
    let EnhancedStatus {
        subject, detail, ..
    } = reply.enhanced?;
    Some((subject, detail))
}

#[cfg(test)]
mod tests;
