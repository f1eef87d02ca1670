//! The machine-readable part: `message/delivery-status` (RFC 3464 §2), for international addresses
//! `message/global-delivery-status` (RFC 6533 §4).

use std::fmt::Write;

use posthouse_config::reason::Reason;
use posthouse_smtp::EnhancedStatus;

use super::Notice;
use crate::mail::{Progress, Recipient, State};

/// Lines are folded here, at spaces; RFC 5322 §2.1.1 wants at most 78 and forbids more than 998.
const FOLD: usize = 76;

/// Whether addresses of the report need RFC 6533.
pub(super) fn is_international(notice: &Notice<'_>) -> bool {
    recipients(notice).any(|recipient| !recipient.forward_path.is_ascii())
}

/// The recipients that a notice is about.
pub(super) fn recipients<'a>(notice: &Notice<'a>) -> impl Iterator<Item = &'a Recipient> + use<'a> {
    let all = &notice.original.recipients;
    notice
        .recipients
        .iter()
        .filter_map(|&i| all.get(usize::try_from(i).ok()?))
}

/// All fields: one group for the message, one for each recipient.
pub(super) fn fields(notice: &Notice<'_>, international: bool) -> String {
    let mut out = String::new();
    if let Some(envid) = notice.original.envid.as_deref() {
        field(
            &mut out,
            "Original-Envelope-Id",
            &xtext(envid),
            international,
        );
    }
    field(
        &mut out,
        "Reporting-MTA",
        &format!("dns; {}", notice.hostname),
        international,
    );
    field(
        &mut out,
        "Arrival-Date",
        &notice.original.accepted.to_rfc5322(),
        international,
    );
    field(
        &mut out,
        "X-Posthouse-Queue-Id",
        &notice.original.id.to_string(),
        international,
    );
    for recipient in recipients(notice) {
        out.push_str("\r\n");
        recipient_fields(&mut out, recipient, international);
    }
    out
}

fn recipient_fields(out: &mut String, recipient: &Recipient, international: bool) {
    if let Some((kind, address)) = recipient
        .orcpt
        .as_deref()
        .and_then(|orcpt| orcpt.split_once(';'))
    {
        field(
            out,
            "Original-Recipient",
            &format!("{kind};{}", xtext(address)),
            international,
        );
    }
    let kind = if recipient.forward_path.is_ascii() {
        "rfc822"
    } else {
        "utf-8"
    };
    field(
        out,
        "Final-Recipient",
        &format!("{kind}; {}", recipient.forward_path),
        international,
    );
    field(out, "Action", "failed", international);
    let progress = &recipient.progress;
    field(
        out,
        "Status",
        &enhanced_status(progress).to_string(),
        international,
    );
    if let Some(reply) = progress
        .reply
        .as_deref()
        .filter(|reply| starts_with_code(reply))
    {
        field(
            out,
            "Diagnostic-Code",
            &format!("smtp; {reply}"),
            international,
        );
    }
}

fn starts_with_code(reply: &str) -> bool {
    reply.bytes().take_while(u8::is_ascii_digit).count() == 3
}

/// What the recipient's end means (RFC 3463): the upstream's own code if it gave a fitting one.
pub(super) fn enhanced_status(progress: &Progress) -> EnhancedStatus {
    if progress.state == State::Expired {
        // Delivery time expired (RFC 3463 §3.5).
        return EnhancedStatus::new(4, 4, 7);
    }
    let text = progress
        .reply
        .as_deref()
        .and_then(|reply| reply.get(4..))
        .unwrap_or_default();
    match (EnhancedStatus::split(text), progress.reason) {
        (Some((status, _)), _) if status.class == 5 => status,
        (_, Some(Reason::TooLarge)) => EnhancedStatus::new(5, 3, 4),
        (_, Some(Reason::Utf8Needed)) => EnhancedStatus::new(5, 6, 7),
        (_, Some(Reason::RecipientRefused)) => EnhancedStatus::new(5, 1, 0),
        _ => EnhancedStatus::new(5, 0, 0),
    }
}

/// Writes a field, folded, with what must not stand there shown as `?`.
fn field(out: &mut String, name: &str, value: &str, international: bool) {
    let mut line = format!("{name}:");
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        if line.len() + 1 + word.len() > FOLD
            && !line.trim_start().is_empty()
            && !line.ends_with(':')
        {
            out.push_str(&line);
            out.push_str("\r\n");
            line.clear();
        }
        line.push(' ');
        line.extend(word.chars().map(|c| {
            if c.is_control() || !(international || c.is_ascii()) {
                '?'
            } else {
                c
            }
        }));
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "{line}\r\n");
}

/// Decodes `xtext` (RFC 3461 §4): `+` and two hexadecimal digits stand for an octet.
fn xtext(encoded: &str) -> String {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| first == b'+')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let octet = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(octet.unwrap_or(first));
        rest = after
            .get(if octet.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_is_decoded() {
        assert_eq!(xtext("a+3Db+2B"), "a=b+");
        assert_eq!(xtext("a+zz+3"), "a+zz+3");
    }

    #[test]
    fn the_upstreams_own_code_is_kept_if_it_fits() {
        let failed = |reply: &str, reason| Progress {
            state: State::Failed,
            reply: Some(reply.into()),
            reason: Some(reason),
            ..Progress::default()
        };
        for (progress, expected) in [
            (
                failed("550 5.7.708 Access denied", Reason::MessageRefused),
                "5.7.708",
            ),
            (
                failed("550 no such user", Reason::RecipientRefused),
                "5.1.0",
            ),
            (
                failed("too large for every target", Reason::TooLarge),
                "5.3.4",
            ),
            (failed("451 4.3.0 later", Reason::MessageRefused), "5.0.0"),
            (
                Progress {
                    state: State::Expired,
                    reply: Some("550 5.1.1 no".into()),
                    ..Progress::default()
                },
                "4.4.7",
            ),
        ] {
            assert_eq!(
                enhanced_status(&progress).to_string(),
                expected,
                "{progress:?}"
            );
        }
    }

    #[test]
    fn fields_are_folded_and_no_octet_can_begin_another() {
        let mut out = String::new();
        field(
            &mut out,
            "Diagnostic-Code",
            &format!("smtp; 550 {}", "word ".repeat(30)),
            false,
        );
        assert!(out.lines().all(|line| line.len() <= 78), "{out}");
        assert!(
            out.lines().skip(1).all(|line| line.starts_with(' ')),
            "{out}"
        );
        out.clear();
        field(&mut out, "X", "a\r\nBcc: é", false);
        assert_eq!(out, "X: a??Bcc: ?\r\n");
    }
}
