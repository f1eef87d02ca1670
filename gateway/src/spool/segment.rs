//! Segments: the files of the log, their headers and their names.
//!
//! ```text
//! 0     header: magic 8 · format 4 · spool UUID 16 · number 4 · run 4 · next sequence 8 · marker 16 · CRC32C 4
//! 4096  the same again
//! 8192  records …            footer, when sealed, at the very end of the file
//! ```
//!
//! The header is there twice, on two pages, because without the marker no record of the segment could be found. A
//! segment is complete before it gets its name: zero-written, header synced, then renamed, then the folder synced; so
//! the log goes on in it without another sync but of its data.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    durable::{Files, OpenFile},
    record::Marker,
};

/// The format of segments that this release writes, and the highest it reads.
pub(super) const FORMAT: u32 = 1;
/// Where records begin.
pub(super) const RECORDS: u32 = 8192;
/// Where the second copy of the header is: on another page.
const SECOND_COPY: u64 = 4096;
const MAGIC: [u8; 8] = *b"PHSEGMNT";
const LENGTH: usize = 64;
/// Zeroes are written in pieces of this size, so that other writes get in between.
const PIECE: usize = 1024 * 1024;

/// What is known of a segment before its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The spool's own name; the upper 48 bits are in every queue id.
    pub(super) uuid: [u8; 16],
    /// Grows with every segment.
    pub(super) number: u32,
    /// Grows with every start of the process.
    pub(super) run: u32,
    /// No sequence number from this one on is given out before another segment or record says so.
    pub(super) next_sequence: u64,
    pub(super) marker: Marker,
}

/// Why a header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    /// Its format is newer than this release.
    Newer(u32),
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LENGTH);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.uuid);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&self.next_sequence.to_le_bytes());
        out.extend_from_slice(&self.marker);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let damaged = HeaderError::Damaged;
        let rest = bytes.strip_prefix(&MAGIC).ok_or(damaged)?;
        let (format, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let format = u32::from_le_bytes(*format);
        let body = bytes.get(..LENGTH - 4).ok_or(damaged)?;
        let crc = bytes.get(LENGTH - 4..LENGTH).ok_or(damaged)?;
        if crc32c::crc32c(body).to_le_bytes() != *crc {
            return Err(damaged);
        }
        // The checksum covers the format, so a damaged format is not taken for a newer one.
        if format > FORMAT {
            return Err(HeaderError::Newer(format));
        }
        let (uuid, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (number, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (run, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (next_sequence, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let marker = rest.first_chunk().ok_or(damaged)?;
        Ok(Self {
            uuid: *uuid,
            number: u32::from_le_bytes(*number),
            run: u32::from_le_bytes(*run),
            next_sequence: u64::from_le_bytes(*next_sequence),
            marker: *marker,
        })
    }

    /// Writes both copies.
    pub(super) fn write(&self, file: &dyn OpenFile) -> io::Result<()> {
        let bytes = self.encode();
        file.write_at(&bytes, 0)?;
        file.write_at(&bytes, SECOND_COPY)
    }

    /// Reads whichever copy is whole.
    pub(super) fn read(file: &dyn OpenFile) -> io::Result<Result<Self, HeaderError>> {
        let mut error = HeaderError::Damaged;
        for at in [0, SECOND_COPY] {
            let mut bytes = [0; LENGTH];
            let read = file.read_at(&mut bytes, at)?;
            match Self::decode(bytes.get(..read).unwrap_or_default()) {
                Ok(header) => return Ok(Ok(header)),
                Err(newer @ HeaderError::Newer(_)) => error = newer,
                Err(HeaderError::Damaged) => {}
            }
        }
        Ok(Err(error))
    }
}

/// An open segment.
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) file: Arc<dyn OpenFile>,
    pub(super) path: PathBuf,
    /// Octets of the file.
    pub(super) length: u32,
}

impl Segment {
    pub(super) const fn number(&self) -> u32 {
        self.header.number
    }
}

/// The file of a segment.
pub(super) fn path(spool: &Path, number: u32) -> PathBuf {
    spool.join(format!("{number:010}.segment"))
}

/// A segment's number by its file's name.
pub(super) fn number(name: &str) -> Option<u32> {
    name.strip_suffix(".segment")?.parse().ok()
}

/// A marker nobody can guess.
pub(super) fn marker() -> io::Result<Marker> {
    random()
}

/// Random octets.
pub(super) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the machine gave no random numbers"))?;
    Ok(bytes)
}

/// Writes zeroes over a whole file, so that syncing it later writes data alone and no metadata.
pub(super) fn write_zeroes(file: &dyn OpenFile, length: u32) -> io::Result<()> {
    let zeroes = vec![0; PIECE];
    let mut at = 0;
    while at < length as usize {
        let piece = PIECE.min(length as usize - at);
        file.write_at(zeroes.get(..piece).unwrap_or_default(), at as u64)?;
        at += piece;
    }
    file.sync()
}

/// Gives a prepared file its header and its place in the log. `from` holds at least `length` octets of anything but
/// records with this marker.
pub(super) fn publish(
    files: &dyn Files,
    spool: &Path,
    from: &Path,
    header: Header,
    length: u32,
) -> io::Result<Segment> {
    let file = files.open(from)?;
    header.write(&*file)?;
    file.sync()?;
    let path = path(spool, header.number);
    files.rename(from, &path)?;
    files.sync_dir(spool)?;
    Ok(Segment {
        header,
        file,
        path,
        length,
    })
}
