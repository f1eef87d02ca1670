//! One reconcile of a MailSender: its Secret, then its status.
//!
//! What it is told was decided by the reconcile of its relay ([`super::admission`]); here is only what follows for this
//! one sender. The order matters: a status that names a Secret, or says that a password is valid, is written after it.

use std::time::Duration;

use jiff::Timestamp;
use posthouse_api::{MailSender, mail_sender::MailSenderStatus};
use posthouse_config::credential::Key;

use super::{
    AcceptedSender, Answer, SenderVerdict, admission,
    binding::{self, Situation},
    build,
    ledger::{Content, Gateway, Ledger},
    status::{self, Effect, Observed, WriteFailure},
};
use crate::{mail_relay::keys::KeyRotations, secret::SecretDraft};

/// How soon a sender that waits for gateways is looked at again, if nobody says that these have moved on.
const WAITING: Duration = Duration::from_secs(10);

/// How soon figures are looked at again, and a Secret is offered to be written again.
pub const RESTING: Duration = Duration::from_mins(1);

/// A sender and what its relay said to it.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The sender.
    pub sender: &'a MailSender,
    /// Its relay; absent if there is none that is served.
    pub relay: Option<Relay<'a>>,
    /// When this sender's status was last written by this process, or when the process started.
    pub last_written: Timestamp,
    /// The time.
    pub now: Timestamp,
}

/// What a relay's reconcile published, and what its gateways say.
#[derive(Clone, Copy)]
pub struct Relay<'a> {
    /// What the sender is told.
    pub verdict: &'a SenderVerdict,
    /// The relay's keys as they are in its document.
    pub keys: &'a KeyRotations,
    /// Since when what is accepted.
    pub ledger: &'a Ledger,
    /// The relay's gateways.
    pub gateways: &'a [Gateway<'a>],
    /// The installation's master key.
    pub master: &'a Key,
    /// The certificate that signs `selfSigned` listeners, PEM.
    pub authority: &'a str,
}

/// Brings one sender to what it is to be; the answer is when to look again.
///
/// `keep` makes a Secret be like its draft and may know that it is; `publish` writes the status, and is called only where
/// it is worth a write.
///
/// # Errors
/// That of `publish`. A Secret that cannot be written is said in the status.
pub async fn reconcile<E>(
    case: &Case<'_>,
    keep: impl AsyncFnOnce(SecretDraft) -> Result<(), WriteFailure>,
    publish: impl AsyncFnOnce(MailSenderStatus) -> Result<(), E>,
) -> Result<Duration, E> {
    let stranger = admission::without_relay(case.sender);
    let (verdict, gateways) = case.relay.map_or((&stranger, &[][..]), |relay| {
        (relay.verdict, relay.gateways)
    });
    if !verdict.is_about(case.sender) {
        // The relay has not seen it as it is now; its reconcile is on its way.
        return Ok(WAITING);
    }
    let effect = match (&verdict.answer, case.relay) {
        (Answer::Accepted(accepted), Some(relay)) => secret(case, &relay, accepted, keep).await,
        _ => Effect::none(case.sender),
    };
    let observed = Observed {
        sender: case.sender,
        verdict,
        effect: &effect,
        gateways,
        now: case.now,
    };
    let new = status::status(&observed);
    let old = case.sender.status.as_ref();
    if status::worth_writing(old, &new, case.last_written, case.now) {
        publish(new).await?;
    }
    let is_at_rest = effect.waits.is_none() && effect.failure.is_none();
    Ok(if is_at_rest { RESTING } else { WAITING })
}

/// Keeps the Secret as it is to be now.
async fn secret(
    case: &Case<'_>,
    relay: &Relay<'_>,
    accepted: &AcceptedSender,
    keep: impl AsyncFnOnce(SecretDraft) -> Result<(), WriteFailure>,
) -> Effect {
    let mut effect = Effect::none(case.sender);
    let before = effect.credential.clone();
    let situation = Situation {
        accepted,
        status: before.as_ref(),
        keys: relay.keys,
        ledger: relay.ledger,
        gateways: relay.gateways,
    };
    let Some(credential) = &accepted.admitted.sender.credential else {
        effect.binding = None;
        effect.waits = binding::tokens_wait(&situation);
        return effect;
    };
    let decision = binding::decide(&situation, credential.rotation);
    effect.waits = decision.waits;
    let drafted = decision
        .content
        .and_then(|content| Some((content, draft(case.sender, relay, accepted, content)?)));
    if let Some((content, draft)) = drafted {
        match keep(draft).await {
            Ok(()) => {
                let overlap = credential.overlap_seconds;
                let remembered =
                    binding::remembered(before.as_ref(), relay.keys, content, overlap, case.now);
                effect.binding = Some(credential.secret_name.clone());
                effect.credential = Some(remembered);
            }
            Err(failure) => effect.failure = Some(failure),
        }
    }
    effect
}

fn draft(
    sender: &MailSender,
    relay: &Relay<'_>,
    accepted: &AcceptedSender,
    content: Content,
) -> Option<SecretDraft> {
    let valid = &accepted.admitted.sender;
    let key = relay.master.relay(
        &valid.relay_namespace,
        &valid.relay_name,
        content.key_rotation,
    );
    let Content { rotation, .. } = content;
    build::secret(sender, &accepted.admitted, &key, rotation, relay.authority)
}

#[cfg(test)]
mod tests;
