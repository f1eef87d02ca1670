//! What a gateway tells about itself: the answer of `/status`, which the operator turns into conditions.
//!
//! Unknown members are ignored by readers, so a newer gateway can tell more. Times are RFC 3339 in UTC. No credential
//! and no recipient is ever in it.

use serde::{Deserialize, Serialize};

use crate::reason::{Reason, UpstreamState};

/// A gateway's account of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The pod's uid, empty outside a cluster.
    pub pod_uid: String,
    /// Grows with every answer of one process.
    pub sequence: u64,
    /// The release.
    pub version: String,
    /// Document formats it reads.
    pub formats: Vec<u32>,
    /// Document features it has.
    pub features: Vec<String>,
    /// The document it goes by.
    pub document: DocumentStatus,
    /// The senders it goes by.
    pub senders: SendersStatus,
    /// Files the document names that are not usable.
    pub files: FilesStatus,
    /// Certificates of its listeners.
    pub certificates: Vec<CertificateStatus>,
    /// What it bound.
    pub listeners: Vec<ListenerStatus>,
    /// Whether it takes no new mail.
    pub draining: bool,
    /// Open client sessions.
    pub sessions: u64,
    /// What waits.
    pub queue: QueueStatus,
    /// The spool's health.
    pub spool: SpoolStatus,
    /// Each upstream's state.
    pub upstreams: Vec<UpstreamStatus>,
    /// Senders with failed mail in the last 24 h, at most 500.
    pub failures: Vec<FailureStatus>,
    /// Senders whose mail waits, at most 500, those with held mail first.
    pub waiting: Vec<WaitingStatus>,
    /// Key ids of tokens that no known key has, since the keys last changed; at most 8.
    pub unknown_key_ids: Vec<String>,
}

/// The document a gateway goes by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DocumentStatus {
    /// Its number.
    pub number: u64,
    /// The MailRelay's generation it was made from.
    pub generation: i64,
    /// SHA-256 of its text, hexadecimal.
    pub digest: String,
    /// Where it came from.
    pub source: Source,
    /// Why the mounted one is not in use.
    pub problems: Vec<String>,
}

/// Where a document came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// From the mounted folder.
    #[default]
    Mounted,
    /// From the last good copy in the spool, since the mounted one was refused at start.
    Stored,
}

/// The senders a gateway goes by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SendersStatus {
    /// Their number.
    pub number: u64,
}

/// Files the document names that are not usable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilesStatus {
    /// Not there.
    pub missing: Vec<String>,
    /// There, but not what they should be; each with the reason.
    pub invalid: Vec<String>,
}

/// One listener's certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// The chain's file.
    pub path: String,
    /// The names it is for.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: String,
}

/// A bound listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// What it bound; with port 0 asked for, what the kernel gave.
    pub address: String,
}

/// What waits in a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// Messages not yet settled.
    pub messages: u64,
    /// Of these, being attempted.
    pub in_flight: u64,
    /// Of these, held.
    pub held: u64,
    /// Of these, unconfirmed.
    pub unconfirmed: u64,
    /// Octets of their content.
    pub bytes: u64,
    /// When the oldest was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_message_time: Option<String>,
    /// Why messages are held.
    pub held_reasons: Vec<HeldReason>,
    /// The machine's clock stepped, and expiry waits until it is believed again.
    pub clock_stepped: bool,
}

/// One cause for which messages are held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldReason {
    /// The cause.
    pub reason: Reason,
    /// The upstream, or `none`.
    pub upstream: String,
    /// How many messages.
    pub messages: u64,
    /// The last reply that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

/// The spool's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpoolStatus {
    /// Its state.
    pub state: SpoolState,
    /// Octets it takes on disk.
    pub bytes: u64,
    /// Octets free on its file system.
    pub free_bytes: u64,
    /// Records that could not be read, since the start.
    pub damaged_records: u64,
    /// Path and error of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The spool's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpoolState {
    /// The gateway is starting: recovery is under way.
    #[default]
    Starting,
    /// It takes mail.
    Ready,
    /// It is full: new mail gets `452`.
    Full,
    /// It cannot be used.
    Failed,
}

/// One upstream's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: UpstreamState,
    /// Since when.
    pub since: String,
    /// The provider's last reply, or what happened instead of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// When it last took a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_relayed_time: Option<String>,
}

/// One sender's failed mail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailureStatus {
    /// `name.namespace`, or `anonymous`.
    pub sender: String,
    /// Recipients failed or expired since the start.
    pub count: u64,
    /// When the last one did.
    pub last_time: String,
}

/// One sender's mail that waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitingStatus {
    /// `name.namespace`, `anonymous` or `posthouse`.
    pub sender: String,
    /// Messages not yet settled.
    pub messages: u64,
    /// Of these, held.
    pub held: u64,
}
