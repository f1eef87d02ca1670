//! What users write: [`MailRelay`] and [`MailSender`].
//!
//! The types are the API: the CRDs in `crds/` are printed from them by [`crds`], and the operator reads objects through
//! them. Rules that a schema can say stand here as bounds, list types and CEL; all of them are a courtesy of the API
//! server, and the operator checks everything again. No behaviour, no client, nothing of the gateway.
//!
//! In reading order: [`mail_relay`] · [`mail_sender`] · [`reference`] to Secrets and ConfigMaps ·
//! [`bounds`] schemas that recur · [`crd`] how the CRDs are printed.

#![allow(
    unreachable_pub,
    reason = "the schema derive copies each type into a function, where `pub` means nothing"
)]
#![allow(
    clippy::doc_markdown,
    reason = "comments are the definitions' descriptions, which `kubectl explain` shows as plain text"
)]
#![allow(
    clippy::struct_field_names,
    reason = "units come last in every name, so the members of `retry` all end in Seconds"
)]

pub mod bounds;
pub mod crd;
pub mod mail_relay;
pub mod mail_sender;
pub mod reference;

pub use crd::crds;
pub use mail_relay::{MailRelay, MailRelaySpec};
pub use mail_sender::{MailSender, MailSenderSpec};

/// The API group.
pub const GROUP: &str = "posthouse.dev";

/// The API version.
pub const VERSION: &str = "v1alpha1";

/// What keys of labels and annotations may not begin with where users give them: the first are ours, and the second
/// would make Argo CD adopt and prune our children.
pub const RESERVED_PREFIXES: [&str; 2] = ["posthouse.dev/", "argocd.argoproj.io/"];

/// Pod labels that are the operator's.
pub const RESERVED_POD_LABELS: [&str; 3] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
];
