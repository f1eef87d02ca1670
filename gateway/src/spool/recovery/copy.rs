//! The fresh segment after an unclean stop: what is valid of the last one, and who was in flight.
//!
//! Records are copied as they are, in order, so that those which count only together stay together. Nothing of it is
//! part of the log before it is complete and synced.

use std::{path::Path, sync::Arc};

use super::Found;
use crate::{
    mail::QueueId,
    spool::{
        durable::{self, Files},
        footer::{self, Entry},
        record::{JOINED, accept},
        segment::{self, Header, RECORDS},
        space::Store,
        writer::Active,
    },
};

/// The fresh segment: what is valid of the last one, and who was in flight.
pub(super) struct Copy {
    /// Records without their markers, as they are to follow each other.
    records: Vec<Vec<u8>>,
    entries: Vec<Entry>,
}

impl Copy {
    pub(super) fn new(found: Option<&Found>, deaths: &[(QueueId, u8)]) -> std::io::Result<Self> {
        let mut copy = Self {
            records: Vec::new(),
            entries: Vec::new(),
        };
        let mut at = RECORDS;
        if let Some(found) = found {
            let bytes = durable::read_all(&*found.segment.file)?;
            for entry in &found.entries {
                let start = entry.offset as usize;
                let record = bytes.get(start + 16..start + entry.length as usize);
                copy.push(*entry, record.unwrap_or_default().to_vec(), &mut at);
            }
        }
        for (id, deaths) in deaths {
            let mut record = Vec::new();
            let encoded = accept::encode_deaths(*id, deaths.saturating_add(1));
            encoded.write_to(&[0; 16], &mut record);
            record.drain(..16);
            if let Some(head) = encoded.head() {
                copy.push(Entry::of(&head, at, 0, 0), record, &mut at);
            }
        }
        Ok(copy)
    }

    fn push(&mut self, mut entry: Entry, record: Vec<u8>, at: &mut u32) {
        debug_assert!(!entry.has(JOINED) || !self.entries.is_empty());
        entry.offset = *at;
        *at = at.saturating_add(entry.length);
        self.records.push(record);
        self.entries.push(entry);
    }

    pub(super) fn publish(
        self,
        files: &dyn Files,
        spool: &Path,
        store: &mut Store,
        mut header: Header,
    ) -> std::io::Result<Active> {
        let used = self
            .entries
            .last()
            .map_or(RECORDS, |last| last.offset + last.length);
        let room = footer::length(self.entries.len() + 2);
        let wanted = (used as usize).saturating_add(room);
        let wanted = u32::try_from(wanted).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
        let (path, length) = store.prepare(wanted)?;
        header.number = store.next_number();
        header.marker = segment::marker()?;
        let mut bytes = Vec::with_capacity(used as usize);
        for record in &self.records {
            bytes.extend_from_slice(&header.marker);
            bytes.extend_from_slice(record);
        }
        files.open(&path)?.write_at(&bytes, RECORDS.into())?;
        let segment = segment::publish(files, spool, &path, header, length)?;
        Ok(Active {
            segment: Arc::new(segment),
            used,
            entries: self.entries,
        })
    }
}
