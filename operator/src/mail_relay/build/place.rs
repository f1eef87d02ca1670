//! Where a gateway runs: what differs between a pod and this machine, in one place.
//!
//! Addresses, the paths of files and how long a stop may take. Everything else in the document is the same, so that what
//! was tried locally is what runs in the cluster.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use posthouse_api::reference::{CaKind, CaRef};
use posthouse_config::document::{Auth, Stop, listener::Certificate};

use crate::{
    mail_relay::validate::{CertificateSource, ValidListener},
    names,
};

/// Where a gateway runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a pod, with one projected volume.
    Pod,
    /// On this machine, with a folder; the addresses are those that were asked for by a listener's name.
    Local(BTreeMap<String, SocketAddr>),
}

/// Where gateways hand mail over to each other, in the pod.
pub const HAND_OVER_PORT: u16 = 8025;

/// Probes and metrics, plain, in the pod.
pub const METRICS_PORT: u16 = 8080;

/// What a gateway says of itself, to the operator alone.
pub const STATUS_PORT: u16 = 8443;

/// The folder of the document in the pod.
pub const FOLDER: &str = "/etc/posthouse";

/// The spool in the pod: the one place a gateway writes to.
pub const SPOOL: &str = "/var/spool/posthouse";

/// The chain of certificates the operator's authority issues.
pub const ISSUED_CERTIFICATE: &str = "tls/issued/tls.crt";

/// Its private key.
pub const ISSUED_KEY: &str = "tls/issued/tls.key";

/// The certificate of that authority.
pub const ISSUED_AUTHORITY: &str = "tls/issued/ca.crt";

impl Place {
    /// Where a listener binds.
    pub fn address(&self, listener: &ValidListener) -> SocketAddr {
        let port = listener.container_port();
        match self {
            // Takes IPv4 too, unless the node is set to the contrary.
            Self::Pod => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
            Self::Local(asked) => {
                let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
                asked.get(&listener.name).copied().unwrap_or(default)
            }
        }
    }

    /// Whether clients on the same machine are trusted: never in a pod, where a mesh makes every client loopback.
    pub const fn loopback_is_trusted(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// How long a stop may take. Endpoints of a Service lag; nothing lags locally.
    pub fn stop(&self) -> Stop {
        match self {
            Self::Pod => Stop::default(),
            Self::Local(_) => Stop {
                lag_seconds: 0,
                grace_seconds: 10,
            },
        }
    }

    /// The files of a listener's certificate.
    pub fn certificate(&self, listener: &ValidListener) -> Option<Certificate> {
        let folder = match (listener.certificate.as_ref()?, self) {
            (CertificateSource::Issued, _) => {
                return Some(Certificate {
                    chain: ISSUED_CERTIFICATE.to_owned(),
                    key: ISSUED_KEY.to_owned(),
                });
            }
            (CertificateSource::Secret(_), Self::Pod) => format!("tls/{}", listener.name),
            (CertificateSource::Secret(name), Self::Local(_)) => format!("secrets/{name}"),
        };
        Some(Certificate {
            chain: format!("{folder}/{}", names::CERTIFICATE_KEY),
            key: format!("{folder}/{}", names::PRIVATE_KEY_KEY),
        })
    }

    /// The files of an upstream's user name and password.
    pub fn password(&self, upstream: &str, secret: &str) -> Auth {
        let folder = match self {
            Self::Pod => format!("upstreams/{upstream}"),
            Self::Local(_) => format!("secrets/{secret}"),
        };
        Auth::Password {
            username: format!("{folder}/{}", names::USERNAME_KEY),
            password: format!("{folder}/{}", names::PASSWORD_KEY),
        }
    }

    /// The file with the authorities to trust for an upstream.
    pub fn authority(&self, upstream: &str, ca: &CaRef) -> String {
        let CaRef { kind, name, key } = ca;
        match (self, kind) {
            // Not by its key: that could be the name of another file there.
            (Self::Pod, _) => format!("upstreams/{upstream}/{}", names::CA_KEY),
            (Self::Local(_), CaKind::Secret) => format!("secrets/{name}/{key}"),
            (Self::Local(_), CaKind::ConfigMap) => format!("configmaps/{name}/{key}"),
        }
    }

    /// The file with the relay key of a rotation.
    pub fn relay_key(&self, rotation: u64) -> String {
        match self {
            Self::Pod => names::relay_key_file(rotation),
            Self::Local(_) => format!("keys/relay/{rotation}"),
        }
    }

    /// The file with the link key: nobody watches a gateway on this machine.
    pub fn link_key(&self) -> Option<String> {
        match self {
            Self::Pod => Some(names::LINK_KEY.to_owned()),
            Self::Local(_) => None,
        }
    }
}
