//! When a status is worth a write: each is an update of the object in etcd, and every relay has gateways that tell
//! something new every ten seconds.
//!
//! States and conditions are written at once; figures, and texts that hold figures or a provider's words, at most once a
//! minute; times never cause a write.

use jiff::{SignedDuration, Timestamp};
use posthouse_api::mail_relay::status::{MailRelayStatus, QueueStatus};

use crate::condition::{QUEUE_HEALTHY, UPSTREAMS_HEALTHY};

/// How often figures are written.
const FIGURES: SignedDuration = SignedDuration::from_secs(60);

/// Whether a status should be written over the one that is there.
pub fn worth_writing(
    old: Option<&MailRelayStatus>,
    new: &MailRelayStatus,
    last_written: Timestamp,
    now: Timestamp,
) -> bool {
    let Some(old) = old else {
        return true;
    };
    if states(old) != states(new) {
        return true;
    }
    let is_due = now.duration_since(last_written) >= FIGURES;
    is_due && timeless(old.clone()) != timeless(new.clone())
}

/// A status without figures, times and texts that change with them.
fn states(status: &MailRelayStatus) -> MailRelayStatus {
    let mut kept = timeless(status.clone());
    kept.queue = kept.queue.map(|_| QueueStatus::default());
    kept.senders = None;
    for gateway in &mut kept.gateways {
        gateway.messages = gateway.messages.map(|_| 0);
        gateway.held = gateway.held.map(|_| 0);
    }
    for upstream in &mut kept.upstreams {
        (upstream.reply, upstream.remedy) = (None, None);
    }
    if let Some(drain) = &mut kept.drain {
        drain.messages = None;
    }
    for condition in &mut kept.conditions {
        if matches!(condition.type_.as_str(), QUEUE_HEALTHY | UPSTREAMS_HEALTHY) {
            condition.message.clear();
        }
    }
    kept
}

/// A status without times. That a gateway is silent is a state; since when is not.
fn timeless(mut status: MailRelayStatus) -> MailRelayStatus {
    let zero = || k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
    if let Some(queue) = &mut status.queue {
        queue.oldest_message_time = None;
    }
    for gateway in &mut status.gateways {
        gateway.oldest_message_time = None;
        gateway.silent_since = gateway.silent_since.take().map(|_| zero());
    }
    for upstream in &mut status.upstreams {
        (upstream.since, upstream.last_relayed_time) = (None, None);
    }
    if let Some(drain) = &mut status.drain {
        drain.since = None;
    }
    for condition in &mut status.conditions {
        condition.last_transition_time = zero();
    }
    status
}
