//! What submission adds and removes (RFC 6409 §8, RFC 5321 §4.4): noted as edits, never done to stored content.
//!
//! Added if missing: `From` (of the reverse-path), `Date`, `Message-ID`; always: one `Received`. Removed: `Bcc` and
//! `Resent-Bcc`, which are nobody's business, and `Return-Path`, which only final delivery may write.

use std::{fmt::Write, ops::Range};

use posthouse_config::{document::Trace, pattern::comparable_domain};
use posthouse_smtp::{
    Mailbox,
    domain::is_domain_or_literal,
    header::{End, Field, HeaderSection},
    parameter::Utf8,
    server::{Channel, Hello, HelloKind, Login},
};

use super::refusal::{self, Refusal};
use crate::mail::{Client, Edits, QueueId, Timestamp};

/// `Received` fields from which on a message goes in circles (RFC 5321 §6.3).
const MAXIMUM_HOPS: usize = 50;

/// Octets of a Message-ID that are kept to find a message by.
const MAXIMUM_MESSAGE_ID: usize = 998;

/// What a message's way to us says about it.
pub(super) struct Trail<'a> {
    /// Our name.
    pub(super) hostname: &'a str,
    /// Our name for the message.
    pub(super) id: QueueId,
    /// When it came.
    pub(super) now: Timestamp,
    /// How much of the client is told.
    pub(super) trace: Trace,
    /// The client.
    pub(super) client: &'a Client,
    /// EHLO or HELO.
    pub(super) hello: &'a Hello,
    /// Plain or encrypted.
    pub(super) channel: Channel,
    /// Whether it authenticated.
    pub(super) login: &'a Login,
    /// Whether SMTPUTF8 was given.
    pub(super) utf8: Utf8,
}

/// What is to be done to a message.
#[derive(Debug)]
pub(super) struct FixedUp {
    pub(super) edits: Edits,
    /// Its Message-ID, ours if it had none.
    pub(super) message_id: Box<str>,
}

/// Notes what is to be added and removed. `authors` are the addresses of `From:`, or the one that makes it.
pub(super) fn fix_up(
    header: &HeaderSection,
    content: &[u8],
    authors: &[Mailbox],
    trail: &Trail<'_>,
) -> Result<FixedUp, Refusal> {
    if header.named(content, "Received").count() >= MAXIMUM_HOPS {
        return Err(refusal::mail_loop());
    }
    let mut prepend = received(trail);
    if header.named(content, "From").next().is_none() {
        for author in authors {
            line(&mut prepend, format_args!("From: {author}"));
        }
    }
    if header.named(content, "Date").next().is_none() {
        line(
            &mut prepend,
            format_args!("Date: {}", trail.now.to_rfc5322()),
        );
    }
    let message_id = given_message_id(header, content).unwrap_or_else(|| {
        let own = own_message_id(authors, trail);
        line(&mut prepend, format_args!("Message-ID: {own}"));
        own
    });
    if header.end == End::NoHeader {
        // The stored content is all body: what is added is its whole header section.
        prepend.push_str("\r\n");
    }
    Ok(FixedUp {
        edits: Edits {
            prepend: prepend.into_bytes(),
            remove: removed(header, content),
        },
        message_id: message_id.into(),
    })
}

/// The trace field (RFC 5321 §4.4). Without the client unless asked: addresses in the cluster are nobody's business.
fn received(trail: &Trail<'_>) -> String {
    let mut field = String::from("Received: ");
    if trail.trace == Trace::Full {
        // Whatever else a client calls itself does not belong into a header section.
        let name = Some(trail.hello.name.as_str())
            .filter(|name| name.is_ascii() && is_domain_or_literal(name));
        let address = match trail.client.address {
            std::net::IpAddr::V4(address) => format!("[{address}]"),
            std::net::IpAddr::V6(address) => format!("[IPv6:{address}]"),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            field,
            "from {} ({address})\r\n\t",
            name.unwrap_or("unknown")
        );
    }
    let _ = write!(
        field,
        "by {} with {}\r\n\tid {};\r\n\t{}\r\n",
        trail.hostname,
        protocol(trail),
        trail.id,
        trail.now.to_rfc5322()
    );
    field
}

/// The registered name of the transmission type (RFC 3848, RFC 6531 §4.3).
fn protocol(trail: &Trail<'_>) -> String {
    if trail.hello.kind == HelloKind::Helo && trail.utf8 == Utf8::Absent {
        return "SMTP".into();
    }
    let base = match trail.utf8 {
        Utf8::Given => "UTF8SMTP",
        Utf8::Absent => "ESMTP",
    };
    let encrypted = match trail.channel {
        Channel::Encrypted => "S",
        Channel::Plain => "",
    };
    let authenticated = match trail.login {
        Login::As(_) => "A",
        Login::Nobody => "",
    };
    format!("{base}{encrypted}{authenticated}")
}

fn line(out: &mut String, field: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(field);
    out.push_str("\r\n");
}

fn given_message_id(header: &HeaderSection, content: &[u8]) -> Option<String> {
    let field = header.named(content, "Message-ID").next()?;
    let octets = field.body_in(content).trim_ascii();
    let octets = octets.get(..MAXIMUM_MESSAGE_ID).unwrap_or(octets);
    let text = String::from_utf8_lossy(octets);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

/// In the domain of the first author, so that it is as unique as that domain wants it.
fn own_message_id(authors: &[Mailbox], trail: &Trail<'_>) -> String {
    let domain = authors
        .first()
        .map(|author| comparable_domain(author.domain()));
    let domain = domain.filter(|domain| domain.is_ascii());
    format!(
        "<{}@{}>",
        trail.id,
        domain.as_deref().unwrap_or(trail.hostname)
    )
}

/// What is left out: fields that must not be passed on, and a Message-ID without an id.
fn removed(header: &HeaderSection, content: &[u8]) -> Vec<Range<u32>> {
    let is_removed = |field: &&Field| {
        ["Bcc", "Resent-Bcc", "Return-Path"]
            .into_iter()
            .any(|name| field.is(content, name))
            || (field.is(content, "Message-ID") && field.body_in(content).trim_ascii().is_empty())
    };
    let range = |field: &Field| {
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        offset(field.whole.start)..offset(field.whole.end)
    };
    header.fields.iter().filter(is_removed).map(range).collect()
}

#[cfg(test)]
mod tests;
