//! Reverse-paths and forward-paths (RFC 5321 §3.3, §4.1.2).
//!
//! Two types, so that the null reverse-path can never be used as a recipient: a forward-path is a [`Mailbox`].

use std::fmt;

use crate::mailbox::{Mailbox, MailboxError};

/// The envelope's sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: nobody is to be told of a failure (RFC 5321 §4.5.5).
    Null,
    /// An address that failures are reported to.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Reads an address without angle brackets; the empty text is the null reverse-path.
    pub fn parse(text: &str) -> Result<Self, MailboxError> {
        if text.is_empty() {
            Ok(Self::Null)
        } else {
            Mailbox::parse(text).map(Self::Mailbox)
        }
    }

    /// The address, unless it is null.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// The address, or the empty text.
    pub fn as_str(&self) -> &str {
        self.mailbox().map_or("", Mailbox::as_str)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
