//! Where applications connect, and on what terms.
//!
//! A listener says what it wants of TLS in so many words: a certificate by name, one of the operator's own authority,
//! or `policy: Disabled`. Nothing is guessed, since many clients upgrade whenever STARTTLS is offered and then fail on
//! the certificate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{bounds, reference::SecretRef};

/// One listening port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.protocol != 'Submissions' || !has(self.tls.policy) || self.tls.policy == 'Required'")
        .message("tls.policy must be Required, or absent, with protocol Submissions: TLS starts with the first octet")
)]
pub struct Listener {
    /// Unique among the listeners.
    #[schemars(schema_with = "bounds::name")]
    pub name: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// The Service's port. In the pod, a port below 1024 becomes port + 2000.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// TLS on this listener.
    pub tls: ListenerTls,
    /// Whether passwords are taken without TLS; absent is Refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext_authentication: Option<PlaintextAuthentication>,
    /// What happens to a bare CR, a bare LF or a NUL in a message; absent is Repair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bare_newlines: Option<BareNewlines>,
    /// What happens to lines of over 998 octets (RFC 5321 §4.5.3.1.6); absent is Fold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_lines: Option<LongLines>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum Protocol {
    /// Submission (RFC 6409): sending always needs authentication.
    Submission,
    /// Submission with TLS from the first octet (RFC 8314 §3.3).
    Submissions,
    /// Authentication is optional; without it a client is anonymous, where that is allowed.
    Smtp,
}

/// TLS on a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.policy) && self.policy == 'Disabled') || has(self.secretRef) || (has(self.selfSigned) && self.selfSigned)")
        .message("must have secretRef, or selfSigned: true, or say policy: Disabled"),
    validation = Rule::new("!has(self.policy) || self.policy != 'Disabled' || (!has(self.secretRef) && (!has(self.selfSigned) || !self.selfSigned))")
        .message("must not have secretRef or selfSigned with policy: Disabled"),
    validation = Rule::new("!has(self.secretRef) || !has(self.selfSigned) || !self.selfSigned")
        .message("must not have both secretRef and selfSigned: true")
)]
pub struct ListenerTls {
    /// Absent is Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<TlsPolicy>,
    /// A Secret of type kubernetes.io/tls (keys tls.crt and tls.key).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// A certificate of the operator's own authority, whose certificate is in the ConfigMap `<relay>-ca` and in every
    /// sender's Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<bool>,
}

/// Whether TLS is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum TlsPolicy {
    /// Nothing is taken without TLS.
    Required,
    /// STARTTLS is offered; a client may do without.
    Offered,
    /// No TLS.
    Disabled,
}

/// Whether passwords are taken without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum PlaintextAuthentication {
    /// Only under TLS.
    Refuse,
    /// Without TLS too: whoever can listen on the network can read them.
    Allow,
}

/// What happens to a bare CR, a bare LF or a NUL in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum BareNewlines {
    /// A bare LF becomes CRLF, a bare CR or NUL a space.
    Repair,
    /// The message is refused.
    Refuse,
}

/// What happens to lines of over 998 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum LongLines {
    /// Folded while relaying, unless the message is signed.
    Fold,
    /// Relayed as they are.
    Pass,
    /// The message is refused.
    Refuse,
}
