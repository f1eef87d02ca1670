//! What was heard of each gateway, and what of it counts.
//!
//! Pure. An answer counts if it is of the watched pod's uid and its sequence grew. A gateway that starts again in the same
//! pod begins its sequence anew: its first answer does not count, the one after it does. After three questions in a row
//! without an answer that counts a gateway is silent; what it said last stays.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use posthouse_config::credential::Key;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    RelayName, Target, matters,
    question::{Answer, Question},
};
use crate::mail_relay::facts::{Heard, Report};

/// Questions in a row without an answer after which a gateway counts as silent: half a minute.
const PATIENCE: u32 = 3;

/// A question that nothing came of, not even a time-out, is asked again after this.
const LOST: Duration = Duration::from_mins(1);

/// A gateway that starts is asked after so long again: whoever waits for it waits for its first answer.
const STARTING: Duration = Duration::from_secs(2);

/// That often. One that takes longer is asked as all others, so that gateways that cannot start cost no more than they.
const STARTS: u32 = 10;

/// Figures are told at most this often.
const FIGURES: Duration = Duration::from_mins(1);

/// Everything that was heard.
#[derive(Debug, Default)]
pub(super) struct Board(BTreeMap<RelayName, Relay>);

#[derive(Debug)]
struct Relay {
    keys: Arc<[Key]>,
    gateways: BTreeMap<String, Gateway>,
    /// When somebody was told last; figures wait for it.
    told: Option<Instant>,
    /// Figures changed since.
    has_new_figures: bool,
}

#[derive(Debug)]
struct Gateway {
    target: Target,
    /// When it was first to be asked.
    since: Timestamp,
    /// The last answer that counted.
    last: Option<Arc<Report>>,
    /// Of the last answer, whether it counted or not.
    sequence: u64,
    /// Questions in a row without an answer that counts.
    failures: u32,
    /// When it is to be asked next.
    due: Instant,
}

/// Whom a question went to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The relay.
    pub relay: RelayName,
    /// The pod.
    pub pod: String,
    /// Its uid.
    pub uid: String,
}

impl Gateway {
    fn new(target: Target, since: Timestamp, now: Instant) -> Self {
        Self {
            target,
            since,
            last: None,
            sequence: 0,
            failures: 0,
            due: now,
        }
    }

    fn is_silent(&self) -> bool {
        self.last.is_some() && self.failures >= PATIENCE
    }

    fn is_starting(&self) -> bool {
        self.last.is_none() && self.failures <= STARTS
    }

    fn heard(&self) -> Heard {
        match &self.last {
            None => Heard::Nothing { since: self.since },
            Some(last) if self.is_silent() => Heard::Silent {
                since: last.received,
                last: Arc::clone(last),
            },
            Some(last) => Heard::Report(Arc::clone(last)),
        }
    }

    /// The report in an answer, if it counts.
    fn report(&mut self, answer: Answer, received: Timestamp) -> Option<Report> {
        let pod = &self.target.name;
        let status = match answer {
            Ok(status) => status,
            Err(error) => {
                debug!(%pod, error = %error, "gateway: no answer");
                return None;
            }
        };
        if status.pod_uid != self.target.uid {
            debug!(%pod, "gateway: another pod answered");
            return None;
        }
        let before = std::mem::replace(&mut self.sequence, status.sequence);
        (status.sequence > before).then_some(Report { status, received })
    }
}

/// What an answer changed.
enum News {
    None,
    Figures,
    Matters,
}

impl Board {
    /// Exactly these pods of a relay are asked. A new one is asked at once, one with a new address, too.
    pub(super) fn set(
        &mut self,
        name: RelayName,
        keys: &[Key],
        pods: Vec<Target>,
        since: Timestamp,
        now: Instant,
    ) {
        let relay = self.0.entry(name).or_insert_with(|| Relay {
            keys: Arc::default(),
            gateways: BTreeMap::new(),
            told: None,
            has_new_figures: false,
        });
        if *relay.keys != *keys {
            relay.keys = keys.into();
        }
        let names: HashSet<_> = pods.iter().map(|pod| pod.name.clone()).collect();
        relay.gateways.retain(|name, _| names.contains(name));
        for target in pods {
            match relay.gateways.get_mut(&target.name) {
                Some(gateway) if gateway.target.uid == target.uid => {
                    let is_moved = gateway.target.address != target.address;
                    if is_moved {
                        gateway.due = now;
                    }
                    gateway.target = target;
                }
                _ => {
                    let gateway = Gateway::new(target, since, now);
                    relay.gateways.insert(gateway.target.name.clone(), gateway);
                }
            }
        }
    }

