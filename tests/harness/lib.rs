//! What every test of whole processes is built from.
//!
//! Everything here is blocking and owns threads of its own: the tested side is asynchronous, the testing side must not
//! share its scheduler. Nothing sleeps for a fixed time; [`wait`] polls for an event up to a deadline.
//!
//! In reading order: [`site`] a folder with a document, secrets and a spool · [`gateway`] the process run on it ·
//! [`admin`] what it tells · [`client`] speaks SMTP to it · [`provider`] takes its mail, by a script ·
//! [`peer`] programs nobody here wrote · [`postfix`] one of them · [`pki`] certificates · [`wire`] lines over TCP and TLS · [`wait`] events.
//! On a real API server: `cluster` the control plane, and a test's namespace in it · `kubelet` the stand-in for a node, which
//! runs gateways as pods · `operator` the chart and the process · `relay` a relay from end to end.
//! runs gateways as pods · `operator` the chart and the process · `outbound` a relay with a sender whose mail arrives.
//! [`peer`] programs nobody here wrote · [`postfix`] one of them · [`pki`] certificates · [`issuer`] tokens · [`wire`] lines over TCP and TLS · [`wait`] events.
//!
//! A harness ends a test by panicking; the lints against that are for code that serves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "the harness reports a failed test by panicking"
)]

pub mod admin;
pub mod client;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod gateway;
pub mod issuer;
#[cfg(feature = "cluster")]
pub mod kubelet;
#[cfg(feature = "cluster")]
pub mod operator;
#[cfg(feature = "cluster")]
pub mod outbound;
pub mod peer;
pub mod pki;
pub mod postfix;
pub mod provider;
#[cfg(feature = "cluster")]
pub mod relay;
pub mod site;
pub mod wait;
pub mod wire;

pub use client::{Client, Reply};
#[cfg(feature = "cluster")]
pub use cluster::{Cluster, Namespace};
pub use gateway::Gateway;
pub use issuer::Issuer;
#[cfg(feature = "cluster")]
pub use operator::{Installation, Operator};
#[cfg(feature = "cluster")]
pub use outbound::Outbound;
pub use pki::{Authority, Identity};
pub use postfix::Postfix;
pub use provider::{Mail, Provider, Script, Turn};
#[cfg(feature = "cluster")]
pub use relay::Relay;
pub use site::Site;
