//! One look at one MailRelay: `dereference → validate → plan → build → apply → status`.
//!
//! Everything is decided afresh from facts; what could not be done now is tried again, later and later. An edit that is
//! invalid changes nothing that runs. [`ending`] is the way of a relay that is being deleted.

mod consent;
mod ending;
mod secrets;
mod told;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt, runtime::controller::Action};
use posthouse_api::MailRelay;
use tracing::{info, warn};

use super::{
    Audience, ValidRelay,
    apply::Target,
    build::{self, BuildError, Owners, Request, place},
    facts::{Facts, Heard},
    keys, live,
    plan::{self, Plan},
    status::{ApplyOutcome, Reason},
    validate,
};
use crate::{
    apply::{ApplyError, Owner},
    call::{CallError, Retry},
    certificate::CertificateError,
    context::{Context, Key, RelayMemory},
    gateways,
    installation::{Installation, InstallationError},
    mail_sender::admission,
    problem::chain,
    secret::writer::SecretError,
};

/// When a relay is looked at again although nothing changed: time alone makes a file late, a gateway silent or a queue
/// old, and Secrets are put again within the hour. It costs no call.
const AT_REST: Duration = Duration::from_mins(1);

/// How soon a claim is asked to grow again after that was refused: somebody may have changed its class.
const GROW_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// When a relay is looked at again in which something goes on that time alone moves: a drain, a rollout, a file that is
/// not there yet.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// When a relay is looked at again of which the caches show less than was written.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// So many looks in a row may find that before it is told as a failure: then somebody writes against us.
const MOST_CONFLICTS: u32 = 5;

/// Why a reconcile did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A child.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A Secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A mistake of ours.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A certificate.
    #[error("issue a certificate")]
    Certificate(#[from] CertificateError),
}

impl ReconcileError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Apply(error) if error.is_conflict())
    }

    /// When another try makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Apply(error) => error.retry(),
            Self::Secret(error) => error.retry(),
            Self::Build(_) | Self::Certificate(_) => Retry::BackOff,
        }
    }
}

/// Looks at a relay once.
///
/// # Errors
/// What could not be done; status says it, too.
pub async fn reconcile(
    relay: Arc<MailRelay>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let key = (relay.namespace().unwrap_or_default(), relay.name_any());
    if context.installation.borrow().is_none() && context.installation_failure.borrow().is_none() {
        // Every relay is looked at once the keys were asked for, whatever became of it.
        return Ok(Action::requeue(UNDER_WAY));
    }
    let facts = context.facts(&relay, Timestamp::now());
    let mut look = Look {
        memory: context.relays.recall(&key),
        is_consent_written: false,
        context: &context,
        facts,
        key: key.clone(),
    };
    look.ask_gateways();
    let is_ending = relay.metadata.deletion_timestamp.is_some();
    let result = if is_ending {
        Box::pin(look.end()).await
    } else {
        Box::pin(look.live()).await
    };
    match result {
        Ok(Next::Gone) => {
            look.forget();
            Ok(Action::await_change())
        }
        Ok(Next::Again(delay)) => {
            look.memory.failures = 0;
            context.relays.remember(key, look.memory);
            Ok(Action::requeue(delay))
        }
        Err(error) => {
            look.memory.failures = look.memory.failures.saturating_add(1);
            context.relays.remember(key, look.memory);
            Err(error)
        }
    }
}

/// What comes after a look.
enum Next {
    /// Another look, at the latest after this.
    Again(Duration),
    /// Nothing: the relay is gone.
    Gone,
}

/// One look at one relay.
struct Look<'a> {
    context: &'a Context,
    facts: Facts,
    key: Key,
    memory: RelayMemory,
    /// Whether the senders file says who may send now, or will in a moment.
    is_consent_written: bool,
}

/// Why nothing is written without the installation's keys.
fn keys_missing(failure: &InstallationError) -> ApplyOutcome {
    if matches!(failure, InstallationError::Write(SecretError::Fence)) {
        return ApplyOutcome::FenceMissing;
    }
    let message = format!("the installation's keys cannot be read: {}", chain(failure));
    ApplyOutcome::Failed { message }
}

/// Where the children of a relay go.
fn target<'a>(context: &'a Context, key: &'a Key, facts: &'a Facts) -> Target<'a> {
    Target {
        applier: &context.applier,
        stores: &context.stores,
        owner: Owner {
            namespace: &key.0,
            relay: &key.1,
            uid: facts.relay.metadata.uid.as_deref().unwrap_or_default(),
            relay_uids: &facts.relay_uids,
        },
        capabilities: facts.capabilities,
    }
}

/// What the children became, and the error that ended it early.
struct Programmed {
    outcome: ApplyOutcome,
    error: Option<ReconcileError>,
    /// When time alone changes what is to be written.
    next_change: Option<Timestamp>,
}

impl Programmed {
    const fn nothing() -> Self {
        Self {
            outcome: ApplyOutcome::NotTried,
            error: None,
            next_change: None,
        }
    }

