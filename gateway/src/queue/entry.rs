//! What the schedule remembers of a message that waits: 32 octets for each lane it waits in.
//!
//! Everything else is in the spool and read when the message is due. An entry is a hint: the plan of an attempt is
//! made from the message as it was read.

use std::{collections::HashMap, sync::Arc};

use posthouse_config::reason::Reason;

use super::state::UNCONFIRMED_ELSEWHERE;
use crate::{
    clock::{Clock, Monotonic},
    mail::{Message, Progress, QueueId, Recipient, State, Timestamp},
};

/// Both clocks, read once for everything that happens at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Stored and shown.
    pub(crate) wall: Timestamp,
    /// For deadlines.
    pub(crate) mono: Monotonic,
}

impl Now {
    /// Reads both clocks.
    pub(crate) fn read(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.wall(),
            mono: clock.now(),
        }
    }
}

/// Why a message waits, in the order in which it counts among its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Waiting {
    /// For its turn.
    Pending,
    /// For time.
    Deferred,
    /// For the upstream to have surely finished with it.
    Unconfirmed,
    /// For a cause to be fixed.
    Held,
}

impl Waiting {
    /// Every value, in order.
    pub(crate) const ALL: [Self; 4] =
        [Self::Pending, Self::Deferred, Self::Unconfirmed, Self::Held];

    /// The word for metrics, logs and people.
    pub(crate) const fn as_label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deferred => "deferred",
            Self::Unconfirmed => "unconfirmed",
            Self::Held => "held",
        }
    }

    const fn of(state: State) -> Option<Self> {
        match state {
            State::Pending => Some(Self::Pending),
            State::Deferred => Some(Self::Deferred),
            State::Unconfirmed => Some(Self::Unconfirmed),
            State::Held => Some(Self::Held),
            State::Relayed | State::Failed | State::Expired | State::Cancelled | State::Moved => {
                None
            }
        }
    }
}

/// What the upstream of the last attempt means for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bond {
    /// Nothing: it was never tried.
    Free,
    /// Stay with it while it is available: greylisting wants to see the same client again.
    Stays,
    /// No other may be used: it may have the message and not have said so.
    Only,
    /// Another one: this one cannot take it, or is not to decide about it.
    Avoids,
    /// Another one if one is available: this one did not take it.
    Shuns,
}

impl Bond {
    /// The bond of a recipient to the upstream of its last attempt.
    pub(crate) fn of(progress: &Progress) -> Self {
        if progress.upstream.is_none() {
            return Self::Free;
        }
        match (progress.state, progress.reason) {
            (State::Unconfirmed, _) if progress.unconfirmed < UNCONFIRMED_ELSEWHERE => Self::Only,
            (State::Unconfirmed, _) | (_, Some(Reason::ReversePathRefused)) => Self::Shuns,
            (_, Some(Reason::TooLarge | Reason::Utf8Needed | Reason::FallbackRefused)) => {
                Self::Avoids
            }
            _ => Self::Stays,
        }
    }
}

/// When a recipient may be attempted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// As soon as its turn comes.
    Now,
    /// Not before.
    At(Timestamp),
    /// Only when a person says so.
    Never,
}

impl Due {
    /// When a recipient that is not settled may be attempted again.
    pub(crate) fn of(progress: &Progress) -> Self {
        match (progress.state, progress.next_attempt) {
            (State::Pending, _) => Self::Now,
            (_, Some(at)) => Self::At(at),
            // The turn of a held reverse-path is the hold's to give, which catches it when it comes up.
            (State::Held, None) if progress.reason != Some(Reason::ReversePathRefused) => {
                Self::Never
            }
            (_, None) => Self::Now,
        }
    }

    /// Whether that is now.
    pub(crate) fn is_reached(self, wall: Timestamp) -> bool {
        match self {
            Self::Now => true,
            Self::At(at) => at <= wall,
            Self::Never => false,
        }
    }
}