    pub(super) fn forget(&mut self, name: &RelayName) {
        self.0.remove(name);
    }

    pub(super) fn heard(&self, name: &RelayName) -> BTreeMap<String, Heard> {
        let relay = self.0.get(name);
        let gateways = relay.into_iter().flat_map(|relay| &relay.gateways);
        gateways
            .map(|(name, gateway)| (name.clone(), gateway.heard()))
            .collect()
    }

    pub(super) fn silent(&self) -> BTreeMap<RelayName, usize> {
        let count = |relay: &Relay| relay.gateways.values().filter(|g| g.is_silent()).count();
        self.0
            .iter()
            .map(|(name, relay)| (name.clone(), count(relay)))
            .collect()
    }

    /// When the next question is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let gateways = self.0.values().flat_map(|relay| relay.gateways.values());
        gateways.map(|gateway| gateway.due).min()
    }

    /// The question that waited longest, if one is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Asked, Question)> {
        let (name, keys, gateway) = self
            .0
            .iter_mut()
            .flat_map(|(name, relay)| {
                let keys = &relay.keys;
                relay.gateways.values_mut().map(move |g| (name, keys, g))
            })
            .filter(|(_, _, gateway)| gateway.due <= now)
            .min_by_key(|(_, _, gateway)| gateway.due)?;
        gateway.due = now + LOST;
        let asked = Asked {
            relay: name.clone(),
            pod: gateway.target.name.clone(),
            uid: gateway.target.uid.clone(),
        };
        let question = Question {
            address: gateway.target.address,
            keys: Arc::clone(keys),
        };
        Some((asked, question))
    }

    /// Takes an answer, or that there was none; whether somebody has to be told now.
    pub(super) fn record(
        &mut self,
        asked: &Asked,
        answer: Answer,
        received: Timestamp,
        now: Instant,
        next: Instant,
    ) -> bool {
        let Some(relay) = self.0.get_mut(&asked.relay) else {
            return false;
        };
        // The pod may be gone by now, or another of its name be there.
        let gateway = relay.gateways.get_mut(&asked.pod);
        let Some(gateway) = gateway.filter(|gateway| gateway.target.uid == asked.uid) else {
            return false;
        };
        let is_time = relay.told.is_none_or(|told| now >= told + FIGURES);
        let is_news = match gateway.take(answer, received, &asked.relay) {
            News::Matters => true,
            News::Figures => {
                relay.has_new_figures = true;
                is_time
            }
            News::None => relay.has_new_figures && is_time,
        };
        gateway.due = if gateway.is_starting() {
            next.min(now + STARTING)
        } else {
            next
        };
        if is_news {
            relay.has_new_figures = false;
            relay.told = Some(now);
        }
        is_news
    }
}

impl Gateway {
    fn take(&mut self, answer: Answer, received: Timestamp, relay: &RelayName) -> News {
        let was_silent = self.is_silent();
        let (namespace, name) = relay;
        let Some(report) = self.report(answer, received) else {
            self.failures = self.failures.saturating_add(1);
            if !was_silent && self.is_silent() {
                let pod = &self.target.name;
                warn!(%namespace, relay = %name, %pod, "gateway: silent");
                return News::Matters;
            }
            return News::None;
        };
        self.failures = 0;
        let before = self.last.replace(Arc::new(report));
        let (Some(before), Some(last)) = (before, &self.last) else {
            return News::Matters;
        };
        if was_silent {
            info!(%namespace, relay = %name, pod = %self.target.name, "gateway: answers again");
        }
        if was_silent || matters::differ(&before.status, &last.status) {
            News::Matters
        } else if matters::figures_differ(&before.status, &last.status) {
            News::Figures
        } else {
            News::None
        }
    }
}
