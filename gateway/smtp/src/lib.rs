//! SMTP as values: grammar and state machines, both sides. No sockets, clock, files or async.
//!
//! Octets go in, events and replies come out; every state is an enum variant that owns what is valid in it.
//!
//! | RFC | module |
//! |---|---|
//! | RFC 5321 §4.1.2, §4.1.3 addresses | [`domain`], [`mailbox`], [`path`] |
//! | RFC 5321 §4.2 replies | [`reply`] |
//! | RFC 3463 enhanced status codes | [`enhanced_status`] |

pub mod domain;
pub mod enhanced_status;
pub mod mailbox;
pub mod path;
pub mod reply;

pub use enhanced_status::EnhancedStatus;
pub use mailbox::Mailbox;
pub use path::ReversePath;
pub use reply::Reply;
