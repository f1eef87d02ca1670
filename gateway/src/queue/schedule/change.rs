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
        entry::{Bond, Entry, Now, Waiting},
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
        let was_ready = |name: &Arc<str>| {
            let view = self.ports.get(name).and_then(|port| port.view.as_ref());
            view.is_some_and(|view| view.state.is_ready())
        };
        let back: Vec<Arc<str>> = upstreams
            .iter()
            .filter(|(name, view)| view.state.is_ready() && !was_ready(name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for (name, port) in &mut self.ports {
            port.view = upstreams.get(name).cloned();
        }
        for (name, view) in upstreams {
            let port = self.ports.entry(Arc::clone(name)).or_default();
            port.view = Some(view.clone());
        }
        self.ports.retain(|name, port| {
            let is_kept = port.view.is_some() || port.in_flight > 0;
            if !is_kept {
                // Its turns go with it.
                for lane in self.lanes.values_mut() {
                    lane.unlist_at(name);
                }
            }
            is_kept
        });
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            self.stand(id, now);
        }
        self.leave_holds(&back);
    }

    /// What waits for a hold at one upstream goes to another one that is back.
    fn leave_holds(&mut self, back: &[Arc<str>]) {
        let lanes = &self.lanes;
        let left = self.holds.take_elsewhere(back, |lane, entry, upstream| {
            let has = |lane: &Lane| lane.way.position(upstream).is_some();
            entry.bond != Bond::Only && lanes.get(&lane).is_some_and(has)
        });
        for (upstream, lane, entry) in left {
            let entry = entry.shunning(self.names.number(&upstream));
            self.push(lane, entry, None);
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
        let of_busy = self.busy.values().flat_map(|busy| {
            let others = busy.others.iter().map(|(lane, _)| *lane);
            others.chain([busy.lane])
        });
        let aside = self.suspects.iter().chain(&self.damaged);
        let of_aside = aside.map(|(lane, _)| *lane);
        let kept: HashSet<LaneId> = of_holds.chain(of_busy).chain(of_aside).collect();
        self.lanes
            .retain(|id, lane| !lane.is_old || !lane.is_empty() || kept.contains(id));
    }

    /// An upstream's part of the document, or its credential, changed: what it held against reverse-paths is over.
    pub(crate) fn release_upstream(&mut self, upstream: &str) {
        let released = self.holds.release_upstream(upstream);
        self.readmit(released);
    }

    /// A message of a lane of an old document that cannot be served: it is to be read and given its new lane. A
    /// target that is gone from the document would be waited for in vain, whatever is still shown of it.
    pub(crate) fn next_to_sort(&mut self) -> Option<QueueId> {
        loop {
            let document = self.router.document();
            let is_gone = |name: &Arc<str>| document.upstream(name).is_none();
            let mut to_sort = self.lanes.iter_mut().filter(|(_, lane)| {
                lane.is_old
                    && !lane.is_empty()
                    && (lane.is_parked() || lane.way.names.iter().any(is_gone))
            });
            let (id, entry) = to_sort.find_map(|(&id, lane)| Some((id, lane.pop_any()?)))?;
            if let Some(message) = self.occupy(id, entry) {
                return Some(message);
            }
        }
    }

    /// Makes a message busy with something other than an attempt, unless it is busy already.
    fn occupy(&mut self, lane: LaneId, entry: Entry) -> Option<QueueId> {
        let message = entry.id();
        if self.joins(lane, entry) {
            return None;
        }
        self.left(message, lane);
        self.window.take(message);
        self.readers += 1;
        self.busy.insert(
            message,
            Busy {
                lane,
                entry,
                upstream: None,
                others: Vec::new(),
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

    /// Makes a message busy for a person, with all its parts, and gives the ways of their lanes. `None` if it is busy
    /// or not there.
    pub(crate) fn pick(&mut self, id: QueueId) -> Option<Vec<Arc<Way>>> {
        if self.busy.contains_key(&id) {
            return None;
        }
        let mut parts = self.parts(id).into_iter();
        let (lane, entry) = parts.next()?;
        let mut ways = vec![Arc::clone(&self.lanes.get(&lane)?.way)];
        self.occupy(lane, entry)?;
        for (lane, entry) in parts {
            ways.extend(self.lanes.get(&lane).map(|lane| Arc::clone(&lane.way)));
            self.joins(lane, entry);
        }
        Some(ways)
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
        (Waiting::Held, Some(Reason::Poison | Reason::Damaged | Reason::Unconfirmed)) => {
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
