//! One message on its way in: header section held and checked, body streamed, everything committed.
//!
//! Memory is bounded whatever is sent: the header section by its own limit, small content by [`INLINE_CONTENT`], large content
//! by one buffer, since it goes to the spool as it comes. A message that is refused is still read to its end, because
//! the reply is due there, but nothing of it is kept.

use std::net::IpAddr;

use posthouse_config::{
    Document, Snapshot,
    document::{BareNewlines, Listener, LongLines},
};
use posthouse_smtp::{
    Mailbox,
    fold::MAXIMUM_LINE,
    header::{self, HeaderSection},
    parameter::{self, Utf8},
    server,
};

use super::{
    Store, Upload,
    admission::Admitted,
    charset::Charset,
    fix_up::{FixedUp, Trail, fix_up},
    refusal::{self, Refusal},
};
use crate::mail::{
    Body, Client, Content, ContentFacts, Kind, Message, Origin, Progress, QueueId, Queued,
    Recipient, Timestamp,
};
use crate::spool::INLINE_CONTENT;

/// What is true of a transaction from its beginning.
pub(super) struct Beginning<'a> {
    /// Our name for the message.
    pub(super) id: QueueId,
    /// When content began.
    pub(super) now: Timestamp,
    /// The configuration it is judged by.
    pub(super) snapshot: &'a Snapshot,
    /// The listener it came by.
    pub(super) listener: &'a Listener,
    /// From where.
    pub(super) address: IpAddr,
    /// Who sends it.
    pub(super) admitted: Admitted,
}

/// A message on its way in.
pub(super) struct Transaction<'a, S: Store> {
    store: &'a S,
    beginning: Beginning<'a>,
    /// What came and was not sent to a file.
    octets: Vec<u8>,
    stage: Stage<S::Upload>,
}

enum Stage<U> {
    /// The header section is not complete; these octets are known not to end it.
    Header { searched: usize },
    /// The header section is in order.
    Stored(Box<Checked>, Place<U>),
    /// Whatever comes is dropped.
    Refused(Refusal),
}

/// Where content is kept.
enum Place<U> {
    Memory,
    File(U),
}

/// What is known once the header section is complete.
struct Checked {
    from: Vec<Mailbox>,
    fixed_up: FixedUp,
    header_length: usize,
    /// As the header section is relayed.
    charset: Charset,
    signed: bool,
    /// Whether octets above 127 came in the header section, in what is removed too.
    header_eight_bit: bool,
    /// Whether octets above 127 were seen in the body; only kept where the header section has some.
    body_eight_bit: bool,
    /// Octets at the start of the buffer that were looked at for that.
    looked_at: usize,
}

impl<'a, S: Store> Transaction<'a, S> {
    /// Begins one. `announced` is what `SIZE=` said.
    pub(super) fn begin(store: &'a S, beginning: Beginning<'a>, announced: Option<u64>) -> Self {
        let announced = announced.and_then(|size| usize::try_from(size).ok());
        Self {
            store,
            beginning,
            octets: Vec::with_capacity(announced.unwrap_or(4096).min(INLINE_CONTENT)),
            stage: Stage::Header { searched: 0 },
        }
    }

    /// Where the scanner puts what is to be stored.
    pub(super) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// Looks at what the scanner has put into the buffer.
    pub(super) async fn advance(&mut self, content: &server::Content) {
        if content.is_over_long() {
            self.refuse(refusal::too_large());
        }
        if let Stage::Header { searched } = &mut self.stage {
            if header::end_of_header(&self.octets, *searched).is_some()
                || self.octets.len() > header::MAXIMUM_OCTETS
            {
                self.check(content);
            } else {
                *searched = self.octets.len();
            }
        }
        if self.octets.len() > INLINE_CONTENT {
            self.spill().await;
        }
    }

    /// Content has ended: the message is on stable storage, or refused.
    pub(super) async fn finish(mut self, content: &server::Content) -> Result<Queued, Refusal> {
        self.judge(content)?;
        if let Stage::Header { .. } = self.stage {
            self.check(content);
        }
        if self.octets.len() > INLINE_CONTENT {
            self.spill().await;
        }
        match self.stage {
            Stage::Refused(refusal) => Err(refusal),
            Stage::Header { .. } => Err(refusal::header_invalid("The header section has no end")),
            Stage::Stored(mut checked, place) => {
                checked.look_at(&self.octets);
                let stored = match place {
                    Place::Memory => {
                        // It may wait in memory for its first attempt.
                        self.octets.shrink_to_fit();
                        Content::Inline(self.octets.into())
                    }
                    Place::File(upload) => complete(upload, &self.octets).await?,
                };
                let message = message(&self.beginning, *checked, content);
                let committed = self.store.commit(message, stored).await;
                committed.map_err(refusal::not_stored)
            }
        }
    }

