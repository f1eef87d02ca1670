//! What the schedule adds up to, for metrics, status and people.

use std::{collections::BTreeMap, sync::Arc};

use posthouse_config::{
    document::NO_UPSTREAM,
    reason::{Reason, UpstreamState},
    status::{HeldReason, QueueStatus},
};

use super::Schedule;
use crate::{
    mail::{QueueId, SenderIdentity, Timestamp},
    queue::{
        deliver::UpstreamView,
        entry::{Entry, Waiting},
        lane::Lane,
        tally::Tally,
    },
};

/// What waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Messages that are not settled.
    pub messages: u64,
    /// Messages by state, in the order of [`crate::metrics::QUEUE_STATES`]; each counts once.
    pub by_state: [u64; 5],
    /// Recipients that are not settled, by upstream, in the same order of states.
    pub recipients: BTreeMap<Arc<str>, [u64; 5]>,
    /// Octets of content.
    pub bytes: u64,
    /// When the oldest message was accepted.
    pub oldest: Option<Timestamp>,
    /// Why messages are held.
    pub held_reasons: Vec<HeldReason>,
    /// The wall clock was set by more than an hour: nothing expires until an attempt was made.
    pub clock_jumped: bool,
}

/// Positions in [`Figures::by_state`].
const IN_FLIGHT: usize = 0;
const DEFERRED: usize = 2;
const UNCONFIRMED: usize = 3;
const HELD: usize = 4;

impl Figures {
    /// As status has it.
    pub fn status(&self) -> QueueStatus {
        let [in_flight, _, _, unconfirmed, held] = self.by_state;
        QueueStatus {
            messages: self.messages,
            in_flight,
            held,
            unconfirmed,
            bytes: self.bytes,
            oldest_message_time: self.oldest.map(|time| time.to_string()),
            held_reasons: self.held_reasons.clone(),
            clock_stepped: self.clock_jumped,
        }
    }

    fn add(&mut self, upstream: &Arc<str>, tally: &Tally, shown: impl Fn(Waiting) -> usize) {
        let recipients = self.recipients.entry(Arc::clone(upstream)).or_default();
        for waiting in Waiting::ALL {
            let (from, to) = (waiting as usize, shown(waiting));
            if let (Some(count), Some(sum)) = (tally.recipients.get(from), recipients.get_mut(to)) {
                *sum += count;
            }
            if let (Some(count), Some(sum)) = (tally.messages.get(from), self.by_state.get_mut(to))
            {
                *sum += count;
            }
        }
    }

    fn add_reason(&mut self, reason: Reason, upstream: &str, messages: u64, reply: Option<String>) {
        if messages == 0 {
            return;
        }
        let known = self
            .held_reasons
            .iter_mut()
            .find(|held| held.reason == reason && held.upstream == upstream);
        match known {
            Some(held) => held.messages += messages,
            None => self.held_reasons.push(HeldReason {
                reason,
                upstream: upstream.to_owned(),
                messages,
                reply,
            }),
        }
    }
}

/// One message in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: QueueId,
    /// The state its lane shows for it.
    pub state: &'static str,
    /// Why.
    pub reason: Option<Reason>,
    /// The upstream it waits for, or `none`.
    pub upstream: Arc<str>,
    /// Whose it is and when it was accepted, if the message itself cannot be asked.
    pub origin: Option<(SenderIdentity, Timestamp)>,
}

/// What a lane shows for its messages.
struct Shown {
    upstream: Arc<str>,
    /// Set while no target can take mail now.
    cut_off: Option<(Waiting, Reason, Option<String>)>,
}

impl Shown {
    fn waiting(&self, waiting: Waiting) -> Waiting {
        match (&self.cut_off, waiting) {
            (Some((shown, _, _)), Waiting::Pending | Waiting::Deferred) => *shown,
            (_, own) => own,
        }
    }
}

