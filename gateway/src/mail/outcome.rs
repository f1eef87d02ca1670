//! An outcome: the new progress of one recipient.

use super::Progress;

/// The new progress of one recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The recipient's position in the message.
    pub recipient: u32,
    /// Replaces what was known.
    pub progress: Progress,
}
