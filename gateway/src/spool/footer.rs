//! Footers: at the end of a sealed segment, the index of its records.
//!
//! ```text
//! entries, 36 octets each: type 1 · flags 1 · zero 2 · offset 4 · length 4 · queue id 16 · generation 4 · recipients 4
//! trailer, the file's last 40 octets: magic 8 · entries' offset 4 · count 4 · next sequence 8 · bits 4 · zero 8 · CRC32C 4
//! ```
//!
//! It only makes starting faster: a segment whose footer is not good is scanned. The CRC covers the segment's marker
//! and number, so what an earlier use of the file left at its end is not taken for one.

use std::io;

use super::{
    record::{Found, Head, RecordType, accept},
    segment::{RECORDS, Segment},
};
use crate::mail::QueueId;

const MAGIC: [u8; 8] = *b"PHFOOTER";
const ENTRY: usize = 36;
const TRAILER: usize = 40;
/// Sealed by a clean stop: nothing was in flight, no sequence number from `next_sequence` on was given out.
const CLEAN: u32 = 1;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) code: u8,
    pub(super) flags: u8,
    pub(super) offset: u32,
    /// Octets of the whole record.
    pub(super) length: u32,
    pub(super) id: QueueId,
    /// Of an `Accept`.
    pub(super) generation: u32,
    /// Of an `Accept`.
    pub(super) recipients: u32,
}

impl Entry {
    pub(super) fn record_type(&self) -> Option<RecordType> {
        RecordType::from_code(self.code)
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What a scan found, with what only an `Accept`'s payload tells.
    pub(super) fn of_found(found: &Found, payload: &[u8]) -> Self {
        let facts = (found.head.record_type() == Some(RecordType::Accept))
            .then(|| accept::facts_of(payload));
        let (generation, recipients) = facts.unwrap_or_default();
        Self::of(
            &found.head,
            u32::try_from(found.offset).unwrap_or(u32::MAX),
            generation,
            recipients,
        )
    }

    pub(super) fn of(head: &Head, offset: u32, generation: u32, recipients: u32) -> Self {
        Self {
            code: head.code,
            flags: head.flags,
            offset,
            length: u32::try_from(head.record_length()).unwrap_or(u32::MAX),
            id: head.id,
            generation,
            recipients,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code, self.flags, 0, 0]);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.id.to_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.recipients.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([code, flags, _, _], rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let recipients = rest.first_chunk()?;
        Some(Self {
            code: *code,
            flags: *flags,
            offset: u32::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            id: QueueId::from_bytes(*id),
            generation: u32::from_le_bytes(*generation),
            recipients: u32::from_le_bytes(*recipients),
        })
    }
}

/// The index of a sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) entries: Vec<Entry>,
    /// No sequence number from this one on had been given out.
    pub(super) next_sequence: u64,
    /// Sealed by a clean stop.
    pub(super) clean: bool,
}

/// Octets that a footer of so many records takes.
pub(super) const fn length(records: usize) -> usize {
    records * ENTRY + TRAILER
}

fn crc(segment: &Segment, entries: &[u8], trailer: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&segment.header.marker);
    let crc = crc32c::crc32c_append(crc, &segment.number().to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, entries), trailer)
}

impl Footer {
    /// Writes the footer; it is not synced here.
    pub(super) fn write(&self, segment: &Segment) -> io::Result<()> {
        let mut out = Vec::with_capacity(length(self.entries.len()));
        for entry in &self.entries {
            entry.encode(&mut out);
        }
        let entries = out.len();
        let offset = (segment.length as usize).saturating_sub(length(self.entries.len()));
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&self.next_sequence.to_le_bytes());
        out.extend_from_slice(&(if self.clean { CLEAN } else { 0 }).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        let (list, trailer) = out.split_at_checked(entries).unwrap_or_default();
        let crc = crc(segment, list, trailer);
        out.extend_from_slice(&crc.to_le_bytes());
        segment.file.write_at(&out, offset as u64)
    }

    /// Reads the footer, if there is a good one.
    pub(super) fn read(segment: &Segment) -> io::Result<Option<Self>> {
        let mut trailer = [0; TRAILER];
        let Some(at) = u64::from(segment.length).checked_sub(TRAILER as u64) else {
            return Ok(None);
        };
        if segment.file.read_at(&mut trailer, at)? < TRAILER {
            return Ok(None);
        }
        let Some(fields) = Trailer::decode(&trailer) else {
            return Ok(None);
        };
        let size = u64::from(fields.count) * ENTRY as u64;
        if fields.offset < RECORDS || u64::from(fields.offset) + size != at {
            return Ok(None);
        }
        let mut list = vec![0; usize::try_from(size).unwrap_or_default()];
        segment.file.read_at(&mut list, fields.offset.into())?;
        let covered = trailer.get(..TRAILER - 4).unwrap_or_default();
        if crc(segment, &list, covered) != fields.crc {
            return Ok(None);
        }
        Ok(Some(Self {
            entries: list.chunks_exact(ENTRY).filter_map(Entry::decode).collect(),
            next_sequence: fields.next_sequence,
            clean: fields.bits & CLEAN != 0,
        }))
    }
}

struct Trailer {
    offset: u32,
    count: u32,
    next_sequence: u64,
    bits: u32,
    crc: u32,
}

impl Trailer {
    fn decode(bytes: &[u8; TRAILER]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (next_sequence, rest) = rest.split_first_chunk()?;
        let (bits, _) = rest.split_first_chunk()?;
        Some(Self {
            offset: u32::from_le_bytes(*offset),
            count: u32::from_le_bytes(*count),
            next_sequence: u64::from_le_bytes(*next_sequence),
            bits: u32::from_le_bytes(*bits),
            crc: u32::from_le_bytes(*bytes.last_chunk()?),
        })
    }
}