/// Names of upstreams as small numbers. They are few, and never forgotten while the process runs.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Arc<str>, u16>,
}

impl Names {
    /// The number of a name, from 1. A 65,536th name shares the number 0, "none": it only loses its stickiness.
    pub(crate) fn number(&mut self, name: &str) -> u16 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u16::try_from(self.numbers.len() + 1).unwrap_or(0);
        self.numbers.insert(name.into(), number);
        number
    }
}

/// A message in a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    id: [u8; 16],
    /// When it was accepted, in seconds since 1970.
    accepted: u32,
    /// The sender's own expiry in seconds; 0 is none.
    expiry: u32,
    /// Recipients in this lane that are not settled.
    recipients: u16,
    /// The number of the upstream tried last; 0 is none.
    pub(crate) last: u16,
    /// What that means.
    pub(crate) bond: Bond,
    /// Why it waits.
    pub(crate) waiting: Waiting,
    /// The code of the reason, 0 for none.
    reason: u8,
    marks: u8,
}

/// The entry counts for the message; a message that waits in several lanes counts in one.
const EXTRA: u8 = 1;
/// It was in flight at two deaths of the process or more.
const ALONE: u8 = 2;
/// It finds out whether the hold on its reverse-path can end.
const PROBE: u8 = 4;
/// It could not be read a while ago.
const UNREAD: u8 = 8;

impl Entry {
    /// The entry of some unsettled recipients of a message, and when it is due. `None` without any.
    pub(crate) fn of<'a>(
        message: &Message,
        recipients: impl Iterator<Item = &'a Recipient>,
        names: &mut Names,
    ) -> Option<(Self, Due)> {
        let mut first: Option<(Due, &Progress)> = None;
        let mut waiting = Waiting::Held;
        let mut count = 0u16;
        for progress in recipients.map(|recipient| &recipient.progress) {
            let Some(state) = Waiting::of(progress.state) else {
                continue;
            };
            count = count.saturating_add(1);
            waiting = waiting.min(state);
            let due = Due::of(progress);
            if first.is_none_or(|(earliest, _)| due < earliest) {
                first = Some((due, progress));
            }
        }
        let (due, progress) = first?;
        let entry = Self {
            id: message.id.to_bytes(),
            accepted: seconds(message.accepted),
            expiry: message.expiry_seconds.unwrap_or(0),
            recipients: count,
            last: progress
                .upstream
                .as_deref()
                .map_or(0, |name| names.number(name)),
            bond: Bond::of(progress),
            waiting,
            reason: progress.reason.map_or(0, Reason::code),
            marks: 0,
        };
        Some((entry, due))
    }

    /// The message.
    pub(crate) fn id(&self) -> QueueId {
        QueueId::from_bytes(self.id)
    }

    /// When it was accepted, to the second.
    pub(crate) const fn accepted(&self) -> Timestamp {
        Timestamp::from_millis(self.accepted as u64 * 1000)
    }

    /// The sender's own expiry in seconds.
    pub(crate) fn own_expiry(&self) -> Option<u32> {
        (self.expiry > 0).then_some(self.expiry)
    }

    /// Recipients in this lane that are not settled.
    pub(crate) fn recipients(&self) -> u64 {
        self.recipients.into()
    }

    /// Why it waits.
    pub(crate) const fn reason(&self) -> Option<Reason> {
        Reason::from_code(self.reason)
    }

    /// Whether another entry of the same message counts for it.
    pub(crate) const fn is_extra(&self) -> bool {
        self.marks & EXTRA != 0
    }

    /// Whether it must be attempted alone.
    pub(crate) const fn is_alone(&self) -> bool {
        self.marks & ALONE != 0
    }

    /// Whether it finds out about a hold.
    pub(crate) const fn is_probe(&self) -> bool {
        self.marks & PROBE != 0
    }

    /// Whether it could not be read the last time.
    pub(crate) const fn is_unread(&self) -> bool {
        self.marks & UNREAD != 0
    }

    /// The same, which could not be read.
    pub(crate) fn unread(self) -> Self {
        self.marked(UNREAD, true)
    }

    /// The same, not counted.
    pub(crate) fn extra(self, extra: bool) -> Self {
        self.marked(EXTRA, extra)
    }

    /// The same, to be attempted alone.
    pub(crate) fn alone(self, alone: bool) -> Self {
        self.marked(ALONE, alone)
    }

    /// The same, to find out about a hold.
    pub(crate) fn probe(self, probe: bool) -> Self {
        self.marked(PROBE, probe)
    }

    /// The same, to be offered to another upstream first.
    pub(crate) fn shunning(self, last: u16) -> Self {
        Self {
            last,
            bond: Bond::Shuns,
            ..self
        }
    }

    /// The same, held since the spool cannot read it; it stands for as many more recipients.
    pub(crate) fn damaged(self, more: u64) -> Self {
        let more = u16::try_from(more).unwrap_or(u16::MAX);
        Self {
            recipients: self.recipients.saturating_add(more),
            last: 0,
            bond: Bond::Free,
            waiting: Waiting::Held,
            reason: Reason::Damaged.code(),
            ..self.extra(false)
        }
    }

    fn marked(self, mark: u8, on: bool) -> Self {
        let marks = if on {
            self.marks | mark
        } else {
            self.marks & !mark
        };
        Self { marks, ..self }
    }
}

