//! What an upstream did with other mail: the evidence on which a refusal is believed or not.
//!
//! In memory and bounded; lost with a restart. No evidence fails nothing.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use posthouse_smtp::ReversePath;

use crate::{
    mail::{Message, QueueId, Timestamp},
    outbound::verdict::History,
};

/// Reverse-paths, and messages whose connection was lost, that are remembered: at most twice as many, the oldest
/// forgotten first.
const GENERATION: usize = 5_000;

/// Different messages remembered as refused in a row: one more than decides.
const REFUSED: usize = 4;

/// The evidence at one upstream.
#[derive(Debug, Default)]
pub(crate) struct Evidences {
    relayed: Relayed,
    paths: Generations<ReversePath, Path>,
    lost: Generations<QueueId, Timestamp>,
}

#[derive(Clone, Debug, Default)]
struct Path {
    relayed: Relayed,
    refused: Vec<QueueId>,
}

/// The last message relayed, and when the last one before it was.
#[derive(Clone, Debug, Default)]
struct Relayed {
    last: Option<(Timestamp, QueueId)>,
    before: Option<Timestamp>,
}

impl Relayed {
    fn note(&mut self, id: QueueId, at: Timestamp) {
        if let Some((last, _)) = self.last.filter(|(_, previous)| *previous != id) {
            self.before = Some(last);
        }
        self.last = Some((at, id));
    }

    /// When a message other than this one was last relayed.
    fn other_than(&self, id: QueueId) -> Option<Timestamp> {
        match self.last {
            Some((at, last)) if last != id => Some(at),
            _ => self.before,
        }
    }
}

impl Evidences {
    /// A message was relayed.
    pub(crate) fn relayed(&mut self, message: &Message, at: Timestamp) {
        self.relayed.note(message.id, at);
        let path = self.paths.entry(&message.reverse_path);
        path.relayed.note(message.id, at);
        path.refused.clear();
        self.lost.remove(&message.id);
    }

    /// A message was refused, and it is not known whether because of itself.
    pub(crate) fn refused(&mut self, message: &Message) {
        let refused = &mut self.paths.entry(&message.reverse_path).refused;
        if !refused.contains(&message.id) && refused.len() < REFUSED {
            refused.push(message.id);
        }
    }

    /// The reverse-path is held: what led to it is used up, or its probe would hold it again at once.
    pub(crate) fn held(&mut self, message: &Message) {
        self.paths.entry(&message.reverse_path).refused.clear();
    }

    /// A connection was lost with a message.
    pub(crate) fn lost(&mut self, message: &Message, at: Timestamp) {
        let first = self.lost.entry(&message.id);
        if *first == Timestamp::default() {
            *first = at;
        }
    }

    /// What bears on one message.
    pub(crate) fn of(&self, message: &Message) -> History {
        let relayed_other = self.relayed.other_than(message.id);
        let path = self.paths.get(&message.reverse_path);
        let first_lost = self.lost.get(&message.id);
        History {
            relayed_of_reverse_path: path.and_then(|path| path.relayed.other_than(message.id)),
            relayed_other,
            relayed_since_lost: matches!(
                (first_lost, relayed_other), (Some(first), Some(other)) if other > *first
            ),
            others_refused: path.map_or(0, |path| {
                path.refused.iter().filter(|id| **id != message.id).count()
            }),
            breaker_is_due: false,
        }
    }
}

/// A map that forgets what was not used for long: two generations, the older one dropped when the younger is full.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Default> Generations<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn entry(&mut self, key: &K) -> &mut V {
        if self.young.len() >= GENERATION && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        match self.young.entry(key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.old.remove(key).unwrap_or_default()),
        }
    }

    fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_the_oldest() {
        let mut map: Generations<usize, usize> = Generations::default();
        for key in 0..3 * GENERATION {
            *map.entry(&key) = key;
            *map.entry(&0) = 7;
        }
        assert!(map.young.len() + map.old.len() <= 2 * GENERATION);
        assert_eq!(map.get(&0), Some(&7));
        assert_eq!(map.get(&1), None);
        assert_eq!(map.get(&(3 * GENERATION - 1)), Some(&(3 * GENERATION - 1)));
        map.remove(&0);
        assert_eq!(map.get(&0), None);
    }

    #[test]
    fn only_other_messages_are_evidence() {
        let (one, two) = (QueueId::new(1, 1), QueueId::new(1, 2));
        let at = Timestamp::from_millis;
        let mut relayed = Relayed::default();
        relayed.note(one, at(10));
        relayed.note(one, at(20));
        assert_eq!(relayed.other_than(one), None);
        assert_eq!(relayed.other_than(two), Some(at(20)));
        relayed.note(two, at(30));
        assert_eq!(relayed.other_than(two), Some(at(20)));
        assert_eq!(relayed.other_than(one), Some(at(30)));
    }
}
