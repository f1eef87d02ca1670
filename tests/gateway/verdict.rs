//! Each row of the verdict table, kept by the queue on a real spool and by relaying over loopback, in one process: a
//! provider does what its script says, and what became of the mail, of the upstream and of the sender is looked at.
//!
//! One file per group of rows, in the order of a session. Time is in the test's hand: it stands still while anything is
//! under way.

mod relaying;

mod means_the_same_octet_by_octet;
mod verdicts_of_content;
mod verdicts_of_mail;
mod verdicts_of_opening;
mod verdicts_of_rcpt;
mod verdicts_of_targets;
mod verdicts_of_the_breaker;
mod verdicts_of_the_final_dot;
mod verdicts_of_the_session;
