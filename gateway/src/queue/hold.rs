//! Holds on a reverse-path at an upstream: the provider refuses this sender address, and nobody else's mail.
//!
//! Kept in memory and rebuilt from what is stored with the refused recipients. Once an hour one message is let
//! through as a probe; a hold ends when one is accepted, when the upstream's part of the document or its credential
//! changes, or when a person says so. A forgotten hold costs one refusal, which makes it again.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use posthouse_smtp::ReversePath;

use super::{
    entry::{Entry, Now},
    lane::LaneId,
    tally::Tally,
};
use crate::{
    clock::Monotonic,
    mail::{QueueId, Timestamp},
};

/// Holds that are remembered; beyond, the oldest is forgotten.
pub(crate) const MAXIMUM: usize = 10_000;

/// One message an hour finds out whether the hold can end.
const PROBE_INTERVAL: Duration = Duration::from_hours(1);

/// What a hold is on.
type Key = (Arc<str>, ReversePath);

/// Which reverse-paths are held, for those who plan attempts beside the schedule.
#[derive(Debug, Default)]
pub(crate) struct HoldSet {
    by_upstream: RwLock<HashMap<Arc<str>, HashSet<ReversePath>>>,
}

impl HoldSet {
    /// Whether a reverse-path is held at an upstream.
    pub(crate) fn contains(&self, upstream: &str, reverse_path: &ReversePath) -> bool {
        let held = self
            .by_upstream
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        // Mostly nothing is held at all.
        !held.is_empty()
            && held
                .get(upstream)
                .is_some_and(|paths| paths.contains(reverse_path))
    }

    fn change(&self, key: &Key, held: bool) {
        let mut all = self
            .by_upstream
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if held {
            all.entry(Arc::clone(&key.0))
                .or_default()
                .insert(key.1.clone());
        } else if let Some(paths) = all.get_mut(&key.0) {
            paths.remove(&key.1);
            if paths.is_empty() {
                all.remove(&key.0);
            }
        }
    }
}

#[derive(Debug)]
struct Hold {
    /// The order in which holds were made.
    number: u64,
    next_probe: Monotonic,
    /// When the last refusal came.
    last_refusal: Option<Timestamp>,
    waiting: VecDeque<(LaneId, Entry)>,
    sums: Sums,
}

/// What the entries that wait for a hold add up to: kept with every change, so that figures cost nothing per message.
#[derive(Debug, Default)]
struct Sums {
    tally: Tally,
    /// Messages, by lane.
    by_lane: BTreeMap<LaneId, u64>,
}

impl Sums {
    fn add(&mut self, lane: LaneId, entry: &Entry) {
        self.tally.add(entry);
        if !entry.is_extra() {
            *self.by_lane.entry(lane).or_default() += 1;
        }
    }

    fn subtract(&mut self, lane: LaneId, entry: &Entry) {
        self.tally.subtract(entry);
        if entry.is_extra() {
            return;
        }
        if let Some(messages) = self.by_lane.get_mut(&lane) {
            *messages = messages.saturating_sub(1);
            if *messages == 0 {
                self.by_lane.remove(&lane);
            }
        }
    }
}

/// All holds, and the entries that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    set: Arc<HoldSet>,
    by_key: HashMap<Key, Hold>,
    oldest: BTreeMap<u64, Key>,
    made: u64,
    /// No probe is due before; `None` while nothing waits.
    next_probe: Option<Monotonic>,
}

/// Entries that wait no longer, each with its lane.
pub(crate) type Released = Vec<(LaneId, Entry)>;

impl Holds {
    /// The part that may be asked from elsewhere.
    pub(crate) fn set(&self) -> Arc<HoldSet> {
        Arc::clone(&self.set)
    }

    /// The upstream refused the reverse-path just now. Gives back what waited for a hold that is forgotten for it.
    pub(crate) fn refused(
        &mut self,
        upstream: &Arc<str>,
        reverse_path: &ReversePath,
        now: Now,
    ) -> Released {
        let released = self.hold(upstream, reverse_path, now.mono.plus(PROBE_INTERVAL));
        if let Some(hold) = self
            .by_key
            .get_mut(&(Arc::clone(upstream), reverse_path.clone()))
        {
            hold.last_refusal = Some(now.wall);
        }
        released
    }

    /// A hold that was found at start: its probe is due at once.
    pub(crate) fn rebuild(
        &mut self,
        upstream: &Arc<str>,
        reverse_path: &ReversePath,
        now: Now,
    ) -> Released {
        self.hold(upstream, reverse_path, now.mono)
    }

