//! Writing outcomes: to the spool first, then to metrics and log.
//!
//! If recipients failed or expired and somebody wants to know, the report goes into the same batch: it is on stable
//! storage when, and only when, the outcome is. A report that itself fails is dropped and counted, by its kind.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use posthouse_config::document::{NO_UPSTREAM, ReportTo};
use posthouse_smtp::Mailbox;

use super::{
    original,
    shared::{Config, Shared},
};
use crate::{
    dsn,
    mail::{
        Content, Kind, Message, Outcome, Progress, QueueId, Queued, Recipient, SenderIdentity,
        State, Timestamp,
    },
    shutdown::Stage,
    spool::{Settlement, StoreError},
};

/// How long to wait for room before an outcome is written again. It must be written: the mail may be relayed.
const FULL_WAIT: Duration = Duration::from_secs(1);

/// What settling brought.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The message as it is now.
    pub(crate) message: Arc<Message>,
    /// Whether every recipient has its end; then the message may be as it was.
    pub(crate) finished: bool,
    /// The report that was stored with it.
    pub(crate) report: Option<Queued>,
    /// Recipients that failed or expired.
    pub(crate) failures: u64,
}

/// Writes outcomes of recipients.
///
/// # Errors
/// The spool has failed, or the disk is full to the gateway's end; until then room is waited for.
pub(crate) async fn settle(
    shared: &Shared,
    config: &Config,
    message: &Arc<Message>,
    content: &Content,
    outcomes: Vec<Outcome>,
    now: Timestamp,
) -> Result<Settled, StoreError> {
    let over: Vec<u32> = outcomes
        .iter()
        .filter(|outcome| matches!(outcome.progress.state, State::Failed | State::Expired))
        .map(|outcome| outcome.recipient)
        .collect();
    let finished = finishes(message, &outcomes);
    let mut after = Arc::clone(message);
    // Nobody looks at a message that is over, unless to report on it.
    if !finished || !over.is_empty() {
        let changed = Arc::make_mut(&mut after);
        for outcome in &outcomes {
            changed.apply(outcome.clone());
        }
    }
    let report = report(config, &after, content, &over, now).await;
    let reported = report.is_some();
    let stored = store(shared, after.id, &outcomes, finished, report).await?;
    if reported {
        count_report(shared, &after, &over);
    } else if after.kind == Kind::Report && !over.is_empty() {
        shared.metrics.reports.with_label_values(&["dropped"]).inc();
    }
    for outcome in outcomes.iter().filter(|outcome| is_news(message, outcome)) {
        tell(shared, &after, outcome, now);
    }
    Ok(Settled {
        message: after,
        finished,
        report: stored,
        failures: over.len() as u64,
    })
}

/// Whether an outcome says anything that was not known.
fn is_news(before: &Message, outcome: &Outcome) -> bool {
    recipient(before, outcome.recipient)
        .is_none_or(|recipient| recipient.progress != outcome.progress)
}

/// Whether outcomes leave no recipient without its end.
fn finishes(message: &Message, outcomes: &[Outcome]) -> bool {
    let was_open = |position| {
        recipient(message, position).is_some_and(|recipient| !recipient.progress.state.is_final())
    };
    let open = message
        .recipients
        .iter()
        .filter(|recipient| !recipient.progress.state.is_final());
    let ended = outcomes
        .iter()
        .filter(|outcome| outcome.progress.state.is_final() && was_open(outcome.recipient));
    open.count() == ended.count()
}

async fn store(
    shared: &Shared,
    id: QueueId,
    outcomes: &[Outcome],
    finished: bool,
    report: Option<(Message, Content)>,
) -> Result<Option<Queued>, StoreError> {
    loop {
        let settlement = Settlement {
            id,
            outcomes: outcomes.to_vec(),
            finished,
            report: report.clone(),
        };
        match shared.spool.settle(settlement).await {
            Err(StoreError::Full) => room(shared).await?,
            other => return other,
        }
    }
}

/// Waits for room; not beyond the gateway's end.
async fn room(shared: &Shared) -> Result<(), StoreError> {
    let mut shutdown = shared.shutdown.clone();
    tokio::select! {
        () = shared.clock.sleep(FULL_WAIT) => Ok(()),
        () = shutdown.reached(Stage::Aborting) => Err(StoreError::Full),
    }
}

