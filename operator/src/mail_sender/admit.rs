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
    /// The same for a tenant: nothing about the relay but what this sender has to do with.
    pub plain: String,
}

/// The kind of a refusal, in the words of the condition `Accepted`; of several the first of these is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalReason {
    /// No grant admits the namespace, or what it wants to send as.
    NotGranted,
    /// What it says does not fit its relay.
    InvalidSpec,
    /// Its namespace, or the relay, has as many senders as it may have.
    RelayFull,
    /// Its ServiceAccounts' tokens could be read on the network.
    TokensWithoutTls,
}

impl RefusalReason {
    /// As it stands in the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotGranted => "NotGranted",
            Self::InvalidSpec => "InvalidSpec",
            Self::RelayFull => "RelayFull",
            Self::TokensWithoutTls => "TokensWithoutTls",
        }
    }
}

impl Refusal {
    fn new(
        reason: RefusalReason,
        path: impl Into<String>,
        message: String,
        plain: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            path: path.into(),
            message,
            plain: plain.into(),
        }
    }

    /// A refusal that reads the same for everybody.
    pub fn open(reason: RefusalReason, path: impl Into<String>, message: String) -> Self {
        Self::new(reason, path, message.clone(), message)
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
    tokens_are_hidden(relay, sender, listener, &mut refusals);
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
    let mut refuse = |path: &str, message: String, plain: String| {
        let reason = RefusalReason::InvalidSpec;
        refusals.push(Refusal::new(reason, path, message, plain));
    };
    if sender.reports == Some(ReportTo::Address) && relay.reports.address.is_none() {
        let message = format!(
            "must not be Address: MailRelay {} has no reports.address",
            relay.name
        );
        let plain = "must not be Address: the relay has no address for reports".to_owned();
        refuse("spec.reports.to", message, plain);
    }
    if sender.reports.is_some_and(|to| to != ReportTo::Nobody) && relay.reports.sender.is_none() {
        let message = format!(
            "must be Nobody: MailRelay {} has no reports.sender",
            relay.name
        );
        let plain = "must be Nobody: the relay sends no reports".to_owned();
        refuse("spec.reports.to", message, plain);
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
        refuse(
            "spec.expirySeconds",
            message,
            format!("must not be more than {longest}"),
        );
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
            not_granted(&relay.namespace, &relay.name),
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
            format!(
                "this namespace may have {bound} MailSenders for this relay, and older ones stay"
            ),
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
        let plain = format!("\"{pattern}\" is not granted to this namespace");
        refusals.push(Refusal::new(
            RefusalReason::NotGranted,
            path,
            message,
            plain,
        ));
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
            what,
        ));
    }
    found
}

/// A token must not cross the network in clear: whoever reads it can send until it expires.
fn tokens_are_hidden(
    relay: &ValidRelay,
    sender: &ValidSender,
    listener: Option<&ValidListener>,
    refusals: &mut Vec<Refusal>,
) {
    let is_clear = |listener: &ValidListener| listener.tls == TlsPolicy::Disabled;
    if sender.service_accounts.is_empty() {
        return;
    }
    let message = if relay.listeners.iter().all(is_clear) {
        format!(
            "tokens must not cross the network in clear: MailRelay {} has no listener with TLS",
            relay.name
        )
    } else if listener.is_some_and(is_clear) {
        "tokens must not cross the network in clear: relayRef.listener must be one with TLS"
            .to_owned()
    } else {
        return;
    };
    let plain = "tokens must not cross the network in clear: the listener has no TLS";
    refusals.push(Refusal::new(
        RefusalReason::TokensWithoutTls,
        "spec.serviceAccounts",
        message,
        plain,
    ));
}

/// What a tenant is told where there is no such relay and where there is no such grant, in the same words: nobody learns
/// which relays exist.
pub fn not_granted(relay_namespace: &str, relay: &str) -> String {
    format!(
        "there is no MailRelay {relay:?} in namespace {relay_namespace:?} that lets this namespace send"
    )
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

    #[test]
    fn tokens_never_cross_the_network_in_clear() {
        let tls = "{ name: t, protocol: Submission, port: 587, tls: { selfSigned: true } }";
        let clear = "{ name: p, protocol: Submission, port: 25, plaintextAuthentication: Allow, tls: { policy: Disabled } }";
        let own =
            "tokens must not cross the network in clear: relayRef.listener must be one with TLS";
        let none = "tokens must not cross the network in clear: MailRelay outbound has no listener with TLS";
        for (listeners, named, accounts, expected) in [
            (format!("[{tls}, {clear}]"), "", "[web]", None),
            (format!("[{tls}, {clear}]"), ", listener: t", "[web]", None),
            (
                format!("[{tls}, {clear}]"),
                ", listener: p",
                "[web]",
                Some(own),
            ),
            (format!("[{clear}]"), ", listener: p", "[web]", Some(none)),
            (format!("[{clear}]"), ", listener: p", "[]", None),
        ] {
            let text = format!(
                "{{ apiVersion: posthouse.dev/v1alpha1, kind: MailSender, metadata: {{ name: s, namespace: shop }}, spec: {{
                    relayRef: {{ name: outbound, namespace: m{named} }}, from: [a.example], serviceAccounts: {accounts} }} }}"
            );
            let (_, sender) = super::super::validate(&yaml::from_str(&text).unwrap());
            let shop = Namespace::named("shop");
            let admitted = admit(&relay(&listeners), &sender.unwrap(), &shop, 0);
            let refusal = admitted.err().map(|refusals| refusals[0].clone());
            let reason = refusal.as_ref().map(|refusal| refusal.reason);
            let message = refusal.as_ref().map(|refusal| refusal.message.as_str());
            assert_eq!(message, expected, "{listeners} {named}");
            assert_eq!(
                reason,
                expected.map(|_| RefusalReason::TokensWithoutTls),
                "{listeners} {named}"
            );
        }
    }
}
