//! How both processes are seen from outside: the operator and the gateway have the same probes, the same metrics page and
//! the same log lines.
//!
//! [`admin`] the plain HTTP port · [`telemetry`] log lines. No Kubernetes, no mail, nothing of ours is imported.

pub mod admin;
pub mod telemetry;
