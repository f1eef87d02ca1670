//! Listeners: their certificates, the ports they take in the pod, and whether anybody could send on them.

use posthouse_api::{
    MailRelay,
    mail_relay::listener::{self, Listener, ListenerTls, PlaintextAuthentication},
};
use posthouse_config::document::{self, BareNewlines, LongLines, Protocol, TlsPolicy};

use super::Audience;
use crate::problem::Findings;

/// Ports of the pod that are not for listeners: hand-over, metrics, status.
const RESERVED_PORTS: [(u16, &str); 3] = [(8025, "hand-over"), (8080, "metrics"), (8443, "status")];

/// The folder of certificates of our own authority in the pod, beside one for each listener that has a Secret.
const ISSUED_FOLDER: &str = "issued";

/// A port below this would need a privilege the pod does not have.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// What is added to a privileged port: 25 becomes 2025, 587 becomes 2587.
const SHIFT: u16 = 2000;

/// A listener that can be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidListener {
    /// Unique among the listeners.
    pub name: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// The Service's port.
    pub port: u16,
    /// TLS.
    pub tls: TlsPolicy,
    /// Given exactly when `tls` is not `Disabled`.
    pub certificate: Option<CertificateSource>,
    /// Whether passwords are taken without TLS.
    pub plaintext_authentication: document::PlaintextAuthentication,
    /// What happens to a bare CR, a bare LF or a NUL.
    pub bare_newlines: BareNewlines,
    /// What happens to lines of over 998 octets.
    pub long_lines: LongLines,
}

/// Where a listener's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// A Secret of this name.
    Secret(String),
    /// The operator's own authority.
    Issued,
}

impl ValidListener {
    /// The port in the pod, or on this machine.
    pub const fn container_port(&self) -> u16 {
        container_port(self.port)
    }
}

const fn container_port(port: u16) -> u16 {
    if port < FIRST_UNPRIVILEGED {
        port + SHIFT
    } else {
        port
    }
}

pub(super) fn validate(
    relay: &MailRelay,
    audience: Audience,
    findings: &mut Findings,
) -> Vec<ValidListener> {
    let Some(listeners) = &relay.spec.listeners else {
        return vec![default_listener()];
    };
    let has_anonymous = relay.spec.clients.anonymous.is_some();
    let valid: Vec<_> = listeners.iter().map(valid).collect();
    for (i, listener) in listeners.iter().enumerate() {
        let path = format!("spec.listeners[{i}]");
        tls(&path, listener, findings);
        if audience == Audience::Cluster {
            usable(&path, listener, has_anonymous, findings);
        }
    }
    ports(&valid, findings);
    valid
}

/// What a MailRelay without `listeners` has.
fn default_listener() -> ValidListener {
    ValidListener {
        name: "submission".to_owned(),
        protocol: Protocol::Submission,
        port: 587,
        tls: TlsPolicy::Required,
        certificate: Some(CertificateSource::Issued),
        plaintext_authentication: document::PlaintextAuthentication::default(),
        bare_newlines: BareNewlines::default(),
        long_lines: LongLines::default(),
    }
}

fn valid(listener: &Listener) -> ValidListener {
    let secret = listener.tls.secret_ref.as_ref();
    let certificate = secret.map_or(CertificateSource::Issued, |secret| {
        CertificateSource::Secret(secret.name.clone())
    });
    let tls = policy(&listener.tls);
    ValidListener {
        name: listener.name.clone(),
        protocol: match listener.protocol {
            listener::Protocol::Submission => Protocol::Submission,
            listener::Protocol::Submissions => Protocol::Submissions,
            listener::Protocol::Smtp => Protocol::Smtp,
        },
        port: u16::try_from(listener.port).unwrap_or_default(),
        tls,
        certificate: (tls != TlsPolicy::Disabled).then_some(certificate),
        plaintext_authentication: match listener.plaintext_authentication {
            Some(PlaintextAuthentication::Allow) => document::PlaintextAuthentication::Allow,
            Some(PlaintextAuthentication::Refuse) | None => {
                document::PlaintextAuthentication::Refuse
            }
        },
        bare_newlines: match listener.bare_newlines {
            Some(listener::BareNewlines::Refuse) => BareNewlines::Refuse,
            Some(listener::BareNewlines::Repair) | None => BareNewlines::Repair,
        },
        long_lines: match listener.long_lines {
            Some(listener::LongLines::Pass) => LongLines::Pass,
            Some(listener::LongLines::Refuse) => LongLines::Refuse,
            Some(listener::LongLines::Fold) | None => LongLines::Fold,
        },
    }
}

