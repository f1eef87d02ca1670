//! A recipient: a forward-path with its delivery state.

use posthouse_config::reason::{Phase, Reason};
use posthouse_smtp::Mailbox;

use super::Timestamp;

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address as the client gave it.
    pub forward_path: Mailbox,
    /// `ORCPT` as it came, still encoded (RFC 3461 §4.2).
    pub orcpt: Option<Box<str>>,
    /// `NOTIFY` as it came (RFC 3461 §4.1).
    pub notify: Option<Box<str>>,
    /// Where its life has come to.
    pub progress: Progress,
}

/// Where a recipient's life has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// To be attempted as soon as its turn comes.
    #[default]
    Pending,
    /// Waits for time.
    Deferred,
    /// Waits for a cause to be fixed.
    Held,
    /// The final dot went out and no reply came.
    Unconfirmed,
    /// The upstream accepted it. End.
    Relayed,
    /// Refused for good. End, reported.
    Failed,
    /// Too old. End, reported.
    Expired,
    /// A person gave it up. End, logged.
    Cancelled,
    /// A sibling gateway has it. End.
    Moved,
}

impl State {
    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Deferred | Self::Held | Self::Unconfirmed => false,
            Self::Relayed | Self::Failed | Self::Expired | Self::Cancelled | Self::Moved => true,
        }
    }

    /// The number in the spool.
    pub const fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Deferred => 1,
            Self::Held => 2,
            Self::Unconfirmed => 3,
            Self::Relayed => 4,
            Self::Failed => 5,
            Self::Expired => 6,
            Self::Cancelled => 7,
            Self::Moved => 8,
        }
    }

    /// The state of a number in the spool.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Pending,
            1 => Self::Deferred,
            2 => Self::Held,
            3 => Self::Unconfirmed,
            4 => Self::Relayed,
            5 => Self::Failed,
            6 => Self::Expired,
            7 => Self::Cancelled,
            8 => Self::Moved,
            _ => return None,
        })
    }

    /// The word for metrics and logs.
    pub const fn as_label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Unconfirmed => "unconfirmed",
            Self::Relayed => "relayed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Moved => "moved",
        }
    }
}

/// Everything that is remembered about a recipient; exactly this is in an `Outcome` record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The state.
    pub state: State,
    /// Why it is in that state, unless it is pending from the start or relayed.
    pub reason: Option<Reason>,
    /// The upstream of the last attempt.
    pub upstream: Option<Box<str>>,
    /// How far the last attempt had come.
    pub phase: Option<Phase>,
    /// The upstream's last reply, or what happened instead, escaped, at most 512 octets.
    pub reply: Option<Box<str>>,
    /// Attempts so far in which this recipient was offered to an upstream.
    pub attempts: u32,
    /// Permanent refusals that did not fail it yet.
    pub refusals: u16,
    /// Connections lost while its content was sent.
    pub lost: u16,
    /// Final dots without a reply.
    pub unconfirmed: u16,
    /// When the first of the refusals came.
    pub first_refusal: Option<Timestamp>,
    /// Not before this moment, for `Deferred` and `Unconfirmed`.
    pub next_attempt: Option<Timestamp>,
}
