//! Secrets of ours, as they are to be. They are never read: written whole, or not at all.
//!
//! Three types exist, and the admission policy lets the operator write no other.

mod kept;
mod wire;
pub mod writer;

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// The type of a Secret of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretType {
    /// The installation's own keys.
    Key,
    /// A relay's keys, or the certificate of its listeners.
    Relay,
    /// A sender's binding (Service Binding specification).
    Binding,
}

impl SecretType {
    /// The `type` of the Secret.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "posthouse.dev/key",
            Self::Relay => "posthouse.dev/relay",
            Self::Binding => "servicebinding.io/smtp",
        }
    }

    /// Whether a Secret of this type never changes: it holds what nobody can compute again.
    pub const fn is_immutable(self) -> bool {
        match self {
            Self::Key => true,
            Self::Relay | Self::Binding => false,
        }
    }
}

/// A Secret as it is to be. Its `Debug` shows the names of its keys only.
#[derive(Clone, PartialEq)]
pub struct SecretDraft {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its type.
    pub secret_type: SecretType,
    /// Its labels; `posthouse.dev/owner` is one of them.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Who it goes with.
    pub owners: Vec<OwnerReference>,
    /// Its keys and values.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for SecretDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretDraft")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("type", &self.secret_type.as_str())
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