impl Schedule {
    /// What waits now.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = Figures {
            messages: self.total,
            bytes: self.bytes,
            oldest: self
                .ages
                .keys()
                .next()
                .map(|&seconds| Timestamp::from_millis(u64::from(seconds) * 1000)),
            ..Figures::default()
        };
        for lane in self.lanes.values() {
            self.add_lane(lane, &mut figures);
        }
        for (upstream, tally) in self.holds.tallies() {
            figures.add(&upstream, &tally, |_| HELD);
            let reply = self
                .ports
                .get(&upstream)
                .and_then(|port| port.view.as_ref()?.reply.clone());
            figures.add_reason(
                Reason::ReversePathRefused,
                &upstream,
                tally.messages.iter().sum(),
                reply,
            );
        }
        self.add_busy(&mut figures);
        // Of a message in several lanes the counted part may be settled: its other parts mostly wait for time.
        let counted: u64 = figures.by_state.iter().sum();
        if let Some(deferred) = figures.by_state.get_mut(DEFERRED) {
            *deferred += figures.messages.saturating_sub(counted);
        }
        figures
    }

    fn add_lane(&self, lane: &Lane, figures: &mut Figures) {
        let shown = self.shown(lane);
        figures.add(&shown.upstream, &lane.tally, |waiting| {
            index(shown.waiting(waiting))
        });
        for (reason, messages) in &lane.tally.held {
            figures.add_reason(*reason, &shown.upstream, *messages, None);
        }
        if let Some((Waiting::Held, reason, reply)) = &shown.cut_off {
            let [pending, deferred, ..] = lane.tally.messages;
            figures.add_reason(*reason, &shown.upstream, pending + deferred, reply.clone());
        }
    }

    fn add_busy(&self, figures: &mut Figures) {
        let none: Arc<str> = NO_UPSTREAM.into();
        for busy in self.busy.values() {
            let recipients = figures
                .recipients
                .entry(Arc::clone(busy.upstream.as_ref().unwrap_or(&none)));
            let at = if busy.upstream.is_some() {
                IN_FLIGHT
            } else {
                index(busy.entry.waiting)
            };
            if let Some(sum) = recipients.or_default().get_mut(at) {
                *sum += busy.entry.recipients();
            }
            if let Some(sum) = figures.by_state.get_mut(at) {
                *sum += 1;
            }
        }
        let mut aside = Tally::default();
        for (_, entry) in self.suspects.iter().chain(&self.damaged) {
            aside.add(entry);
        }
        if aside != Tally::default() {
            figures.add(&none, &aside, index);
        }
        for (reason, messages) in &aside.held {
            figures.add_reason(*reason, &none, *messages, None);
        }
    }

    /// Every message that waits or is under way, with what is known of it without reading it.
    pub(crate) fn listing(&self) -> Vec<Listed> {
        let mut listed = Vec::new();
        for lane in self.lanes.values() {
            let shown = self.shown(lane);
            listed.extend(
                lane.entries()
                    .filter(|entry| !entry.is_extra())
                    .map(|entry| {
                        let cut_off = shown.cut_off.as_ref().filter(|_| {
                            matches!(entry.waiting, Waiting::Pending | Waiting::Deferred)
                        });
                        let reason = cut_off.map_or(entry.reason(), |(_, reason, _)| Some(*reason));
                        listed_entry(
                            entry,
                            shown.waiting(entry.waiting).as_label(),
                            reason,
                            &shown.upstream,
                        )
                    }),
            );
        }
        let of_holds = self
            .holds
            .entries()
            .filter(|(_, _, entry)| !entry.is_extra());
        listed.extend(of_holds.map(|(upstream, _, entry)| {
            listed_entry(
                entry,
                Waiting::Held.as_label(),
                Some(Reason::ReversePathRefused),
                upstream,
            )
        }));
        let none: Arc<str> = NO_UPSTREAM.into();
        listed.extend(self.suspects.iter().map(|(_, entry)| {
            listed_entry(entry, entry.waiting.as_label(), entry.reason(), &none)
        }));
        listed.extend(self.damaged.iter().map(|(lane, entry)| {
            let sender = self.lanes.get(lane).map(|lane| lane.sender.clone());
            Listed {
                origin: sender.map(|sender| (sender, entry.accepted())),
                ..listed_entry(entry, entry.waiting.as_label(), entry.reason(), &none)
            }
        }));
        listed.extend(self.busy.values().map(|busy| {
            let state = if busy.upstream.is_some() {
                "in_flight"
            } else {
                busy.entry.waiting.as_label()
            };
            listed_entry(
                &busy.entry,
                state,
                busy.entry.reason(),
                busy.upstream.as_ref().unwrap_or(&none),
            )
        }));
        listed.sort_by_key(|message| message.id);
        listed.dedup_by_key(|message| message.id);
        listed
    }

    /// Messages of a lane that are held, for a cause of their own or since every target is.
    pub(super) fn held_in(&self, lane: &Lane) -> u64 {
        let shown = self.shown(lane);
        let is_held = |waiting: &Waiting| shown.waiting(*waiting) == Waiting::Held;
        let messages = Waiting::ALL.into_iter().filter(is_held);
        messages
            .filter_map(|waiting| lane.tally.messages.get(waiting as usize))
            .sum()
    }

    fn shown(&self, lane: &Lane) -> Shown {
        let Some(upstream) = lane
            .shown_target()
            .and_then(|target| lane.way.names.get(target))
        else {
            let cut_off = Some((Waiting::Held, Reason::NoEligibleTarget, None));
            return Shown {
                upstream: NO_UPSTREAM.into(),
                cut_off,
            };
        };
        let cut_off = lane
            .is_parked()
            .then(|| self.cut_off(lane, upstream))
            .flatten();
        Shown {
            upstream: Arc::clone(upstream),
            cut_off,
        }
    }

    /// The state of a lane of whose targets none can take mail now: held only if not one of them waits for time alone.
    /// One that was not tried yet says nothing.
    fn cut_off(
        &self,
        lane: &Lane,
        upstream: &Arc<str>,
    ) -> Option<(Waiting, Reason, Option<String>)> {
        let view =
            |name: &Arc<str>| -> Option<&UpstreamView> { self.ports.get(name)?.view.as_ref() };
        let state = |name| view(name).map_or(UpstreamState::Untried, |view| view.state);
        let waiting = if lane.way.names.iter().all(|name| state(name).holds()) {
            Waiting::Held
        } else {
            Waiting::Deferred
        };
        let reason = Option::<Reason>::from(state(upstream))?;
        Some((
            waiting,
            reason,
            view(upstream).and_then(|view| view.reply.clone()),
        ))
    }
}

fn listed_entry(
    entry: &Entry,
    state: &'static str,
    reason: Option<Reason>,
    upstream: &Arc<str>,
) -> Listed {
    Listed {
        id: entry.id(),
        state,
        reason,
        upstream: Arc::clone(upstream),
        origin: None,
    }
}

/// The position of a state in [`Figures::by_state`].
const fn index(waiting: Waiting) -> usize {
    match waiting {
        Waiting::Pending => 1,
        Waiting::Deferred => DEFERRED,
        Waiting::Unconfirmed => UNCONFIRMED,
        Waiting::Held => HELD,
    }
}
