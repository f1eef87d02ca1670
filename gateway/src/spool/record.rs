//! Records: how one entry of the log is framed, checked and found again.
//!
//! ```text
//! marker 16 · type 1 · flags 1 · zero 2 · payload length 4 · queue id 16 · CRC32C 4 · payload
//! ```
//!
//! Little endian. The CRC covers everything but the marker, so that a record can be encoded before it is known which
//! segment it goes to. The marker is random and new at each use of a segment file: nothing that a client sends and
//! nothing left over in a recycled file can be taken for a record. Payloads are tagged fields (`field`). Damage is
//! skipped to the next valid record, never cut off: a record is never lost to its neighbour.

pub(super) mod accept;
pub(super) mod field;
pub(super) mod progress;

use bytes::Bytes;
use memchr::memmem;

use crate::mail::QueueId;

/// What every record of one use of a segment file begins with.
pub(super) type Marker = [u8; 16];

/// Octets of a head without its marker.
pub(super) const HEAD: usize = 28;
/// Octets of a record besides its payload.
pub(super) const OVERHEAD: usize = 16 + HEAD;
/// Where the CRC is in a head.
const CRC_AT: usize = 24;

/// This record counts only directly after the valid record before it: both were written as one.
pub(super) const JOINED: u8 = 1;
/// Recovery has to read the payload: it says something about deaths.
pub(super) const MARKED: u8 = 2;
/// An `Accept` whose content is a file.
pub(super) const CONTENT_FILE: u8 = 4;
/// A report's `Accept`, written as one with the joined record after it. Without that one it does not count, as long as
/// its original is there to be reported again.
pub(super) const LEADS: u8 = 8;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordType {
    /// A message: envelope, and content up to 64 KiB.
    Accept,
    /// An attempt starts; or, marked, how often the process died during one.
    Begin,
    /// New progress of recipients.
    Outcome,
    /// Every recipient has its end.
    Remove,
    /// What was used up of an upstream's limits.
    Quota,
}

impl RecordType {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Accept => 1,
            Self::Begin => 2,
            Self::Outcome => 3,
            Self::Remove => 4,
            Self::Quota => 5,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Accept,
            2 => Self::Begin,
            3 => Self::Outcome,
            4 => Self::Remove,
            5 => Self::Quota,
            _ => return None,
        })
    }
}

/// A record's head, its marker aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its type's number. Unknown ones below 128 are ignored; others are of a newer format.
    pub(super) code: u8,
    pub(super) flags: u8,
    /// Octets of its payload.
    pub(super) length: u32,
    pub(super) id: QueueId,
    crc: u32,
}

impl Head {
    /// Reads a head behind its marker. Whether it is valid only `verify` tells.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        let [code, flags, _, _, l0, l1, l2, l3, rest @ ..] = head;
        let id: &[u8; 16] = rest.first_chunk()?;
        let crc: &[u8; 4] = rest.last_chunk()?;
        Some(Self {
            code: *code,
            flags: *flags,
            length: u32::from_le_bytes([*l0, *l1, *l2, *l3]),
            id: QueueId::from_bytes(*id),
            crc: u32::from_le_bytes(*crc),
        })
    }

    /// Octets of the whole record.
    pub(super) fn record_length(&self) -> u64 {
        OVERHEAD as u64 + u64::from(self.length)
    }

    pub(super) fn record_type(&self) -> Option<RecordType> {
        RecordType::from_code(self.code)
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A whole record at the start of `bytes`, if there is a valid one: its head and payload.
pub(super) fn read<'a>(bytes: &'a [u8], marker: &Marker) -> Option<(Head, &'a [u8])> {
    let after = bytes.strip_prefix(marker)?;
    let head = Head::read(after)?;
    let payload = after
        .get(HEAD..)?
        .get(..usize::try_from(head.length).ok()?)?;
    let covered = after.get(..CRC_AT)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(covered), payload);
    (crc == head.crc).then_some((head, payload))
}

/// A record ready to be written behind a marker.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    /// Head and payload.
    bytes: Vec<u8>,
    /// The end of the payload: content, which is not copied into `bytes`.
    content: Bytes,
}

impl Encoded {
    /// Frames a payload. `fill` writes it behind the head; `content` follows as it is.
    pub(super) fn new(
        record_type: RecordType,
        flags: u8,
        id: QueueId,
        content: Bytes,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        // Envelopes of one recipient take about 400 octets.
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&[record_type.code(), flags, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&id.to_bytes());
        bytes.extend_from_slice(&[0; 4]);
        fill(&mut bytes);
        let length = bytes.len() - HEAD + content.len();
        let mut encoded = Self { bytes, content };
        encoded.put(4, u32::try_from(length).unwrap_or(u32::MAX));
        encoded.seal();
        encoded
    }