    fn hold(
        &mut self,
        upstream: &Arc<str>,
        reverse_path: &ReversePath,
        next_probe: Monotonic,
    ) -> Released {
        let key = (Arc::clone(upstream), reverse_path.clone());
        if let Some(hold) = self.by_key.get_mut(&key) {
            hold.next_probe = hold.next_probe.max(next_probe);
            return Vec::new();
        }
        let mut released = Vec::new();
        if self.by_key.len() >= MAXIMUM
            && let Some((_, oldest)) = self.oldest.pop_first()
        {
            released = self.remove(&oldest);
        }
        self.made += 1;
        self.set.change(&key, true);
        self.oldest.insert(self.made, key.clone());
        let hold = Hold {
            number: self.made,
            next_probe,
            last_refusal: None,
            waiting: VecDeque::new(),
            sums: Sums::default(),
        };
        self.by_key.insert(key, hold);
        released
    }

    /// An entry waits for a hold. Gives it back if there is none.
    pub(crate) fn wait(
        &mut self,
        upstream: &Arc<str>,
        reverse_path: &ReversePath,
        lane: LaneId,
        entry: Entry,
    ) -> Option<Entry> {
        match self
            .by_key
            .get_mut(&(Arc::clone(upstream), reverse_path.clone()))
        {
            Some(hold) => {
                hold.sums.add(lane, &entry);
                hold.waiting.push_back((lane, entry));
                self.next_probe = Some(
                    self.next_probe
                        .map_or(hold.next_probe, |at| at.min(hold.next_probe)),
                );
                None
            }
            None => Some(entry),
        }
    }

    /// The upstream took mail of the reverse-path, or a person says so: the hold ends.
    pub(crate) fn release(&mut self, upstream: &Arc<str>, reverse_path: &ReversePath) -> Released {
        if self.by_key.is_empty() {
            return Vec::new();
        }
        self.remove(&(Arc::clone(upstream), reverse_path.clone()))
    }

    /// Ends every hold at an upstream.
    pub(crate) fn release_upstream(&mut self, upstream: &str) -> Released {
        let keys: Vec<Key> = self
            .by_key
            .keys()
            .filter(|(held, _)| &**held == upstream)
            .cloned()
            .collect();
        keys.iter().flat_map(|key| self.remove(key)).collect()
    }

    /// Takes out everything that waits; the holds stay.
    pub(crate) fn take_waiting(&mut self) -> Released {
        self.by_key
            .values_mut()
            .flat_map(|hold| {
                hold.sums = Sums::default();
                std::mem::take(&mut hold.waiting)
            })
            .collect()
    }

    /// Takes out what may go to one of some upstreams instead where its reverse-path is not held, each entry with the
    /// upstream it waited for; the holds stay.
    pub(crate) fn take_elsewhere(
        &mut self,
        upstreams: &[Arc<str>],
        may: impl Fn(LaneId, &Entry, &str) -> bool,
    ) -> Vec<(Arc<str>, LaneId, Entry)> {
        let mut taken = Vec::new();
        if upstreams.is_empty() {
            return taken;
        }
        for ((upstream, path), hold) in &mut self.by_key {
            let free = upstreams
                .iter()
                .filter(|name| !self.set.contains(name, path));
            let free: Vec<_> = free.collect();
            hold.waiting.retain(|(lane, entry)| {
                let take = free.iter().any(|name| may(*lane, entry, name));
                if take {
                    hold.sums.subtract(*lane, entry);
                    taken.push((Arc::clone(upstream), *lane, *entry));
                }
                !take
            });
        }
        taken
    }

    /// Ends the holds that a message waits for.
    pub(crate) fn release_of(&mut self, id: QueueId) -> Released {
        let waits = |hold: &Hold| hold.waiting.iter().any(|(_, entry)| entry.id() == id);
        let keys: Vec<Key> = self
            .by_key
            .iter()
            .filter(|(_, hold)| waits(hold))
            .map(|(key, _)| key.clone())
            .collect();
        keys.iter().flat_map(|key| self.remove(key)).collect()
    }

    fn remove(&mut self, key: &Key) -> Released {
        let Some(hold) = self.by_key.remove(key) else {
            return Vec::new();
        };
        self.oldest.remove(&hold.number);
        self.set.change(key, false);
        hold.waiting.into()
    }

    /// One entry of each hold whose probe is due. Holds without an entry stay due until one comes.
    pub(crate) fn probes(&mut self, now: Monotonic) -> Released {
        let mut probes = Vec::new();
        if self.next_probe.is_none_or(|at| at > now) {
            return probes;
        }
        for hold in self
            .by_key
            .values_mut()
            .filter(|hold| hold.next_probe <= now)
        {
            if let Some((lane, entry)) = hold.waiting.pop_front() {
                hold.sums.subtract(lane, &entry);
                hold.next_probe = now.plus(PROBE_INTERVAL);
                probes.push((lane, entry.probe(true)));
            }
        }
        let waited_for = self.by_key.values().filter(|hold| !hold.waiting.is_empty());
        self.next_probe = waited_for.map(|hold| hold.next_probe).min();
        probes
    }

