//! Why an object is not as it should be, and of which object that is said.

use super::wire::Place;
use crate::call::{CallError, Retry};

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name is somebody else's.
    #[error(
        "{kind} {name:?} is there already and does not belong to this relay; rename the relay, or delete that object"
    )]
    Foreign {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
    /// A call failed.
    #[error("{verb} {kind} {name:?}")]
    Call {
        /// What was being done.
        verb: &'static str,
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// Why it failed.
        source: CallError,
    },
}

impl ApplyError {
    /// The cause of the failed call, if it was one.
    pub fn cause(&self) -> Option<&CallError> {
        match self {
            Self::Foreign { .. } => None,
            Self::Call { source, .. } => Some(source),
        }
    }

    /// Whether the object is another than the one that was looked at.
    pub fn is_conflict(&self) -> bool {
        matches!(self.cause(), Some(CallError::Conflict(_)))
    }

    /// When another try makes sense. Somebody else's object is not watched.
    pub fn retry(&self) -> Retry {
        self.cause().map_or(Retry::OnChange, CallError::retry)
    }

    /// A word for metrics and logs.
    pub fn category(&self) -> &'static str {
        self.cause().map_or("foreign", CallError::category)
    }
}

/// What is being done to which object, for the error it may end in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing<'a> {
    verb: &'static str,
    kind: &'a str,
    name: &'a str,
}

impl<'a> Doing<'a> {
    pub(super) fn new(verb: &'static str, place: Place<'a>) -> Self {
        Self {
            verb,
            kind: &place.resource.kind,
            name: place.name,
        }
    }

    pub(super) fn failed(self, source: CallError) -> ApplyError {
        ApplyError::Call {
            verb: self.verb,
            kind: self.kind.to_owned(),
            name: self.name.to_owned(),
            source,
        }
    }

    pub(super) fn foreign(self) -> ApplyError {
        ApplyError::Foreign {
            kind: self.kind.to_owned(),
            name: self.name.to_owned(),
        }
    }
}
