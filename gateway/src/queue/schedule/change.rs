//! What makes the schedule look at all its lanes: a new picture of the upstreams, a new document, old age, a person.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use posthouse_config::{
    Senders,
    document::Retry,
    reason::{Reason, UpstreamState},
};

use super::{Busy, LaneId, Port, Schedule};
use crate::{
    clock::Monotonic,
    mail::{QueueId, Timestamp},
    queue::{
        deliver::{UpstreamView, Upstreams},
        entry::{Entry, Now, Waiting},
        expiry::{Age, Evidence, is_over},
        lane::{Lane, Standing},
        turns::rank_and_rate,
    },
    route::{Router, Way},
};

/// An entry whose message may be given up.
#[derive(Debug)]
pub(crate) struct Overdue {
    /// The message.
    pub(crate) id: QueueId,
    /// The way of its lane.
    pub(crate) way: Arc<Way>,
    /// What is known about recipients that wait for their upstreams.
    pub(crate) evidence: Evidence,
}

impl Schedule {
    /// Takes note of what the upstreams can do now.
    pub(crate) fn upstreams_changed(&mut self, upstreams: &Upstreams, now: Now) {
        for (name, port) in &mut self.ports {
            port.view = upstreams.get(name).cloned();
        }
        for (name, view) in upstreams {
            let port = self.ports.entry(Arc::clone(name)).or_default();
            port.view = Some(view.clone());
        }
        self.ports
            .retain(|_, port| port.view.is_some() || port.in_flight > 0);
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            self.stand(id, now);
        }
    }

    fn stand(&mut self, id: LaneId, now: Now) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let standings = standings(&self.ports, &lane.way, now.mono);
        lane.stand(standings);
        if lane.is_parked() {
            self.window.evict(id);
        }
        self.list(id);
    }

    /// Goes by another document. Lanes made for the old one stay until their messages were read again.
    pub(crate) fn document_changed(
        &mut self,
        router: Arc<Router>,
        senders: Arc<Senders>,
        now: Now,
    ) {
        let (old, new) = (self.router.document(), router.document());
        if old.routes != new.routes || old.upstreams != new.upstreams {
            for lane in self.lanes.values_mut() {
                lane.is_old = true;
            }
            self.interned.clear();
            self.router = router;
            // They may have another way now; those that have not come back.
            let waiting = self.holds.take_waiting();
            self.readmit(waiting);
        }
        // Else equal routes give equal ways: they stay interned.
        self.senders = senders;
        self.limits.forget(now.mono);
        self.forget_empty_lanes();
        for lane in self.lanes.values_mut() {
            (lane.rank, lane.rate) = rank_and_rate(&self.senders, &lane.sender);
        }
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            self.stand(id, now);
        }
    }

    /// A person wants a message tried: the hold it waits for, if any, is over for all that wait for it.
    pub(crate) fn release_hold_of(&mut self, id: QueueId) {
        let released = self.holds.release_of(id);
        self.readmit(released);
    }

    fn forget_empty_lanes(&mut self) {
        let of_holds = self.holds.entries().map(|(_, lane, _)| lane);
        let of_busy = self.busy.values().map(|busy| busy.lane);
        let of_suspects = self.suspects.iter().map(|(lane, _)| *lane);
        let kept: HashSet<LaneId> = of_holds.chain(of_busy).chain(of_suspects).collect();
        self.lanes
            .retain(|id, lane| !lane.is_old || !lane.is_empty() || kept.contains(id));
    }

    /// An upstream's part of the document, or its credential, changed: what it held against reverse-paths is over.
    pub(crate) fn release_upstream(&mut self, upstream: &str) {
        let released = self.holds.release_upstream(upstream);
        self.readmit(released);
    }

    /// A message of a lane of an old document that cannot be served: it is to be read and given its new lane.
    pub(crate) fn next_to_sort(&mut self) -> Option<QueueId> {
        loop {
            let (&id, lane) = self
                .lanes
                .iter_mut()
                .find(|(_, lane)| lane.is_old && lane.is_parked() && !lane.is_empty())?;
            let entry = lane.pop_any()?;
            if let Some(message) = self.occupy(id, entry) {
                return Some(message);
            }
        }
    }

    /// Makes a message busy with something other than an attempt, unless it is busy already.
    fn occupy(&mut self, lane: LaneId, entry: Entry) -> Option<QueueId> {
        let message = entry.id();
        self.left(message, lane);
        if self.busy.contains_key(&message) {
            return None;
        }
        self.window.take(message);
        self.readers += 1;
        self.busy.insert(
            message,
            Busy {
                lane,
                entry,
                upstream: None,
            },
        );
        Some(message)
    }

    /// Messages that may be given up by now, at most `limit`; they are busy then.
    pub(crate) fn overdue(&mut self, retry: &Retry, limit: usize, now: Now) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            let (way, evidence) = (Arc::clone(&lane.way), lane_evidence(&self.ports, lane));
            let left = limit.saturating_sub(overdue.len());
            let entries = lane.extract(left, |entry| {
                is_over(
                    entry.accepted(),
                    entry.own_expiry(),
                    entry_evidence(entry, evidence),
                    retry,
                    now.wall,
                )
            });
            for entry in entries {
                let way = Arc::clone(&way);
                overdue.extend(
                    self.occupy(id, entry)
                        .map(|id| Overdue { id, way, evidence }),
                );
            }
        }
        let left = limit.saturating_sub(overdue.len());
        let held = |last| Evidence::FailedAt(Age::Held, last);
        let refused = self.holds.extract(left, |entry, last| {
            is_over(
                entry.accepted(),
                entry.own_expiry(),
                held(last),
                retry,
                now.wall,
            )
        });
        for (lane, entry) in refused {
            let Some(way) = self.lanes.get(&lane).map(|lane| Arc::clone(&lane.way)) else {
                continue;
            };
            let evidence = held(Some(now.wall));
            overdue.extend(
                self.occupy(lane, entry)
                    .map(|id| Overdue { id, way, evidence }),
            );
        }
        overdue
    }

    /// Makes a message busy for a person, and gives the way of its lane. `None` if it is busy or not there.
    pub(crate) fn pick(&mut self, id: QueueId) -> Option<Arc<Way>> {
        if self.busy.contains_key(&id) {
            return None;
        }
        let of_lanes = self.lanes.iter_mut().find_map(|(&lane, of_lane)| {
            let entry = of_lane.extract(1, |entry| entry.id() == id).pop()?;
            Some((lane, entry))
        });
        let of_holds = || self.holds.extract(1, |entry, _| entry.id() == id).pop();
        let (lane, entry) = of_lanes.or_else(of_holds).or_else(|| {
            let is_it = |(_, entry): &(LaneId, Entry)| entry.id() == id;
            let at = self.suspects.iter().position(is_it)?;
            Some(self.suspects.swap_remove(at))
        })?;
        let way = Arc::clone(&self.lanes.get(&lane)?.way);
        self.occupy(lane, entry).map(|_| way)
    }
}

