//! Refusals: what a client is told, and under which word it is counted.
//!
//! All replies that accepting gives by itself are here, each with its enhanced status (RFC 3463, RFC 5248). They say
//! what the client's owner can do, and nothing about the inside.

use std::fmt::Write;

use posthouse_config::AddressPattern;
use posthouse_smtp::{
    EnhancedStatus, Mailbox, Reply,
    server::{Rejection, replies},
};

use super::{StoreError, token::TokenError};
use crate::mail::SenderIdentity;

/// Patterns named in a refusal; more are counted.
const NAMED_PATTERNS: usize = 5;

/// Octets of text from outside in a reply.
const MAXIMUM_TEXT: usize = 450;

/// A refusal of mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reply: Reply,
    pub(super) cause: Cause,
}

/// The label `reason` of `posthouse_messages_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Authentication,
    TlsRequired,
    SenderNotAllowed,
    AddressInvalid,
    TooManyRecipients,
    TooLarge,
    ContentInvalid,
    HeaderInvalid,
    Loop,
    Backlog,
    DiskFull,
    SpoolFailed,
    Draining,
}

impl Cause {
    pub(super) const fn as_label(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::TlsRequired => "tls_required",
            Self::SenderNotAllowed => "sender_not_allowed",
            Self::AddressInvalid => "address_invalid",
            Self::TooManyRecipients => "too_many_recipients",
            Self::TooLarge => "too_large",
            Self::ContentInvalid => "content_invalid",
            Self::HeaderInvalid => "header_invalid",
            Self::Loop => "loop",
            Self::Backlog => "backlog",
            Self::DiskFull => "disk_full",
            Self::SpoolFailed => "spool_failed",
            Self::Draining => "draining",
        }
    }
}

impl From<Rejection> for Cause {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Authentication => Self::Authentication,
            Rejection::TlsRequired => Self::TlsRequired,
            Rejection::AddressInvalid => Self::AddressInvalid,
            Rejection::TooManyRecipients => Self::TooManyRecipients,
            Rejection::TooLarge => Self::TooLarge,
        }
    }
}

/// A reply of one line.
pub(super) fn reply(
    code: u16,
    (class, subject, detail): (u8, u16, u16),
    text: impl Into<String>,
) -> Reply {
    Reply::new(
        code,
        Some(EnhancedStatus::new(class, subject, detail)),
        text,
    )
}

fn refusal(cause: Cause, code: u16, enhanced: (u8, u16, u16), text: impl Into<String>) -> Refusal {
    Refusal {
        reply: reply(code, enhanced, text),
        cause,
    }
}

pub(super) fn login_required() -> Refusal {
    Refusal {
        reply: replies::login_first(),
        cause: Cause::Authentication,
    }
}

pub(super) fn wrong_password() -> Refusal {
    let text = "Authentication credentials invalid";
    refusal(Cause::Authentication, 535, (5, 7, 8), text)
}

/// What a token says is told to who shows it only once it is believed.
pub(super) fn token(error: &TokenError) -> Refusal {
    let text = match error {
        TokenError::UnknownKey(_) => return key_missing(),
        TokenError::NotOffered
        | TokenError::Malformed
        | TokenError::Algorithm
        | TokenError::Issuer
        | TokenError::Signature => return wrong_password(),
        TokenError::Audience(_)
        | TokenError::Expired
        | TokenError::NotYet
        | TokenError::TooLong
        | TokenError::NoPod
        | TokenError::NotListed(_)
        | TokenError::Namesake(_)
        | TokenError::OtherSender(_)
        | TokenError::Several(_) => shown(&format!("Token not accepted: {error}")),
    };
    refusal(Cause::Authentication, 535, (5, 7, 8), text)
}

/// RFC 4954 §6: this needs encryption.
pub(super) fn token_in_clear() -> Refusal {
    let text = "Tokens are taken under TLS only";
    refusal(Cause::TlsRequired, 538, (5, 7, 11), text)
}

/// Between transactions, once the token of the login is over. RFC 5321 §3.8 has 421 for a server that closes by itself;
/// no code of RFC 4954 is for a login that was good. The client may come back with a newer token.
pub(super) fn login_expired() -> Reply {
    reply(421, (4, 7, 0), "The token has expired: log in again")
}

pub(super) fn key_missing() -> Refusal {
    let text = "Temporary authentication failure";
    refusal(Cause::Authentication, 454, (4, 7, 0), text)
}

pub(super) fn sender_unknown() -> Refusal {
    let text = "This sender is no longer known here";
    refusal(Cause::SenderNotAllowed, 550, (5, 7, 1), text)
}

/// The session ends: the client may come back with the password that counts now.
pub(super) fn login_withdrawn() -> Refusal {
    let text = "The password or token is no longer valid";
    refusal(Cause::Authentication, 421, (4, 7, 0), text)
}

