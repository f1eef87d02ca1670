//! What waits in a gateway, and in all of them together.
//!
//! The sum never looks shorter than what is known: a queue that was not read yet has no figures, and octets that are not
//! known of one gateway are at least what all had together.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use posthouse_api::mail_relay::status::{GatewayStatus, QueueStatus};
use posthouse_config::status::SpoolState;

use super::gateways::Gateway;
use crate::mail_relay::facts::{Facts, Report};

/// What waits in a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) messages: i64,
    pub(super) held: i64,
    /// Not remembered in status.
    pub(super) bytes: Option<i64>,
    pub(super) oldest: Option<Timestamp>,
}

impl Figures {
    /// Those of an answer, unless the spool is not in use: a queue that was not read yet is not empty.
    pub(super) fn of(report: &Report) -> Option<Self> {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let queue = &report.status.queue;
        match report.status.spool.state {
            SpoolState::Starting | SpoolState::Failed => None,
            SpoolState::Ready | SpoolState::Full => Some(Self {
                messages: signed(queue.messages),
                held: signed(queue.held),
                bytes: Some(signed(queue.bytes)),
                oldest: queue.oldest_message_time.as_deref().and_then(time),
            }),
        }
    }

    /// Those that status remembers.
    pub(super) fn remembered(row: &GatewayStatus) -> Option<Self> {
        Some(Self {
            messages: row.messages?,
            held: row.held.unwrap_or_default(),
            bytes: None,
            oldest: row.oldest_message_time.as_ref().map(|time| time.0),
        })
    }
}

/// What all gateways have together; absent while nothing is known of any.
pub(super) fn total(facts: &Facts, gateways: &[Gateway]) -> Option<QueueStatus> {
    let known: Vec<_> = gateways
        .iter()
        .filter_map(|gateway| gateway.figures)
        .collect();
    if known.is_empty() {
        return None;
    }
    let sum = |of: fn(&Figures) -> i64| known.iter().map(of).fold(0_i64, i64::saturating_add);
    let bytes = sum(|figures| figures.bytes.unwrap_or_default());
    // Octets are not remembered of each gateway: what all had together is, and must not look less either.
    let is_partial = known
        .iter()
        .any(|figures| figures.bytes.is_none() && figures.messages > 0);
    let before = facts
        .relay
        .status
        .as_ref()
        .and_then(|status| status.queue.as_ref())
        .map_or(0, |queue| queue.bytes);
    Some(QueueStatus {
        messages: sum(|figures| figures.messages),
        held: sum(|figures| figures.held),
        bytes: if is_partial { bytes.max(before) } else { bytes },
        oldest_message_time: known
            .iter()
            .filter_map(|figures| figures.oldest)
            .min()
            .map(|oldest| Time(whole(oldest))),
    })
}

/// A time of an answer; gateways write RFC 3339.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// A time as the API server stores it: in whole seconds.
pub(super) fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
