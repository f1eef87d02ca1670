//! A recipient's progress as fields: what an `Outcome` holds for each recipient, and an `Accept` once copied forward.

use std::collections::BTreeMap;

use posthouse_config::reason::{Phase, Reason};

use super::field::{Field, FieldError, Fields, put, put_nested, put_number, put_optional};
use crate::mail::{Outcome, Progress, State, Timestamp};

const STATE: u8 = 1;
const REASON: u8 = 2;
const UPSTREAM: u8 = 3;
const PHASE: u8 = 4;
const REPLY: u8 = 5;
const ATTEMPTS: u8 = 6;
const REFUSALS: u8 = 7;
const LOST: u8 = 8;
const UNCONFIRMED: u8 = 9;
const FIRST_REFUSAL: u8 = 10;
const NEXT_ATTEMPT: u8 = 11;

/// In an `Outcome`: one recipient.
pub(in crate::spool) const RECIPIENT: u8 = 1;
/// Within it: the recipient's position, and its progress.
pub(in crate::spool) const POSITION: u8 = 1;
pub(in crate::spool) const PROGRESS: u8 = 2;

/// Writes the fields of a progress.
pub(super) fn write(out: &mut Vec<u8>, progress: &Progress) {
    put_number(out, STATE, progress.state.code().into());
    put_number(out, REASON, progress.reason.map_or(0, Reason::code).into());
    put_optional(out, UPSTREAM, progress.upstream.as_deref());
    put_number(out, PHASE, progress.phase.map_or(0, Phase::code).into());
    put_optional(out, REPLY, progress.reply.as_deref());
    put_number(out, ATTEMPTS, progress.attempts.into());
    put_number(out, REFUSALS, progress.refusals.into());
    put_number(out, LOST, progress.lost.into());
    put_number(out, UNCONFIRMED, progress.unconfirmed.into());
    put_time(out, FIRST_REFUSAL, progress.first_refusal);
    put_time(out, NEXT_ATTEMPT, progress.next_attempt);
}

fn put_time(out: &mut Vec<u8>, tag: u8, time: Option<Timestamp>) {
    if let Some(time) = time {
        put(out, tag, &time.as_millis().to_le_bytes());
    }
}

/// Reads the fields of a progress.
pub(super) fn read(payload: &[u8]) -> Result<Progress, FieldError> {
    let mut progress = Progress::default();
    for field in Fields::new(payload) {
        let field = field?;
        let malformed = FieldError::Malformed(field.tag);
        match field.tag {
            STATE => progress.state = State::from_code(field.small()?).ok_or(malformed)?,
            // A reason of a newer release: the state matters, the word for it does not.
            REASON => progress.reason = Reason::from_code(field.small()?),
            UPSTREAM => progress.upstream = Some(field.text()?),
            PHASE => progress.phase = Phase::from_code(field.small()?),
            REPLY => progress.reply = Some(field.text()?),
            ATTEMPTS => progress.attempts = field.small()?,
            REFUSALS => progress.refusals = field.small()?,
            LOST => progress.lost = field.small()?,
            UNCONFIRMED => progress.unconfirmed = field.small()?,
            FIRST_REFUSAL => progress.first_refusal = Some(time(field)?),
            NEXT_ATTEMPT => progress.next_attempt = Some(time(field)?),
            _ => field.unknown()?,
        }
    }
    Ok(progress)
}

fn time(field: Field<'_>) -> Result<Timestamp, FieldError> {
    Ok(Timestamp::from_millis(field.number()?))
}

/// Writes the payload of an `Outcome`.
pub(in crate::spool) fn write_outcomes(out: &mut Vec<u8>, outcomes: &[Outcome]) {
    for outcome in outcomes {
        put_nested(out, RECIPIENT, |out| {
            put_number(out, POSITION, outcome.recipient.into());
            put_nested(out, PROGRESS, |out| write(out, &outcome.progress));
        });
    }
}

/// Writes the payload of an `Outcome` from fields as they are stored.
pub(in crate::spool) fn write_stored(out: &mut Vec<u8>, latest: &BTreeMap<u32, &[u8]>) {
    for (recipient, progress) in latest {
        put_nested(out, RECIPIENT, |out| {
            put_number(out, POSITION, (*recipient).into());
            put(out, PROGRESS, progress);
        });
    }
}

/// One recipient of an `Outcome` as it is stored.
pub(in crate::spool) struct StoredOutcome<'a> {
    pub(in crate::spool) recipient: u32,
    /// The fields of its progress.
    pub(in crate::spool) progress: &'a [u8],
}

impl StoredOutcome<'_> {
    pub(in crate::spool) fn decode(&self) -> Result<Outcome, FieldError> {
        Ok(Outcome {
            recipient: self.recipient,
            progress: read(self.progress)?,
        })
    }
}

/// Reads the payload of an `Outcome`.
pub(in crate::spool) fn read_outcomes(
    payload: &[u8],
) -> Result<Vec<StoredOutcome<'_>>, FieldError> {
    let mut outcomes = Vec::new();
    for field in Fields::new(payload) {
        let field = field?;
        if field.tag == RECIPIENT {
            outcomes.push(read_recipient(field.value)?);
        } else {
            field.unknown()?;
        }
    }
    Ok(outcomes)
}

fn read_recipient(payload: &[u8]) -> Result<StoredOutcome<'_>, FieldError> {
    let (mut recipient, mut progress) = (0, &[][..]);
    for field in Fields::new(payload) {
        let field = field?;
        match field.tag {
            POSITION => recipient = field.small()?,
            PROGRESS => progress = field.value,
            _ => field.unknown()?,
        }
    }
    Ok(StoredOutcome {
        recipient,
        progress,
    })
}
