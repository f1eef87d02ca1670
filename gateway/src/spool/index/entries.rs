//! The entries of the index, by queue id, in little memory: a million messages are to wait in it.
//!
//! Queue ids of one spool count up, so 64 of them share a page, in which entries stand side by side without keys: 42
//! octets for each message in all when pages are full, about 110 for one that is alone in its page. Ids that do not
//! count up (reports, and messages of a sibling) are kept apart with their keys.

use std::collections::HashMap;

use super::Entry;
use crate::mail::QueueId;

/// Ids of a page: one bit each.
const PAGE: u64 = 64;

/// Entries whose ids differ in the lowest six bits.
#[derive(Default)]
struct Page {
    /// Which of them are there.
    present: u64,
    /// Those, in order.
    entries: Vec<Entry>,
}

impl Page {
    /// Where the entry of a bit is, or belongs.
    const fn position(&self, bit: u64) -> usize {
        (self.present & (bit - 1)).count_ones() as usize
    }
}

/// Entries by queue id.
#[derive(Default)]
pub(super) struct Entries {
    /// The octets that ids of this spool begin with, known from the first.
    home: Option<[u8; 6]>,
    pages: HashMap<u64, Page>,
    others: HashMap<QueueId, Entry>,
    length: usize,
}

impl Entries {
    pub(super) const fn len(&self) -> usize {
        self.length
    }

    /// Page and bit of an id that counts up.
    fn place(&self, id: QueueId) -> Option<(u64, u64)> {
        let spool = id.to_bytes().first_chunk().copied();
        let is_home = spool.is_some() && spool == self.home && !id.is_report();
        is_home.then(|| (id.sequence() / PAGE, 1 << (id.sequence() % PAGE)))
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&Entry> {
        let Some((number, bit)) = self.place(id) else {
            return self.others.get(&id);
        };
        let page = self.pages.get(&number)?;
        (page.present & bit != 0)
            .then(|| page.entries.get(page.position(bit)))
            .flatten()
    }

    pub(super) fn get_mut(&mut self, id: QueueId) -> Option<&mut Entry> {
        let Some((number, bit)) = self.place(id) else {
            return self.others.get_mut(&id);
        };
        let page = self.pages.get_mut(&number)?;
        if page.present & bit == 0 {
            return None;
        }
        let position = page.position(bit);
        page.entries.get_mut(position)
    }

    /// Puts an entry that is not there yet.
    pub(super) fn insert(&mut self, id: QueueId, entry: Entry) {
        self.length += 1;
        if self.home.is_none() && !id.is_report() {
            self.home = id.to_bytes().first_chunk().copied();
        }
        let Some((number, bit)) = self.place(id) else {
            self.others.insert(id, entry);
            return;
        };
        let page = self.pages.entry(number).or_default();
        let position = page.position(bit);
        page.present |= bit;
        page.entries.insert(position, entry);
    }

    pub(super) fn remove(&mut self, id: QueueId) -> Option<Entry> {
        let Some((number, bit)) = self.place(id) else {
            let entry = self.others.remove(&id)?;
            self.length -= 1;
            return Some(entry);
        };
        let page = self.pages.get_mut(&number)?;
        if page.present & bit == 0 {
            return None;
        }
        let position = page.position(bit);
        page.present &= !bit;
        let entry = page.entries.remove(position);
        self.length -= 1;
        if page.entries.is_empty() {
            self.pages.remove(&number);
        } else if page.entries.len() * 4 <= page.entries.capacity() {
            page.entries.shrink_to(page.entries.len());
        }
        Some(entry)
    }

    /// Every id, the oldest first.
    pub(super) fn ids(&self) -> Vec<QueueId> {
        let mut ids: Vec<_> = self.others.keys().copied().collect();
        if let Some(home) = self.home {
            let mut bytes = [0; 8];
            if let Some(place) = bytes.last_chunk_mut() {
                *place = home;
            }
            let spool = u64::from_be_bytes(bytes);
            for (number, page) in &self.pages {
                let bits = (0..PAGE).filter(|bit| page.present & (1 << bit) != 0);
                ids.extend(bits.map(|bit| QueueId::new(spool, number * PAGE + bit)));
            }
        }
        ids.sort_unstable_by_key(|id| (id.sequence(), *id));
        ids
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{
        super::{Latest, Position},
        *,
    };

    fn entry(n: u32) -> Entry {
        Entry {
            accept: Position {
                segment: n,
                offset: n,
            },
            length: n,
            generation: 0,
            recipients: 1,
            content_file: false,
            latest: Latest::None,
        }
    }

    fn id() -> impl Strategy<Value = QueueId> {
        (1u64..3, 0u64..200, 0u32..2)
            .prop_map(|(spool, sequence, report)| QueueId::new(spool, sequence).report(report))
    }

    proptest! {
        #[test]
        fn is_a_map(acts in proptest::collection::vec((any::<bool>(), id()), 0..300)) {
            let (mut entries, mut model) = (Entries::default(), BTreeMap::new());
            for (n, (put, id)) in (0..).zip(acts) {
                if put && !model.contains_key(&id) {
                    entries.insert(id, entry(n));
                    model.insert(id, entry(n));
                } else {
                    prop_assert_eq!(entries.remove(id), model.remove(&id));
                }
                prop_assert_eq!(entries.get(id), model.get(&id));
                prop_assert_eq!(entries.get_mut(id).cloned(), model.get(&id).cloned());
                prop_assert_eq!(entries.len(), model.len());
            }
            let mut ids: Vec<_> = model.keys().copied().collect();
            ids.sort_by_key(|id| (id.sequence(), *id));
            prop_assert_eq!(entries.ids(), ids);
        }
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 40);
        assert!(size_of::<Page>() <= 32);
    }
}