    fn failed(error: ReconcileError) -> Self {
        Self {
            outcome: ApplyOutcome::Failed {
                message: chain(&error),
            },
            error: Some(error),
            next_change: None,
        }
    }

    /// With what became of the senders file. The first error is the one that is told.
    fn and(mut self, withdrawn: Result<Option<Timestamp>, ReconcileError>) -> Self {
        match withdrawn {
            Ok(waits) => self.next_change = self.next_change.into_iter().chain(waits).min(),
            Err(error) if self.error.is_none() => return Self::failed(error),
            Err(error) => warn!(error = chain(&error), "the senders file is not written"),
        }
        self
    }
}

impl Look<'_> {
    /// Has exactly the pods there are asked for their status, with the link keys that they may have; and the keys of
    /// tokens fetched that one of them did not know.
    fn ask_gateways(&mut self) {
        let (namespace, relay) = (&self.key.0, &self.key.1);
        let Some(installation) = self.context.installation.borrow().clone() else {
            return;
        };
        // Those the document names: what the spec asks for may have to wait, and may have left numbers out.
        let wanted = u64::try_from(self.facts.relay.spec.clients.key_rotation).unwrap_or_default();
        let config = self.facts.children.config.as_deref();
        let keys: Vec<_> = keys::rotations(wanted, config, self.facts.now)
            .accepted()
            .map(|rotation| installation.master.link(namespace, relay, rotation))
            .collect();
        let pods = self.facts.children.pods.values();
        let targets = pods
            .filter_map(|pod| gateways::Target::of(pod, place::STATUS_PORT))
            .collect();
        self.context
            .gateways
            .watch(namespace, relay, &keys, targets);
        // Who is asked for the first time is known to be, too.
        self.facts.gateways = self.context.gateways.of_relay(namespace, relay);
        for report in self.facts.gateways.values().filter_map(Heard::report) {
            self.context.token_keys.want(&report.status.unknown_key_ids);
        }
    }

    async fn live(&mut self) -> Result<Next, ReconcileError> {
        let relay = Arc::clone(&self.facts.relay);
        let (mut findings, valid) = validate(&relay, Audience::Cluster);
        let lived = live::check(&relay, &self.facts);
        let is_invalid = !lived.invalid.problems.is_empty();
        findings.extend(lived.invalid.problems);
        let can_be = !is_invalid && self.can_write();
        let valid = valid.filter(|_| !is_invalid);
        let mut found = Vec::new();
        found.extend(
            lived
                .namespace_not_served
                .map(|why| (Reason::NamespaceNotServed, why)),
        );
        found.extend(
            lived
                .storage_immutable
                .map(|why| (Reason::StorageImmutable, why)),
        );
        let plan = valid
            .as_ref()
            .filter(|_| can_be)
            .map(|valid| plan::plan(&self.facts, valid));
        let mut programmed = match (&valid, &plan) {
            (Some(valid), Some(plan)) => Box::pin(self.program(valid, plan)).await,
            _ => Programmed::nothing(),
        };
        if !self.is_consent_written && self.can_write() {
            programmed = programmed.and(self.withdraw().await);
        }
        let is_applied = matches!(programmed.outcome, ApplyOutcome::Applied { .. });
        self.memory.is_mute = plan.is_none();
        if let (Some(plan), true) = (&plan, is_applied) {
            programmed.error = self.act(plan, &mut found).await.err();
        } else {
            self.context.turns.pass(&self.key);
        }
        if programmed
            .error
            .as_ref()
            .is_some_and(ReconcileError::is_conflict)
            && self.memory.conflicts < MOST_CONFLICTS
        {
            self.memory.conflicts += 1;
            return Ok(Next::Again(CAUGHT_UP));
        }
        if programmed.error.is_none() {
            self.memory.conflicts = 0;
        }
        self.tell(
            &findings,
            &found,
            valid.as_ref(),
            plan.as_ref(),
            &programmed.outcome,
        )
        .await?;
        match programmed.error {
            Some(error) => Err(error),
            None => Ok(Next::Again(
                self.rest(plan.as_ref(), programmed.next_change),
            )),
        }
    }

    /// Whether what is there can be changed at all.
    fn can_write(&self) -> bool {
        self.facts.is_served && !self.facts.namespace_is_terminating
    }

    /// What the plan does besides children: one pod restarts, claims grow.
    async fn act(
        &mut self,
        plan: &Plan,
        found: &mut Vec<(Reason, String)>,
    ) -> Result<(), ReconcileError> {
        let applier = &self.context.applier;
        let relays = self.context.served_relays();
        let has_turn = self
            .context
            .turns
            .take(&self.key, &self.facts, plan, &relays);
        if let Some(pod) = plan.restart.as_ref().filter(|_| has_turn) {
            info!(
                namespace = self.key.0,
                pod = pod.name,
                "restarting a gateway of the former revision"
            );
            applier.delete_pod(&self.key.0, pod).await?;
        }
        self.grow(plan, found).await
    }

    /// Asks for larger volumes. One that was refused a moment ago is not asked for again yet, and still told.
    async fn grow(
        &mut self,
        plan: &Plan,
        found: &mut Vec<(Reason, String)>,
    ) -> Result<(), ReconcileError> {
        let now = self.facts.now;
        self.memory
            .refused
            .retain(|_, (at, _)| now.duration_since(*at) < GROW_AGAIN);
        for (claim, size) in &plan.resize {
            if !self.memory.refused.contains_key(&claim.uid) {
                let grown = self
                    .context
                    .applier
                    .patch_claim_size(&self.key.0, claim, size);
                match grown.await {
                    Err(ApplyError::Call {
                        source: source @ (CallError::Forbidden(_) | CallError::Invalid(_)),
                        ..
                    }) => {
                        let why = plan::expansion_refused(&claim.name, &chain(&source));
                        self.memory.refused.insert(claim.uid.clone(), (now, why));
                    }
                    result => result?,
                }
            }
            if let Some((_, why)) = self.memory.refused.get(&claim.uid) {
                found.push((Reason::StorageNotExpanded, why.clone()));
            }
        }
        Ok(())
    }

    /// What came of a try without the installation's keys; nothing if they are there. Who read them tells every relay
    /// when they are.
    fn without_keys(&self) -> Option<ApplyOutcome> {
        let failure = self.context.installation_failure.borrow().clone()?;
        let is_there = self.context.installation.borrow().is_some();
        (!is_there).then(|| keys_missing(&failure))
    }

    /// Writes everything a valid relay needs.
    async fn program(&mut self, valid: &ValidRelay, plan: &Plan) -> Programmed {
        let Some(installation) = self.context.installation.borrow().clone() else {
            return Programmed {
                outcome: self.without_keys().unwrap_or(ApplyOutcome::NotTried),
                ..Programmed::nothing()
            };
        };
        match Box::pin(self.try_program(valid, plan, &installation)).await {
            Ok(programmed) => programmed,
            Err(ReconcileError::Secret(error @ SecretError::Fence)) => Programmed {
                outcome: ApplyOutcome::FenceMissing,
                error: Some(error.into()),
                next_change: None,
            },
            Err(error) => Programmed::failed(error),
        }
    }

    async fn try_program(
        &mut self,
        valid: &ValidRelay,
        plan: &Plan,
        installation: &Installation,
    ) -> Result<Programmed, ReconcileError> {
        let relay = Arc::clone(&self.facts.relay);
        self.context.applier.add_finalizer(relay.as_ref()).await?;
        let target = target(self.context, &self.key, &self.facts);
        let anchor = target.anchor(&relay).await?;
        let children = &self.facts.children;
        let written = self.memory.written.clone();
        let config = children.config.as_ref().or(written.config.as_ref());
        let keys = keys::rotations(valid.key_rotation, config.map(Arc::as_ref), self.facts.now);
        let former = children.senders.as_ref().or(written.senders.as_ref());
        let former = former.and_then(|former| admission::live_senders(former));
        let admissions = admission::admissions(&self.facts, valid, former.as_ref());
        let request = Request {
            relay: &relay,
            valid,
            plan,
            keys: &keys,
            settings: &self.context.settings,
            capabilities: self.facts.capabilities,
            owners: Owners::of(&relay, &anchor),
            issuers: &self.facts.issuers,
            senders: admissions.rows.clone(),
            authority: Some(&installation.authority.certificate),
            live: children,
            reported: build::Reported::of(&self.facts),
            written: written.clone(),
        };
        let made = build::children(&request)?;
        let outcome = ApplyOutcome::Applied {
            document_number: build::config_map::number_of(&made.config),
            senders_number: build::config_map::number_of(&made.senders),
            generation: valid.generation,
            senders: admissions.rows.len(),
        };
        let written = &mut self.memory.senders_written;
        let waits = consent::write(&target, &self.facts, &made.senders, written).await;
        // A file that cannot be written as a whole is not pruned either.
        self.is_consent_written = true;
        if matches!(waits, Ok(None)) {
            self.memory.written.senders = Some(Arc::new(made.senders.clone()));
        }
        let issued = secrets::write(
            self.context,
            &self.facts,
            &request,
            installation,
            self.memory.issued,
        )
        .await;
        self.memory.issued = issued?.or(self.memory.issued);
        // Also when not all of it gets there.
        self.memory.written.config = Some(Arc::new(made.config.clone()));
        Box::pin(target.apply(made)).await?;
        let next_change = admissions
            .next_change
            .into_iter()
            .chain(waits?)
            .chain(keys.next_change(valid.key_rotation))
            .min();
        self.publish(&keys, admissions);
        Ok(Programmed {
            outcome,
            error: None,
            next_change,
        })
    }
}

#[cfg(test)]
mod tests;
