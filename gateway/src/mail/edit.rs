//! Header edits: what is added to and cut from stored content while it is relayed.
//!
//! Content in the spool is byte for byte what the client sent (but for repaired newlines); what submission adds and
//! removes (RFC 6409 §8) is kept beside it.

use std::ops::Range;

/// The edits of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Whole fields, each ended by CRLF, written before the stored header section.
    pub prepend: Vec<u8>,
    /// Octet ranges of the stored header section that are left out, ascending and disjoint.
    pub remove: Vec<Range<u32>>,
}

impl Edits {
    /// Octets that the edits add to the content, less what they take away.
    pub fn length_change(&self) -> i64 {
        let removed: i64 = self
            .remove
            .iter()
            .map(|range| i64::from(range.end) - i64::from(range.start))
            .sum();
        i64::try_from(self.prepend.len()).unwrap_or(i64::MAX) - removed
    }
}
