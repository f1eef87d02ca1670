//! What goes into the verdict on a transaction, and what comes out of it.
//!
//! Values only; the rows are in `transaction`. A ruling has two sides: the verdict, for the recipient, and the effects,
//! for the upstream and for the reverse-path there.

use posthouse_config::reason::{Phase, Reason};
use posthouse_smtp::Reply;

use super::{Earlier, Fault, History};
use crate::{
    outbound::dictionary::Dictionary,
    queue::deliver::{Evidence, Verdict},
};

/// What happened to one recipient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    /// What happened.
    pub(crate) event: &'a Event,
    /// How far the transaction had come.
    pub(crate) phase: Phase,
    /// Whether RCPT of another recipient was answered by 2yz in this transaction.
    pub(crate) another_accepted: bool,
    /// Whether the upstream took the message in this transaction, for whichever recipients.
    pub(crate) relayed: bool,
    /// Whether the target is of the first eligible priority.
    pub(crate) first_priority: bool,
    /// This recipient's earlier attempts.
    pub(crate) earlier: Earlier,
    /// What is known of the upstream.
    pub(crate) history: History,
    /// What the provider is known to mean.
    pub(crate) dictionary: Dictionary,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A reply where one was due.
    Replied(Reply),
    /// A reply where none was due, or octets that are no reply.
    OutOfPlace(String),
    /// The connection was lost, or a time-out.
    Lost(String),
    /// We were told to stop at once.
    Stopped,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ruling {
    /// For this recipient, and for the upstream.
    Settled(Verdict, Effects),
    /// The target lacks what the message needs (row 6 as row 22).
    Lacking(Reason, Evidence, Lack),
    /// Offered again at once in another transaction.
    Again,
}

/// How much a reply says of what a target lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It was explicit: the next message like this one need not ask.
    Known,
    /// It may have meant something else, such as a full mailbox: said of this message only.
    Supposed,
}

/// What follows beside the verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Effects {
    /// For the upstream.
    pub(crate) upstream: Blame,
    /// For the reverse-path at that upstream.
    pub(crate) reverse_path: PathEffect,
}

/// What an event says about an upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Blame {
    /// Nothing.
    #[default]
    Nothing,
    /// It took a message.
    Praise,
    /// Three in a row from different messages make it `Unreachable`.
    Trouble(Evidence),
    /// Three in a row from different messages make it `Refused`.
    Session(Evidence),
    /// A permanent refusal outside RCPT: the breaker counts it.
    Refusal(Evidence),
    /// It is in another state from now on.
    Fault(Box<Fault>),
}

/// What an event says about a reverse-path at an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PathEffect {
    /// Nothing.
    #[default]
    Nothing,
    /// A message of it was refused.
    Refused,
    /// It is held.
    Held,
}
