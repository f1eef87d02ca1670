//! The schedule of work over the spool: which message is offered to which upstream, and when.
//!
//! One task owns the schedule. It reaches the upstreams only through [`Deliver`], whose values are defined here, by
//! the side that needs them. What an attempt brought is in the spool before anything acts on it.

pub mod deliver;
