//! A lane: the messages of one sender identity with one way of being routed, in the order in which they are due.
//!
//! An entry is in exactly one of three places: *waiting* for its time; *ready*; or *staged* for one target because its
//! turn came while another target was being served. Nothing here reads a message.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    entry::{Bond, Entry},
    tally::Tally,
    turns::Rank,
};
use crate::{mail::SenderIdentity, route::Way};

/// The number of a lane; never used twice.
pub(crate) type LaneId = u32;

/// The resolution of due times: 100 ms.
pub(crate) type Tick = u64;

/// The tick of what is not due by itself.
pub(crate) const NEVER: Tick = Tick::MAX;

/// Entries looked at for one that suits a target before others get their turn.
const LOOK_AHEAD: usize = 64;

/// Entries staged for one target before the ready ones must wait for it: it is saturated anyway.
const STAGED_MAXIMUM: usize = 1000;

/// Whether a target can take mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Now.
    Able,
    /// Soon: not worth going elsewhere.
    Soon,
    /// Not for now.
    Away,
}

/// One lane.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Whose mail.
    pub(crate) sender: SenderIdentity,
    /// Its eligible targets.
    pub(crate) way: Arc<Way>,
    /// The numbers of the targets' names, in the order of the way.
    numbers: Box<[u16]>,
    /// The order in which it is served.
    pub(crate) rank: Rank,
    /// Messages a minute, if the sender has a limit.
    pub(crate) rate: Option<u32>,
    /// Made for a document that is no longer in use: its entries go to other lanes when they are read.
    pub(crate) is_old: bool,
    /// Whether each target can take mail.
    standings: Box<[Standing]>,
    /// Whether the lane is in the turns of each target's upstream.
    listed: Box<[bool]>,
    ready: VecDeque<Entry>,
    staged: Box<[VecDeque<Entry>]>,
    waiting: BTreeMap<Tick, Vec<Entry>>,
    /// What the entries add up to.
    pub(crate) tally: Tally,
}

impl Lane {
    /// An empty lane. `numbers` are those of the way's targets.
    pub(crate) fn new(
        sender: SenderIdentity,
        way: Arc<Way>,
        numbers: Box<[u16]>,
        rank: Rank,
        rate: Option<u32>,
    ) -> Self {
        let targets = way.targets.len();
        Self {
            sender,
            way,
            numbers,
            rank,
            rate,
            is_old: false,
            standings: vec![Standing::Soon; targets].into(),
            listed: vec![false; targets].into(),
            ready: VecDeque::new(),
            staged: vec![VecDeque::new(); targets].into(),
            waiting: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.waiting.is_empty()
            && self.staged.iter().all(VecDeque::is_empty)
    }

    /// Whether no target can take mail now: it is parked and costs no reads.
    pub(crate) fn is_parked(&self) -> bool {
        !self.standings.contains(&Standing::Able)
    }

    /// Whether every target is away, none of them only for a short while.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.standings
            .iter()
            .all(|&standing| standing == Standing::Away)
    }

    /// The position of the first target that can take mail, else of the first.
    pub(crate) fn shown_target(&self) -> Option<usize> {
        let of = |wanted| {
            self.standings
                .iter()
                .position(|&standing| standing == wanted)
        };
        of(Standing::Able)
            .or_else(|| of(Standing::Soon))
            .or((!self.standings.is_empty()).then_some(0))
    }

    /// Whether a target can take mail.
    pub(crate) fn standing(&self, target: usize) -> Standing {
        self.standings
            .get(target)
            .copied()
            .unwrap_or(Standing::Away)
    }

    /// Takes note of what the targets can do now. What was staged by the old picture is ready again.
    pub(crate) fn stand(&mut self, standings: Box<[Standing]>) {
        if self.standings == standings {
            return;
        }
        self.standings = standings;
        for staged in self.staged.iter_mut().rev() {
            for entry in std::mem::take(staged).into_iter().rev() {
                if entry.bond == Bond::Only {
                    staged.push_front(entry);
                } else {
                    self.ready.push_front(entry);
                }
            }
        }
    }

    /// An entry whose time has come.
    pub(crate) fn push_ready(&mut self, entry: Entry) {
        self.tally.add(&entry);
        self.place(entry);
    }

    /// What may use one target alone goes there at once: nobody else's turn will bring it up.
    fn place(&mut self, entry: Entry) {
        match self.choose(&entry).filter(|_| entry.bond == Bond::Only) {
            Some(target) => self.stage(target, entry),
            None => self.ready.push_back(entry),
        }
    }

    /// An entry that goes first.
    pub(crate) fn push_first(&mut self, entry: Entry) {
        self.tally.add(&entry);
        self.ready.push_front(entry);
    }

    /// An entry that waits for a tick.
    pub(crate) fn push_waiting(&mut self, tick: Tick, entry: Entry) {
        self.tally.add(&entry);
        self.waiting.entry(tick).or_default().push(entry);
    }

    /// When the next waiting entry is due.
    pub(crate) fn next_tick(&self) -> Option<Tick> {
        self.waiting
            .keys()
            .next()
            .copied()
            .filter(|&tick| tick != NEVER)
    }

    /// Makes ready what is due at a tick.
    pub(crate) fn promote(&mut self, now: Tick) {
        while let Some(first) = self
            .waiting
            .first_entry()
            .filter(|first| *first.key() <= now && *first.key() != NEVER)
        {
            for entry in first.remove() {
                self.place(entry);
            }
        }
    }