/// An address outside what a sender may use; names the rule.
pub(super) fn address_not_allowed(
    place: &str,
    address: &Mailbox,
    sender: &SenderIdentity,
    allowed: &[AddressPattern],
) -> Refusal {
    let mut text = format!("{place} {address} is not allowed: {sender} may send as ");
    for (i, pattern) in allowed.iter().take(NAMED_PATTERNS).enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{pattern}", if i == 0 { "" } else { ", " });
    }
    if let Some(more) = allowed.len().checked_sub(NAMED_PATTERNS).filter(|&n| n > 0) {
        let _ = write!(text, " and {more} more");
    }
    if allowed.is_empty() {
        text.push_str("nobody");
    }
    refusal(Cause::SenderNotAllowed, 550, (5, 7, 1), shown(&text))
}

/// Text from outside as it may stand in a reply: ASCII, since the client may not have asked for SMTPUTF8 (RFC 6531
/// §3.7.4.2), and short enough for one line (RFC 5321 §4.5.3.1.5).
fn shown(text: &str) -> String {
    let ascii = text.chars().map(|c| if c.is_ascii() { c } else { '?' });
    let mut shown: String = ascii.take(MAXIMUM_TEXT).collect();
    if shown.len() == MAXIMUM_TEXT {
        shown.push_str("...");
    }
    shown
}

pub(super) fn backlog() -> Refusal {
    let text = "Too much mail of this sender is waiting";
    refusal(Cause::Backlog, 450, (4, 7, 1), text)
}

pub(super) fn draining() -> Refusal {
    refusal(Cause::Draining, 421, (4, 3, 2), "Not accepting new mail")
}

/// RFC 5321 §3.8, RFC 3463 x.3.2.
pub(super) fn stopping() -> Reply {
    reply(421, (4, 3, 2), "Shutting down")
}

pub(super) fn timed_out() -> Reply {
    reply(421, (4, 4, 2), "Timed out")
}

pub(super) fn too_many_sessions() -> Reply {
    reply(421, (4, 7, 0), "Too many sessions")
}

pub(super) fn endless_line() -> Reply {
    reply(421, (4, 7, 0), "Line too long")
}

pub(super) fn too_large() -> Refusal {
    refusal(Cause::TooLarge, 552, (5, 3, 4), "Message too large")
}

pub(super) fn bare_newlines() -> Refusal {
    let text = "Lines must end with CRLF, and there must be no NUL";
    refusal(Cause::ContentInvalid, 554, (5, 6, 0), text)
}

pub(super) fn long_lines() -> Refusal {
    let text = "Lines must not be longer than 998 octets";
    refusal(Cause::ContentInvalid, 554, (5, 6, 0), text)
}

/// Anything that is wrong with the header section.
pub(super) fn header_invalid(text: impl Into<String>) -> Refusal {
    refusal(Cause::HeaderInvalid, 554, (5, 6, 0), text)
}

/// RFC 5321 §6.3.
pub(super) fn mail_loop() -> Refusal {
    let text = "Too many Received fields: this is a mail loop";
    refusal(Cause::Loop, 554, (5, 4, 6), text)
}

pub(super) fn not_stored(error: StoreError) -> Refusal {
    match error {
        StoreError::Full => refusal(Cause::DiskFull, 452, (4, 3, 1), "Not enough storage now"),
        StoreError::Failed => refusal(Cause::SpoolFailed, 451, (4, 3, 0), "Try again later"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::REJECTIONS;

    #[test]
    fn every_cause_is_a_label() {
        let causes = [
            Cause::Authentication,
            Cause::TlsRequired,
            Cause::SenderNotAllowed,
            Cause::AddressInvalid,
            Cause::TooManyRecipients,
            Cause::TooLarge,
            Cause::ContentInvalid,
            Cause::HeaderInvalid,
            Cause::Loop,
            Cause::Backlog,
            Cause::DiskFull,
            Cause::SpoolFailed,
            Cause::Draining,
        ];
        assert_eq!(causes.map(Cause::as_label), REJECTIONS);
    }

    #[test]
    fn the_rule_is_named_and_bounded() {
        let address = Mailbox::parse("a@b.example").unwrap();
        let sender = SenderIdentity::Anonymous;
        let allowed: Vec<AddressPattern> = (0..7)
            .map(|i| format!("d{i}.example").parse().unwrap())
            .collect();
        let refusal = address_not_allowed("Sender address", &address, &sender, &allowed);
        assert_eq!(
            refusal.reply.to_string(),
            "550 5.7.1 Sender address a@b.example is not allowed: anonymous may send as \
             d0.example, d1.example, d2.example, d3.example, d4.example and 2 more"
        );
        let address = Mailbox::parse(&format!("{}ü@b.example", "x".repeat(250))).unwrap();
        let long = vec![format!("{}.example", "d".repeat(60)).parse().unwrap(); 7];
        let refusal = address_not_allowed("From address", &address, &sender, &long);
        let mut line = Vec::new();
        refusal.reply.write_to(&mut line);
        assert!(line.len() <= 512 && line.is_ascii() && line.ends_with(b"...\r\n"));
    }
}
