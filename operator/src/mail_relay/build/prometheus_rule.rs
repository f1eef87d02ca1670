//! What Prometheus tells people about one relay.
//!
//! The rules stand in `prometheus_rule/rules.yaml`, in the form promtool reads, with two words for the relay's
//! namespace and name. Series are told apart by the labels `namespace` and `pod`, which every way of scraping pods has.

use kube::core::DynamicObject;
use posthouse_api::mail_relay::workload::MonitoringMode;
use posthouse_config::yaml;
use serde_json::Value;

use super::{BuildError, Request, service_monitor::object};

/// The rules of a relay.
const RULES: &str = include_str!("prometheus_rule/rules.yaml");

/// Stands for the relay's namespace in [`RULES`].
const NAMESPACE: &str = "@NAMESPACE@";

/// Stands for its name.
const RELAY: &str = "@RELAY@";

/// The PrometheusRule, where the kind exists and the user did not say Never.
pub(super) fn build(request: &Request<'_>) -> Result<Option<DynamicObject>, BuildError> {
    let monitoring = request.relay.spec.monitoring.as_ref();
    let mode = monitoring.and_then(|monitoring| monitoring.prometheus_rule);
    if !request.capabilities.prometheus_rule || mode == Some(MonitoringMode::Never) {
        return Ok(None);
    }
    let text = RULES
        .replace(NAMESPACE, &request.valid.namespace)
        .replace(RELAY, &request.valid.name);
    let spec: Value = yaml::from_str(&text).map_err(BuildError::Rules)?;
    Ok(Some(object(request, "PrometheusRule", &spec)))
}
