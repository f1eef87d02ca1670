//! A MailRelay on its way to children: `dereference → validate → plan → build → apply → status`.
//!
//! `dereference` and `apply` hold a client, and [`reconcile`] joins all of it. What is between them is pure: what it needs
//! arrives by argument, and it does not know whether a cluster, a file or a test asked.

pub mod apply;
pub mod build;
pub mod dereference;
pub mod facts;
pub mod keys;
pub mod live;
pub mod plan;
pub mod reconcile;
pub mod status;
pub mod validate;

pub use validate::{Audience, ValidRelay, validate};
