//! A spooled message without its content: what an `Accept` record holds.

use std::{net::IpAddr, sync::Arc};

use posthouse_smtp::{Mailbox, ReversePath};

use super::{Content, ContentFacts, Edits, Outcome, QueueId, Recipient, Timestamp};

/// A spooled message without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Our name for it.
    pub id: QueueId,
    /// Grows each time the record is copied forward; the highest counts.
    pub generation: u32,
    /// Mail, a report or a probe.
    pub kind: Kind,
    /// When its `250` became due.
    pub accepted: Timestamp,
    /// The sender's own expiry in seconds, if it has one.
    pub expiry_seconds: Option<u32>,
    /// The listener it came by; empty for reports.
    pub listener: Box<str>,
    /// Who sent it.
    pub sender: SenderIdentity,
    /// From where; absent for reports.
    pub client: Option<Client>,
    /// The envelope's sender.
    pub reverse_path: ReversePath,
    /// `ENVID` as it came, still encoded (RFC 3461 §4.4).
    pub envid: Option<Box<str>>,
    /// `RET=FULL` was asked for (RFC 3461 §4.3).
    pub return_full: bool,
    /// `BODY=` as it came (RFC 6152).
    pub body: Body,
    /// SMTPUTF8 was declared (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// The addresses of `From:`; the first decides routing and eligibility.
    pub from: Vec<Mailbox>,
    /// The Message-ID, ours if the client gave none.
    pub message_id: Box<str>,
    /// What is known about the content.
    pub facts: ContentFacts,
    /// What is added and cut while relaying.
    pub edits: Edits,
    /// Where it comes from.
    pub origin: Origin,
}

/// What a message is. Never concluded from its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// From a client.
    Mail,
    /// A delivery status notification of our own.
    Report,
    /// A test message of our own.
    Probe,
}

/// `BODY=` (RFC 6152 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// Not given.
    #[default]
    Unspecified,
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SenderIdentity {
    /// A MailSender.
    Sender {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
    /// A client that did not authenticate.
    Anonymous,
    /// This gateway: reports.
    Posthouse,
}

impl SenderIdentity {
    /// The namespace, which anonymous clients and our own mail have not.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Sender { namespace, .. } => Some(namespace),
            Self::Anonymous | Self::Posthouse => None,
        }
    }
}

/// As in metrics and logs: `name.namespace`, `anonymous` or `posthouse`.
impl std::fmt::Display for SenderIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sender { namespace, name } => write!(f, "{name}.{namespace}"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::Posthouse => f.write_str("posthouse"),
        }
    }
}

/// The client of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address as the socket said.
    pub address: IpAddr,
    /// What it called itself in EHLO or HELO.
    pub hello: Box<str>,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Accepted here.
    #[default]
    Here,
    /// Handed over by a sibling gateway.
    Sibling,
}

impl Message {
    /// The first `From:` address, which decides routing and eligibility; a message without one (a report has it
    /// always) falls back to its reverse-path.
    pub fn author(&self) -> Option<&Mailbox> {
        self.from.first().or_else(|| self.reverse_path.mailbox())
    }

    /// Whether SMTPUTF8 is needed to offer it to these of its recipients: by an address or by the header section
    /// (RFC 6531 §3.2).
    pub fn needs_utf8<'r>(&self, offered: impl IntoIterator<Item = &'r Recipient>) -> bool {
        self.facts.header_utf8
            || self
                .reverse_path
                .mailbox()
                .is_some_and(|mailbox| !mailbox.is_ascii())
            || offered
                .into_iter()
                .any(|recipient| !recipient.forward_path.is_ascii())
    }

    /// Whether every recipient has its end.
    pub fn is_settled(&self) -> bool {
        self.recipients
            .iter()
            .all(|recipient| recipient.progress.state.is_final())
    }

    /// Octets as relayed, before folding and stuffing.
    pub fn relayed_length(&self) -> u64 {
        self.facts
            .length
            .saturating_add_signed(self.edits.length_change())
    }

    /// Folds an outcome in. A position that does not exist changes nothing.
    pub fn apply(&mut self, outcome: Outcome) {
        let position = usize::try_from(outcome.recipient).unwrap_or(usize::MAX);
        if let Some(recipient) = self.recipients.get_mut(position) {
            recipient.progress = outcome.progress;
        }
    }
}

/// A message that is on stable storage and now the queue's: just accepted, or found at start.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The envelope with the folded state of its recipients.
    pub message: Arc<Message>,
    /// Its content, for mail just accepted; absent for what was found at start.
    pub content: Option<Content>,
    /// Unclean deaths of the process while it was in flight.
    pub deaths: u8,
}
