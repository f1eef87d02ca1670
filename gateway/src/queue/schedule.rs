//! The schedule: every message that is not settled, in lanes, and whose turn it is.
//!
//! Pure: time and the state of the upstreams are arguments, nothing is read or written. A message is either *busy*
//! (one job has it) or has an entry in each lane its unsettled recipients belong to; it is never lost in between.
//! What costs time with the number of messages is done only when an upstream changes its state, when the document
//! changes, once a minute, and by hand.

mod change;
mod due;
mod ends;
pub(crate) mod figures;
mod parts;
mod senders;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use posthouse_config::{Senders, reason::Reason};

pub(crate) use change::Overdue;

use due::{due_tick, moment, tick_of};

use super::{
    deliver::UpstreamView,
    entry::{Entry, Names, Now, seconds},
    hold::{HoldSet, Holds},
    lane::{Lane, LaneId, NEVER, Tick},
    limits::Limits,
    turns::{Turns, rank_and_rate},
    window::{Cached, Window},
};
use crate::{
    clock::Monotonic,
    mail::{Message, QueueId, Queued, SenderIdentity, State},
    route::{Router, Way},
};

/// From so many unclean deaths with it in flight, a message is attempted alone.
pub(crate) const SUSPECT_DEATHS: u8 = 2;

/// What is known of one upstream.
#[derive(Debug, Default)]
struct Port {
    view: Option<UpstreamView>,
    /// Attempts under way.
    in_flight: u32,
    turns: Turns,
}

/// A message whose turn has come.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Which message.
    pub(crate) id: QueueId,
    /// Where it was.
    pub(crate) entry: Entry,
    /// The way of its lane.
    pub(crate) way: Arc<Way>,
    /// The message, if it was in memory.
    pub(crate) cached: Option<Cached>,
}

/// A message that a job has.
#[derive(Debug)]
struct Busy {
    lane: LaneId,
    entry: Entry,
    /// The upstream it is offered to.
    upstream: Option<Arc<str>>,
    /// Its parts in other lanes whose turn came meanwhile.
    others: Vec<(LaneId, Entry)>,
}

/// Every message that is not settled.
#[derive(Debug)]
pub(crate) struct Schedule {
    router: Arc<Router>,
    senders: Arc<Senders>,
    names: Names,
    lanes: HashMap<LaneId, Lane>,
    /// The lanes of the current document by way and sender. The way's address stands for the way: its lane keeps it.
    interned: HashMap<usize, HashMap<SenderIdentity, LaneId>>,
    next_lane: LaneId,
    ports: BTreeMap<Arc<str>, Port>,
    timers: BTreeSet<(Tick, LaneId)>,
    /// For messages that wait in several lanes: in which.
    split: HashMap<QueueId, Vec<LaneId>>,
    busy: HashMap<QueueId, Busy>,
    holds: Holds,
    window: Window,
    limits: Limits,
    /// Messages whose turn came while another suspect was under way.
    suspects: Vec<(LaneId, Entry)>,
    /// Messages that the spool cannot read: they stay, so that somebody sees them.
    damaged: Vec<(LaneId, Entry)>,
    /// The one message that is attempted alone now.
    alone: Option<QueueId>,
    /// Messages by the second in which they were accepted.
    ages: BTreeMap<u32, u64>,
    total: u64,
    bytes: u64,
    /// Jobs under way that are no attempts.
    readers: usize,
}

impl Schedule {
    /// An empty schedule.
    pub(crate) fn new(router: Arc<Router>, senders: Arc<Senders>) -> Self {
        Self {
            router,
            senders,
            names: Names::default(),
            lanes: HashMap::new(),
            interned: HashMap::new(),
            next_lane: 0,
            ports: BTreeMap::new(),
            timers: BTreeSet::new(),
            split: HashMap::new(),
            busy: HashMap::new(),
            holds: Holds::default(),
            window: Window::default(),
            limits: Limits::default(),
            suspects: Vec::new(),
            damaged: Vec::new(),
            alone: None,
            ages: BTreeMap::new(),
            total: 0,
            bytes: 0,
            readers: 0,
        }
    }

