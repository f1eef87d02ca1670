//! The schedule: every message that is not settled, in lanes, and whose turn it is.
//!
//! Pure: time and the state of the upstreams are arguments, nothing is read or written. A message is either *busy*
//! (one job has it) or has an entry in each lane its unsettled recipients belong to; it is never lost in between.
//! What costs time with the number of messages is done only when an upstream changes its state, when the document
//! changes, once a minute, and by hand.

mod change;
pub mod figures;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use posthouse_config::{Senders, reason::Reason};

pub(crate) use change::Overdue;

use super::{
    deliver::UpstreamView,
    entry::{Bond, Due, Entry, Names, Now, seconds},
    hold::{HoldSet, Holds},
    lane::{Lane, LaneId, NEVER, Rank, Standing, Tick},
    limits::Limits,
    turns::Turns,
    window::{Cached, Window},
};
use crate::{
    clock::Monotonic,
    mail::{Message, QueueId, Queued, SenderIdentity, State},
    route::{Router, Way},
};

/// From so many unclean deaths with it in flight, a message is attempted alone.
pub(crate) const SUSPECT_DEATHS: u8 = 2;

/// How long a tick is.
const TICK_MILLIS: u64 = 100;

/// Waits longer than this are rounded up to whole seconds, so that there are few distinct times.
const FINE_TICKS: Tick = 600;

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
        self.enter(
            Cached {
                message,
                content: queued.content,
            },
            alone,
            now.mono,
            now,
        );
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
    fn enter(&mut self, cached: Cached, alone: bool, not_before: Monotonic, now: Now) {
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
                && lane.list(target)
                && let Some(port) = lane
                    .way
                    .names
                    .get(target)
                    .and_then(|name| self.ports.get_mut(name))
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
            self.left(message, id);
            if self.busy.contains_key(&message) {
                // Another part of it is under way; what follows will find this part again.
                continue;
            }
            if entry.is_alone() {
                if self.alone.is_some() {
                    self.suspects.push((id, entry));
                    continue;
                }
                self.alone = Some(message);
            }
            let busy = Busy {
                lane: id,
                entry,
                upstream: Some(Arc::clone(upstream)),
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

    /// An entry of a message is no longer in a lane.
    fn left(&mut self, message: QueueId, lane: LaneId) {
        if let Some(lanes) = self.split.get_mut(&message) {
            lanes.retain(|&other| other != lane);
        }
    }

    /// An attempt at an upstream is over, whatever it brought.
    pub(crate) fn freed(&mut self, upstream: &str) {
        if let Some(port) = self.ports.get_mut(upstream) {
            port.in_flight = port.in_flight.saturating_sub(1);
        }
    }

    /// A busy message is settled: nothing of it is left to do.
    pub(crate) fn settled(&mut self, message: &Message) {
        self.gone(message.id, seconds(message.accepted), message.facts.length);
    }

    /// A busy message could not be found again; the little that is known of it goes. Gives back whose it was.
    pub(crate) fn lost(&mut self, id: QueueId) -> Option<SenderIdentity> {
        let busy = self.busy.get(&id)?;
        let (accepted, lane) = (seconds(busy.entry.accepted()), busy.lane);
        self.gone(id, accepted, 0);
        self.lanes.get(&lane).map(|lane| lane.sender.clone())
    }

    /// Whether a job has a message.
    pub(crate) fn is_busy(&self, id: QueueId) -> bool {
        self.busy.contains_key(&id)
    }

    /// Jobs under way that are no attempts.
    pub(crate) fn readers(&self) -> usize {
        self.readers
    }

    fn gone(&mut self, id: QueueId, accepted: u32, bytes: u64) {
        if self.done(id).is_none() {
            return;
        }
        for lane in self.split.remove(&id).unwrap_or_default() {
            if let Some(lane) = self.lanes.get_mut(&lane) {
                lane.extract(usize::MAX, |entry| entry.id() == id);
            }
        }
        self.total = self.total.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(count) = self.ages.get_mut(&accepted) {
            *count -= 1;
            if *count == 0 {
                self.ages.remove(&accepted);
            }
        }
    }

    /// A busy message has more to do, by what it has become.
    pub(crate) fn again(&mut self, cached: Cached, not_before: Monotonic, now: Now) {
        if let Some(busy) = self.done(cached.message.id) {
            self.enter(cached, busy.entry.is_alone(), not_before, now);
        }
    }

    /// A busy message could not be read now; its entry waits as it was.
    pub(crate) fn later(&mut self, id: QueueId, at: Monotonic) {
        if let Some(busy) = self.done(id) {
            if let Some(lanes) = self.split.get_mut(&id) {
                lanes.push(busy.lane);
            }
            self.push(busy.lane, busy.entry, Some(tick_of(at)));
        }
    }

    /// A busy message was not offered, since its reverse-path is held at the upstream: another target, or the hold.
    pub(crate) fn held_back(&mut self, cached: Cached, now: Now) {
        let Some(busy) = self.done(cached.message.id) else {
            return;
        };
        let Some(upstream) = busy.upstream.clone() else {
            return self.enter(cached, busy.entry.is_alone(), now.mono, now);
        };
        let message = &cached.message;
        if let Some(lanes) = self.split.get_mut(&message.id) {
            lanes.push(busy.lane);
        }
        let entry = busy.entry.shunning(self.names.number(&upstream));
        let elsewhere = self.lanes.get(&busy.lane).and_then(|lane| {
            // What may go nowhere else waits here.
            let target = lane
                .choose(&entry)
                .filter(|_| busy.entry.bond != Bond::Only)?;
            let name = lane.way.names.get(target)?;
            let free = !self.holds.set().contains(name, &message.reverse_path);
            (free && lane.standing(target) == Standing::Able).then_some(())
        });
        if elsewhere.is_some() {
            self.push(busy.lane, entry, None);
        } else if let Some(entry) = self.holds.wait(
            &upstream,
            &message.reverse_path,
            busy.lane,
            busy.entry.probe(false),
        ) {
            self.push(busy.lane, entry, None);
        }
    }

    /// Ends a job: the message is not busy any more, and other suspects may have their turn.
    fn done(&mut self, id: QueueId) -> Option<Busy> {
        let busy = self.busy.remove(&id)?;
        if busy.upstream.is_none() {
            self.readers = self.readers.saturating_sub(1);
        }
        if self.alone == Some(id) {
            self.alone = None;
            let suspects = std::mem::take(&mut self.suspects);
            self.readmit(suspects);
        }
        Some(busy)
    }

    /// The upstream refused this reverse-path, or took mail of it.
    pub(crate) fn reverse_path(
        &mut self,
        upstream: &Arc<str>,
        message: &Message,
        refused: bool,
        now: Now,
    ) {
        let released = if refused {
            self.holds.refused(upstream, &message.reverse_path, now)
        } else {
            self.holds.release(upstream, &message.reverse_path)
        };
        self.readmit(released);
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
        let timer = self.timers.first().map(|(tick, _)| {
            Monotonic::default().plus(std::time::Duration::from_millis(
                tick.saturating_mul(TICK_MILLIS),
            ))
        });
        timer.into_iter().chain(self.holds.next_probe()).min()
    }
}

/// The order of service and the rate of a sender's lanes.
fn rank_and_rate(senders: &Senders, sender: &SenderIdentity) -> (Rank, Option<u32>) {
    use posthouse_config::senders::Class;
    match sender {
        SenderIdentity::Posthouse => (Rank::Reports, None),
        SenderIdentity::Anonymous => (Rank::Normal, None),
        SenderIdentity::Sender { namespace, name } => {
            let found = senders
                .senders
                .iter()
                .find(|sender| *sender.name == **name && *sender.namespace == **namespace);
            let rank = match found.map(|sender| sender.class).unwrap_or_default() {
                Class::Interactive => Rank::Interactive,
                Class::Normal => Rank::Normal,
                Class::Bulk => Rank::Bulk,
            };
            (
                rank,
                found.and_then(|sender| sender.limits.messages_per_minute),
            )
        }
    }
}

/// The tick of a moment, rounded down.
fn tick_of(at: Monotonic) -> Tick {
    Tick::try_from(at.since(Monotonic::default()).as_millis()).unwrap_or(Tick::MAX) / TICK_MILLIS
}

/// The tick from which on something is due, rounded up; `None` if it is due now.
fn due_tick(due: Due, not_before: Monotonic, now: Now) -> Option<Tick> {
    let wait = match due {
        Due::Never => return Some(NEVER),
        Due::Now => std::time::Duration::ZERO,
        Due::At(at) => at.since(now.wall),
    };
    let at = now.mono.plus(wait).max(not_before);
    if at <= now.mono {
        return None;
    }
    let tick = tick_of(at) + 1;
    let fine = tick.saturating_sub(tick_of(now.mono)) <= FINE_TICKS;
    Some(if fine { tick } else { tick.div_ceil(10) * 10 })
}

#[cfg(test)]
mod tests;