impl Lane {
    /// What is known about mail that waits for this lane's targets.
    fn evidence(
        &self,
        last_failure: impl Fn(&str) -> Option<Timestamp>,
        holds: impl Fn(&str) -> bool,
    ) -> Evidence {
        if self.way.targets.is_empty() {
            return Evidence::Hopeless(Age::Held);
        }
        if !self.is_cut_off() {
            return Evidence::Attempt;
        }
        let names = || self.way.names.iter();
        let age = if names().all(|name| holds(name)) {
            Age::Held
        } else {
            Age::Deferred
        };
        // Each of them must have been tried in vain.
        let failed = names().map(|name| last_failure(name)).min().flatten();
        Evidence::FailedAt(age, failed)
    }
}

fn lane_evidence(ports: &BTreeMap<Arc<str>, Port>, lane: &Lane) -> Evidence {
    let view = |name: &str| ports.get(name).and_then(|port| port.view.as_ref());
    lane.evidence(
        |name| view(name).and_then(|view| view.last_failure),
        |name| view(name).is_some_and(|view| view.state.holds()),
    )
}

/// What is known about one entry of a lane.
fn entry_evidence(entry: &Entry, lane: Evidence) -> Evidence {
    match (entry.waiting, entry.reason()) {
        (Waiting::Held, Some(Reason::Poison | Reason::ContentDamaged | Reason::Unconfirmed)) => {
            Evidence::Hopeless(Age::Held)
        }
        (Waiting::Unconfirmed, _) => Evidence::Hopeless(Age::Deferred),
        _ => lane,
    }
}

/// What each target of a way can do now.
pub(super) fn standings(
    ports: &BTreeMap<Arc<str>, Port>,
    way: &Way,
    now: Monotonic,
) -> Box<[Standing]> {
    let view = |name: &Arc<str>| ports.get(name).and_then(|port| port.view.as_ref());
    way.names
        .iter()
        .map(|name| standing(view(name), way, now))
        .collect()
}

/// Whether a target can take mail now: it is available unless it is backed off, or limited for longer than the route
/// wants to wait. One that was not tried yet will be at once.
fn standing(view: Option<&UpstreamView>, way: &Way, now: Monotonic) -> Standing {
    let Some(view) = view else {
        return Standing::Soon;
    };
    match view.state {
        UpstreamState::Ready => Standing::Able,
        UpstreamState::Untried => Standing::Soon,
        UpstreamState::Throttled | UpstreamState::QuotaExhausted
            if view.retry_at.is_some_and(|at| at.since(now) <= way.spill) =>
        {
            Standing::Soon
        }
        UpstreamState::Throttled
        | UpstreamState::QuotaExhausted
        | UpstreamState::Unreachable
        | UpstreamState::TlsFailed
        | UpstreamState::AuthenticationFailed
        | UpstreamState::CredentialMissing
        | UpstreamState::Refused => Standing::Away,
    }
}
