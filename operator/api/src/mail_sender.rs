//! MailSender: an application's right to send through a MailRelay, in the application's own namespace.
//!
//! Its answer is a Secret in the shape of the Service Binding specification, named in `status.binding`. Names that
//! other objects depend on cannot change.

pub mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
pub use crate::mail_relay::delivery::ReportTo;
pub use status::MailSenderStatus;

/// The right of one application to send through a MailRelay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "posthouse.dev",
    version = "v1alpha1",
    kind = "MailSender",
    plural = "mailsenders",
    namespaced,
    status = "MailSenderStatus",
    derive = "PartialEq",
    shortname = "msender",
    category = "posthouse",
    doc = "The right of one application to send through a MailRelay.",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name must begin with a letter and have at most 40 lower-case letters, digits and hyphens"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Relay", type_ = "string", json_path = ".spec.relayRef.name"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.binding.name"),
    printcolumn(name = "Held", type_ = "integer", json_path = ".status.queue.held"),
    printcolumn(name = "Failures", type_ = "integer", json_path = ".status.failures.count"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct MailSenderSpec {
    /// The MailRelay to send through.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name && self.__namespace__ == oldSelf.__namespace__")
        .message("name and namespace must not be changed: make another MailSender"))]
    pub relay_ref: RelayRef,
    /// What it may send as, in the envelope and in the From field: `user@x`, `x`, `*.x` or `*`.
    #[schemars(schema_with = "bounds::sender_patterns")]
    pub from: Vec<String>,
    /// ServiceAccounts of this namespace that may authenticate with their projected tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounds::service_accounts")]
    pub service_accounts: Vec<String>,
    /// A user name and a password in a Secret; absent without serviceAccounts is the same as empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// Its share of the queue's attention; absent is Normal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Its own limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<SenderLimits>,
    /// When its mail expires, if sooner than the relay's: a log-in code is worthless after an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 2_592_000))]
    pub expiry_seconds: Option<i32>,
    /// Whom it may reach, for places where mail must not reach customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients: Option<Recipients>,
    /// Fields that control a provider and that it may set, such as X-SES-CONFIGURATION-SET.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounds::field_names")]
    pub allow_fields: Vec<String>,
    /// Who is told about its mail that failed; absent is the relay's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reports: Option<SenderReports>,
}

/// A MailRelay and one of its listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayRef {
    /// The MailRelay's name.
    #[schemars(schema_with = "bounds::object_name")]
    pub name: String,
    /// The MailRelay's namespace.
    #[schemars(schema_with = "bounds::object_name")]
    pub namespace: String,
    /// The listener whose host and port go into the Secret; absent is one that requires TLS: Submission before
    /// Submissions before Smtp, then the lowest port. If none requires TLS it must be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::name")]
    pub listener: Option<String>,
}

/// A user name and a password in a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretName) == has(oldSelf.secretName) && (!has(self.secretName) || self.secretName == oldSelf.secretName)")
        .message("secretName must not be changed: applications depend on it")
)]
pub struct Credential {
    /// The Secret's name; absent is `<name>-smtp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::object_name")]
    pub secret_name: Option<String>,
    /// Raising it by one renews the password, with overlap.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("must not be lowered"))]
    pub rotation: i64,
    /// How long the previous password stays valid; absent is 86400.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub overlap_seconds: Option<i32>,
    /// What is added to the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
}

impl Default for Credential {
    fn default() -> Self {
        Self {
            secret_name: None,
            rotation: one(),
            overlap_seconds: None,
            secret_template: None,
        }
    }
}

const fn one() -> i64 {
    1
}

/// Labels and annotations of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Labels. Keys of posthouse.dev/ and argocd.argoproj.io/ are reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::labels")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('posthouse.dev/') && !k.startsWith('argocd.argoproj.io/'))")
        .message("must not have keys of posthouse.dev/ or argocd.argoproj.io/"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations. Keys of posthouse.dev/ and argocd.argoproj.io/ are reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "bounds::annotations")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('posthouse.dev/') && !k.startsWith('argocd.argoproj.io/'))")
        .message("must not have keys of posthouse.dev/ or argocd.argoproj.io/"))]
    pub annotations: BTreeMap<String, String>,
}

/// A sender's share of the queue's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum Class {
    /// Somebody waits for it: log-in codes.
    Interactive,
    /// Most mail.
    Normal,
    /// Nobody waits for it: newsletters.
    Bulk,
}

/// A sender's own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SenderLimits {
    /// Mail over this rate is accepted and waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub messages_per_minute: Option<i32>,
    /// With more than this queued, new mail is put off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub queued_messages: Option<i32>,
}

/// Whom a sender may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recipients {
    /// Patterns of recipients that get their mail; none is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounds::patterns")]
    pub allow: Vec<String>,
    /// Where mail for everybody else goes; absent, it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::optional_address")]
    pub redirect_to: Option<String>,
}

/// Who is told about a sender's mail that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SenderReports {
    /// To whom reports go. Address is the relay's `reports.address`.
    pub to: ReportTo,
}
