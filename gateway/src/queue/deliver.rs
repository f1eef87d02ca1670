//! What the queue asks of relaying: one attempt, a probe, and what state the upstreams are in.
//!
//! An [`Attempt`] offers some recipients of one message to one upstream; its [`AttemptReport`] says for each of them
//! what that means. Whether a reply defers, holds or fails is decided on the other side, in one place; what follows
//! for schedule and spool is decided on this side.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use posthouse_config::reason::{Phase, Reason, UpstreamState};
use tokio::sync::{mpsc, watch};

use crate::{
    clock::Monotonic,
    mail::{Content, Message, Timestamp},
    shutdown::Shutdown,
};

/// Hands messages to upstreams.
pub trait Deliver: Send + Sync + 'static {
    /// Offers recipients of a message to an upstream. Takes as long as the upstream does, bounded by the time-outs of
    /// RFC 5321 §4.5.3.2. Dropping the future aborts the attempt.
    fn attempt(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = AttemptReport> + Send>>;

    /// Asks for a probe of an upstream now, without mail: a person, or a change, gives hope.
    fn probe(&self, upstream: &str);

    /// What is known of every upstream of the document in use; changes with every transition.
    fn upstreams(&self) -> watch::Receiver<Arc<Upstreams>>;
}

/// What is known of every upstream, by name.
pub type Upstreams = BTreeMap<Arc<str>, UpstreamView>;

/// What is known of one upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamView {
    /// Its state.
    pub state: UpstreamState,
    /// Since when.
    pub since: Timestamp,
    /// When it is next probed, unless it is `Ready`.
    pub retry_at: Option<Monotonic>,
    /// Attempts it may have under way now: 0 unless `Ready`, then from 1 doubling up to its connections.
    pub capacity: u32,
    /// The reply or event that led to the state.
    pub reply: Option<String>,
    /// What a person can do about it.
    pub remedy: Option<String>,
    /// When it last took a message.
    pub last_relayed: Option<Timestamp>,
    /// When it was last tried without success, by mail or probe.
    pub last_failure: Option<Timestamp>,
}

/// One try to hand recipients of a message to an upstream.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The message with what is known of its recipients.
    pub message: Arc<Message>,
    /// Its content.
    pub content: Content,
    /// Positions of the recipients to offer, ascending, none of them settled.
    pub recipients: Vec<u32>,
    /// Every target that may send this message for these recipients, this one included.
    pub eligible: Arc<[Arc<str>]>,
    /// Whether this target is of the first eligible priority: only such a one may fail mail.
    pub first_priority: bool,
    /// The gateway's shutdown: from `Aborting` on the attempt ends at once, saying how far it came.
    pub shutdown: Shutdown,
    /// Takes what of an attempt's first transactions a death must not make forgotten
    /// ([`Verdict::may_have_arrived`]), while others are still to come. The report says it again with the rest. At
    /// most one entry per transaction.
    pub early: mpsc::UnboundedSender<Vec<(u32, Verdict)>>,
}

/// What an attempt brought.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptReport {
    /// One verdict for each recipient offered, in the order of the attempt.
    pub verdicts: Vec<(u32, Verdict)>,
    /// The upstream refuses this message's reverse-path: nothing of that pair is to be attempted until its hold
    /// leaves.
    pub hold_reverse_path: bool,
}

/// What happened, in words for people and for the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// How far the attempt had come.
    pub phase: Phase,
    /// The reply, or what happened instead of one; escaped, at most 512 octets.
    pub reply: Box<str>,
}

/// What an attempt means for one recipient.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The upstream accepted it.
    Relayed(Evidence),
    /// It can never be relayed.
    Failed(Reason, Evidence),
    /// To be tried again; the schedule's own wait, but not before `wait`. `refused` says that it was a permanent
    /// refusal which does not fail it yet; it is counted.
    Deferred {
        /// Why.
        reason: Reason,
        /// What happened.
        evidence: Evidence,
        /// At least this long.
        wait: Duration,
        /// A permanent refusal that counts on the recipient.
        refused: bool,
        /// The connection was lost while content was sent; counts on the recipient.
        lost: bool,
    },
    /// Held for this message alone (`ContentDamaged`, connection lost three times, unconfirmed three times).
    Held(Reason, Evidence),
    /// The final dot went out and no reply came: the same upstream, not before 15 minutes; another target after two.
    Unconfirmed(Evidence),
    /// This target cannot take it (size, SMTPUTF8); another eligible one may.
    Unsuitable(Reason, Evidence),
    /// Not offered: the upstream as a whole could not be used. The recipient's own retries are not spent.
    NotOffered(Option<Evidence>),
}

impl Verdict {
    /// Whether offering the recipient once more could relay the message twice.
    pub const fn may_have_arrived(&self) -> bool {
        match self {
            Self::Relayed(_) | Self::Unconfirmed(_) | Self::Held(Reason::Unconfirmed, _) => true,
            Self::Failed(..)
            | Self::Deferred { .. }
            | Self::Held(..)
            | Self::Unsuitable(..)
            | Self::NotOffered(_) => false,
        }
    }
}
