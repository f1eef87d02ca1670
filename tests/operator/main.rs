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

mod a_grant_is_what_lets_send;
mod a_service_account_sends_with_its_token;
mod an_invalid_edit_changes_nothing_that_runs;
mod cannot_read_a_foreign_secret;
mod changes_reach_gateways_without_a_restart;
mod drains_on_foreground_delete;
mod kubelet_runs_a_gateway;
mod puts_children_back;
mod relays;
mod relays_from_apply_to_the_provider;
mod renders_what_it_runs;
mod renews_passwords_without_a_gap;
mod rides_out_an_absent_api_server;
mod rolls_one_gateway_at_a_time;
mod says_why;
mod scaling_down_never_removes_mail;
mod takes_every_example;
mod tenancy;
mod the_chart_is_all_an_operator_needs;
mod two_operators_share_one_lease;
mod writes_no_secret_without_its_fence;
