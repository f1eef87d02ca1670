//! MailRelay: the gateways of one team or cluster, and the accounts they relay through.
//!
//! One module per part of the specification, in the order a reader meets them: [`listener`] where applications
//! connect · [`clients`] who may send · [`upstream`] and [`auth`] where mail goes · [`route`] which way · [`delivery`]
//! retries, reports, limits · [`storage`] the spool's volume · [`workload`] the pods and what surrounds them ·
//! [`status`]. Only `replicas`, `clients` and `keyRotation` have defaults in the schema: such defaults are stored for
//! ever, while all others are the operator's and can still be improved.

pub mod auth;
pub mod clients;
pub mod delivery;
pub mod listener;
pub mod route;
pub mod status;
pub mod storage;
pub mod upstream;
pub mod workload;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::bounds;
pub use clients::Clients;
pub use delivery::{Drain, Limits, Reports, Retry, Trace};
pub use listener::Listener;
pub use route::Route;
pub use status::MailRelayStatus;
pub use storage::Storage;
pub use upstream::Upstream;
pub use workload::{Monitoring, NetworkPolicy, PodTemplate, Resources, Service, ServiceAccount};

/// Outbound mail gateways: where applications hand over mail, who may, and the providers it is relayed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "posthouse.dev",
    version = "v1alpha1",
    kind = "MailRelay",
    plural = "mailrelays",
    namespaced,
    status = "MailRelayStatus",
    derive = "PartialEq",
    shortname = "mrelay",
    category = "posthouse",
    doc = "Outbound mail gateways: where applications hand over mail, who may, and the providers it is relayed to.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name must begin with a letter and have at most 40 lower-case letters, digits and hyphens"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Mail", type_ = "string", json_path = ".status.mail"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Queued", type_ = "integer", json_path = ".status.queue.messages"),
    printcolumn(name = "Held", type_ = "integer", json_path = ".status.queue.held"),
    printcolumn(name = "Oldest", type_ = "date", json_path = ".status.queue.oldestMessageTime"),
    printcolumn(name = "Upstreams", type_ = "string", json_path = ".status.upstreamSummary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(oldSelf.storage) || has(self.storage)")
        .message("storage must not be removed: the volumes exist"),
    validation = Rule::new("size(self.upstreams) <= 1 || has(self.routes)")
        .message("routes must be given with more than one upstream"),
    validation = Rule::new("!has(self.clients.anonymous) || (has(self.listeners) && self.listeners.exists(l, l.protocol == 'Smtp'))")
        .message("clients.anonymous must not be given without a listener of protocol Smtp: no other listener takes mail without authentication"),
    validation = Rule::new("!has(self.clients.anonymous) || !has(self.service) || !has(self.service.type) || self.service.type == 'ClusterIP' || (has(self.service.externalTrafficPolicy) && self.service.externalTrafficPolicy == 'Local')")
        .message("service.externalTrafficPolicy must be Local with clients.anonymous: otherwise clients from everywhere would come from a node's address")
)]
pub struct MailRelaySpec {
    /// How many gateways, each with a spool of its own. Must not be more than an upstream's `limits.maxConnections`.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 32))]
    pub replicas: i32,
    /// A fully qualified name for the greeting, EHLO, the Received field and the Message-ID of reports.
    #[schemars(schema_with = "bounds::host")]
    pub hostname: String,
    /// Where applications connect. Absent is one listener: submission on port 587 with a certificate of the
    /// operator's own authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub listeners: Option<Vec<Listener>>,
    /// Who may send.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub clients: Clients,
    /// The accounts and servers mail is relayed to.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub upstreams: Vec<Upstream>,
    /// Which upstreams a message may take; the first route that matches decides. Required with more than one
    /// upstream; absent, all mail goes to the one there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub routes: Option<Vec<Route>>,
    /// When to try again and when to give up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Who is told about mail that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reports: Option<Reports>,
    /// The spool's volumes; absent is 10Gi of the default class, kept when the MailRelay is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// How a gateway is emptied before it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Bounds on what applications may hand over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How much of the client goes into the Received field; absent is Minimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// CPU and memory of a gateway; absent members are requests of 100m and 64Mi and a memory limit of 512Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// What is added to the gateways' pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// What is added to the gateways' ServiceAccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// The Service applications connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Who may reach the gateways over the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// Objects of the Prometheus operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
}

const fn two() -> i32 {
    2
}
