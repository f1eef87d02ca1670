//! Reading messages back: the `Accept`, with the latest outcomes of its recipients folded in.
//!
//! Works on a view that the index gave ([`Located`]). The file may be recycled meanwhile if the message was settled or
//! copied forward: whoever finds damage asks the index again before believing it.

use std::io;

use super::{
    index::Located,
    record::{
        self, HEAD, Head, OVERHEAD, RecordType,
        accept::{self, StoredContent},
        field::FieldError,
        progress,
    },
    segment::Segment,
};
use crate::mail::{Message, QueueId};

/// Read at first of a record of unknown length: most outcomes are shorter.
const GUESS: usize = 1024;
/// Read at first of an `Accept` whose envelope alone is wanted: most envelopes are shorter.
const ENVELOPE_GUESS: usize = 2048;

/// Octets of a record without payload: what is kept of one whose length is not known.
const SHORTEST: u32 = 44;

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Wait for the disk.
    Disk,
    /// Only what is in memory; `WouldBlock` otherwise.
    Never,
}

/// Why a record could not be read.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    /// There is no valid record at that place.
    Damaged {
        segment: u32,
        offset: u32,
        length: u32,
    },
    /// A newer release wrote something that must be understood.
    Newer,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A message that was read.
pub(super) struct Read {
    pub(super) message: Message,
    /// Absent if only the envelope was asked for; `Inline` holds the range within the record.
    pub(super) content: Option<StoredContent<bytes::Bytes>>,
}

fn read_at(segment: &Segment, offset: u64, length: usize, wait: Wait) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let read = match wait {
        Wait::Disk => segment.file.read_at(&mut bytes, offset)?,
        Wait::Never => segment.file.read_cached(&mut bytes, offset)?,
    };
    bytes.truncate(read);
    Ok(bytes)
}

/// A whole valid record: its head, and its octets with marker and head.
pub(super) fn record(
    segment: &Segment,
    offset: u32,
    length: Option<u32>,
    wait: Wait,
) -> Result<(Head, Vec<u8>), Failure> {
    let guess = length.map_or(GUESS, |length| length as usize);
    // Nothing is read beyond the file, which a cached read would take for a miss.
    let room = segment.length.saturating_sub(offset) as usize;
    let mut bytes = read_at(segment, offset.into(), guess.min(room), wait)?;
    if length.is_none() {
        let claimed = claimed_length(&bytes).filter(|&claimed| claimed <= room);
        if let Some(claimed) = claimed.filter(|&claimed| claimed > bytes.len()) {
            bytes = read_at(segment, offset.into(), claimed, wait)?;
        }
    }
    match record::read(&bytes, &segment.header.marker) {
        Some((head, _)) => Ok((head, bytes)),
        None => Err(damaged(segment, offset, length.unwrap_or(SHORTEST))),
    }
}

fn claimed_length(bytes: &[u8]) -> Option<usize> {
    let head = Head::read(bytes.get(16..)?)?;
    usize::try_from(head.record_length()).ok()
}

fn damaged(segment: &Segment, offset: u32, length: u32) -> Failure {
    Failure::Damaged {
        segment: segment.number(),
        offset,
        length,
    }
}

/// The payload in the octets of a record.
pub(super) fn payload<'a>(head: &Head, bytes: &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(head.length).unwrap_or_default();
    bytes
        .get(OVERHEAD..)
        .and_then(|rest| rest.get(..length))
        .unwrap_or_default()
}

/// A message with its content, or where its content is.
pub(super) fn whole(id: QueueId, located: &Located, wait: Wait) -> Result<Read, Failure> {
    let (at, length) = (located.entry.accept.offset, located.entry.length);
    let (head, bytes) = record(&located.accept, at, Some(length), wait)?;
    let corrupt = || damaged(&located.accept, at, length);
    if head.id != id || head.record_type() != Some(RecordType::Accept) {
        return Err(corrupt());
    }
    let bytes = bytes::Bytes::from(bytes);
    let accept =
        accept::read(id, payload(&head, &bytes)).map_err(|error| refine(error, corrupt))?;
    let content = accept.content.map(|content| match content {
        StoredContent::Inline(slice) => StoredContent::Inline(bytes.slice_ref(slice)),
        StoredContent::File { length, crc } => StoredContent::File { length, crc },
    });
    let mut message = accept.message;
    fold(&mut message, located, wait)?;
    Ok(Read { message, content })
}

/// A message without its content, reading no more than that takes.
pub(super) fn envelope(id: QueueId, located: &Located) -> Result<Message, Failure> {
    let (at, length) = (located.entry.accept.offset, located.entry.length);
    let guess = ENVELOPE_GUESS.min(length as usize);
    let bytes = read_at(&located.accept, at.into(), guess, Wait::Disk)?;
    let corrupt = || damaged(&located.accept, at, length);
    let head = bytes
        .strip_prefix(&located.accept.header.marker)
        .and_then(Head::read)
        .filter(|head| head.id == id && head.record_length() == u64::from(length));
    let start = bytes.get(16 + HEAD..).unwrap_or_default();
    let read = head.and_then(|_| accept::read_envelope(id, start));
    let mut message = if let Some(accept) = read {
        accept.map_err(|error| refine(error, corrupt))?.message
    } else {
        // A long envelope, or damage: the whole record and its checksum tell.
        let (head, bytes) = record(&located.accept, at, Some(length), Wait::Disk)?;
        let accept = accept::read(id, payload(&head, &bytes));
        accept.map_err(|error| refine(error, corrupt))?.message
    };
    fold(&mut message, located, Wait::Disk)?;
    Ok(message)
}

fn refine(error: FieldError, corrupt: impl Fn() -> Failure) -> Failure {
    match error {
        FieldError::Newer(_) => Failure::Newer,
        FieldError::Malformed(_) | FieldError::Missing(_) => corrupt(),
    }
}

/// Folds the latest outcomes in.
fn fold(message: &mut Message, located: &Located, wait: Wait) -> Result<(), Failure> {
    for (segment, offset, recipients) in &located.outcomes {
        let (head, bytes) = record(segment, *offset, None, wait)?;
        let corrupt = || damaged(segment, *offset, SHORTEST);
        let stored = progress::read_outcomes(payload(&head, &bytes));
        for outcome in stored.map_err(|error| refine(error, corrupt))? {
            // Of the others a later record tells.
            if recipients.binary_search(&outcome.recipient).is_ok() {
                message.apply(outcome.decode().map_err(|error| refine(error, corrupt))?);
            }
        }
    }
    Ok(())
}
