//! What a valid MailRelay becomes. One file per child kind.

pub mod gateway_config;
pub mod place;

pub use gateway_config::{gateway_config, senders, text};
pub use place::Place;
