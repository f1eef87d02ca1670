//! A MailSender's status, computed afresh from what is observed.
//!
//! Two fields are memory, handed through: `credential` and `binding`. A sender that is refused keeps both, since its
//! Secret stays; only what its password is worth changes. Pure: the previous status is read as memory and for the
//! transition times.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use posthouse_api::{
    MailSender,
    mail_sender::status::{
        Binding, CredentialStatus, FailuresStatus, MailSenderStatus, SenderQueueStatus,
    },
};
use posthouse_config::{Status, credential, document::tokens};

use super::{AcceptedSender, Answer, Refusal, SenderVerdict, binding::Waits, ledger::Gateway};
use crate::condition::{self, ACCEPTED, ConditionStatus, PROGRAMMED, READY, Wanted};

/// How often figures are written: every sender has some that change with every message.
const FIGURES: SignedDuration = SignedDuration::from_secs(60);

/// At most this many refusals stand in a message.
const SHOWN: usize = 8;

const PENDING: &str = "Pending";

/// Everything a status says.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The sender, with its previous status.
    pub sender: &'a MailSender,
    /// What it is told.
    pub verdict: &'a SenderVerdict,
    /// What became of its Secret.
    pub effect: &'a Effect,
    /// The relay's gateways.
    pub gateways: &'a [Gateway<'a>],
    /// The time.
    pub now: Timestamp,
}

/// What became of a sender's Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effect {
    /// The Secret, if it is written.
    pub binding: Option<String>,
    /// What is remembered of it.
    pub credential: Option<CredentialStatus>,
    /// What it waits for.
    pub waits: Option<Waits>,
    /// Why it could not be written.
    pub failure: Option<WriteFailure>,
}

/// Why a Secret could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteFailure {
    /// The name is taken by a Secret that is not this sender's.
    Conflict,
    /// Anything else, for people.
    Failed(String),
}

impl Effect {
    /// What is remembered where nothing was done.
    pub fn none(sender: &MailSender) -> Self {
        let status = sender.status.as_ref();
        Self {
            binding: status.and_then(|status| Some(status.binding.as_ref()?.name.clone())),
            credential: status.and_then(|status| status.credential.clone()),
            waits: None,
            failure: None,
        }
    }
}

/// The status of a MailSender.
pub fn status(observed: &Observed) -> MailSenderStatus {
    let sender = observed.sender;
    let generation = sender.metadata.generation.unwrap_or_default();
    let previous = sender.status.as_ref();
    let conditions = previous.map_or(&[][..], |status| &status.conditions);
    let name = credential::username(
        sender.metadata.namespace.as_deref().unwrap_or_default(),
        sender.metadata.name.as_deref().unwrap_or_default(),
    );
    MailSenderStatus {
        observed_generation: Some(generation),
        binding: observed.effect.binding.clone().map(|name| Binding { name }),
        audience: audience(observed.verdict),
        credential: observed.effect.credential.clone(),
        queue: queue(observed, &name),
        failures: failures(observed, &name),
        conditions: condition::set(conditions, wanted(observed), generation, observed.now),
    }
}

/// What a token must be for; nothing is told of a relay that does not admit the sender.
fn audience(verdict: &SenderVerdict) -> Option<String> {
    let Answer::Accepted(accepted) = &verdict.answer else {
        return None;
    };
    let sender = &accepted.admitted.sender;
    (!sender.service_accounts.is_empty())
        .then(|| tokens::audience(&sender.relay_namespace, &sender.relay_name))
}

fn wanted(observed: &Observed) -> Vec<Wanted> {
    let (accepted, programmed) = match &observed.verdict.answer {
        Answer::Refused(refusals) => (
            refused(refusals),
            pending("the sender is not accepted".to_owned()),
        ),
        Answer::Accepted(sender) => (
            Wanted::new(
                ACCEPTED,
                ConditionStatus::True,
                "Accepted",
                "the relay admits this sender",
            ),
            programmed(sender, observed.effect),
        ),
    };
    let ready = ready(&accepted, &programmed);
    vec![accepted, programmed, ready]
}

