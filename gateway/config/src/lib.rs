//! What the operator and the gateway agree on, and nothing else.
//!
//! Two processes meet here: the operator writes these documents, the gateway reads them and answers with a [`Status`].
//! No Kubernetes, no sockets, no clock. Secret values are never in a document, only paths to them.
//!
//! In reading order:
//! [`document`] the relay's configuration · [`senders`] who may send · [`pattern`] the language of addresses ·
//! [`credential`] derived passwords · [`link`] how the two know each other · [`snapshot`] one consistent reading of all files · [`reason`] words shared by
//! storage, metrics and status · [`status`] what a gateway tells · [`yaml`] the one place that parses YAML.

pub mod credential;
pub mod document;
pub mod link;
pub mod pattern;
pub mod reason;
pub mod senders;
pub mod snapshot;
pub mod status;
pub mod yaml;

pub use document::Document;
pub use pattern::AddressPattern;
pub use senders::Senders;
pub use snapshot::Snapshot;
pub use status::Status;