    /// The routes in use.
    pub(crate) fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// The held reverse-paths, for those who plan attempts.
    pub(crate) fn hold_set(&self) -> Arc<HoldSet> {
        self.holds.set()
    }

    /// A message is new to the queue.
    pub(crate) fn admit(&mut self, queued: Queued, now: Now) {
        let message = queued.message;
        self.total += 1;
        self.bytes += message.facts.length;
        *self.ages.entry(seconds(message.accepted)).or_default() += 1;
        self.rebuild_holds(&message, now);
        let alone = queued.deaths >= SUSPECT_DEATHS;
        let cached = Cached {
            message,
            content: queued.content,
        };
        self.enter(&cached, alone, now.mono, now);
    }

    fn rebuild_holds(&mut self, message: &Message, now: Now) {
        for progress in message
            .recipients
            .iter()
            .map(|recipient| &recipient.progress)
        {
            if let (State::Held, Some(Reason::ReversePathRefused), Some(upstream)) = (
                progress.state,
                progress.reason,
                progress.upstream.as_deref(),
            ) {
                let released = self
                    .holds
                    .rebuild(&Arc::from(upstream), &message.reverse_path, now);
                self.readmit(released);
            }
        }
    }

    /// Gives the unsettled recipients of a message their entries, in those lanes where it has none; none is due
    /// before `not_before`.
    fn enter(&mut self, cached: &Cached, alone: bool, not_before: Monotonic, now: Now) {
        let message = Arc::clone(&cached.message);
        let ways = self.ways(&message);
        let several = ways.len() > 1;
        let mut extra = false;
        for (way, positions) in ways {
            let recipients = positions.iter().filter_map(|&i| message.recipients.get(i));
            let Some((entry, due)) = Entry::of(&message, recipients, &mut self.names) else {
                continue;
            };
            let lane = self.lane(&message.sender, &way, now);
            if several || self.split.contains_key(&message.id) {
                let lanes = self.split.entry(message.id).or_default();
                if lanes.contains(&lane) {
                    extra = true;
                    continue;
                }
                extra |= !lanes.is_empty();
                lanes.push(lane);
            }
            let tick = due_tick(due, not_before, now);
            self.push(lane, entry.alone(alone).extra(extra), tick);
            extra = true;
            if tick.is_none() && self.lanes.get(&lane).is_some_and(|lane| !lane.is_parked()) {
                self.window.put(lane, cached.clone());
            }
        }
    }

