//! The octets of a message, and what is known about them.

use std::{path::Path, sync::Arc};

use bytes::Bytes;

/// The octets of a message as they are stored: un-stuffed, every line ended by CRLF.
#[derive(Clone, Debug)]
pub enum Content {
    /// Small content, stored in one record with its envelope.
    Inline(Bytes),
    /// Content in a file of its own.
    File {
        /// Where it is.
        path: Arc<Path>,
        /// Its octets.
        length: u64,
        /// Their CRC-32C. Whoever reads them checks it: a disk may change what it was given.
        crc: u32,
    },
}

impl Content {
    /// Octets.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    /// Whether there are none: DATA followed by a lone dot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was learnt about content while it was scanned, so that relaying need not scan it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentFacts {
    /// Octets of content.
    pub length: u64,
    /// Octets of the header section with the empty line that ends it.
    pub header_length: u32,
    /// The longest line in octets, without its CRLF.
    pub longest_line: u32,
    /// An octet above 127 in the body, or one in the header section that is not UTF-8: 8BITMIME is needed (RFC 6152).
    pub eight_bit: bool,
    /// The header section as relayed is UTF-8 and not ASCII: SMTPUTF8 is needed (RFC 6531).
    pub header_utf8: bool,
    /// A `DKIM-Signature` field: lines are not folded.
    pub signed: bool,
}
