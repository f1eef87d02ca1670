//! The spool's volumes.
//!
//! A claim's class cannot change and its size cannot shrink, and the rules that say so stand on the parent: a rule on
//! an optional field is skipped when the field comes or goes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// Where the spool is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.volumeClaim) || has(self.volumeClaim)")
        .message("volumeClaim must not be removed: the volumes exist")
)]
pub struct Storage {
    /// What is claimed for each gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_claim: Option<VolumeClaim>,
    /// What happens to the volumes when the MailRelay is deleted; absent is Retain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_delete: Option<OnDelete>,
}

/// What is claimed for each gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName must not be changed: a volume keeps its class"),
    validation = Rule::new("!isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("size must not be lowered: a volume cannot shrink")
)]
pub struct VolumeClaim {
    /// The size, such as 10Gi.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("isQuantity(self)").message("must be a quantity such as 10Gi"))]
    pub size: String,
    /// The class; absent is the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::host")]
    pub storage_class_name: Option<String>,
    /// Absent is ReadWriteOnce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
}

/// How a volume may be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum AccessMode {
    /// By one node.
    ReadWriteOnce,
    /// By one pod.
    ReadWriteOncePod,
}

/// What happens to the volumes when the MailRelay is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::bounds::undescribed)]
pub enum OnDelete {
    /// They stay.
    Retain,
    /// Each is deleted once its spool was reported empty.
    Delete,
}