/// Whole seconds since 1970; good until 2106.
pub(crate) fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_millis() / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::message;

    #[test]
    fn an_entry_is_32_octets() {
        assert!(size_of::<Entry>() <= 32);
    }

    #[test]
    fn the_first_recipient_that_is_due_decides() {
        let mut names = Names::default();
        let mut message = message(
            1,
            "a.b",
            "u@x.example",
            &["a@c.example", "b@c.example", "c@c.example"],
        );
        let at = |s: u64| Some(Timestamp::from_millis(s * 1000));
        message.recipients[0].progress = Progress {
            state: State::Held,
            reason: Some(Reason::Poison),
            next_attempt: at(9),
            ..Progress::default()
        };
        message.recipients[1].progress = Progress {
            state: State::Deferred,
            upstream: Some("isp".into()),
            next_attempt: at(5),
            ..Progress::default()
        };
        message.recipients[2].progress.state = State::Relayed;
        let (entry, due) = Entry::of(&message, message.recipients.iter(), &mut names).unwrap();
        assert_eq!(
            (entry.recipients(), entry.waiting, due),
            (2, Waiting::Deferred, Due::At(Timestamp::from_millis(5000)))
        );
        assert_eq!((entry.last, entry.bond), (names.number("isp"), Bond::Stays));
        assert!(Entry::of(&message, message.recipients[2..].iter(), &mut names).is_none());
    }

    #[test]
    fn the_bond_to_the_last_upstream_follows_from_what_it_did() {
        let tried = |state, reason, unconfirmed| Progress {
            state,
            reason,
            unconfirmed,
            upstream: Some("isp".into()),
            ..Progress::default()
        };
        for (progress, bond) in [
            (Progress::default(), Bond::Free),
            (
                tried(State::Deferred, Some(Reason::RecipientDeferred), 0),
                Bond::Stays,
            ),
            (
                tried(State::Unconfirmed, Some(Reason::Unconfirmed), 1),
                Bond::Only,
            ),
            (
                tried(State::Unconfirmed, Some(Reason::Unconfirmed), 2),
                Bond::Shuns,
            ),
            (
                tried(State::Deferred, Some(Reason::TooLarge), 0),
                Bond::Avoids,
            ),
            (
                tried(State::Deferred, Some(Reason::FallbackRefused), 0),
                Bond::Avoids,
            ),
        ] {
            assert_eq!(Bond::of(&progress), bond, "{progress:?}");
        }
    }
}
