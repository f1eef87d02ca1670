//! What the gateway promises, each kept by a real process with a real spool: one file per promise.
//!
//! `cargo test -p posthouse-tests --test gateway` runs what is fast; what takes minutes is `#[ignore]`d and run by
//! `.ci/run`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and what it measured is printed"
)]

mod a_dead_upstream_does_not_delay_a_live_one;
mod accepts_only_after_commit;
mod accepts_tokens_of_service_accounts;
mod content_cannot_become_a_second_message;
mod gives_each_recipient_its_outcome;
mod holds_when_the_password_is_refused;
mod lets_a_person_work_on_the_queue;
mod loses_nothing_when_killed;
mod never_speaks_in_clear_when_tls_was_asked;
mod one_report_after_a_crash;
mod reads_changes_without_a_restart;
mod reads_documents_of_its_neighbours;
mod relays_to_servers_nobody_here_wrote;
mod says_later_when_the_disk_is_full;
mod says_what_is_wrong_at_start;
mod sends_a_test_message;
mod shows_its_status_to_its_operator_alone;
mod stops_in_two_steps;
mod streams_large_messages_in_flat_memory;
mod takes_mail_from_clients_nobody_here_wrote;
mod tells_what_it_does;
mod verdict;
