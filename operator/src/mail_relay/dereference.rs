//! What a MailRelay refers to: Secrets and ConfigMaps of its own namespace, and the keys it needs of them; and, in a
//! cluster, everything else that a reconcile goes by.
//!
//! The operator never reads what a Secret holds; in a cluster references become parts of a projected volume. Only
//! `render --local` reads the objects, from the files it was given.

mod gather;

use posthouse_api::{
    MailRelay,
    mail_relay::{Listener, Upstream},
    reference::CaKind,
};

use crate::names;
pub use gather::{Around, facts};

/// One reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The field that refers, as in `spec.upstreams[0].auth.password.secretRef`.
    pub path: String,
    /// `Secret` or `ConfigMap`.
    pub kind: ObjectKind,
    /// The object's name.
    pub name: String,
    /// The keys it must have.
    pub keys: Vec<String>,
}

/// What is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl ObjectKind {
    /// Its `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl From<CaKind> for ObjectKind {
    fn from(kind: CaKind) -> Self {
        match kind {
            CaKind::Secret => Self::Secret,
            CaKind::ConfigMap => Self::ConfigMap,
        }
    }
}

/// Everything a MailRelay refers to, in the order of its fields. Parts that are not supported yet are left out:
/// validation refuses them.
pub fn references(relay: &MailRelay) -> Vec<Reference> {
    let listeners = relay.spec.listeners.iter().flatten().enumerate();
    let upstreams = relay.spec.upstreams.iter().enumerate();
    listeners
        .filter_map(|(i, listener)| certificate(i, listener))
        .chain(
            upstreams
                .flat_map(|(i, upstream)| [authority(i, upstream), password(i, upstream)])
                .flatten(),
        )
        .collect()
}

fn certificate(i: usize, listener: &Listener) -> Option<Reference> {
    let secret = listener.tls.secret_ref.as_ref()?;
    Some(Reference {
        path: format!("spec.listeners[{i}].tls.secretRef"),
        kind: ObjectKind::Secret,
        name: secret.name.clone(),
        keys: vec![
            names::CERTIFICATE_KEY.to_owned(),
            names::PRIVATE_KEY_KEY.to_owned(),
        ],
    })
}

fn authority(i: usize, upstream: &Upstream) -> Option<Reference> {
    let reference = upstream.endpoint.as_ref()?.tls.as_ref()?.ca_ref.as_ref()?;
    Some(Reference {
        path: format!("spec.upstreams[{i}].endpoint.tls.caRef"),
        kind: reference.kind.into(),
        name: reference.name.clone(),
        keys: vec![reference.key.clone()],
    })
}

fn password(i: usize, upstream: &Upstream) -> Option<Reference> {
    let secret = &upstream.auth.as_ref()?.password.as_ref()?.secret_ref;
    Some(Reference {
        path: format!("spec.upstreams[{i}].auth.password.secretRef"),
        kind: ObjectKind::Secret,
        name: secret.name.clone(),
        keys: vec![
            names::USERNAME_KEY.to_owned(),
            names::PASSWORD_KEY.to_owned(),
        ],
    })
}
