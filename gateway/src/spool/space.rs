//! Space: segments made ahead of need, kept in reserve, recycled, and given back.
//!
//! Overwriting zeroes that are already on the disk needs no metadata, so a sync costs one write; extending a file costs
//! more than half as much again. So the next segment is zero-written before it is needed, and a segment in which
//! nothing is alive becomes the next one by rename. Outcomes, reports and copies must be writable when mail is no
//! longer taken: three segments are kept for them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    durable::{self, Files, Space},
    segment::{self, Header, Segment},
};

/// Segments that new mail may not use: the next one, and those below.
pub(super) const RESERVE: u64 = 3;
/// Files that wait beside the next segment while the log is idle.
const SPARES: usize = 2;
/// Files that wait while the log moves on: what is freed is needed again at once.
const SPARES_BUSY: usize = 4;
/// A volume holds at least so many segments, whatever was asked for.
const SEGMENTS_PER_VOLUME: u64 = 12;
/// The smallest segment. A record that does not fit gets a longer one of its own.
const SMALLEST: u64 = 64 * 1024;
/// The largest: positions in a segment take 32 bits, with room for records that span nearly all of it.
const LARGEST: u64 = 1024 * 1024 * 1024;
/// What an unsettled message may still need in the log: an outcome and a removal of ordinary size.
const DEBT: u64 = 256;

/// The size of segments on a volume: what was asked for, halved until enough of them fit.
pub(super) fn segment_bytes(asked: u64, volume: u64) -> u32 {
    let mut size = asked.clamp(SMALLEST, LARGEST);
    while size / 2 >= SMALLEST && size.saturating_mul(SEGMENTS_PER_VOLUME) > volume {
        size /= 2;
    }
    // Clamped above to what 32 bits hold.
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// A file that can become a segment.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    length: u32,
    /// Its blocks have been written: it needs no zeroes.
    written: bool,
}

/// The files that can become segments.
pub(super) struct Store {
    files: Arc<dyn Files>,
    folder: PathBuf,
    segment_bytes: u32,
    spares: Vec<Spare>,
    /// The number of the last segment, and of the last spare.
    last: u32,
}

impl Store {
    /// Takes over what an earlier process left: spare files, and files that never became anything.
    pub(super) fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        names: &[String],
        segment_bytes: u32,
        last: u32,
    ) -> io::Result<Self> {
        let mut store = Self {
            files,
            folder: folder.to_owned(),
            segment_bytes,
            spares: Vec::new(),
            last,
        };
        for name in names {
            let path = folder.join(name);
            if name.strip_suffix(".new").is_some() {
                store.files.remove(&path)?;
            } else if let Some(number) = name.strip_suffix(".spare").and_then(|n| n.parse().ok()) {
                let length = store.files.open(&path)?.length()?;
                store.last = store.last.max(number);
                store.spares.push(Spare {
                    path,
                    length: u32::try_from(length).unwrap_or_default(),
                    // Whether its blocks were written is not known; writing them again does no harm.
                    written: false,
                });
            }
        }
        Ok(store)
    }

    /// Octets in spare files.
    pub(super) fn spare_bytes(&self) -> u64 {
        self.spares.iter().map(|s| u64::from(s.length)).sum()
    }

    /// The number for the next segment.
    pub(super) fn next_number(&mut self) -> u32 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    /// A file of at least `length` octets whose blocks are written; not yet a segment.
    pub(super) fn prepare(&mut self, length: u32) -> io::Result<(PathBuf, u32)> {
        let length = length.max(self.segment_bytes);
        let found = self.spares.iter().position(|s| s.length >= length);
        let spare = match found {
            Some(at) => self.spares.swap_remove(at),
            None => self.create(length)?,
        };
        if !spare.written {
            let file = self.files.open(&spare.path)?;
            if let Err(error) = segment::write_zeroes(&*file, spare.length) {
                // A file system that gave space only as it was written has none left.
                let _ = self.files.remove(&spare.path);
                return Err(error);
            }
        }
        Ok((spare.path, spare.length))
    }

    /// The next segment of the log, complete.
    pub(super) fn next(&mut self, length: u32, mut header: Header) -> io::Result<Segment> {
        let (path, length) = self.prepare(length)?;
        header.number = self.next_number();
        header.marker = segment::marker()?;
        segment::publish(&*self.files, &self.folder, &path, header, length)
    }

    /// Takes a segment out of the log, durably, and keeps its file for another use.
    pub(super) fn recycle(&mut self, segment: &Segment) -> io::Result<()> {
        let path = self.spare_path(segment.number());
        self.files.rename(&segment.path, &path)?;
        self.files.sync_dir(&self.folder)?;
        self.spares.push(Spare {
            path,
            length: segment.length,
            written: true,
        });
        Ok(())
    }

    /// Brings the number of spares to what is due.
    pub(super) fn adjust(&mut self, busy: bool) -> io::Result<()> {
        let most = if busy { SPARES_BUSY } else { SPARES };
        // Larger ones were made for one large record.
        let ordinary = self.segment_bytes;
        self.spares.sort_by_key(|s| s.length != ordinary);
        while self.spares.len() > most {
            if let Some(spare) = self.spares.pop() {
                self.files.remove(&spare.path)?;
            }
        }
        while self.spares.len() < SPARES {
            match self.create(ordinary) {
                Ok(spare) => self.spares.push(spare),
                Err(error) if durable::is_full(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn spare_path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number:010}.spare"))
    }

    /// A new file with its space taken, but not yet written.
    fn create(&mut self, length: u32) -> io::Result<Spare> {
        let number = self.next_number();
        let path = self.spare_path(number);
        let made = self
            .files
            .create(&path)
            .and_then(|file| file.allocate(length.into()));
        if let Err(error) = made {
            let _ = self.files.remove(&path);
            return Err(error);
        }
        Ok(Spare {
            path,
            length,
            written: false,
        })
    }
}

/// Whether there is room for new mail: what is free and what can be recycled, against the reserve and what the
/// messages that wait will still need.
pub(super) fn has_room(space: Space, recyclable: u64, segment_bytes: u32, messages: u64) -> bool {
    let needed = RESERVE * u64::from(segment_bytes) + messages.saturating_mul(DEBT);
    space.free.saturating_add(recyclable) >= needed
}
