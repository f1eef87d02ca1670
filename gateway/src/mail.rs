//! The plain vocabulary of spooled mail: values that accepting, storing, scheduling, relaying and reporting share.
//!
//! No I/O and no decisions. A [`Message`] is what an `Accept` record holds; its [`Content`] is the octets; a
//! recipient's [`Progress`] is where its life has come to; [`Edits`] are applied while relaying, never in the spool.

pub mod content;
pub mod edit;
pub mod message;
pub mod outcome;
pub mod queue_id;
pub mod recipient;
pub mod redact;
pub mod timestamp;

pub use content::{Content, ContentFacts};
pub use edit::Edits;
pub use message::{Body, Client, Kind, Message, Origin, Queued, SenderIdentity};
pub use outcome::Outcome;
pub use queue_id::QueueId;
pub use recipient::{Progress, Recipient, State};
pub use redact::Redactor;
pub use timestamp::Timestamp;
