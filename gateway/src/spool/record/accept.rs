//! A message as fields: what an `Accept` holds. Everything is in it from the first format on.
//!
//! The envelope comes first and ends with a checksum of its own, so that start-up reads envelopes without content.
//! Copying forward works on the fields as they are stored, so that what a newer release wrote is carried along.

use std::net::IpAddr;

use bytes::Bytes;
use posthouse_smtp::{Mailbox, ReversePath};

use super::{
    CONTENT_FILE, Encoded, MARKED, RecordType,
    field::{Field, FieldError, Fields, put, put_nested, put_number, put_optional, put_text},
    progress,
};
use crate::mail::{
    Body, Client, ContentFacts, Edits, Kind, Message, Origin, Progress, QueueId, Recipient,
    SenderIdentity, Timestamp,
};

const GENERATION: u8 = 1;
const KIND: u8 = 2;
const ACCEPTED: u8 = 3;
const EXPIRY: u8 = 4;
const LISTENER: u8 = 5;
const SENDER: u8 = 6;
const SENDER_NAMESPACE: u8 = 7;
const SENDER_NAME: u8 = 8;
const CLIENT_ADDRESS: u8 = 9;
const CLIENT_HELLO: u8 = 10;
const REVERSE_PATH: u8 = 11;
const ENVID: u8 = 12;
const RETURN_FULL: u8 = 13;
const BODY: u8 = 14;
const SMTPUTF8: u8 = 15;
const RECIPIENT: u8 = 16;
const FROM: u8 = 17;
const MESSAGE_ID: u8 = 18;
const FACTS: u8 = 19;
const PREPEND: u8 = 20;
const REMOVE: u8 = 21;
const ORIGIN: u8 = 22;
const DEATHS: u8 = 23;
const IN_FLIGHT: u8 = 24;
/// The checksum of all fields before it: the envelope is whole.
const ENVELOPE_CRC: u8 = 60;
const CONTENT: u8 = 61;
const CONTENT_LENGTH: u8 = 62;
const CONTENT_CRC: u8 = 63;

const FORWARD_PATH: u8 = 1;
const ORCPT: u8 = 2;
const NOTIFY: u8 = 3;
const PROGRESS: u8 = 4;

/// Where content is, as an `Accept` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::spool) enum StoredContent<T> {
    /// In the record.
    Inline(T),
    /// In the file of the queue id, with its length and checksum.
    File { length: u64, crc: u32 },
}

/// What is remembered of deaths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::spool) struct Mark {
    /// Unclean deaths of the process during an attempt.
    pub(in crate::spool) deaths: u8,
    /// An attempt is under way.
    pub(in crate::spool) in_flight: bool,
}

/// Encodes a message just accepted.
pub(in crate::spool) fn encode(
    message: &Message,
    generation: u32,
    content: &StoredContent<Bytes>,
) -> Encoded {
    let (flags, bytes) = match content {
        StoredContent::Inline(bytes) => (0, bytes.clone()),
        StoredContent::File { .. } => (CONTENT_FILE, Bytes::new()),
    };
    Encoded::new(RecordType::Accept, flags, message.id, bytes, |out| {
        let start = out.len();
        put_number(out, GENERATION, generation.into());
        write_envelope(out, message);
        write_end(out, start, content);
    })
}

/// Ends the envelope, and begins the content if it is in the record.
fn write_end(out: &mut Vec<u8>, start: usize, content: &StoredContent<Bytes>) {
    if let StoredContent::File { length, crc } = content {
        put_number(out, CONTENT_LENGTH, *length);
        put_number(out, CONTENT_CRC, (*crc).into());
    }
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    put(out, ENVELOPE_CRC, &crc.to_le_bytes());
    if let StoredContent::Inline(bytes) = content {
        out.push(CONTENT);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
    }
}

