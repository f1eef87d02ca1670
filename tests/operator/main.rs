//! What the operator promises, kept on a real API server with real gateways: one file per promise.
//!
//! `cargo test -p posthouse-tests --test operator`. Without the programs of a control plane every test says that it is
//! skipped; `make test` builds them where it can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod an_invalid_edit_changes_nothing_that_runs;
mod cannot_read_a_foreign_secret;
mod changes_reach_gateways_without_a_restart;
mod kubelet_runs_a_gateway;
mod puts_children_back;
mod relays_from_apply_to_the_provider;
mod says_why;
mod the_chart_is_all_an_operator_needs;
