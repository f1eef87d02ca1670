//! What the operator was told when it was started, and what kinds the cluster has.
//!
//! The flags of `run` and the values of the chart have the same names. `render` goes by the defaults.

use std::collections::BTreeSet;

use posthouse_admin::telemetry::LogFormat;

/// Namespaces in which relays are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayNamespaces {
    /// Every one.
    All,
    /// These.
    These(BTreeSet<String>),
}

impl RelayNamespaces {
    /// Whether relays of a namespace are served.
    pub fn serve(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(namespace),
        }
    }
}

impl FromIterator<String> for RelayNamespaces {
    /// `*` is every namespace.
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let names: BTreeSet<_> = names.into_iter().collect();
        if names.contains("*") {
            Self::All
        } else {
            Self::These(names)
        }
    }
}

/// What the operator was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The operator's own namespace.
    pub namespace: String,
    /// Namespaces in which relays are served.
    pub relay_namespaces: RelayNamespaces,
    /// The gateways' image.
    pub gateway_image: String,
    /// When it is pulled; absent is the cluster's default.
    pub gateway_pull_policy: Option<String>,
    /// The cluster's domain, for names in certificates.
    pub cluster_domain: String,
    /// Issuers of ServiceAccount tokens besides the one that is discovered.
    pub service_account_issuers: Vec<String>,
    /// How the gateways' log lines look.
    pub gateway_log_format: LogFormat,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: "posthouse-system".to_owned(),
            relay_namespaces: RelayNamespaces::All,
            gateway_image: concat!("posthouse-gateway:", env!("CARGO_PKG_VERSION")).to_owned(),
            gateway_pull_policy: None,
            cluster_domain: "cluster.local".to_owned(),
            service_account_issuers: Vec::new(),
            gateway_log_format: LogFormat::Json,
        }
    }
}

/// Kinds that not every cluster has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `monitoring.coreos.com/v1` ServiceMonitor.
    pub service_monitor: bool,
    /// `monitoring.coreos.com/v1` PrometheusRule.
    pub prometheus_rule: bool,
    /// `security.openshift.io`: users and groups of pods are that cluster's choice.
    pub openshift: bool,
}
