//! One look at one MailRelay: `dereference → validate → plan → build → apply → status`.
//!
//! Everything is decided afresh from facts; what could not be done now is tried again, later and later. An edit that is
//! invalid changes nothing that runs. [`ending`] is the way of a relay that is being deleted.

mod ending;
mod secrets;
mod told;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt, runtime::controller::Action};
use posthouse_api::MailRelay;
use tracing::info;

use super::{
    Audience, ValidRelay,
    apply::Target,
    build::{self, BuildError, Owners, Request, place},
    facts::{Facts, Heard},
    keys, live,
    plan::{self, Plan, turns},
    status::{ApplyOutcome, Reason},
    validate,
};
use crate::{
    apply::{ApplyError, Owner},
    call::{CallError, Retry},
    certificate::CertificateError,
    context::{Context, Key, RelayMemory},
    gateways,
    installation::Installation,
    mail_sender::admission,
    problem::chain,
    secret::writer::SecretError,
};

/// The senders file is written at most this often: with many senders it is large, and each write is a reload.
const SENDERS_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

/// When a relay is looked at again although nothing changed: time alone makes a file late, a gateway silent or a queue
/// old, and Secrets are put again within the hour. It costs no call.
const AT_REST: Duration = Duration::from_mins(1);

/// When a relay is looked at again in which something goes on that time alone moves: a drain, a rollout, a file that is
/// not there yet.
const UNDER_WAY: Duration = Duration::from_secs(5);

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
    let facts = context.facts(&relay, Timestamp::now());
    let mut look = Look {
        memory: context.relays.recall(&key),
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
}

impl Look<'_> {
    /// Has exactly the pods there are asked for their status, with the link keys that they may have; and the keys of
    /// tokens fetched that one of them did not know.
    fn ask_gateways(&self) {
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
        let can_be = !is_invalid
            && lived.namespace_not_served.is_none()
            && !self.facts.namespace_is_terminating;
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
        if let (Some(plan), None) = (&plan, &programmed.error) {
            programmed.error = self.act(plan, &mut found).await.err();
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

    /// What the plan does besides children: one pod restarts, claims grow.
    async fn act(
        &mut self,
        plan: &Plan,
        found: &mut Vec<(Reason, String)>,
    ) -> Result<(), ReconcileError> {
        let applier = &self.context.applier;
        let stage = turns::stage(&self.facts, plan);
        self.memory.stage = Some(stage);
        let mut stages = self.context.relays.map(|memory| memory.stage);
        stages.insert(self.key.clone(), stage);
        if let Some(pod) = &plan.restart
            && turns::may_roll(&self.key, &stages)
        {
            info!(
                namespace = self.key.0,
                pod = pod.name,
                "restarting a gateway of the former revision"
            );
            applier.delete_pod(&self.key.0, pod).await?;
        }
        for (claim, size) in &plan.resize {
            match applier.patch_claim_size(&self.key.0, claim, size).await {
                Err(ApplyError::Call {
                    source: source @ (CallError::Forbidden(_) | CallError::Invalid(_)),
                    ..
                }) => found.push((
                    Reason::StorageNotExpanded,
                    plan::expansion_refused(&claim.name, &chain(&source)),
                )),
                result => result?,
            }
        }
        Ok(())
    }

    /// Writes everything a valid relay needs.
    async fn program(&mut self, valid: &ValidRelay, plan: &Plan) -> Programmed {
        let Some(installation) = self.context.installation.borrow().clone() else {
            return Programmed {
                outcome: ApplyOutcome::FenceMissing,
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
            Err(error) => Programmed {
                outcome: ApplyOutcome::Failed {
                    message: chain(&error),
                },
                error: Some(error),
                next_change: None,
            },
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
        let uid = relay.uid().unwrap_or_default();
        let uids = self.facts.relay_uids.clone();
        let target = Target {
            applier: &self.context.applier,
            stores: &self.context.stores,
            owner: Owner {
                namespace: &self.key.0,
                relay: &self.key.1,
                uid: &uid,
                relay_uids: &uids,
            },
            capabilities: self.facts.capabilities,
        };
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
        let secrets = secrets::Secrets {
            context: self.context,
            facts: &self.facts,
            request: &request,
            installation,
        };
        secrets.write(&mut self.memory).await?;
        let is_due = self
            .memory
            .senders_written
            .is_none_or(|written| self.facts.now.duration_since(written) >= SENDERS_INTERVAL);
        let is_new = children
            .senders
            .as_ref()
            .is_none_or(|live| live.data != made.senders.data);
        let outcome = ApplyOutcome::Applied {
            document_number: build::config_map::number_of(&made.config),
            senders_number: build::config_map::number_of(&made.senders),
            generation: valid.generation,
            senders: admissions.rows.len(),
        };
        // Also when not all of it gets there.
        self.memory.written.config = Some(Arc::new(made.config.clone()));
        let with_senders = is_due || !is_new;
        if with_senders {
            self.memory.written.senders = Some(Arc::new(made.senders.clone()));
        }
        Box::pin(target.apply(made, with_senders)).await?;
        let waits = (is_new && !is_due).then(|| self.facts.now + SENDERS_INTERVAL);
        if is_new && is_due {
            self.memory.senders_written = Some(self.facts.now);
        }
        let next_change = admissions
            .next_change
            .into_iter()
            .chain(waits)
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
