//! The queue by hand: looking at it, and having one message tried now or given up.
//!
//! A message is changed only between attempts: one that is being offered to an upstream is refused with
//! [`Refusal::Busy`]. Every change is logged like any other outcome.

use std::{sync::Arc, time::Duration};

use posthouse_config::{
    reason::Reason,
    status::{FailureStatus, WaitingStatus},
};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{Figures, Listed, intake::Inbox, shared::Shared};
use crate::{
    mail::{Message, QueueId, Recipient, Timestamp},
    spool::{ReadError, Stored},
};

/// Why something was not done by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is settled, or never was.
    #[error("no such message in the queue")]
    NotFound,
    /// A job has it now.
    #[error("the message is being attempted now; try again when the attempt is over")]
    Busy,
    /// The queue's task has ended.
    #[error("the gateway is stopping")]
    Stopping,
    /// The spool cannot read it.
    #[error("the message cannot be read")]
    Unreadable,
}

/// Which messages; every given part must fit.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// This message.
    pub id: Option<QueueId>,
    /// `name.namespace`, `anonymous` or `posthouse`.
    pub sender: Option<String>,
    /// Waits for this upstream; `none` for no eligible target.
    pub upstream: Option<String>,
    /// Waits for this reason.
    pub reason: Option<Reason>,
    /// Accepted longer ago than this.
    pub older: Option<Duration>,
    /// Has this unsettled recipient.
    pub recipient: Option<String>,
    /// Has an unsettled recipient at this domain.
    pub recipient_domain: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownMessage {
    /// Its name.
    pub id: String,
    /// The state that counts for it.
    pub state: &'static str,
    /// Why.
    pub reason: Option<Reason>,
    /// The upstream it waits for.
    pub upstream: String,
    /// Whose it is.
    pub sender: String,
    /// When it was accepted.
    pub accepted: String,
    /// Octets of content.
    pub bytes: u64,
    /// `Message-ID`.
    pub message_id: String,
    /// The reverse-path, shown as in logs.
    pub reverse_path: String,
    /// Every recipient.
    pub recipients: Vec<ShownRecipient>,
}

/// A recipient as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownRecipient {
    /// The address, shown as in logs.
    pub address: String,
    /// Its state.
    pub state: &'static str,
    /// Why.
    pub reason: Option<Reason>,
    /// The upstream of the last attempt.
    pub upstream: Option<String>,
    /// What it said.
    pub reply: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// Not before this time.
    pub next_attempt: Option<String>,
}

/// What the queue tells for status.
#[derive(Debug)]
pub struct Account {
    /// What waits.
    pub figures: Figures,
    /// Whose mail failed of late.
    pub failures: Vec<FailureStatus>,
    /// Whose mail waits, at most 500, those with held mail first.
    pub waiting: Vec<WaitingStatus>,
}

/// What is asked of the queue's task.
#[derive(Debug)]
pub(crate) enum Command {
    /// What it adds up to.
    Figures(oneshot::Sender<Account>),
    /// Every message.
    List(oneshot::Sender<Vec<Listed>>),
    /// To try one now.
    Retry(QueueId, oneshot::Sender<Result<(), Refusal>>),
    /// To give one up.
    Cancel(QueueId, oneshot::Sender<Result<(), Refusal>>),
}

/// Tells and asks the queue. Cheap to clone.
#[derive(Clone)]
pub struct QueueHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) commands: mpsc::Sender<Command>,
}

impl QueueHandle {
    /// What waits now. Publishes the metrics of the queue on the way.
    pub async fn figures(&self) -> Result<Figures, Refusal> {
        Ok(self.ask(Command::Figures).await?.figures)
    }

    /// For status: what waits and for whom, and whose mail failed since the start.
    pub async fn account(&self) -> Result<Account, Refusal> {
        self.ask(Command::Figures).await
    }

