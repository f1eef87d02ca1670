//! Whether a relay admits a MailSender: by its grants, and with a listener to connect to.
//!
//! A missing relay and a missing grant read the same to a tenant of a cluster; that is the controller's wording, while
//! the refusals here say what is wrong to whoever has both objects before them.

use posthouse_config::{
    AddressPattern,
    document::{Protocol, ReportTo, TlsPolicy},
};

use super::ValidSender;
use crate::{
    grant::{self, Granted, Namespace},
    mail_relay::{ValidRelay, validate::ValidListener},
};

/// A MailSender its relay admits.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// The sender.
    pub sender: ValidSender,
    /// What it may send as: what it wants and is granted.
    pub from: Vec<AddressPattern>,
    /// The listener it is told to connect to.
    pub listener: ValidListener,
}

/// Why a MailSender is not admitted as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason of the condition `Accepted`.
    pub reason: RefusalReason,
    /// The field it is about.
    pub path: String,
    /// What must hold, for whoever may see the relay.
    pub message: String,
}

/// The kind of a refusal, in the words of the condition `Accepted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// No grant admits the namespace, or what it wants to send as.
    NotGranted,
    /// Its namespace has as many senders as it may have.
    RelayFull,
    /// What it says does not fit its relay.
    InvalidSpec,
}

impl Refusal {
    fn new(reason: RefusalReason, path: impl Into<String>, message: String) -> Self {
        Self {
            reason,
            path: path.into(),
            message,
        }
    }
}

/// What a relay says to a sender: every refusal, or the sender admitted. `older` is how many senders of its namespace
/// come before it.
pub fn admit(
    relay: &ValidRelay,
    sender: &ValidSender,
    namespace: &Namespace,
    older: usize,
) -> Result<Admitted, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let from = granted_from(relay, sender, namespace, older, &mut refusals);
    fits(relay, sender, &mut refusals);
    let listener = listener(relay, sender.listener.as_deref(), &mut refusals);
    match listener {
        Some(listener) if refusals.is_empty() => Ok(Admitted {
            sender: sender.clone(),
            from,
            listener: listener.clone(),
        }),
        _ => Err(refusals),
    }
}

/// What a sender says about its mail must make sense with what its relay says.
fn fits(relay: &ValidRelay, sender: &ValidSender, refusals: &mut Vec<Refusal>) {
    let mut refuse = |path: &str, message: String| {
        refusals.push(Refusal::new(RefusalReason::InvalidSpec, path, message));
    };
    if sender.reports == Some(ReportTo::Address) && relay.reports.address.is_none() {
        let message = format!(
            "must not be Address: MailRelay {} has no reports.address",
            relay.name
        );
        refuse("spec.reports.to", message);
    }
    if sender.reports.is_some_and(|to| to != ReportTo::Nobody) && relay.reports.sender.is_none() {
        let message = format!(
            "must be Nobody: MailRelay {} has no reports.sender",
            relay.name
        );
        refuse("spec.reports.to", message);
    }
    let longest = relay.retry.expiry_seconds;
    if sender
        .expiry_seconds
        .is_some_and(|seconds| seconds > longest)
    {
        let message = format!(
            "must not be more than MailRelay {}'s retry.expirySeconds ({longest})",
            relay.name
        );
        refuse("spec.expirySeconds", message);
    }
}

fn granted_from(
    relay: &ValidRelay,
    sender: &ValidSender,
    namespace: &Namespace,
    older: usize,
    refusals: &mut Vec<Refusal>,
) -> Vec<AddressPattern> {
    let name = &namespace.name;
    let Some(granted) = grant::granted(&relay.grants, namespace) else {
        let message = format!(
            "no grant of MailRelay {} admits namespace {name:?} (clients.grants[].namespaces)",
            relay.name
        );
        refusals.push(Refusal::new(
            RefusalReason::NotGranted,
            "spec.relayRef",
            message,
        ));
        return Vec::new();
    };
    if let Some(bound) = granted.senders.filter(|&bound| older >= bound as usize) {
        let message = format!(
            "namespace {name:?} may have {bound} MailSenders, and older ones stay (clients.grants[].limits.senders)"
        );
        refusals.push(Refusal::new(
            RefusalReason::RelayFull,
            "spec.relayRef",
            message,
        ));
    }
    within(relay, sender, &granted, refusals)
}

/// What a sender wants to send as and is granted; each pattern that is not granted is refused by itself.
fn within(
    relay: &ValidRelay,
    sender: &ValidSender,
    granted: &Granted,
    refusals: &mut Vec<Refusal>,
) -> Vec<AddressPattern> {
    let mut from = Vec::new();
    for (i, pattern) in sender.from.iter().enumerate() {
        if granted.covers(pattern) {
            from.push(pattern.clone());
            continue;
        }
        let domains = listed(granted.sender_domains.iter());
        let (namespace, relay) = (&sender.namespace, &relay.name);
        let message = format!(
            "\"{pattern}\" is not granted to namespace {namespace:?} by MailRelay {relay}, only {domains}"
        );
        let path = format!("spec.from[{i}]");
        refusals.push(Refusal::new(RefusalReason::NotGranted, path, message));
    }
    from
}

