//! One look at one MailSender, with everything it needs gathered: what its relay says, and the relay's gateways.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, runtime::controller::Action};
use posthouse_api::MailSender;

use super::{
    ledger::Gateway,
    reconcile::{self, Case, Relay},
    status::WriteFailure,
};
use crate::{
    apply::ApplyError,
    context::{Context, Key},
    events,
    problem::chain,
    secret::{SecretDraft, writer::SecretError},
};

/// How soon a sender is looked at again whose relay exists and has said nothing yet.
const UNHEARD: Duration = Duration::from_secs(10);

/// Looks at a sender once.
///
/// # Errors
/// When its status could not be written.
pub async fn look(sender: Arc<MailSender>, context: Arc<Context>) -> Result<Action, ApplyError> {
    let key = (sender.namespace().unwrap_or_default(), sender.name_any());
    if sender.metadata.deletion_timestamp.is_some() {
        context.senders.forget(&key);
        return Ok(Action::await_change());
    }
    let mut memory = context.senders.recall(&key);
    let result = at(&sender, &context, &key, &mut memory.status_written).await;
    memory.failures = match result {
        Ok(_) => 0,
        Err(_) => memory.failures.saturating_add(1),
    };
    memory.is_waiting = matches!(result, Ok(again) if again < reconcile::RESTING);
    context.senders.remember(key, memory);
    result.map(Action::requeue)
}

async fn at(
    sender: &Arc<MailSender>,
    context: &Context,
    key: &Key,
    status_written: &mut Option<Timestamp>,
) -> Result<Duration, ApplyError> {
    let now = Timestamp::now();
    let relay = &sender.spec.relay_ref;
    let relay = (relay.namespace.clone(), relay.name.clone());
    let entry = context.board.entry(&relay);
    // A relay that is invalid, or not served, says nothing to anybody: whoever was told something stays with it, and a
    // newcomer is told the same as without a relay.
    let has_heard = sender
        .status
        .as_ref()
        .is_some_and(|status| !status.conditions.is_empty());
    if entry.is_none() && context.has_relay(&relay) && (has_heard || !context.relays.knows(&relay))
    {
        return Ok(UNHEARD);
    }
    let installation = context.installation.borrow().clone();
    let pods: BTreeMap<String, Arc<Pod>> = context
        .stores
        .pods
        .of_relay(&relay.0, &relay.1)
        .into_iter()
        .map(|pod| (pod.name_any(), pod))
        .collect();
    let heard = context.gateways.of_relay(&relay.0, &relay.1);
    let gateways = Gateway::of(&pods, &heard, now);
    let said = entry.as_deref().zip(installation.as_deref());
    let said = said.and_then(|(entry, installation)| {
        Some(Relay {
            verdict: entry.admissions.verdicts.get(key)?,
            keys: &entry.keys,
            ledger: &entry.ledger,
            gateways: &gateways,
            master: &installation.master,
            authority: &installation.authority.certificate,
        })
    });
    let is_mute = context.relays.recall(&relay).is_mute;
    if said.is_none() && entry.is_some() && (has_heard || !is_mute) {
        // The relay has not seen this sender yet.
        return Ok(UNHEARD);
    }
    let case = Case {
        sender,
        relay: said,
        last_written: status_written.unwrap_or(Timestamp::UNIX_EPOCH),
        now,
    };
    let keep = async |draft| keep(context, &draft).await;
    let publish = async |status| {
        context
            .applier
            .write_status(sender.as_ref(), &status)
            .await?;
        *status_written = Some(now);
        let notices = events::sender_transitions(sender.status.as_ref(), &status);
        context.publish(Arc::clone(sender), notices);
        Ok(())
    };
    reconcile::reconcile(&case, keep, publish).await
}

async fn keep(context: &Context, draft: &SecretDraft) -> Result<(), WriteFailure> {
    let living = || context.owners_of_secrets(&draft.namespace);
    match context.secrets.keep(draft, &living).await {
        Ok(()) => Ok(()),
        Err(SecretError::Conflict { .. }) => Err(WriteFailure::Conflict),
        Err(error) => Err(WriteFailure::Failed(chain(&error))),
    }
}