fn refused(refusals: &[Refusal]) -> Wanted {
    let reason = refusals
        .first()
        .map_or("InvalidSpec", |refusal| refusal.reason.as_str());
    let mut lines: Vec<_> = refusals
        .iter()
        .take(SHOWN)
        .map(|refusal| match refusal.path.as_str() {
            "" => refusal.plain.clone(),
            path => format!("{path}: {}", refusal.plain),
        })
        .collect();
    let more = refusals.len().saturating_sub(SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Wanted::new(ACCEPTED, ConditionStatus::False, reason, lines.join("; "))
}

fn pending(message: String) -> Wanted {
    Wanted::new(PROGRAMMED, ConditionStatus::Unknown, PENDING, message)
}

fn programmed(accepted: &AcceptedSender, effect: &Effect) -> Wanted {
    let sender = &accepted.admitted.sender;
    let done = |message: String| {
        let message = with_absent(message, &accepted.absent_accounts);
        Wanted::new(PROGRAMMED, ConditionStatus::True, "Programmed", message)
    };
    let failed = |reason, message| Wanted::new(PROGRAMMED, ConditionStatus::False, reason, message);
    let Some(credential) = &sender.credential else {
        return match effect.waits {
            Some(waits) => pending(waiting("tokens are", waits)),
            None => done("every gateway accepts the tokens".to_owned()),
        };
    };
    let name = &credential.secret_name;
    match &effect.failure {
        Some(WriteFailure::Conflict) => failed(
            "SecretConflict",
            format!(
                "Secret {name:?} is not this sender's: delete it, or make a MailSender with another secretName"
            ),
        ),
        Some(WriteFailure::Failed(cause)) => failed(
            "ApplyFailed",
            format!("Secret {name:?} could not be written: {cause}"),
        ),
        None => match (written_rotation(effect), effect.waits) {
            (Some(_), Some(waits @ Waits::Again)) => pending(waiting("the password is", waits)),
            (Some(written), _) if written == credential.rotation => {
                done(format!("Secret {name:?} has what is needed to send"))
            }
            (Some(written), waits) => {
                let message = waiting("the new password is", waits.unwrap_or(Waits::Gateways));
                pending(format!(
                    "{message}; Secret {name:?} has that of rotation {written}"
                ))
            }
            (None, waits) => pending(waiting("the password is", waits.unwrap_or(Waits::Gateways))),
        },
    }
}

/// The rotation in the Secret, if there is one.
fn written_rotation(effect: &Effect) -> Option<u64> {
    effect.binding.as_ref()?;
    effect.credential.as_ref().map(super::rotation::written)
}

fn waiting(what: &str, waits: Waits) -> String {
    match waits {
        Waits::NoReadyGateway => format!("{what} given out when a gateway of the relay is ready"),
        Waits::Gateways => format!(
            "{what} given out when every gateway of the relay accepts it, which takes up to two minutes"
        ),
        Waits::Again => format!(
            "{what} of use again when every gateway of the relay accepts it, which takes up to two minutes"
        ),
    }
}

fn with_absent(message: String, absent: &[String]) -> String {
    if absent.is_empty() {
        return message;
    }
    let names = absent.join(", ");
    format!("{message}; not the tokens of ServiceAccounts that do not exist: {names}")
}

/// What deploy tools wait for: the first of the two that does not hold.
fn ready(accepted: &Wanted, programmed: &Wanted) -> Wanted {
    let holds = |wanted: &&Wanted| wanted.status != ConditionStatus::True;
    let both = [accepted, programmed];
    let is_false = |wanted: &&&Wanted| wanted.status == ConditionStatus::False;
    let first = both.iter().find(is_false).copied();
    match first.or_else(|| both.into_iter().find(holds)) {
        None => Wanted::new(READY, ConditionStatus::True, "Ready", "mail can be sent"),
        Some(cause) => Wanted::new(
            READY,
            cause.status,
            cause.reason.clone(),
            cause.message.clone(),
        ),
    }
}

/// What the gateways say; of one that is silent what it last said.
fn heard<'a>(observed: &Observed<'a>) -> impl Iterator<Item = &'a Status> {
    observed.gateways.iter().filter_map(Gateway::status)
}

/// Its mail that waits; before any gateway was heard, what was known.
fn queue(observed: &Observed, name: &str) -> Option<SenderQueueStatus> {
    if heard(observed).next().is_none() {
        return observed.sender.status.as_ref()?.queue.clone();
    }
    let mut queue = SenderQueueStatus::default();
    let rows = heard(observed).flat_map(|status| &status.waiting);
    for row in rows.filter(|row| row.sender == name) {
        queue.messages = queue.messages.saturating_add(signed(row.messages));
        queue.held = queue.held.saturating_add(signed(row.held));
    }
    Some(queue)
}

/// Its mail that failed lately; before any gateway was heard, what was known.
fn failures(observed: &Observed, name: &str) -> Option<FailuresStatus> {
    if heard(observed).next().is_none() {
        return observed.sender.status.as_ref()?.failures.clone();
    }
    let rows = heard(observed).flat_map(|status| &status.failures);
    let mut rows = rows.filter(|row| row.sender == name).peekable();
    rows.peek()?;
    let mut failures = FailuresStatus::default();
    for row in rows {
        failures.count = failures.count.saturating_add(signed(row.count));
        let time: Option<Timestamp> = row.last_time.parse().ok();
        let last = failures.last_time.map(|time| time.0);
        failures.last_time = last.max(time.map(whole)).map(Time);
    }
    Some(failures)
}

/// As precise as the API.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether a status should be written over the one that is there: states at once, figures once a minute, times never by
/// themselves. `last_written` is when this sender's status was last written.
pub fn worth_writing(
    old: Option<&MailSenderStatus>,
    new: &MailSenderStatus,
    last_written: Timestamp,
    now: Timestamp,
) -> bool {
    let Some(old) = old else {
        return true;
    };
    let is_due = now.duration_since(last_written) >= FIGURES;
    states(old) != states(new) || (is_due && figures(old) != figures(new))
}

/// A status without figures. The times of a credential are states: what is accepted goes by them.
fn states(status: &MailSenderStatus) -> MailSenderStatus {
    let timeless = |mut condition: Condition| {
        condition.last_transition_time = Time(Timestamp::UNIX_EPOCH);
        condition
    };
    MailSenderStatus {
        queue: None,
        failures: None,
        conditions: status.conditions.iter().cloned().map(timeless).collect(),
        ..status.clone()
    }
}

fn figures(status: &MailSenderStatus) -> (Option<&SenderQueueStatus>, Option<i64>) {
    let failures = status.failures.as_ref().map(|failures| failures.count);
    (status.queue.as_ref(), failures)
}

#[cfg(test)]
mod tests;
