//! One report as a message: `multipart/report` of a text, the delivery status, and what is returned (RFC 3464 §2).

use lettre::message::{
    Body, MultiPart, SinglePart,
    header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
};
use posthouse_smtp::{Mailbox, ReversePath};

use super::{status, text};
use crate::mail::{
    self, ContentFacts, Edits, Kind, Message, Origin, Progress, QueueId, Recipient, SenderIdentity,
    Timestamp,
};

/// What a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The original message, with the outcomes in it.
    pub original: &'a Message,
    /// Positions of the recipients to tell about.
    pub recipients: &'a [u32],
    /// The report's name.
    pub id: QueueId,
    /// Who we are.
    pub hostname: &'a str,
    /// `From:` of the report.
    pub from: &'a Mailbox,
    /// Who is told.
    pub to: &'a Mailbox,
    /// When.
    pub now: Timestamp,
}

/// What of the original is returned, as it was or would have been relayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The header section only.
    Headers(Vec<u8>),
    /// Everything (`RET=FULL`, RFC 3461 §4.3).
    Full(Vec<u8>),
}

impl Returned {
    /// Applies a message's edits to its stored octets, of which at least the header section must be given.
    pub fn new(message: &Message, stored: &[u8], full: bool) -> Self {
        let length = usize::try_from(message.facts.header_length).unwrap_or(usize::MAX);
        let stored = if full {
            stored
        } else {
            stored.get(..length).unwrap_or(stored)
        };
        let mut out = message.edits.prepend.clone();
        let mut from = 0;
        for range in &message.edits.remove {
            let (start, end) = (range.start as usize, range.end as usize);
            out.extend_from_slice(
                stored
                    .get(from..start.min(stored.len()))
                    .unwrap_or_default(),
            );
            from = end;
        }
        out.extend_from_slice(stored.get(from..).unwrap_or_default());
        if full {
            Self::Full(out)
        } else {
            Self::Headers(out)
        }
    }

    fn octets(&self) -> &[u8] {
        match self {
            Self::Headers(octets) | Self::Full(octets) => octets,
        }
    }
}

/// A report, ready to be stored.
#[derive(Clone, Debug)]
pub struct Report {
    /// The envelope.
    pub message: Message,
    /// The octets.
    pub content: Vec<u8>,
}

/// Composes a report. The same notice always makes the same octets.
pub fn compose(notice: &Notice<'_>, returned: Returned) -> Report {
    let content = content(notice, returned);
    let message = Message {
        id: notice.id,
        generation: 0,
        kind: Kind::Report,
        accepted: notice.now,
        expiry_seconds: None,
        listener: Box::default(),
        sender: SenderIdentity::Posthouse,
        client: None,
        reverse_path: ReversePath::Null,
        envid: None,
        return_full: false,
        body: mail::Body::Unspecified,
        smtputf8: !notice.to.is_ascii() || !notice.from.is_ascii(),
        recipients: vec![Recipient {
            forward_path: notice.to.clone(),
            orcpt: None,
            // A report on a report is never wanted (RFC 3461 §6.1).
            notify: Some("NEVER".into()),
            progress: Progress::default(),
        }],
        from: vec![notice.from.clone()],
        message_id: message_id(notice).into(),
        facts: facts(&content),
        edits: Edits::default(),
        origin: Origin::Here,
    };
    Report { message, content }
}

fn message_id(notice: &Notice<'_>) -> String {
    format!("<{}@{}>", notice.id, notice.hostname)
}

fn content(notice: &Notice<'_>, returned: Returned) -> Vec<u8> {
    let boundary = boundary(notice.id, returned.octets());
    let international = status::is_international(notice);
    let status_type = if international {
        "message/global-delivery-status"
    } else {
        "message/delivery-status"
    };
    let mut report = MultiPart::builder()
        .header(content_type(&format!(
            "multipart/report; report-type={}; boundary=\"{boundary}\"",
            status_type.trim_start_matches("message/")
        )))
        .singlepart(SinglePart::plain(text::for_people(notice)))
        .singlepart(part(
            status_type,
            status::fields(notice, international).into_bytes(),
        ))
        .singlepart(returned_part(returned));
    let headers = report.headers_mut();
    for (name, value) in [
        ("From", format!("Mail gateway <{}>", notice.from)),
        ("To", format!("<{}>", notice.to)),
        ("Date", notice.now.to_rfc5322()),
        ("Message-ID", message_id(notice)),
        ("Subject", "Your message could not be passed on".to_owned()),
        ("Auto-Submitted", "auto-replied".to_owned()), // RFC 3834 §5
        ("MIME-Version", "1.0".to_owned()),
    ] {
        // The values hold nothing but addresses and texts of our own, without control characters.
        let name = HeaderName::new_from_ascii(name.to_owned());
        headers.insert_raw(HeaderValue::dangerous_new_pre_encoded(
            name.unwrap_or_else(|_| HeaderName::new_from_ascii_str("X-Posthouse")),
            value.clone(),
            value,
        ));
    }
    if let Some(id) = references(&notice.original.message_id) {
        let name = HeaderName::new_from_ascii_str("References");
        headers.insert_raw(HeaderValue::dangerous_new_pre_encoded(name, id.clone(), id));
    }
    report.formatted()
}

/// The original's Message-ID, if it can stand in a header field as it is.
fn references(id: &str) -> Option<String> {
    let plain = id.len() <= 900 && id.bytes().all(|b| b.is_ascii_graphic());
    (plain && id.starts_with('<') && id.ends_with('>')).then(|| id.to_owned())
}

/// A boundary that what is returned does not contain (RFC 2046 §5.1.1).
fn boundary(id: QueueId, returned: &[u8]) -> String {
    let mut boundary = format!("=_{id}");
    while memchr::memmem::find(returned, boundary.as_bytes()).is_some() {
        boundary.push('_');
    }
    boundary
}

/// A type that is written above; an unreadable one would make a part of plain text.
fn content_type(text: &str) -> ContentType {
    ContentType::parse(text).unwrap_or(ContentType::TEXT_PLAIN)
}

fn returned_part(returned: Returned) -> SinglePart {
    let ascii = returned.octets().is_ascii();
    match returned {
        Returned::Full(octets) => part("message/rfc822", octets),
        Returned::Headers(octets) if ascii => part("text/rfc822-headers", octets),
        // RFC 6533 §6.3.
        Returned::Headers(octets) => part("message/global-headers", octets),
    }
}

/// A part whose octets go as they are: neither status nor returned messages may be encoded (RFC 3464 §2.1, RFC 2046
/// §5.2.1).
fn part(kind: &str, octets: Vec<u8>) -> SinglePart {
    let encoding = if octets.is_ascii() {
        ContentTransferEncoding::SevenBit
    } else {
        ContentTransferEncoding::EightBit
    };
    SinglePart::builder()
        .header(content_type(kind))
        .body(Body::dangerous_pre_encoded(octets, encoding))
}

/// What accepting would have learnt about the content.
fn facts(content: &[u8]) -> ContentFacts {
    let header = memchr::memmem::find(content, b"\r\n\r\n").map_or(content.len(), |at| at + 4);
    let (head, body) = content.split_at_checked(header).unwrap_or((content, &[]));
    let lines = content
        .split(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line).len());
    ContentFacts {
        length: content.len() as u64,
        header_length: u32::try_from(header).unwrap_or(u32::MAX),
        longest_line: u32::try_from(lines.max().unwrap_or(0)).unwrap_or(u32::MAX),
        eight_bit: !body.is_ascii(),
        header_utf8: !head.is_ascii(),
        signed: false,
    }
}

#[cfg(test)]
mod tests;
