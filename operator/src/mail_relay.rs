//! A MailRelay on its way to children: `dereference → validate → build`.
//!
//! `validate` and `build` are pure: what they need arrives by argument, and neither knows whether a cluster, a file or
//! a test asked.

pub mod build;
pub mod dereference;
pub mod facts;
pub mod keys;
pub mod live;
pub mod plan;
pub mod status;
pub mod validate;

pub use validate::{Audience, ValidRelay, validate};
