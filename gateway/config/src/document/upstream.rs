//! Where mail goes: submission servers we authenticate to, or a folder.

use serde::{Deserialize, Serialize};

use super::{Check, NO_UPSTREAM};
use crate::pattern::AddressPattern;

/// One upstream, with every preset already resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// Unique among the upstreams; a metric label. Never [`NO_UPSTREAM`].
    pub name: String,
    /// The `From:` addresses it may send for; absent is everything this relay admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub senders: Option<Vec<AddressPattern>>,
    /// How mail is handed over.
    pub transport: Transport,
}

/// How mail is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// To a submission server.
    Smtp(SmtpTransport),
    /// Into files for people to look at.
    Capture(Capture),
}

/// A submission server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SmtpTransport {
    /// A host name or an address. A name with a dot is resolved as absolute.
    pub host: String,
    /// 1–65535.
    pub port: u16,
    /// Whether and how TLS is spoken.
    pub tls: UpstreamTls,
    /// How we authenticate; absent is not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Bounds on our use of it.
    #[serde(default)]
    pub limits: UpstreamLimits,
}

/// TLS to an upstream. There is no way to skip verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// When TLS starts.
    pub mode: UpstreamTlsMode,
    /// The name to verify instead of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A PEM file of roots that replaces the system's for this upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// When TLS starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamTlsMode {
    /// Never.
    None,
    /// After STARTTLS, which must succeed (RFC 3207).
    StartTls,
    /// From the first octet (RFC 8314 §3.3).
    Implicit,
}

/// How we authenticate to an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// A user name and a password, each in a file.
    Password {
        /// The file with the user name.
        username: String,
        /// The file with the password.
        password: String,
    },
}

/// Bounds on our use of an upstream; absent members have `Custom`'s defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpstreamLimits {
    /// Connections of all gateways together, 1–1,000; see [`Document::share`](super::Document::share).
    pub max_connections: u32,
    /// Messages on one connection, 1–100,000.
    pub messages_per_connection: u32,
    /// Age of a connection in seconds, 10–3,600.
    pub connection_seconds: u32,
    /// Recipients in one transaction, 1–10,000; larger messages are split.
    pub recipients_per_message: u32,
    /// Octets of one message as relayed, 1,024–157,286,400.
    pub message_bytes: u64,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            max_connections: 20,
            messages_per_connection: 1000,
            connection_seconds: 300,
            recipients_per_message: 100,
            message_bytes: 36_700_160,
        }
    }
}

/// Keeps each message as a file for people to look at; nothing is relayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capture {}

impl Upstream {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let smtp = match &self.transport {
            Transport::Smtp(smtp) => Some(smtp),
            Transport::Capture(_) => None,
        };
        smtp.into_iter().flat_map(|smtp| {
            let auth = smtp
                .auth
                .iter()
                .flat_map(|Auth::Password { username, password }| {
                    [username.as_str(), password.as_str()]
                });
            smtp.tls.ca.as_deref().into_iter().chain(auth)
        })
    }

    /// Whether it may send for an address.
    pub fn may_send_for(&self, local: &str, domain: &str) -> bool {
        self.senders
            .as_ref()
            .is_none_or(|senders| senders.iter().any(|pattern| pattern.matches(local, domain)))
    }

    pub(super) fn check(&self, path: &str, loopback_is_trusted: bool, check: &mut Check) {
        let name = format!("{path}.name");
        check.require(
            !self.name.is_empty() && self.name != NO_UPSTREAM,
            &name,
            "must not be empty or \"none\"",
        );
        if let Transport::Smtp(smtp) = &self.transport {
            smtp.check(
                &format!("{path}.transport.smtp"),
                loopback_is_trusted,
                check,
            );
        }
        for file in self.files() {
            check.relative(path, file);
        }
    }
}

impl SmtpTransport {
    /// Whether the host can only be this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    fn check(&self, path: &str, loopback_is_trusted: bool, check: &mut Check) {
        check.require(
            !self.host.is_empty(),
            &format!("{path}.host"),
            "must not be empty",
        );
        check.range(&format!("{path}.port"), u64::from(self.port), 1, 65535);
        let clear =
            self.tls.mode == UpstreamTlsMode::None && !(loopback_is_trusted && self.is_loopback());
        check.require(
            !(clear && self.auth.is_some()),
            &format!("{path}.auth"),
            "must not be given without TLS: the password would go in clear",
        );
        let limits = &self.limits;
        let path = format!("{path}.limits");
        check.range(
            &format!("{path}.maxConnections"),
            u64::from(limits.max_connections),
            1,
            1000,
        );
        check.range(
            &format!("{path}.messagesPerConnection"),
            u64::from(limits.messages_per_connection),
            1,
            100_000,
        );
        check.range(
            &format!("{path}.connectionSeconds"),
            u64::from(limits.connection_seconds),
            10,
            3600,
        );
        check.range(
            &format!("{path}.recipientsPerMessage"),
            u64::from(limits.recipients_per_message),
            1,
            10_000,
        );
        check.range(
            &format!("{path}.messageBytes"),
            limits.message_bytes,
            1024,
            157_286_400,
        );
    }
}
