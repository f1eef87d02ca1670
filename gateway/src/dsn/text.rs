//! The text of a report, for people: what happened, to whom, what the other side said, and what can be done.

use std::fmt::Write;

use posthouse_config::reason::Reason;

use super::{Notice, status};
use crate::mail::{Recipient, State};

/// The first part of a report.
pub(super) fn for_people(notice: &Notice<'_>) -> String {
    let mut out = format!(
        "This is the mail gateway {}.\r\n\r\n\
         Your message could not be passed on to the recipients below. It will not be\r\ntried again.\r\n",
        notice.hostname
    );
    for recipient in status::recipients(notice) {
        let _ = write!(
            out,
            "\r\n  {}\r\n      {}\r\n",
            printable(recipient.forward_path.as_str()),
            cause(recipient)
        );
        if let Some(reply) = recipient.progress.reply.as_deref() {
            let _ = write!(out, "      Last answer: {}\r\n", printable(reply));
        }
    }
    let original = notice.original;
    let _ = write!(
        out,
        "\r\nThe message\r\n\r\n  accepted:   {}\r\n  queue id:   {}\r\n  Message-ID: {}\r\n",
        original.accepted.to_rfc5322(),
        original.id,
        printable(&original.message_id),
    );
    out.push_str("\r\nWhat follows is the same for programs, and the original or its header.\r\n");
    out
}

/// One sentence.
fn cause(recipient: &Recipient) -> &'static str {
    let progress = &recipient.progress;
    match (progress.state, progress.reason) {
        (State::Expired, _) => "could not be handed on in time; all attempts were in vain.",
        (_, Some(Reason::RecipientRefused)) => "the address was refused.",
        (_, Some(Reason::MessageRefused)) => "the message was refused.",
        (_, Some(Reason::TooLarge)) => "the message is larger than can be sent.",
        (_, Some(Reason::Utf8Needed)) => {
            "the message needs internationalised mail (SMTPUTF8), which cannot be used."
        }
        _ => "refused for good.",
    }
}

/// Without what could end a line.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
