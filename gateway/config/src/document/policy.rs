//! The settings that are neither a listener nor an upstream: keys, retries, reports, limits, spool, stop.

use serde::{Deserialize, Serialize};

use super::Check;

/// Key files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Keys {
    /// The relay keys that count now: the current one first, then the previous one for as long as it is accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relay: Vec<RelayKey>,
    /// The file with the seed of the link key pair, by which the operator and this relay's gateways know each other.
    /// Absent where nobody asks: on a laptop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// One relay key file of 32 octets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayKey {
    /// `clients.keyRotation` of the MailRelay.
    pub rotation: u64,
    /// The file.
    pub path: String,
}

impl Keys {
    pub(super) fn check(&self, check: &mut Check) {
        for (i, key) in self.relay.iter().enumerate() {
            check.relative(&format!("keys.relay[{i}].path"), &key.path);
        }
        if let Some(path) = &self.link {
            check.relative("keys.link", path);
        }
    }
}

/// When to try again and when to give up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// The first wait, 1–3,600 s; it doubles with every attempt, with ±10 % jitter.
    pub initial_seconds: u32,
    /// The longest wait, up to 86,400 s.
    pub maximum_seconds: u32,
    /// When deferred mail expires, 60–2,592,000 s after it was accepted.
    pub expiry_seconds: u32,
    /// When held mail expires, 60–7,776,000 s after it was accepted.
    pub held_expiry_seconds: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial_seconds: 60,
            maximum_seconds: 7200,
            expiry_seconds: 432_000,
            held_expiry_seconds: 1_209_600,
        }
    }
}

impl Retry {
    pub(super) fn check(&self, check: &mut Check) {
        check.range(
            "retry.initialSeconds",
            u64::from(self.initial_seconds),
            1,
            3600,
        );
        check.range(
            "retry.maximumSeconds",
            u64::from(self.maximum_seconds),
            u64::from(self.initial_seconds),
            86_400,
        );
        check.range(
            "retry.expirySeconds",
            u64::from(self.expiry_seconds),
            60,
            2_592_000,
        );
        check.range(
            "retry.heldExpirySeconds",
            u64::from(self.held_expiry_seconds),
            60,
            7_776_000,
        );
    }
}

/// Who is told about mail that failed or expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reports {
    /// To whom reports go.
    #[serde(default)]
    pub to: ReportTo,
    /// The `From:` address of reports; required unless `to` is `Nobody`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The recipient of reports where `to` is `Address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// To whom reports go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportTo {
    /// To the reverse-path of the message (RFC 3461 §6).
    #[default]
    ReversePath,
    /// To one fixed address.
    Address,
    /// To nobody: failures are counted, logged and shown in status only.
    Nobody,
}

/// Bounds on what clients may hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Octets of one message, 1,024–157,286,400.
    pub message_bytes: u64,
    /// Recipients of one message, 1–10,000.
    pub recipients_per_message: u32,
    /// Sessions at once, 1–50,000.
    pub sessions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 36_700_160,
            recipients_per_message: 1000,
            sessions: 1000,
        }
    }
}

impl Limits {
    pub(super) fn check(&self, check: &mut Check) {
        check.range("limits.messageBytes", self.message_bytes, 1024, 157_286_400);
        check.range(
            "limits.recipientsPerMessage",
            u64::from(self.recipients_per_message),
            1,
            10_000,
        );
        check.range("limits.sessions", u64::from(self.sessions), 1, 50_000);
    }
}

/// How the spool is cut up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpoolSettings {
    /// Octets of one segment, 1 MiB–256 MiB.
    pub segment_bytes: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
        }
    }
}

impl SpoolSettings {
    pub(super) fn check(&self, check: &mut Check) {
        check.range("spool.segmentBytes", self.segment_bytes, 1 << 20, 256 << 20);
    }
}

/// How long a stop may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stop {
    /// How long new sessions are still accepted after the first signal, 0–60 s: endpoints lag.
    pub lag_seconds: u32,
    /// How long transactions and attempts may go on, 1–600 s after the first signal.
    pub grace_seconds: u32,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            lag_seconds: 10,
            grace_seconds: 55,
        }
    }
}

impl Stop {
    pub(super) fn check(&self, check: &mut Check) {
        check.range("stop.lagSeconds", u64::from(self.lag_seconds), 0, 60);
        check.range("stop.graceSeconds", u64::from(self.grace_seconds), 1, 600);
    }
}

/// How much of the client goes into the `Received` field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trace {
    /// No client address.
    #[default]
    Minimal,
    /// The client's address and EHLO name.
    Full,
}
