//! References to Secrets and ConfigMaps, always in the namespace of the object that holds the reference.
//!
//! A reference is a name and, where the keys are not given by convention, a key. The operator never reads what a
//! Secret holds: it mounts it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// A Secret whose keys are given by convention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(schema_with = "bounds::object_name")]
    pub name: String,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(schema_with = "bounds::object_name")]
    pub name: String,
    /// The key in the Secret.
    #[schemars(schema_with = "bounds::key")]
    pub key: String,
}

/// One key of a ConfigMap or Secret that holds certificates of authorities, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// ConfigMap or Secret.
    pub kind: CaKind,
    /// The object's name.
    #[schemars(schema_with = "bounds::object_name")]
    pub name: String,
    /// The key in the object.
    #[schemars(schema_with = "bounds::key")]
    pub key: String,
}

/// The kind of object that holds certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum CaKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}