    /// The next entry for a target, and for which other targets entries were staged while it was looked for.
    pub(crate) fn pop_for(&mut self, target: usize) -> (Option<Entry>, Vec<usize>) {
        let mut others = Vec::new();
        if let Some(entry) = self.staged.get_mut(target).and_then(VecDeque::pop_front) {
            self.tally.subtract(&entry);
            return (Some(entry), others);
        }
        if !self.is_front(target) {
            return (None, others);
        }
        for _ in 0..LOOK_AHEAD {
            let Some(entry) = self.ready.pop_front() else {
                break;
            };
            let chosen = self.choose(&entry).unwrap_or(target);
            if chosen == target {
                self.tally.subtract(&entry);
                return (Some(entry), others);
            }
            if self
                .staged
                .get(chosen)
                .is_some_and(|staged| staged.len() >= STAGED_MAXIMUM)
            {
                self.ready.push_front(entry);
                break;
            }
            self.stage(chosen, entry);
            others.push(chosen);
        }
        (None, others)
    }

    /// Any entry, due or not; but what could not be read rests for its time.
    pub(crate) fn pop_any(&mut self) -> Option<Entry> {
        let staged = self.staged.iter_mut().find_map(VecDeque::pop_front);
        let entry = staged
            .or_else(|| self.ready.pop_front())
            .or_else(|| self.pop_waiting())?;
        self.tally.subtract(&entry);
        Some(entry)
    }

    fn pop_waiting(&mut self) -> Option<Entry> {
        let found = self.waiting.iter().find_map(|(&tick, entries)| {
            let at = entries.iter().rposition(|entry| !entry.is_unread())?;
            Some((tick, at))
        });
        let (tick, at) = found?;
        let entries = self.waiting.get_mut(&tick)?;
        let entry = entries.swap_remove(at);
        if entries.is_empty() {
            self.waiting.remove(&tick);
        }
        Some(entry)
    }

    fn stage(&mut self, target: usize, entry: Entry) {
        match self.staged.get_mut(target) {
            Some(staged) => staged.push_back(entry),
            None => self.ready.push_back(entry),
        }
    }

    /// Whether ready entries may go to a target: it is able, and of the lowest priority that is not away.
    fn is_front(&self, target: usize) -> bool {
        let priority = |i: usize| self.way.targets.get(i).map(|target| target.priority);
        let lowest = (0..self.standings.len()).find(|&i| self.standing(i) != Standing::Away);
        self.standing(target) == Standing::Able && lowest.and_then(priority) == priority(target)
    }

    /// Whether a turn at a target may bring an entry.
    pub(crate) fn has_work_for(&self, target: usize) -> bool {
        let staged = self
            .staged
            .get(target)
            .is_some_and(|staged| !staged.is_empty());
        self.standing(target) == Standing::Able
            && (staged || (!self.ready.is_empty() && self.is_front(target)))
    }

    /// The target that an entry is for, given what the targets can do now. `None` only without any target.
    pub(crate) fn choose(&self, entry: &Entry) -> Option<usize> {
        let id = entry.id();
        let last = self
            .numbers
            .iter()
            .position(|&number| number == entry.last && number != 0);
        let usable = |i: usize| self.standing(i) != Standing::Away;
        match (entry.bond, last) {
            (Bond::Only, Some(last)) => return Some(last),
            (Bond::Stays, Some(last)) if usable(last) => return Some(last),
            (Bond::Avoids | Bond::Shuns, Some(last)) => {
                let other = self.way.pick(id, |i| i != last && usable(i));
                let waits = || {
                    self.way
                        .pick(id, |i| i != last && entry.bond == Bond::Avoids)
                };
                if let Some(other) = other.or_else(waits) {
                    return Some(other);
                }
            }
            _ => {}
        }
        self.way
            .pick(id, usable)
            .or_else(|| self.way.pick(id, |_| true))
    }

    /// Marks the lane as being in a target's turns; whether it was not yet.
    pub(crate) fn list(&mut self, target: usize) -> bool {
        self.listed
            .get_mut(target)
            .is_some_and(|listed| !std::mem::replace(listed, true))
    }

    /// Marks the lane as not being in a target's turns.
    pub(crate) fn unlist(&mut self, target: usize) {
        if let Some(listed) = self.listed.get_mut(target) {
            *listed = false;
        }
    }

    /// The same, for the target of this name, if it has one.
    pub(crate) fn unlist_at(&mut self, name: &str) {
        if let Some(target) = self.way.position(name) {
            self.unlist(target);
        }
    }

    /// Every entry.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let staged = self.staged.iter().flatten();
        self.ready
            .iter()
            .chain(staged)
            .chain(self.waiting.values().flatten())
    }

    /// Takes out at most `limit` entries that fit.
    pub(crate) fn extract(&mut self, limit: usize, fits: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut taken = Vec::new();
        if limit == 0 || !self.entries().any(&fits) {
            return taken;
        }
        let mut keep = |entry: &Entry| {
            let take = taken.len() < limit && fits(entry);
            if take {
                taken.push(*entry);
            }
            !take
        };
        self.ready.retain(&mut keep);
        for staged in &mut self.staged {
            staged.retain(&mut keep);
        }
        self.waiting.retain(|_, entries| {
            entries.retain(&mut keep);
            !entries.is_empty()
        });
        for entry in &taken {
            self.tally.subtract(entry);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
