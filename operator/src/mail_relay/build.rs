//! What a valid MailRelay becomes. One file per child kind.
//!
//! Everything here is pure and cannot fail: what could be wrong was found by `validate`. [`place`] is the one module
//! that knows whether a gateway runs in a pod or on this machine.

pub mod gateway_config;
pub mod place;

pub use gateway_config::{Terms, gateway_config, senders, text};
pub use place::Place;
