//! Attempts over real sockets: a provider that follows a script, octet by octet where that matters.

pub(super) mod fixture;
mod pooling;
mod provider;
mod recovers;
mod rows;
mod tls;