/// The report on recipients that are over.
async fn report(
    config: &Config,
    after: &Message,
    content: &Content,
    over: &[u32],
    now: Timestamp,
) -> Option<(Message, Content)> {
    let wanted: Vec<u32> = over
        .iter()
        .copied()
        .filter(|&i| recipient(after, i).is_some_and(dsn::wants_failure))
        .collect();
    let (from, to) = addressees(config, after).filter(|_| !wanted.is_empty())?;
    let returned = original::returned(after, content).await;
    let settled = after
        .recipients
        .iter()
        .filter(|recipient| recipient.progress.state.is_final())
        .count();
    let notice = dsn::Notice {
        original: after,
        recipients: &wanted,
        // Each report settles somebody, so no two reports of a message have one number; and the same attempt, made
        // again after a crash, has the same.
        id: after.id.report(u32::try_from(settled).unwrap_or(u32::MAX)),
        hostname: &config.snapshot.document.hostname,
        from: &from,
        to: &to,
        now,
    };
    let dsn::Report { message, content } = dsn::compose(&notice, returned);
    Some((message, Content::Inline(Bytes::from(content))))
}

/// `From:` and recipient of a report on a message, if anybody is to be told.
fn addressees(config: &Config, message: &Message) -> Option<(Mailbox, Mailbox)> {
    if message.kind != Kind::Mail {
        return None;
    }
    let reports = &config.snapshot.document.reports;
    let from = Mailbox::parse(reports.sender.as_deref()?).ok()?;
    let own = match &message.sender {
        SenderIdentity::Sender { namespace, name } => {
            let senders = &config.snapshot.senders.senders;
            let sender = senders
                .iter()
                .find(|sender| *sender.name == **name && *sender.namespace == **namespace);
            sender.and_then(|sender| sender.reports)
        }
        SenderIdentity::Anonymous | SenderIdentity::Posthouse => None,
    };
    let to = match own.unwrap_or(reports.to) {
        // Nobody is to be told of the failure of mail with the null reverse-path (RFC 5321 §4.5.5).
        ReportTo::ReversePath => message.reverse_path.mailbox()?.clone(),
        ReportTo::Address => Mailbox::parse(reports.address.as_deref()?).ok()?,
        ReportTo::Nobody => return None,
    };
    Some((from, to))
}

fn recipient(message: &Message, position: u32) -> Option<&Recipient> {
    message.recipients.get(usize::try_from(position).ok()?)
}

fn count_report(shared: &Shared, after: &Message, over: &[u32]) {
    let failed = over.iter().any(|&i| {
        recipient(after, i).is_some_and(|recipient| recipient.progress.state == State::Failed)
    });
    let kind = if failed { "failed" } else { "expired" };
    shared.metrics.reports.with_label_values(&[kind]).inc();
}

/// Counts an outcome and logs it, now that it is stored.
fn tell(shared: &Shared, message: &Message, outcome: &Outcome, now: Timestamp) {
    let progress = &outcome.progress;
    let upstream = progress.upstream.as_deref().unwrap_or(NO_UPSTREAM);
    count(shared, message, progress, upstream, now);
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let recipient = recipient(message, outcome.recipient)
        .map(|recipient| shared.redactor.show(&recipient.forward_path));
    tracing::info!(
        queue_id = %message.id,
        sender = %message.sender,
        recipient = recipient.unwrap_or_default(),
        upstream,
        outcome = progress.state.as_label(),
        reason = progress.reason.map_or("", |reason| reason.as_label()),
        phase = progress.phase.map_or("", |phase| phase.as_label()),
        reply = progress.reply.as_deref().unwrap_or_default(),
        attempts = progress.attempts,
        "recipient"
    );
}

fn count(shared: &Shared, message: &Message, progress: &Progress, upstream: &str, now: Timestamp) {
    let metrics = &shared.metrics;
    let outcome = match progress.state {
        State::Relayed => {
            let latency = now.since(message.accepted).as_secs_f64();
            metrics
                .relay_latency_seconds
                .with_label_values(&[upstream])
                .observe(latency);
            "relayed"
        }
        State::Failed => "failed",
        State::Expired => "expired",
        State::Cancelled => "cancelled",
        State::Deferred | State::Held | State::Unconfirmed => {
            if let Some(reason) = progress.reason {
                metrics
                    .queue_deferrals
                    .with_label_values(&[upstream, reason.as_label()])
                    .inc();
            }
            "deferred"
        }
        State::Pending | State::Moved => return,
    };
    metrics
        .recipients
        .with_label_values(&[upstream, outcome])
        .inc();
    if progress.reason == Some(posthouse_config::reason::Reason::Unconfirmed) {
        metrics.unconfirmed.with_label_values(&[upstream]).inc();
    }
}