fn write_envelope(out: &mut Vec<u8>, message: &Message) {
    put_number(out, KIND, kind_code(message.kind).into());
    put_number(out, ACCEPTED, message.accepted.as_millis());
    if let Some(seconds) = message.expiry_seconds {
        put(out, EXPIRY, &seconds.to_le_bytes());
    }
    put_text(out, LISTENER, &message.listener);
    write_sender(out, &message.sender);
    if let Some(client) = &message.client {
        match client.address {
            IpAddr::V4(address) => put(out, CLIENT_ADDRESS, &address.octets()),
            IpAddr::V6(address) => put(out, CLIENT_ADDRESS, &address.octets()),
        }
        put_text(out, CLIENT_HELLO, &client.hello);
    }
    put_text(out, REVERSE_PATH, message.reverse_path.as_str());
    put_optional(out, ENVID, message.envid.as_deref());
    put_number(out, RETURN_FULL, message.return_full.into());
    put_number(out, BODY, body_code(message.body).into());
    put_number(out, SMTPUTF8, message.smtputf8.into());
    for recipient in &message.recipients {
        put_nested(out, RECIPIENT, |out| write_recipient(out, recipient));
    }
    for mailbox in &message.from {
        put(out, FROM, mailbox.as_str().as_bytes());
    }
    put_text(out, MESSAGE_ID, &message.message_id);
    put(out, FACTS, &facts_bytes(message.facts));
    if !message.edits.prepend.is_empty() {
        put(out, PREPEND, &message.edits.prepend);
    }
    for range in &message.edits.remove {
        let [s0, s1, s2, s3] = range.start.to_le_bytes();
        let [e0, e1, e2, e3] = range.end.to_le_bytes();
        put(out, REMOVE, &[s0, s1, s2, s3, e0, e1, e2, e3]);
    }
    put_number(
        out,
        ORIGIN,
        match message.origin {
            Origin::Here => 0,
            Origin::Sibling => 1,
        },
    );
}

fn write_sender(out: &mut Vec<u8>, sender: &SenderIdentity) {
    match sender {
        SenderIdentity::Sender { namespace, name } => {
            put_number(out, SENDER, 1);
            put_text(out, SENDER_NAMESPACE, namespace);
            put_text(out, SENDER_NAME, name);
        }
        SenderIdentity::Anonymous => {}
        SenderIdentity::Posthouse => put_number(out, SENDER, 2),
    }
}

fn write_recipient(out: &mut Vec<u8>, recipient: &Recipient) {
    put(
        out,
        FORWARD_PATH,
        recipient.forward_path.as_str().as_bytes(),
    );
    put_optional(out, ORCPT, recipient.orcpt.as_deref());
    put_optional(out, NOTIFY, recipient.notify.as_deref());
    if recipient.progress != Progress::default() {
        put_nested(out, PROGRESS, |out| {
            progress::write(out, &recipient.progress);
        });
    }
}

const fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Mail => 0,
        Kind::Report => 1,
        Kind::Probe => 2,
    }
}

const fn body_code(body: Body) -> u8 {
    match body {
        Body::Unspecified => 0,
        Body::SevenBit => 1,
        Body::EightBitMime => 2,
    }
}

/// Length 8 · header length 4 · longest line 4 · bits 1.
fn facts_bytes(facts: ContentFacts) -> [u8; 17] {
    let mut bytes = [0; 17];
    let bits =
        u8::from(facts.eight_bit) | u8::from(facts.header_utf8) << 1 | u8::from(facts.signed) << 2;
    let all = facts
        .length
        .to_le_bytes()
        .into_iter()
        .chain(facts.header_length.to_le_bytes())
        .chain(facts.longest_line.to_le_bytes())
        .chain([bits]);
    for (place, byte) in bytes.iter_mut().zip(all) {
        *place = byte;
    }
    bytes
}

/// An `Accept` that was read.
#[derive(Debug)]
pub(in crate::spool) struct Accept<'a> {
    pub(in crate::spool) message: Message,
    /// Absent if only the envelope was given.
    pub(in crate::spool) content: Option<StoredContent<&'a [u8]>>,
}

/// Reads the envelope at the start of a payload that may be cut off behind it, checked by its own checksum. `None` if
/// the payload does not reach that far, or is damaged.
pub(in crate::spool) fn read_envelope(
    id: QueueId,
    payload: &[u8],
) -> Option<Result<Accept<'_>, FieldError>> {
    let mut at = 0;
    for field in Fields::new(payload) {
        let field = field.ok()?;
        if field.tag == ENVELOPE_CRC {
            let envelope = payload.get(..at)?;
            let whole = crc32c::crc32c(envelope).to_le_bytes() == *field.value;
            return whole.then(|| read(id, envelope));
        }
        at += 5 + field.value.len();
    }
    None
}

/// Reads a payload.
pub(in crate::spool) fn read(id: QueueId, payload: &[u8]) -> Result<Accept<'_>, FieldError> {
    let mut reader = Reader::new(id);
    for field in Fields::new(payload) {
        reader.take(field?)?;
    }
    reader.finish()
}

/// What has been read so far.
struct Reader<'a> {
    message: Message,
    content: Option<&'a [u8]>,
    length: Option<u64>,
    crc: u32,
    sender: u8,
    namespace: Box<str>,
    name: Box<str>,
    address: Option<IpAddr>,
    hello: Box<str>,
}

