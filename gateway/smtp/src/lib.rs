//! SMTP as values: grammar and state machines, both sides. No sockets, clock, files or async.
//!
//! Octets go in, events and replies come out; every state is an enum variant that owns what is valid in it.
//!
//! | RFC | module |
//! |---|---|
//! | RFC 5321 §4.1.2, §4.1.3 addresses | [`domain`], [`mailbox`], [`path`] |
//! | RFC 5321 §2.3.8, §4.5.3.1 lines and their limits | [`line`] |
//! | RFC 5321 §4.1 commands | [`command`] |
//! | RFC 5321 §4.1.1.11, RFC 1870, 6152, 6531 parameters | [`parameter`] |
//! | RFC 5321 §4.1.1.4, §4.5.2 content as it comes in | [`content`] |
//! | RFC 5322 §2.2 header section | [`header`] |
//! | RFC 5322 §3.4 addresses in fields | [`address_list`] |
//! | RFC 4422, 4616, 4954 SASL | [`sasl`] |
//! | RFC 5321 §3, RFC 2920, 3207, 4954, 6409 the server side | [`server`] |
//! | RFC 5321 §4.2 replies | [`reply`], [`reply::stream`] |
//! | RFC 5321 §4.1.1.1 EHLO keywords | [`extension`] |
//! | RFC 5321 §4.5.2, §4.5.3.1.6 content over the wire | [`fold`] |
//! | RFC 5321 §3, RFC 2920, 3207, 4954 the client side | [`client`] |
//! | RFC 3463 enhanced status codes | [`enhanced_status`] |

pub mod address_list;
pub mod client;
pub mod command;
pub mod content;
pub mod domain;
pub mod enhanced_status;
pub mod extension;
pub mod fold;
pub mod header;
pub mod line;
pub mod mailbox;
pub mod parameter;
pub mod path;
pub mod reply;
pub mod sasl;
pub mod server;

pub use enhanced_status::EnhancedStatus;
pub use mailbox::Mailbox;
pub use path::ReversePath;
pub use reply::Reply;