    /// No probe is due before this moment; `None` while nothing waits.
    pub(crate) fn next_probe(&self) -> Option<Monotonic> {
        self.next_probe
    }

    /// What waits, for each upstream.
    pub(crate) fn tallies(&self) -> BTreeMap<Arc<str>, Tally> {
        let mut tallies = BTreeMap::<_, Tally>::new();
        for ((upstream, _), hold) in &self.by_key {
            tallies
                .entry(Arc::clone(upstream))
                .or_default()
                .merge(&hold.sums.tally);
        }
        tallies
    }

    /// Messages that wait, by lane; a lane comes once for each hold.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (LaneId, u64)> {
        let of_holds = self.by_key.values().flat_map(|hold| &hold.sums.by_lane);
        of_holds.map(|(&lane, &messages)| (lane, messages))
    }

    /// Every entry that waits, with its lane and the upstream it waits for.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Arc<str>, LaneId, &Entry)> {
        self.by_key.iter().flat_map(|((upstream, _), hold)| {
            hold.waiting
                .iter()
                .map(move |(lane, entry)| (upstream, *lane, entry))
        })
    }

    /// Takes out at most `limit` entries that fit; `fits` is told of the hold's last refusal.
    pub(crate) fn extract(
        &mut self,
        limit: usize,
        fits: impl Fn(&Entry, Option<Timestamp>) -> bool,
    ) -> Released {
        let mut taken = Vec::new();
        for hold in self.by_key.values_mut() {
            let last_refusal = hold.last_refusal;
            hold.waiting.retain(|(lane, entry)| {
                let take = taken.len() < limit && fits(entry, last_refusal);
                if take {
                    hold.sums.subtract(*lane, entry);
                    taken.push((*lane, *entry));
                }
                !take
            });
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, ManualClock},
        queue::{entry::Names, testing::message},
    };

    fn entry(sequence: u64) -> Entry {
        let message = message(sequence, "a.b", "u@x.example", &["x@c.example"]);
        Entry::of(&message, message.recipients.iter(), &mut Names::default())
            .unwrap()
            .0
    }

    fn path(n: usize) -> ReversePath {
        ReversePath::parse(&format!("u{n}@x.example")).unwrap()
    }

    #[test]
    fn one_message_an_hour_probes_and_an_acceptance_releases_the_rest() {
        let (clock, isp) = (ManualClock::new(), Arc::<str>::from("isp"));
        let mut holds = Holds::default();
        assert!(
            holds.wait(&isp, &path(1), 1, entry(1)).is_some(),
            "nothing to wait for"
        );
        holds.refused(&isp, &path(1), Now::read(&clock));
        assert!(holds.set().contains("isp", &path(1)) && !holds.set().contains("other", &path(1)));
        for i in 1..=3 {
            assert!(holds.wait(&isp, &path(1), 1, entry(i)).is_none());
        }
        assert!(holds.probes(clock.now()).is_empty());
        clock.advance(PROBE_INTERVAL);
        let probes = holds.probes(clock.now());
        assert_eq!(probes.len(), 1);
        assert!(probes[0].1.is_probe());
        assert!(holds.probes(clock.now()).is_empty());
        assert_eq!(holds.release(&isp, &path(1)).len(), 2);
        assert!(!holds.set().contains("isp", &path(1)));
    }

    #[test]
    fn the_oldest_of_too_many_is_forgotten() {
        let (clock, isp) = (ManualClock::new(), Arc::<str>::from("isp"));
        let mut holds = Holds::default();
        for i in 0..MAXIMUM {
            holds.refused(&isp, &path(i), Now::read(&clock));
        }
        assert!(holds.wait(&isp, &path(0), 1, entry(1)).is_none());
        assert_eq!(
            holds.refused(&isp, &path(MAXIMUM), Now::read(&clock)).len(),
            1
        );
        assert!(!holds.set().contains("isp", &path(0)));
        assert!(holds.set().contains("isp", &path(MAXIMUM)));
    }

    #[test]
    fn a_change_of_the_upstream_ends_its_holds_alone() {
        let clock = ManualClock::new();
        let (isp, other) = (Arc::<str>::from("isp"), Arc::<str>::from("other"));
        let mut holds = Holds::default();
        holds.rebuild(&isp, &path(1), Now::read(&clock));
        holds.rebuild(&other, &path(1), Now::read(&clock));
        holds.release_upstream("isp");
        assert!(!holds.set().contains("isp", &path(1)) && holds.set().contains("other", &path(1)));
    }
}