/// The listener a sender is told to connect to: the one it names, else the best of those that require TLS.
fn listener<'a>(
    relay: &'a ValidRelay,
    named: Option<&str>,
    refusals: &mut Vec<Refusal>,
) -> Option<&'a ValidListener> {
    let found = match named {
        Some(name) => relay
            .listeners
            .iter()
            .find(|listener| listener.name == name),
        None => relay
            .listeners
            .iter()
            .filter(|listener| listener.tls == TlsPolicy::Required)
            .min_by_key(|listener| (preference(listener.protocol), listener.port)),
    };
    if found.is_none() {
        let what = named.map_or_else(
            || "must be given: no listener requires TLS".to_owned(),
            |name| format!("there is no listener {name:?}"),
        );
        let listeners = listed(relay.listeners.iter().map(|listener| &listener.name));
        let message = format!("{what}; MailRelay {} has {listeners}", relay.name);
        refusals.push(Refusal::new(
            RefusalReason::InvalidSpec,
            "spec.relayRef.listener",
            message,
        ));
    }
    found
}

/// Most libraries can do STARTTLS on the submission port; few want TLS from the first octet or plain SMTP.
const fn preference(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Submission => 0,
        Protocol::Submissions => 1,
        Protocol::Smtp => 2,
    }
}

fn listed(items: impl Iterator<Item = impl ToString>) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use posthouse_config::yaml;
    use serde_json::Value;

    use super::*;
    use crate::mail_relay::{self, Audience};

    fn relay(listeners: &str) -> ValidRelay {
        let text = format!(
            "{{ apiVersion: posthouse.dev/v1alpha1, kind: MailRelay, metadata: {{ name: outbound, namespace: m }}, spec: {{
                hostname: mail.example.com, listeners: {listeners}, upstreams: [{{ name: a, provider: Capture }}],
                clients: {{ grants: [{{ name: a, namespaces: {{ names: [shop] }}, senderDomains: [a.example] }}] }} }} }}"
        );
        let (findings, valid) =
            mail_relay::validate(&yaml::from_str(&text).unwrap(), Audience::Cluster);
        valid.unwrap_or_else(|| panic!("{findings:#?}"))
    }

    /// The listener a sender gets, or the field it must change.
    fn chosen(listeners: &str, relay_ref: &str) -> String {
        let text = format!(
            "{{ apiVersion: posthouse.dev/v1alpha1, kind: MailSender, metadata: {{ name: s, namespace: shop }},
                spec: {{ relayRef: {{ name: outbound, namespace: m{relay_ref} }}, from: [a.example] }} }}"
        );
        let value: Value = yaml::from_str(&text).unwrap();
        let (_, sender) = super::super::validate(&yaml::from_value(value).unwrap());
        let admitted = admit(
            &relay(listeners),
            &sender.unwrap(),
            &Namespace::named("shop"),
            0,
        );
        admitted.map_or_else(
            |refusals| refusals[0].path.clone(),
            |admitted| admitted.listener.name,
        )
    }

    #[test]
    fn a_sender_gets_the_best_listener_that_requires_tls() {
        let tls = "tls: { selfSigned: true }";
        let plain = "plaintextAuthentication: Allow, tls: { policy: Disabled }";
        for (listeners, relay_ref, expected) in [
            (
                format!(
                    "[{{ name: s, protocol: Smtp, port: 25, {tls} }}, {{ name: i, protocol: Submissions, port: 465, {tls} }}]"
                ),
                "",
                "i",
            ),
            (
                format!(
                    "[{{ name: i, protocol: Submissions, port: 465, {tls} }}, {{ name: m, protocol: Submission, port: 587, {tls} }}]"
                ),
                "",
                "m",
            ),
            (
                format!(
                    "[{{ name: m, protocol: Submission, port: 2600, {tls} }}, {{ name: n, protocol: Submission, port: 587, {tls} }}]"
                ),
                "",
                "n",
            ),
            (
                format!(
                    "[{{ name: p, protocol: Submission, port: 25, {plain} }}, {{ name: s, protocol: Smtp, port: 587, {tls} }}]"
                ),
                "",
                "s",
            ),
            (
                format!("[{{ name: p, protocol: Submission, port: 25, {plain} }}]"),
                "",
                "spec.relayRef.listener",
            ),
            (
                format!("[{{ name: p, protocol: Submission, port: 25, {plain} }}]"),
                ", listener: p",
                "p",
            ),
            (
                format!("[{{ name: p, protocol: Submission, port: 25, {plain} }}]"),
                ", listener: q",
                "spec.relayRef.listener",
            ),
        ] {
            assert_eq!(
                chosen(&listeners, relay_ref),
                expected,
                "{listeners} {relay_ref}"
            );
        }
    }
}
