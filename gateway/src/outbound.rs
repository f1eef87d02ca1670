//! Relaying: one attempt to hand recipients of a message to one upstream, and the state of every upstream.
//!
//! Knows neither spool nor queue: it is reached through [`Deliver`], and says what happened as a value. In the order of
//! an attempt: `target` one upstream · `pool` its sessions · `resolve`, `tls`, `authentication`, `opening` how one is
//! opened · `connection` octets and time-outs · `exchange` the transactions · `content` what is sent · `verdict` what it
//! means · `dictionary` what a provider means · `health` what follows for the upstream · `capture` the upstream that
//! only keeps.

mod authentication;
mod capture;
mod connection;
mod content;
mod dictionary;
mod exchange;
mod health;
mod opening;
mod pool;
mod probe;
mod resolve;
mod target;
pub(crate) mod tls;
mod verdict;

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use posthouse_config::{
    Snapshot,
    reason::{Phase, UpstreamState},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use self::{
    capture::CaptureError,
    exchange::{Exchange, Surroundings},
    target::{Made, Shared, Target, Way},
    tls::SystemRoots,
    verdict::{
        evidence,
        ruling::{Blame, Effects, PathEffect},
    },
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    queue::deliver::{Attempt, AttemptReport, Deliver, Evidence, Upstreams, Verdict},
    shutdown::{Shutdown, Stage},
};

/// Relays to the upstreams of the document in use.
pub struct Outbound {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    captured: PathBuf,
    roots: SystemRoots,
    shared: Shared,
    when_quiet: probe::WhenQuiet,
    targets: RwLock<BTreeMap<Arc<str>, Arc<Target>>>,
}

impl Outbound {
    /// Knows the upstreams of the document as it is now; nothing is connected to before [`Self::run`]. `captured` is
    /// where captured messages go, `ordinal` the number of this gateway: the first one watches upstreams without mail.
    pub fn new(
        snapshot: watch::Receiver<Arc<Snapshot>>,
        captured: PathBuf,
        ordinal: u32,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let (board, _) = watch::channel(Arc::default());
        let outbound = Self {
            snapshot,
            captured,
            roots: SystemRoots::default(),
            shared: Shared {
                ordinal,
                clock,
                metrics,
                board,
            },
            when_quiet: if ordinal == 0 {
                probe::WhenQuiet::Probe
            } else {
                probe::WhenQuiet::Leave
            },
            targets: RwLock::default(),
        };
        let now = Arc::clone(&outbound.snapshot.borrow());
        outbound.follow(&now);
        Arc::new(outbound)
    }

    /// Probes upstreams and follows changes of the document, until the stop.
    pub async fn run(self: Arc<Self>, mut shutdown: Shutdown) {
        let mut snapshot = self.snapshot.clone();
        let mut keepers = JoinSet::new();
        let mut kept: BTreeMap<Arc<str>, (Arc<Target>, AbortHandle)> = BTreeMap::new();
        loop {
            let now = Arc::clone(&snapshot.borrow_and_update());
            self.follow(&now);
            let targets = self.targets();
            kept.retain(|name, (target, keeper)| {
                let is_current = targets
                    .get(name)
                    .is_some_and(|current| Arc::ptr_eq(current, target));
                if !is_current {
                    keeper.abort();
                }
                is_current
            });
            while keepers.try_join_next().is_some() {}
            for (name, target) in targets {
                kept.entry(name).or_insert_with(|| {
                    let keeper = probe::keep(
                        Arc::clone(&target),
                        Arc::clone(&self.shared.clock),
                        self.when_quiet,
                        shutdown.clone(),
                    );
                    (target, keepers.spawn(keeper))
                });
            }
            tokio::select! {
                changed = snapshot.changed() => if changed.is_err() { break },
                () = shutdown.reached(Stage::Stopping) => break,
            }
        }
        shutdown.reached(Stage::Stopping).await;
        while keepers.join_next().await.is_some() {}
        for target in self.targets().values() {
            target.close_idle();
        }
    }

    /// Makes the targets those of a snapshot; what did not change is kept.
    fn follow(&self, snapshot: &Snapshot) {
        let old = self.targets();
        let new: BTreeMap<Arc<str>, Arc<Target>> = snapshot
            .document
            .upstreams
            .iter()
            .map(|upstream| {
                let made = Made::of(upstream, snapshot);
                let known = old.get(upstream.name.as_str());
                if let Some(target) = known.filter(|target| target.origin == made) {
                    target.follow_share(&snapshot.document);
                    return (Arc::clone(&target.name), Arc::clone(target));
                }
                if let Some(replaced) = known {
                    replaced.retire();
                }
                let target = Arc::new(Target::new(
                    made,
                    snapshot,
                    &self.roots,
                    &self.captured,
                    self.shared.clone(),
                ));
                (Arc::clone(&target.name), target)
            })
            .collect();
        for (name, target) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
            target.retire();
            self.forget(name);
        }
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// An upstream that is gone from the document is gone from what is shown.
    fn forget(&self, name: &str) {
        self.shared.board.send_modify(|all| {
            Arc::make_mut(all).remove(name);
        });
        let metrics = &self.shared.metrics;
        // A series that was never made need not be removed.
        let _ = metrics.upstream_up.remove_label_values(&[name]);
        for state in UpstreamState::ALL {
            let _ = metrics
                .upstream_state
                .remove_label_values(&[name, state.as_label()]);
        }
    }

    fn targets(&self) -> BTreeMap<Arc<str>, Arc<Target>> {
        self.targets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn target(&self, name: &str) -> Option<Arc<Target>> {
        self.targets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    fn surroundings<'s>(&self, attempt: &Attempt, snapshot: &'s Snapshot) -> Surroundings<'s> {
        let others = attempt
            .eligible
            .iter()
            .filter(|name| **name != attempt.upstream)
            .map(|name| {
                self.target(name)
                    .map_or_else(verdict::lacking::Known::default, |target| target.known())
            })
            .collect();
        let document = &*snapshot.document;
        let senders = snapshot.senders.senders.len() + usize::from(document.anonymous.is_some());
        Surroundings {
            others,
            senders,
            document,
        }
    }

    async fn offer(&self, attempt: Attempt) -> AttemptReport {
        let Some(target) = self.target(&attempt.upstream) else {
            return not_offered(&attempt, None);
        };
        let state = target.state();
        if !state.is_ready() {
            let said = evidence(Phase::Connect, &format!("the upstream is {state}"));
            return not_offered(&attempt, Some(&said));
        }
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let around = self.surroundings(&attempt, &snapshot);
        match &target.way {
            Way::Smtp(smtp) => Exchange::new(&target, smtp, &attempt, around).run().await,
            Way::Capture(capture) => keep(&target, capture, &attempt, &around).await,
            Way::Unusable(error) => not_offered(&attempt, Some(&target.failed_to_open(error))),
        }
    }
}

impl Deliver for Arc<Outbound> {
    fn attempt(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = AttemptReport> + Send>> {
        let outbound = Self::clone(self);
        Box::pin(async move { outbound.offer(attempt).await })
    }

    fn probe(&self, upstream: &str) {
        if let Some(target) = self.target(upstream) {
            target.hurry();
        }
    }

    fn upstreams(&self) -> watch::Receiver<Arc<Upstreams>> {
        self.shared.board.subscribe()
    }
}

fn not_offered(attempt: &Attempt, said: Option<&Evidence>) -> AttemptReport {
    all(attempt, &Verdict::NotOffered(said.cloned()))
}

/// The same verdict for every recipient.
fn all(attempt: &Attempt, verdict: &Verdict) -> AttemptReport {
    AttemptReport {
        verdicts: attempt
            .recipients
            .iter()
            .map(|&position| (position, verdict.clone()))
            .collect(),
        hold_reverse_path: false,
    }
}

/// An attempt at an upstream that only keeps.
async fn keep(
    target: &Target,
    capture: &capture::Capture,
    attempt: &Attempt,
    around: &Surroundings<'_>,
) -> AttemptReport {
    let lines = content::lines(&attempt.message, around.document);
    match capture.store(attempt, lines).await {
        Ok(()) => {}
        Err(CaptureError::ReadContent(error)) => {
            tracing::error!(queue_id = %attempt.message.id, %error, "stored content cannot be captured");
            return all(attempt, &verdict::unreadable(&error));
        }
        Err(CaptureError::WriteFile(error)) => {
            let fault = health::disk_fault(&error);
            target.failed(&fault, health::Origin::Mail);
            return not_offered(attempt, Some(&fault.evidence));
        }
    }
    let effects = Effects {
        upstream: Blame::Praise,
        reverse_path: PathEffect::Nothing,
    };
    target.apply(&attempt.message, &effects, around.senders);
    let said = evidence(Phase::Final, &"captured");
    all(attempt, &Verdict::Relayed(said))
}

#[cfg(test)]
mod tests;
