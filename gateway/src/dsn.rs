//! Delivery status notifications: what the sender of a message is told about recipients that failed.
//!
//! Composes only: a message with the outcomes of its recipients in, a message of our own out (RFC 3461, RFC 3464).
//! Whether a report is due at all, and to whom, is the queue's to say; that it is one is said by its
//! [`Kind`](crate::mail::Kind), never by its addresses. Its reverse-path is null, so that no report is ever reported
//! on (RFC 3464 §2).

pub mod report;
mod status;
mod text;

pub use report::{Notice, Report, Returned, compose};

use crate::mail::Recipient;

/// Whether the sender wants to know that this recipient failed: always, unless `NOTIFY` was given without `FAILURE`
/// (RFC 3461 §4.1, §5.2.6).
pub fn wants_failure(recipient: &Recipient) -> bool {
    recipient.notify.as_deref().is_none_or(|notify| {
        notify
            .split(',')
            .any(|word| word.trim().eq_ignore_ascii_case("FAILURE"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::message;

    #[test]
    fn notify_decides_who_is_reported() {
        let mut recipient = message(1, "a.b", "u@x.example", &["x@c.example"])
            .recipients
            .remove(0);
        for (notify, expected) in [
            (None, true),
            (Some("NEVER"), false),
            (Some("SUCCESS,failure"), true),
            (Some("SUCCESS,DELAY"), false),
        ] {
            recipient.notify = notify.map(Into::into);
            assert_eq!(wants_failure(&recipient), expected, "{notify:?}");
        }
    }
}
