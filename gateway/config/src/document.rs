//! `gateway.yaml`: the configuration of one relay's gateways.
//!
//! Written by the operator or by `render --local`, read by the gateway. Secret values are never in it, only paths
//! relative to its folder. Unknown members are ignored, so that a newer operator can talk to an older gateway; what
//! an older gateway must not ignore is listed in `needs`, and a gateway that lacks it refuses the document.
//! Every number is checked against its bounds here, so that no reader has to ask again.

pub mod listener;
pub mod policy;
pub mod route;
pub mod tokens;
pub mod upstream;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use listener::{
    Anonymous, BareNewlines, Listener, LongLines, PlaintextAuthentication, Protocol, TlsPolicy,
};
pub use policy::{Keys, Limits, RelayKey, ReportTo, Reports, Retry, SpoolSettings, Stop, Trace};
pub use route::{Route, Target};
pub use tokens::{Issuer, Tokens};
pub use upstream::{
    Auth, Capture, SmtpTransport, Transport, Upstream, UpstreamLimits, UpstreamTls, UpstreamTlsMode,
};

use crate::yaml::{self, YamlError};

/// The format this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The name of the document's file in its folder.
pub const FILE_NAME: &str = "gateway.yaml";

/// What a document may need and this version has. Empty in the first release: format 1 is the base.
pub const FEATURES: &[&str] = &[];

/// The upstream name used where there is no eligible target; no upstream may have it.
pub const NO_UPSTREAM: &str = "none";

/// The configuration of one relay's gateways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Always [`FORMAT`].
    pub format: u32,
    /// Features a reader must have; see [`FEATURES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Grows with every change of the document.
    pub number: u64,
    /// The MailRelay's `metadata.generation` it was made from.
    pub generation: i64,
    /// Which MailRelay this is.
    pub relay: Relay,
    /// A fully qualified name, for the greeting, EHLO, `Received` and the Message-ID of reports.
    pub hostname: String,
    /// A gateway whose ordinal is not below this is draining.
    pub replicas: u32,
    /// How many gateways relay, the draining ones among them: limits of upstreams are shared by so many. Absent, as from
    /// an older operator, is `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<u32>,
    /// Set by `render --local` only: loopback clients may authenticate without TLS and count as inside
    /// `anonymous.networks`, and credentials may go without TLS to a loopback upstream. Every listener must then
    /// bind a loopback address.
    #[serde(default)]
    pub loopback_is_trusted: bool,
    /// The relay keys from which senders' passwords are derived.
    #[serde(default)]
    pub keys: Keys,
    /// Whose ServiceAccount tokens are believed; absent is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// 1–8 listeners.
    pub listeners: Vec<Listener>,
    /// Who may send without authenticating, on `Smtp` listeners; absent is nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Anonymous>,
    /// 1–32 upstreams.
    pub upstreams: Vec<Upstream>,
    /// 1–64 routes; the first whose match fits decides.
    pub routes: Vec<Route>,
    /// When to try again and when to give up.
    #[serde(default)]
    pub retry: Retry,
    /// Who is told about failures.
    pub reports: Reports,
    /// Bounds on what clients may hand over.
    #[serde(default)]
    pub limits: Limits,
    /// How the spool is cut up.
    #[serde(default)]
    pub spool: SpoolSettings,
    /// How long a stop may take.
    #[serde(default)]
    pub stop: Stop,
    /// How much of the client goes into the `Received` field.
    #[serde(default)]
    pub trace: Trace,
}

/// The namespace and name of a MailRelay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relay {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One thing that is wrong with a document or a senders file, at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field's path, as in `listeners[0].port`.
    pub path: String,
    /// What must hold.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Why a document is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not YAML, or a member of the wrong type.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Written for a later release.
    #[error("format: this gateway reads format {FORMAT}, the file has format {0}")]
    Format(u64),
    /// Needs what this release has not.
    #[error("needs: this gateway lacks {}", .0.join(", "))]
    Needs(Vec<String>),
    /// Values that must not be.
    #[error("{}", joined(.0))]
    Problems(Vec<Problem>),
}

