//! Which rotations of a relay's keys count now: the current one, and the previous one for a day.
//!
//! Pure. What it goes by is the document that is in use: a rotation that nobody remembers is not accepted.

use jiff::Timestamp;

/// Rotations of `clients.keyRotation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRotations {
    /// The current one: new passwords are made from it.
    pub current: u64,
    /// The one before, for as long as its passwords are accepted too.
    pub previous: Option<u64>,
    /// Since when the current one is in the document.
    pub since: Timestamp,
}

impl KeyRotations {
    /// All that are accepted, the current one first.
    pub fn accepted(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.current).chain(self.previous)
    }
}
