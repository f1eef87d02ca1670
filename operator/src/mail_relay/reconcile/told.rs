//! What people are told at the end of a look: status, Events, figures; and what the relay's senders are told.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use posthouse_api::mail_relay::{MailRelayStatus, status::GatewayState};

use super::{AT_REST, Look, ReconcileError, UNDER_WAY};
use crate::{
    condition, events,
    mail_relay::{
        ValidRelay,
        keys::{KeyRotations, LiveDocument},
        plan::{Notice, Plan, Rollout},
        status::{self, ApplyOutcome, Observed, Reason},
    },
    mail_sender::{
        admission::{self, Admissions},
        ledger::Gateway,
    },
    problem::Findings,
};

/// What a gateway can do, as a label.
const GATEWAY_STATES: [(GatewayState, &str); 4] = [
    (GatewayState::Starting, "starting"),
    (GatewayState::Ready, "ready"),
    (GatewayState::Draining, "draining"),
    (GatewayState::Silent, "silent"),
];

/// Those that were not among the last look's.
fn unsaid(mut notices: Vec<Notice>, before: &[Notice]) -> Vec<Notice> {
    notices.retain(|notice| !before.contains(notice));
    notices
}

impl Look<'_> {
    /// Writes the status if it is worth a write, and an Event for each transition.
    pub(super) async fn tell(
        &mut self,
        findings: &Findings,
        found: &[(Reason, String)],
        valid: Option<&ValidRelay>,
        plan: Option<&Plan>,
        applied: &ApplyOutcome,
    ) -> Result<(), ReconcileError> {
        let relay = Arc::clone(&self.facts.relay);
        let new = status::status(&Observed {
            facts: &self.facts,
            findings,
            live: found,
            valid,
            plan,
            applied,
        });
        self.count(&new);
        let old = relay.status.as_ref();
        // What was done is told at once and once, also where the status has to wait.
        let said = plan.map(|plan| plan.notices.clone()).unwrap_or_default();
        let before = std::mem::replace(&mut self.memory.notices, said.clone());
        let mut notices = unsaid(said, &before);
        if old.is_some() && !status::is_heard_out(&self.facts) {
            // It would tell of silence where nobody has asked yet.
            self.context.publish(relay, notices);
            return Ok(());
        }
        notices.extend(events::transitions(old, &new));
        let written = self.memory.status_written.unwrap_or(Timestamp::UNIX_EPOCH);
        if status::worth_writing(old, &new, written, self.facts.now) {
            self.context
                .applier
                .write_status(relay.as_ref(), &new)
                .await?;
            self.memory.status_written = Some(self.facts.now);
        }
        self.context.publish(relay, notices);
        Ok(())
    }

    /// The relay's figures among the operator's own metrics.
    fn count(&self, status: &MailRelayStatus) {
        let (namespace, relay) = (self.key.0.as_str(), self.key.1.as_str());
        let metrics = &self.context.metrics;
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, label) in GATEWAY_STATES {
            let of_state = status
                .gateways
                .iter()
                .filter(|gateway| gateway.state == state);
            let labels = [namespace, relay, label];
            metrics
                .gateways
                .with_label_values(&labels)
                .set(gauge(of_state.count()));
        }
        // What is listed without a pod has a volume with mail, or with nobody knows what.
        let pods = &self.facts.children.pods;
        let stranded = status
            .gateways
            .iter()
            .filter(|gateway| !pods.contains_key(&gateway.name));
        let labels = [namespace, relay];
        metrics
            .volumes_stranded
            .with_label_values(&labels)
            .set(gauge(stranded.count()));
        for type_ in condition::TYPES {
            // One that is absent now, as Stalled mostly is, must not keep the value it had.
            let known = condition::find(&status.conditions, type_);
            for word in ["True", "False", "Unknown"] {
                let is = known.is_some_and(|condition| condition.status == word);
                let labels = [namespace, relay, type_, word];
                metrics
                    .conditions
                    .with_label_values(&labels)
                    .set(i64::from(is));
            }
        }
    }

    /// Tells the relay's senders what they may; those for whom it changed are looked at, and when gateways have moved on
    /// those that wait for them.
    pub(super) fn publish(&mut self, keys: &KeyRotations, admissions: Admissions) {
        let children = &self.facts.children;
        let senders = children
            .senders
            .as_deref()
            .and_then(admission::live_senders);
        let document = children.config.as_deref().and_then(LiveDocument::read);
        let gateways = Gateway::all(&self.facts).into_iter();
        let progress: Vec<_> = gateways
            .map(|gateway| {
                let status = gateway.status();
                let read = status.map(|status| (status.document.number, status.senders.number));
                (gateway.is_ready, read)
            })
            .collect();
        let mut concerned = BTreeSet::new();
        if progress != self.memory.progress {
            let all = admissions.verdicts.keys().cloned();
            concerned.extend(all.filter(|key| self.context.senders.recall(key).is_waiting));
            self.memory.progress = progress;
        }
        let changed = self.context.board.publish(
            &self.key,
            keys,
            admissions,
            senders.as_ref(),
            document.as_ref(),
        );
        concerned.extend(changed);
        for (namespace, name) in concerned {
            self.context.triggers.sender(&namespace, &name);
        }
    }

    /// How long nothing has to be looked at unless something changes.
    pub(super) fn rest(&self, plan: Option<&Plan>, next_change: Option<Timestamp>) -> Duration {
        let is_moving = !status::is_heard_out(&self.facts)
            || plan.is_some_and(|plan| {
                plan.drain.is_some() || plan.rollout == Rollout::UnderWay || !plan.resize.is_empty()
            });
        let limit = if is_moving { UNDER_WAY } else { AT_REST };
        let until = next_change.map(|at| at.duration_since(self.facts.now));
        let until = until.and_then(|until| Duration::try_from(until).ok());
        until.map_or(limit, |until| until.clamp(Duration::from_secs(1), limit))
    }

    /// The relay is gone: so is everything that is remembered of it.
    pub(super) fn forget(self) {
        self.context.forget_relay(&self.key);
    }
}