fn joined(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl Document {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// Format and `needs` are asked before anything else is looked at, so that a document of a later release is
    /// named as such and not as a typing error.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let value = yaml::documents(text)?
            .into_iter()
            .next()
            .unwrap_or_default();
        if let Some(format) = other_format(&value) {
            return Err(DocumentError::Format(format));
        }
        let lacking = lacking(&value);
        if !lacking.is_empty() {
            return Err(DocumentError::Needs(lacking));
        }
        let document: Self = yaml::from_value(value)?;
        document.check()?;
        Ok(document)
    }

    /// Whether a gateway would take it: asked by whoever reads a document, and by whoever writes one.
    ///
    /// # Errors
    /// [`DocumentError::Problems`], with all of them.
    pub fn check(&self) -> Result<(), DocumentError> {
        let problems = self.problems();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(DocumentError::Problems(problems))
        }
    }

    /// Everything that must not be, all at once.
    pub fn problems(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.require(!self.hostname.is_empty(), "hostname", "must not be empty");
        check.range("replicas", u64::from(self.replicas), 0, 32);
        check.range("gateways", u64::from(self.gateways.unwrap_or(0)), 0, 64);
        check.range("listeners", self.listeners.len() as u64, 1, 8);
        check.range("upstreams", self.upstreams.len() as u64, 1, 32);
        check.range("routes", self.routes.len() as u64, 1, 64);
        check.unique(
            "listeners",
            self.listeners.iter().map(|listener| listener.name.as_str()),
        );
        check.unique(
            "upstreams",
            self.upstreams.iter().map(|upstream| upstream.name.as_str()),
        );
        for (i, listener) in self.listeners.iter().enumerate() {
            listener.check(
                &format!("listeners[{i}]"),
                self.loopback_is_trusted,
                &mut check,
            );
        }
        for (i, upstream) in self.upstreams.iter().enumerate() {
            upstream.check(
                &format!("upstreams[{i}]"),
                self.loopback_is_trusted,
                &mut check,
            );
        }
        for (i, route) in self.routes.iter().enumerate() {
            route.check(&format!("routes[{i}]"), &self.upstreams, &mut check);
        }
        self.keys.check(&mut check);
        if let Some(tokens) = &self.tokens {
            tokens.check(&mut check);
        }
        self.retry.check(&mut check);
        self.limits.check(&mut check);
        self.spool.check(&mut check);
        self.stop.check(&mut check);
        check.problems
    }

    /// The part of a limit for all gateways together that one of them has: whole, by largest remainder, the lowest ordinals
    /// first, and never nothing, since mail that is here must be able to leave.
    pub fn share(&self, total: u32, ordinal: u32) -> u32 {
        let gateways = self.gateways.unwrap_or(self.replicas).max(1);
        let rest = u32::from(ordinal < total % gateways);
        (total / gateways + rest).max(1)
    }

    /// The upstream of a name.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }

    /// Every file the document names, as paths relative to its folder.
    pub fn files(&self) -> Vec<&str> {
        let keys = self.keys.relay.iter().map(|key| key.path.as_str());
        let keys = keys.chain(self.keys.link.as_deref());
        let listeners = self.listeners.iter().flat_map(Listener::files);
        let upstreams = self.upstreams.iter().flat_map(Upstream::files);
        keys.chain(listeners).chain(upstreams).collect()
    }
}

/// The format of a document or a senders file, if it is not ours. One that is missing or no number is for the reader
/// of the whole to name.
pub(crate) fn other_format(value: &serde_json::Value) -> Option<u64> {
    let format = value.get("format")?.as_u64()?;
    (format != u64::from(FORMAT)).then_some(format)
}

/// The features a document needs and we lack.
fn lacking(value: &serde_json::Value) -> Vec<String> {
    let needs = value.get("needs").and_then(serde_json::Value::as_array);
    needs
        .into_iter()
        .flatten()
        .map(|need| {
            need.as_str()
                .map_or_else(|| need.to_string(), str::to_owned)
        })
        .filter(|need| !FEATURES.contains(&need.as_str()))
        .collect()
}

/// Collects problems while a document is walked.
#[derive(Default)]
pub(crate) struct Check {
    pub(crate) problems: Vec<Problem>,
}

impl Check {
    pub(crate) fn require(&mut self, holds: bool, path: &str, message: &str) {
        if !holds {
            self.problems.push(Problem::new(path, message));
        }
    }

    pub(crate) fn range(&mut self, path: &str, value: u64, minimum: u64, maximum: u64) {
        if !(minimum..=maximum).contains(&value) {
            self.problems.push(Problem::new(
                path,
                format!("must be between {minimum} and {maximum}, is {value}"),
            ));
        }
    }

    /// A path must stay inside the document's folder.
    pub(crate) fn relative(&mut self, path: &str, file: &str) {
        let inside = !file.is_empty()
            && !file.starts_with('/')
            && file.split('/').all(|part| part != ".." && !part.is_empty());
        self.require(
            inside,
            path,
            "must be a path below the document's folder, without \"..\"",
        );
    }

    pub(crate) fn unique<'a>(&mut self, path: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                self.problems.push(Problem::new(
                    path,
                    format!("must not have the name {name:?} twice"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