fn policy(tls: &ListenerTls) -> TlsPolicy {
    match tls.policy {
        Some(listener::TlsPolicy::Disabled) => TlsPolicy::Disabled,
        Some(listener::TlsPolicy::Offered) => TlsPolicy::Offered,
        Some(listener::TlsPolicy::Required) | None => TlsPolicy::Required,
    }
}

/// Nothing about TLS is guessed: a certificate, or a plain word that there is none.
fn tls(path: &str, listener: &Listener, findings: &mut Findings) {
    let policy = policy(&listener.tls);
    let is_self_signed = listener.tls.self_signed == Some(true);
    let has_secret = listener.tls.secret_ref.is_some();
    let tls_path = format!("{path}.tls");
    findings.require(
        policy == TlsPolicy::Disabled || has_secret || is_self_signed,
        &tls_path,
        "must have secretRef, or selfSigned: true, or say policy: Disabled",
    );
    findings.require(
        policy != TlsPolicy::Disabled || !(has_secret || is_self_signed),
        &tls_path,
        "must not have secretRef or selfSigned with policy: Disabled",
    );
    findings.require(
        !(has_secret && is_self_signed),
        &tls_path,
        "must not have both secretRef and selfSigned: true",
    );
    findings.require(
        !(has_secret && listener.name == ISSUED_FOLDER),
        path,
        "name must not be \"issued\" with tls.secretRef: certificates of our own authority have their files there",
    );
    findings.require(
        listener.protocol != listener::Protocol::Submissions || policy == TlsPolicy::Required,
        path,
        "tls.policy must be Required, or absent, with protocol Submissions: TLS starts with the first octet",
    );
}

/// A listener on which nobody could ever send is a mistake somewhere.
fn usable(path: &str, listener: &Listener, has_anonymous: bool, findings: &mut Findings) {
    let takes_passwords = policy(&listener.tls) != TlsPolicy::Disabled
        || listener.plaintext_authentication == Some(PlaintextAuthentication::Allow);
    let takes_anonymous = listener.protocol == listener::Protocol::Smtp && has_anonymous;
    findings.require(
        takes_passwords || takes_anonymous,
        path,
        "nobody could ever send here: give it a certificate (tls.secretRef or tls.selfSigned), or \
         plaintextAuthentication: Allow, or, with protocol Smtp, allow clients.anonymous",
    );
    if listener.plaintext_authentication == Some(PlaintextAuthentication::Allow) {
        findings.warning(
            format!("{path}.plaintextAuthentication"),
            "passwords can be read by whoever can listen on the network",
        );
    }
}

/// Ports in the pod must not collide, with each other or with ours.
fn ports(listeners: &[ValidListener], findings: &mut Findings) {
    for (i, listener) in listeners.iter().enumerate() {
        let path = format!("spec.listeners[{i}].port");
        let port = listener.container_port();
        if let Some((_, use_)) = RESERVED_PORTS
            .iter()
            .find(|(reserved, _)| *reserved == port)
        {
            findings.problem(
                &path,
                format!(
                    "must not be {}: port {port} of the pod is reserved for {use_}",
                    listener.port
                ),
            );
        }
        let earlier = listeners
            .iter()
            .take(i)
            .position(|other| other.container_port() == port);
        if let Some(other) = earlier {
            findings.problem(
                &path,
                format!("must not collide with listeners[{other}]: both are port {port} of the pod (below 1024, 2000 is added)"),
            );
        }
    }
}
