//! What an admitted MailSender becomes: a row in the senders file, and the Secret its application reads.
//!
//! The Secret has the shape of the Service Binding specification (type `servicebinding.io/smtp`), so that frameworks
//! and people find host, port and password without a manual.

use std::net::SocketAddr;

use kube::Resource;
use posthouse_api::MailSender;
use posthouse_config::{
    credential::{self, Key},
    document::{Protocol, TlsPolicy},
    senders::Sender,
};

use super::Admitted;
use crate::{
    labels,
    mail_relay::validate::CertificateSource,
    names,
    secret::{SecretDraft, SecretType},
};

/// What a binding says about who provides it.
const PROVIDER: &str = "posthouse";

/// The row in the senders file, with the password that is wanted. ServiceAccounts are for whoever knows their uids.
pub fn sender(admitted: &Admitted) -> Sender {
    let sender = &admitted.sender;
    Sender {
        name: sender.name.clone(),
        namespace: sender.namespace.clone(),
        uid: sender.uid.clone(),
        rotations: sender
            .credential
            .iter()
            .map(|credential| credential.rotation)
            .collect(),
        service_accounts: Vec::new(),
        from: admitted.from.clone(),
        class: sender.class,
        limits: sender.limits.clone(),
        expiry_seconds: sender.expiry_seconds,
        reports: sender.reports,
    }
}

/// How TLS is started, in the words of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingTls {
    /// Never.
    None,
    /// After STARTTLS.
    StartTls,
    /// From the first octet.
    Implicit,
}

impl BindingTls {
    const fn of(protocol: Protocol, policy: TlsPolicy) -> Self {
        match (protocol, policy) {
            (_, TlsPolicy::Disabled) => Self::None,
            (Protocol::Submissions, _) => Self::Implicit,
            (Protocol::Submission | Protocol::Smtp, _) => Self::StartTls,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::Implicit => "smtps",
            Self::None | Self::StartTls => "smtp",
        }
    }
}

/// Where an application connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The authority that signed its certificate, PEM, where the application would not know it.
    pub certificates: Option<String>,
}

impl Server {
    /// A server on this machine.
    pub fn at(address: SocketAddr, certificates: Option<String>) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            certificates,
        }
    }
}

/// The Secret of a sender in a cluster, with the password of a rotation; `None` where it wants no password, or has no uid.
/// `authority` is the certificate that signs `selfSigned` listeners.
pub fn secret(
    object: &MailSender,
    admitted: &Admitted,
    relay_key: &Key,
    rotation: u64,
    authority: &str,
) -> Option<SecretDraft> {
    let sender = &admitted.sender;
    let credential = sender.credential.as_ref()?;
    let is_issued = admitted.listener.certificate == Some(CertificateSource::Issued);
    let server = Server {
        host: names::service_host(&sender.relay_name, &sender.relay_namespace),
        port: admitted.listener.port,
        certificates: is_issued.then(|| authority.to_owned()),
    };
    let keys = binding(admitted, relay_key, rotation, &server).into_iter();
    let mut labels = credential.secret_template.labels.clone();
    labels
        .entry(labels::MANAGED_BY.to_owned())
        .or_insert_with(|| labels::MANAGER.to_owned());
    labels.insert(labels::OWNER.to_owned(), sender.uid.clone());
    labels.insert(labels::SENDER.to_owned(), sender.name.clone());
    Some(SecretDraft {
        namespace: sender.namespace.clone(),
        name: credential.secret_name.clone(),
        secret_type: SecretType::Binding,
        labels,
        annotations: credential.secret_template.annotations.clone(),
        // It goes with its MailSender, and with nothing else.
        owners: vec![object.controller_owner_ref(&())?],
        data: keys
            .map(|(key, value)| (key.to_owned(), value.into_bytes()))
            .collect(),
    })
}

/// The keys of a sender's Secret and their values, with the password of a rotation.
pub fn binding(
    admitted: &Admitted,
    relay_key: &Key,
    rotation: u64,
    server: &Server,
) -> Vec<(&'static str, String)> {
    let sender = &admitted.sender;
    let tls = BindingTls::of(admitted.listener.protocol, admitted.listener.tls);
    let username = credential::username(&sender.namespace, &sender.name);
    let password = relay_key.password(&sender.uid, rotation);
    let uri = uri(tls, &username, &password, server);
    let mut keys = vec![
        ("type", "smtp".to_owned()),
        ("provider", PROVIDER.to_owned()),
        ("host", server.host.clone()),
        ("port", server.port.to_string()),
        ("tls", tls.as_str().to_owned()),
        ("username", username),
        ("password", password),
        ("uri", uri),
    ];
    keys.extend(server.certificates.clone().map(|pem| ("certificates", pem)));
    keys
}

/// RFC 3986 §3.2: an IPv6 address stands in brackets, and everything reserved in the user information is encoded.
fn uri(tls: BindingTls, username: &str, password: &str, server: &Server) -> String {
    let host = if server.host.contains(':') {
        format!("[{}]", server.host)
    } else {
        server.host.clone()
    };
    let (scheme, port) = (tls.scheme(), server.port);
    format!(
        "{scheme}://{}:{}@{host}:{port}",
        encoded(username),
        encoded(password)
    )
}

fn encoded(text: &str) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if is_unreserved(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
