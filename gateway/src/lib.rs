//! The data plane: accepts mail over SMTP, keeps it on stable storage, relays it to authenticated upstreams.
//!
//! Knows nothing of Kubernetes. A message meets the modules in this order:
//! [`inbound`] takes it · [`spool`] keeps it · [`queue`] decides when it is attempted ·
//! [`outbound`] hands it to an upstream.
//! Beside them: [`mail`] the plain vocabulary · [`clock`], [`shutdown`], [`metrics`] what everything is given.

pub mod clock;
pub mod inbound;
pub mod mail;
pub mod metrics;
pub mod outbound;
pub mod queue;
pub mod shutdown;
pub mod spool;