    /// The record of a payload that exists already.
    pub(super) fn raw(code: u8, flags: u8, id: QueueId, payload: &[u8]) -> Self {
        let mut encoded = Self::new(RecordType::Accept, flags, id, Bytes::new(), |out| {
            out.extend_from_slice(payload);
        });
        if let Some(first) = encoded.bytes.first_mut() {
            *first = code;
        }
        encoded.seal();
        encoded
    }

    /// The same record, valid only directly after the one before it.
    pub(super) fn joined(self) -> Self {
        self.flagged(JOINED)
    }

    /// The same record, with the joined one that is written directly after it.
    pub(super) fn leading(self) -> Self {
        self.flagged(LEADS)
    }

    fn flagged(mut self, flag: u8) -> Self {
        if let Some(flags) = self.bytes.get_mut(1) {
            *flags |= flag;
        }
        self.seal();
        self
    }

    pub(super) fn head(&self) -> Option<Head> {
        Head::read(&self.bytes)
    }

    /// Octets with the marker.
    pub(super) fn length(&self) -> usize {
        16 + self.bytes.len() + self.content.len()
    }

    /// Appends the record to a batch.
    pub(super) fn write_to(&self, marker: &Marker, out: &mut Vec<u8>) {
        out.extend_from_slice(marker);
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(&self.content);
    }

    fn put(&mut self, at: usize, value: u32) {
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn seal(&mut self) {
        let head = self.bytes.get(..CRC_AT).unwrap_or_default();
        let rest = self.bytes.get(HEAD..).unwrap_or_default();
        let crc = crc32c::crc32c_append(crc32c::crc32c(head), rest);
        let crc = crc32c::crc32c_append(crc, &self.content);
        self.put(CRC_AT, crc);
    }
}

/// A valid record that a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) offset: usize,
    pub(super) head: Head,
}

impl Found {
    /// Where the next record begins.
    pub(super) fn end(&self) -> usize {
        self.offset + usize::try_from(self.head.record_length()).unwrap_or(usize::MAX / 2)
    }
}

/// What a scan found in a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Valid records, in order.
    pub(super) found: Vec<Found>,
    /// Octets between valid records that are none.
    pub(super) damage: Vec<std::ops::Range<usize>>,
    /// The beginning of a record after the last valid one: the write that a death cut off, or damage.
    pub(super) torn: Option<std::ops::Range<usize>>,
}

/// Finds every valid record from `start` on.
pub(super) fn scan(bytes: &[u8], start: usize, marker: &Marker) -> Scan {
    let finder = memmem::Finder::new(marker);
    let mut scan = Scan::default();
    // Where the next record should be, and where to look on.
    let (mut expected, mut at) = (start, start);
    while let Some(offset) = bytes
        .get(at..)
        .and_then(|rest| finder.find(rest))
        .map(|i| at + i)
    {
        let Some((head, _)) = bytes.get(offset..).and_then(|rest| read(rest, marker)) else {
            at = offset + 1;
            continue;
        };
        if offset > expected {
            scan.damage.push(expected..offset);
        }
        let found = Found { offset, head };
        (expected, at) = (found.end(), found.end());
        scan.found.push(found);
    }
    scan.torn = torn_tail(bytes, expected, &finder, marker);
    scan.drop_orphans();
    scan
}

/// From the end of the last valid record to the end that the last broken one claims.
fn torn_tail(
    bytes: &[u8],
    from: usize,
    finder: &memmem::Finder<'_>,
    marker: &Marker,
) -> Option<std::ops::Range<usize>> {
    let rest = bytes.get(from..)?;
    let last = finder.find_iter(rest).last()?;
    let claimed = rest
        .get(last + marker.len()..)
        .and_then(Head::read)
        .map_or(OVERHEAD as u64, |head| head.record_length());
    let end = (last as u64).saturating_add(claimed).min(rest.len() as u64);
    Some(from..from + usize::try_from(end).unwrap_or(rest.len()))
}

impl Scan {
    /// A joined record whose predecessor is not there was never confirmed to anyone: it does not count.
    fn drop_orphans(&mut self) {
        let mut previous_end = None;
        self.found.retain(|found| {
            let counts = !found.head.has(JOINED) || previous_end == Some(found.offset);
            previous_end = counts.then(|| found.end());
            counts
        });
    }
}

#[cfg(test)]
mod tests;