    /// The ways of the unsettled recipients, each with their positions.
    fn ways(&self, message: &Message) -> Vec<(Arc<Way>, Vec<usize>)> {
        let mut ways: Vec<(Arc<Way>, Vec<usize>)> = Vec::with_capacity(1);
        for (i, recipient) in message.recipients.iter().enumerate() {
            if recipient.progress.state.is_final() {
                continue;
            }
            let way = self.router.way(message, recipient);
            match ways.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &way)) {
                Some((_, positions)) => positions.push(i),
                None => ways.push((way, vec![i])),
            }
        }
        ways
    }

    /// The lane of a sender and a way, made if need be.
    fn lane(&mut self, sender: &SenderIdentity, way: &Arc<Way>, now: Now) -> LaneId {
        let address = Arc::as_ptr(way).addr();
        if let Some(&id) = self
            .interned
            .get(&address)
            .and_then(|lanes| lanes.get(sender))
        {
            return id;
        }
        self.next_lane += 1;
        let id = self.next_lane;
        let (rank, rate) = rank_and_rate(&self.senders, sender);
        let numbers = way
            .names
            .iter()
            .map(|name| self.names.number(name))
            .collect();
        let mut lane = Lane::new(sender.clone(), Arc::clone(way), numbers, rank, rate);
        lane.stand(change::standings(&self.ports, way, now.mono));
        self.lanes.insert(id, lane);
        self.interned
            .entry(address)
            .or_default()
            .insert(sender.clone(), id);
        id
    }

    /// Puts an entry into a lane: ready, or waiting for a tick.
    fn push(&mut self, id: LaneId, entry: Entry, tick: Option<Tick>) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        match tick {
            None => {
                lane.push_ready(entry);
                self.list(id);
            }
            Some(tick) => {
                let first = lane.next_tick().is_none_or(|first| tick < first);
                lane.push_waiting(tick, entry);
                if first && tick != NEVER {
                    self.timers.insert((tick, id));
                }
            }
        }
    }

    /// Entries that need not wait for a hold any more.
    fn readmit(&mut self, released: Vec<(LaneId, Entry)>) {
        for (lane, entry) in released {
            self.push(lane, entry, None);
        }
    }

    /// Puts a lane into the turns of every target it has work for.
    fn list(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        for target in 0..lane.way.targets.len() {
            if lane.has_work_for(target)
                && let Some(name) = lane.way.names.get(target)
                && let Some(port) = self.ports.get_mut(name)
                && lane.list(target)
            {
                port.turns.push(lane.rank, id);
            }
        }
    }

    /// Whether an upstream can be offered another message now.
    pub(crate) fn has_room(&self, upstream: &str) -> bool {
        self.ports.get(upstream).is_some_and(|port| {
            let view = port.view.as_ref();
            view.is_some_and(|view| view.state.is_ready() && port.in_flight < view.capacity)
        })
    }

    /// The upstreams.
    pub(crate) fn upstreams(&self) -> Vec<Arc<str>> {
        self.ports.keys().cloned().collect()
    }

    /// The message whose turn it is at an upstream. It is busy until [`Schedule::settled`], [`Schedule::again`] or one
    /// of their like, and takes room at the upstream until [`Schedule::freed`].
    pub(crate) fn next(&mut self, upstream: &Arc<str>, now: Now) -> Option<Taken> {
        loop {
            let id = self.ports.get_mut(upstream)?.turns.take()?;
            let Some((entry, way)) = self.turn(id, upstream, now) else {
                continue;
            };
            let message = entry.id();
            if self.joins(id, entry) {
                continue;
            }
            if entry.is_alone() {
                if self.alone.is_some() {
                    self.suspects.push((id, entry));
                    continue;
                }
                self.alone = Some(message);
            }
            self.left(message, id);
            let busy = Busy {
                lane: id,
                entry,
                upstream: Some(Arc::clone(upstream)),
                others: Vec::new(),
            };
            self.busy.insert(message, busy);
            if let Some(port) = self.ports.get_mut(upstream) {
                port.in_flight += 1;
            }
            let cached = self.window.take(message);
            return Some(Taken {
                id: message,
                entry,
                way,
                cached,
            });
        }
    }

    /// One turn of a lane at an upstream.
    fn turn(&mut self, id: LaneId, upstream: &Arc<str>, now: Now) -> Option<(Entry, Arc<Way>)> {
        let lane = self.lanes.get_mut(&id)?;
        let target = lane.way.position(upstream)?;
        lane.unlist(target);
        if !lane.has_work_for(target) {
            return None;
        }
        if let Some(rate) = lane.rate
            && let Err(at) = self.limits.take(&lane.sender, rate, now.mono)
        {
            self.timers.insert((tick_of(at) + 1, id));
            return None;
        }
        let (entry, others) = lane.pop_for(target);
        let (rank, way) = (lane.rank, Arc::clone(&lane.way));
        if entry.is_some()
            && let Some(port) = self.ports.get_mut(upstream)
        {
            port.turns.spend(rank);
        }
        // Else all that is ready waits for a saturated target, whose next turn lists the lane again.
        if entry.is_some() || !others.is_empty() {
            self.list(id);
        }
        Some((entry?, way))
    }

    /// What the passing of time makes ready.
    pub(crate) fn advance(&mut self, now: Now) {
        let tick = tick_of(now.mono);
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= tick) {
            self.timers.remove(&(at, id));
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.promote(tick);
                if let Some(next) = lane.next_tick() {
                    self.timers.insert((next, id));
                }
                self.list(id);
            }
        }
        for (id, entry) in self.holds.probes(now.mono) {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.push_first(entry);
                self.list(id);
            }
        }
    }

    /// When time will next make something ready.
    pub(crate) fn next_wake(&self) -> Option<Monotonic> {
        let timer = self.timers.first().map(|(tick, _)| moment(*tick));
        timer.into_iter().chain(self.holds.next_probe()).min()
    }
}