    /// What the whole content is refused for.
    fn judge(&self, content: &server::Content) -> Result<(), Refusal> {
        let (facts, listener) = (content.facts(), self.beginning.listener);
        if content.is_over_long() {
            return Err(refusal::too_large());
        }
        if listener.bare_newlines == BareNewlines::Refuse && !facts.repairs.is_empty() {
            return Err(refusal::bare_newlines());
        }
        if listener.long_lines == LongLines::Refuse && facts.longest_line > MAXIMUM_LINE as u64 {
            return Err(refusal::long_lines());
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.octets = Vec::new();
        self.stage = Stage::Refused(refusal);
    }

    /// The header section is complete, or will not be: asks whether the message may go on.
    fn check(&mut self, content: &server::Content) {
        match checked(&self.beginning, &self.octets, content) {
            Ok(checked) => self.stage = Stage::Stored(Box::new(checked), Place::Memory),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Moves the buffer to a file.
    async fn spill(&mut self) {
        let stored = match &mut self.stage {
            // Held until it ends; bounded by its own limit.
            Stage::Header { .. } => return,
            Stage::Refused(_) => Ok(()),
            Stage::Stored(checked, place) => {
                checked.look_at(&self.octets);
                checked.looked_at = 0;
                append(self.store, self.beginning.id, place, &self.octets).await
            }
        };
        self.octets.clear();
        if let Err(refusal) = stored {
            self.refuse(refusal);
        }
    }
}

impl Checked {
    /// Scanning tells whether there are octets above 127 anywhere; where the header section has some, the body has to
    /// be asked for by itself.
    fn look_at(&mut self, octets: &[u8]) {
        if self.header_eight_bit {
            let fresh = octets.get(self.looked_at..).unwrap_or_default();
            self.body_eight_bit |= !fresh.is_ascii();
            self.looked_at = octets.len();
        }
    }
}

async fn append<S: Store>(
    store: &S,
    id: QueueId,
    place: &mut Place<S::Upload>,
    octets: &[u8],
) -> Result<(), Refusal> {
    if let Place::Memory = place {
        let upload = store.upload(id).await.map_err(refusal::not_stored)?;
        *place = Place::File(upload);
    }
    match place {
        Place::Memory => Ok(()),
        Place::File(upload) => upload.write(octets).await.map_err(refusal::not_stored),
    }
}

async fn complete<U: Upload>(mut upload: U, rest: &[u8]) -> Result<Content, Refusal> {
    if !rest.is_empty() {
        upload.write(rest).await.map_err(refusal::not_stored)?;
    }
    upload.finish().await.map_err(refusal::not_stored)
}

/// Reads the header section: who wrote the message, and what is to be added to it and removed from it.
fn checked(
    beginning: &Beginning<'_>,
    octets: &[u8],
    content: &server::Content,
) -> Result<Checked, Refusal> {
    let section = HeaderSection::parse(octets)
        .map_err(|error| refusal::header_invalid(capitalized(&error.to_string())))?;
    let envelope = content.transaction();
    let from = beginning
        .admitted
        .authors(&section, octets, &envelope.reverse_path)?;
    let document: &Document = &beginning.snapshot.document;
    let trail = Trail {
        hostname: &document.hostname,
        id: beginning.id,
        now: beginning.now,
        trace: document.trace,
        client: &client(beginning, content),
        hello: content.hello(),
        channel: content.channel(),
        login: content.login(),
        utf8: envelope.parameters.utf8,
    };
    let fixed_up = fix_up(&section, octets, &from, &trail)?;
    let header_length = section.end.length();
    let header = octets.get(..header_length).unwrap_or_default();
    Ok(Checked {
        charset: Charset::of(&section, octets, &fixed_up.edits),
        from,
        fixed_up,
        header_length,
        header_eight_bit: !header.is_ascii(),
        signed: section.named(octets, "DKIM-Signature").next().is_some(),
        body_eight_bit: false,
        looked_at: header_length,
    })
}

fn client(beginning: &Beginning<'_>, content: &server::Content) -> Client {
    Client {
        address: beginning.address,
        hello: content.hello().name.as_str().into(),
    }
}

/// Everything that is known, as it is stored.
fn message(beginning: &Beginning<'_>, checked: Checked, content: &server::Content) -> Message {
    let envelope = content.transaction();
    let client = client(beginning, content);
    Message {
        id: beginning.id,
        generation: 0,
        kind: Kind::Mail,
        accepted: beginning.now,
        expiry_seconds: beginning.admitted.expiry_seconds(),
        listener: beginning.listener.name.as_str().into(),
        sender: beginning.admitted.identity(),
        client: Some(client),
        reverse_path: envelope.reverse_path.clone(),
        envid: None,
        return_full: false,
        body: body(envelope.parameters.body),
        smtputf8: envelope.parameters.utf8 == Utf8::Given,
        recipients: envelope.recipients.iter().map(recipient).collect(),
        facts: facts(&checked, content),
        from: checked.from,
        message_id: checked.fixed_up.message_id,
        edits: checked.fixed_up.edits,
        origin: Origin::Here,
    }
}

fn recipient(forward_path: &Mailbox) -> Recipient {
    Recipient {
        forward_path: forward_path.clone(),
        orcpt: None,
        notify: None,
        progress: Progress::default(),
    }
}

fn facts(checked: &Checked, content: &server::Content) -> ContentFacts {
    let facts = content.facts();
    ContentFacts {
        length: facts.octets,
        header_length: u32::try_from(checked.header_length).unwrap_or(u32::MAX),
        longest_line: u32::try_from(facts.longest_line).unwrap_or(u32::MAX),
        eight_bit: if checked.header_eight_bit {
            checked.body_eight_bit || checked.charset == Charset::Unknown
        } else {
            facts.eight_bit
        },
        header_utf8: checked.charset == Charset::Utf8,
        signed: checked.signed,
    }
}

const fn body(given: Option<parameter::Body>) -> Body {
    match given {
        None => Body::Unspecified,
        Some(parameter::Body::SevenBit) => Body::SevenBit,
        Some(parameter::Body::EightBitMime) => Body::EightBitMime,
    }
}

/// An error's text as a sentence for a reply.
fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}