    /// The messages that fit, oldest first. Reads each message that the schedule's own knowledge does not rule out.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<ShownMessage>, Refusal> {
        let mut shown = Vec::new();
        for listed in self
            .ask(Command::List)
            .await?
            .into_iter()
            .filter(|listed| filter.fits(listed))
        {
            if filter.limit.is_some_and(|limit| shown.len() >= limit) {
                break;
            }
            let now = self.shared.clock.wall();
            match self.shared.spool.read(listed.id).await {
                Ok(Stored { message, .. }) => {
                    if filter.fits_message(&message, now.since(message.accepted)) {
                        shown.push(self.show_message(&listed, &message));
                    }
                }
                Err(ReadError::Damaged(_)) => {
                    shown.extend(listed.shown().filter(|_| filter.fits_origin(&listed, now)));
                }
                // What was settled meanwhile is left out.
                Err(ReadError::NotFound | ReadError::Io { .. }) => {}
            }
        }
        Ok(shown)
    }

    /// One message.
    pub async fn show(&self, id: QueueId) -> Result<ShownMessage, Refusal> {
        let listed = self.ask(Command::List).await?;
        let listed = listed
            .into_iter()
            .find(|listed| listed.id == id)
            .ok_or(Refusal::NotFound)?;
        match self.shared.spool.read(id).await {
            Ok(Stored { message, .. }) => Ok(self.show_message(&listed, &message)),
            Err(ReadError::NotFound) => Err(Refusal::NotFound),
            Err(ReadError::Damaged(_)) => listed.shown().ok_or(Refusal::Unreadable),
            Err(ReadError::Io { .. }) => Err(Refusal::Unreadable),
        }
    }

    /// Has a message tried now, whatever it waits for, and its upstreams probed. Returns when that is stored.
    pub async fn retry(&self, id: QueueId) -> Result<(), Refusal> {
        tracing::info!(queue_id = %id, "retry by hand");
        self.ask(|answer| Command::Retry(id, answer)).await?
    }

    /// Gives up the unsettled recipients of a message; nobody is told. Returns when that is stored.
    pub async fn cancel(&self, id: QueueId) -> Result<(), Refusal> {
        tracing::info!(queue_id = %id, "cancel by hand");
        self.ask(|answer| Command::Cancel(id, answer)).await?
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| Refusal::Stopping)?;
        answered.await.map_err(|_| Refusal::Stopping)
    }

    fn show_message(&self, listed: &Listed, message: &Message) -> ShownMessage {
        let redactor = &self.shared.redactor;
        ShownMessage {
            id: message.id.to_string(),
            state: listed.state,
            reason: listed.reason,
            upstream: listed.upstream.to_string(),
            sender: message.sender.to_string(),
            accepted: message.accepted.to_string(),
            bytes: message.facts.length,
            message_id: message.message_id.to_string(),
            reverse_path: message
                .reverse_path
                .mailbox()
                .map_or(String::new(), |mailbox| redactor.show(mailbox)),
            recipients: message
                .recipients
                .iter()
                .map(|recipient| self.show_recipient(recipient))
                .collect(),
        }
    }

    fn show_recipient(&self, recipient: &Recipient) -> ShownRecipient {
        let progress = &recipient.progress;
        ShownRecipient {
            address: self.shared.redactor.show(&recipient.forward_path),
            state: progress.state.as_label(),
            reason: progress.reason,
            upstream: progress.upstream.as_deref().map(str::to_owned),
            reply: progress.reply.as_deref().map(str::to_owned),
            attempts: progress.attempts,
            next_attempt: progress.next_attempt.map(|time| time.to_string()),
        }
    }
}

impl Listed {
    /// What can be shown of a message that cannot be read.
    fn shown(&self) -> Option<ShownMessage> {
        let (sender, accepted) = self.origin.as_ref()?;
        Some(ShownMessage {
            id: self.id.to_string(),
            state: self.state,
            reason: self.reason,
            upstream: self.upstream.to_string(),
            sender: sender.to_string(),
            accepted: accepted.to_string(),
            bytes: 0,
            message_id: String::new(),
            reverse_path: String::new(),
            recipients: Vec::new(),
        })
    }
}

impl Filter {
    /// What the schedule knows without reading.
    fn fits(&self, listed: &Listed) -> bool {
        self.id.is_none_or(|id| listed.id == id)
            && self
                .upstream
                .as_deref()
                .is_none_or(|upstream| *listed.upstream == *upstream)
            && self
                .reason
                .is_none_or(|reason| listed.reason == Some(reason))
    }

    /// The same for a message that cannot be read: nobody knows its recipients.
    fn fits_origin(&self, listed: &Listed, now: Timestamp) -> bool {
        let Some((sender, accepted)) = &listed.origin else {
            return false;
        };
        let is_of = |wanted: &str| sender.to_string() == wanted;
        self.sender.as_deref().is_none_or(is_of)
            && self.older.is_none_or(|older| now.since(*accepted) > older)
            && self.recipient.is_none()
            && self.recipient_domain.is_none()
    }

    fn fits_message(&self, message: &Message, age: Duration) -> bool {
        let any = |fits: &dyn Fn(&Recipient) -> bool| {
            message
                .recipients
                .iter()
                .any(|recipient| !recipient.progress.state.is_final() && fits(recipient))
        };
        self.sender
            .as_deref()
            .is_none_or(|sender| message.sender.to_string() == sender)
            && self.older.is_none_or(|older| age > older)
            && self
                .recipient
                .as_deref()
                .is_none_or(|wanted| any(&|recipient| recipient.forward_path.as_str() == wanted))
            && self.recipient_domain.as_deref().is_none_or(|wanted| {
                any(&|recipient| recipient.forward_path.domain().eq_ignore_ascii_case(wanted))
            })
    }
}