impl<'a> Reader<'a> {
    fn new(id: QueueId) -> Self {
        Self {
            message: Message {
                id,
                generation: 0,
                kind: Kind::Mail,
                accepted: Timestamp::default(),
                expiry_seconds: None,
                listener: Box::default(),
                sender: SenderIdentity::Anonymous,
                client: None,
                reverse_path: ReversePath::Null,
                envid: None,
                return_full: false,
                body: Body::Unspecified,
                smtputf8: false,
                recipients: Vec::new(),
                from: Vec::new(),
                message_id: Box::default(),
                facts: ContentFacts::default(),
                edits: Edits::default(),
                origin: Origin::Here,
            },
            content: None,
            length: None,
            crc: 0,
            sender: 0,
            namespace: Box::default(),
            name: Box::default(),
            address: None,
            hello: Box::default(),
        }
    }

    /// One flat table: a field, where it goes.
    fn take(&mut self, field: Field<'a>) -> Result<(), FieldError> {
        let malformed = FieldError::Malformed(field.tag);
        let message = &mut self.message;
        match field.tag {
            GENERATION => message.generation = field.small()?,
            KIND => message.kind = kind(field.small()?).ok_or(malformed)?,
            ACCEPTED => message.accepted = Timestamp::from_millis(field.number()?),
            EXPIRY => message.expiry_seconds = Some(field.small()?),
            LISTENER => message.listener = field.text()?,
            SENDER => self.sender = field.small()?,
            SENDER_NAMESPACE => self.namespace = field.text()?,
            SENDER_NAME => self.name = field.text()?,
            CLIENT_ADDRESS => self.address = Some(address(field.value).ok_or(malformed)?),
            CLIENT_HELLO => self.hello = field.text()?,
            REVERSE_PATH => {
                message.reverse_path = ReversePath::parse(&field.text()?).map_err(|_| malformed)?;
            }
            ENVID => message.envid = Some(field.text()?),
            RETURN_FULL => message.return_full = field.number()? != 0,
            BODY => message.body = body(field.small()?).ok_or(malformed)?,
            SMTPUTF8 => message.smtputf8 = field.number()? != 0,
            RECIPIENT => message.recipients.push(read_recipient(field.value)?),
            FROM => message.from.push(mailbox(field)?),
            MESSAGE_ID => message.message_id = field.text()?,
            FACTS => message.facts = facts(field.value).ok_or(malformed)?,
            PREPEND => message.edits.prepend = field.value.to_vec(),
            REMOVE => message
                .edits
                .remove
                .push(range(field.value).ok_or(malformed)?),
            ORIGIN => message.origin = origin(field.small()?).ok_or(malformed)?,
            // `read_mark` reads the former; the checksum of the whole record covers the envelope too.
            DEATHS | IN_FLIGHT | ENVELOPE_CRC => {}
            CONTENT => self.content = Some(field.value),
            CONTENT_LENGTH => self.length = Some(field.number()?),
            CONTENT_CRC => self.crc = field.small()?,
            _ => field.unknown()?,
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Accept<'a>, FieldError> {
        if self.message.recipients.is_empty() {
            return Err(FieldError::Missing(RECIPIENT));
        }
        self.message.sender = match self.sender {
            0 => SenderIdentity::Anonymous,
            1 => SenderIdentity::Sender {
                namespace: self.namespace,
                name: self.name,
            },
            2 => SenderIdentity::Posthouse,
            _ => return Err(FieldError::Malformed(SENDER)),
        };
        self.message.client = self.address.map(|address| Client {
            address,
            hello: self.hello,
        });
        let content = match (self.content, self.length) {
            (Some(bytes), _) => Some(StoredContent::Inline(bytes)),
            (None, Some(length)) => Some(StoredContent::File {
                length,
                crc: self.crc,
            }),
            (None, None) => None,
        };
        Ok(Accept {
            message: self.message,
            content,
        })
    }
}

fn kind(code: u8) -> Option<Kind> {
    [Kind::Mail, Kind::Report, Kind::Probe]
        .into_iter()
        .find(|&kind| kind_code(kind) == code)
}

fn body(code: u8) -> Option<Body> {
    [Body::Unspecified, Body::SevenBit, Body::EightBitMime]
        .into_iter()
        .find(|&body| body_code(body) == code)
}

fn origin(code: u8) -> Option<Origin> {
    match code {
        0 => Some(Origin::Here),
        1 => Some(Origin::Sibling),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn mailbox(field: Field<'_>) -> Result<Mailbox, FieldError> {
    Mailbox::parse(&field.text()?).map_err(|_| FieldError::Malformed(field.tag))
}

fn facts(bytes: &[u8]) -> Option<ContentFacts> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (header_length, rest) = rest.split_first_chunk()?;
    let (longest_line, rest) = rest.split_first_chunk()?;
    let bits = rest.first()?;
    Some(ContentFacts {
        length: u64::from_le_bytes(*length),
        header_length: u32::from_le_bytes(*header_length),
        longest_line: u32::from_le_bytes(*longest_line),
        eight_bit: bits & 1 != 0,
        header_utf8: bits & 2 != 0,
        signed: bits & 4 != 0,
    })
}

fn range(bytes: &[u8]) -> Option<std::ops::Range<u32>> {
    let (start, end) = bytes.split_first_chunk()?;
    Some(u32::from_le_bytes(*start)..u32::from_le_bytes(end.try_into().ok()?))
}

fn read_recipient(payload: &[u8]) -> Result<Recipient, FieldError> {
    let (mut forward_path, mut orcpt, mut notify) = (None, None, None);
    let mut progress = Progress::default();
    for field in Fields::new(payload) {
        let field = field?;
        match field.tag {
            FORWARD_PATH => forward_path = Some(mailbox(field)?),
            ORCPT => orcpt = Some(field.text()?),
            NOTIFY => notify = Some(field.text()?),
            PROGRESS => progress = progress::read(field.value)?,
            _ => field.unknown()?,
        }
    }
    Ok(Recipient {
        forward_path: forward_path.ok_or(FieldError::Missing(FORWARD_PATH))?,
        orcpt,
        notify,
        progress,
    })
}

/// The same message one generation on, with what is known of its recipients and its deaths folded in. `progress`
/// gives the stored fields of a recipient's latest outcome.
pub(in crate::spool) fn fold<'a>(
    id: QueueId,
    flags: u8,
    payload: &[u8],
    generation: u32,
    mark: Mark,
    progress: &dyn Fn(u32) -> Option<&'a [u8]>,
) -> Result<Encoded, FieldError> {
    let mut envelope = Vec::with_capacity(512);
    let mut content = None;
    let mut position = 0;
    put_number(&mut envelope, GENERATION, generation.into());
    put_number(&mut envelope, DEATHS, mark.deaths.into());
    put_number(&mut envelope, IN_FLIGHT, mark.in_flight.into());
    for field in Fields::new(payload) {
        let field = field?;
        match field.tag {
            GENERATION | DEATHS | IN_FLIGHT | ENVELOPE_CRC => {}
            CONTENT => content = Some(field.value),
            RECIPIENT => {
                let latest = progress(position);
                position += 1;
                put_nested(&mut envelope, RECIPIENT, |out| {
                    fold_recipient(out, field.value, latest);
                });
            }
            _ => put(&mut envelope, field.tag, field.value),
        }
    }
    let crc = crc32c::crc32c(&envelope);
    put(&mut envelope, ENVELOPE_CRC, &crc.to_le_bytes());
    if let Some(content) = content {
        put(&mut envelope, CONTENT, content);
    }
    let marked = if mark == Mark::default() { 0 } else { MARKED };
    let flags = (flags & CONTENT_FILE) | marked;
    Ok(Encoded::raw(
        RecordType::Accept.code(),
        flags,
        id,
        &envelope,
    ))
}

fn fold_recipient(out: &mut Vec<u8>, stored: &[u8], latest: Option<&[u8]>) {
    for field in Fields::new(stored).filter_map(Result::ok) {
        if field.tag != PROGRESS || latest.is_none() {
            put(out, field.tag, field.value);
        }
    }
    if let Some(latest) = latest {
        put(out, PROGRESS, latest);
    }
}

/// The payload of a marked `Begin`: how many deaths, once and for all.
pub(in crate::spool) fn encode_deaths(id: QueueId, deaths: u8) -> Encoded {
    Encoded::new(RecordType::Begin, MARKED, id, Bytes::new(), |out| {
        put_number(out, DEATHS, deaths.into());
    })
}

/// What a marked record says of deaths.
pub(in crate::spool) fn read_mark(payload: &[u8]) -> Result<Mark, FieldError> {
    let mut mark = Mark::default();
    for field in Fields::new(payload) {
        let field = field?;
        match field.tag {
            DEATHS => mark.deaths = field.small()?,
            IN_FLIGHT => mark.in_flight = field.number()? != 0,
            _ => {}
        }
    }
    Ok(mark)
}

/// Generation and number of recipients of an `Accept`: what a footer keeps.
pub(in crate::spool) fn facts_of(payload: &[u8]) -> (u32, u32) {
    let (mut generation, mut recipients) = (0, 0);
    for field in Fields::new(payload).map_while(Result::ok) {
        match field.tag {
            GENERATION => generation = field.small().unwrap_or_default(),
            RECIPIENT => recipients += 1,
            _ => {}
        }
    }
    (generation, recipients)
}
