//! What relays say to their senders: written by a relay's reconcile, read by those of its senders.
//!
//! So 2,000 senders of one relay are judged once and not 2,000 times. Nobody needs it to be right after a restart: the
//! relay's first reconcile fills it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use posthouse_config::Senders;

use super::{admission::Admissions, ledger::Ledger};
use crate::mail_relay::keys::{KeyRotations, LiveDocument};

/// A namespace and a name.
type Key = (String, String);

/// What each relay says.
#[derive(Debug, Default)]
pub struct Board(Mutex<HashMap<Key, Arc<Entry>>>);

/// What one relay says.
#[derive(Clone, Debug)]
pub struct Entry {
    /// To each sender.
    pub admissions: Admissions,
    /// Its keys, as they are in its document.
    pub keys: KeyRotations,
    /// Since when what is accepted.
    pub ledger: Ledger,
}

impl Board {
    /// A relay's word; the answer is to whom it is another than before. `senders` and `document` are the files in use.
    pub fn publish(
        &self,
        relay: &Key,
        keys: &KeyRotations,
        admissions: Admissions,
        senders: Option<&Senders>,
        document: Option<&LiveDocument>,
    ) -> BTreeSet<Key> {
        let before = self.entry(relay);
        let mut ledger = before
            .as_ref()
            .map(|entry| entry.ledger.clone())
            .unwrap_or_default();
        ledger.observe(senders, document);
        let changed = before.as_ref().map_or_else(
            || admissions.verdicts.keys().cloned().collect(),
            |before| {
                let are_keys_the_same = before.keys == *keys;
                let is_same = |key: &Key| {
                    are_keys_the_same
                        && before.admissions.verdicts.get(key) == admissions.verdicts.get(key)
                };
                let all = before
                    .admissions
                    .verdicts
                    .keys()
                    .chain(admissions.verdicts.keys());
                all.filter(|key| !is_same(key)).cloned().collect()
            },
        );
        let entry = Entry {
            admissions,
            keys: keys.clone(),
            ledger,
        };
        self.lock().insert(relay.clone(), Arc::new(entry));
        changed
    }

    /// What a relay said last.
    pub fn entry(&self, relay: &Key) -> Option<Arc<Entry>> {
        self.lock().get(relay).cloned()
    }

    /// Forgets a relay that is gone; the answer is who heard from it.
    pub fn forget(&self, relay: &Key) -> Vec<Key> {
        let entry = self.lock().remove(relay);
        entry.map_or_else(Vec::new, |entry| {
            entry.admissions.verdicts.keys().cloned().collect()
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
