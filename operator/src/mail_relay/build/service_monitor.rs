//! What the Prometheus operator reads: the metrics of every gateway, ready or not.
//!
//! It goes by the Service without an address, which has a label of its own: through the other one a gateway that
//! drains would be forgotten, and a listener that is named `metrics` would be asked for metrics.

use kube::core::{DynamicObject, TypeMeta};
use posthouse_api::mail_relay::workload::MonitoringMode;
use serde_json::json;

use super::{Request, owner::metadata, service::METRICS_PORT_NAME};
use crate::{labels, names};

/// The API version of the Prometheus operator's kinds.
pub const API_VERSION: &str = "monitoring.coreos.com/v1";

/// The ServiceMonitor, where the kind exists and the user did not say Never.
pub fn build(request: &Request<'_>) -> Option<DynamicObject> {
    let monitoring = request.relay.spec.monitoring.as_ref();
    let mode = monitoring.and_then(|monitoring| monitoring.service_monitor);
    if !request.capabilities.service_monitor || mode == Some(MonitoringMode::Never) {
        return None;
    }
    let name = &request.valid.name;
    let mut wanted = labels::selector(name);
    wanted.insert(labels::HEADLESS.to_owned(), "true".to_owned());
    let spec = json!({
        "selector": { "matchLabels": wanted },
        "endpoints": [{
            "port": METRICS_PORT_NAME,
            "relabelings": [{
                "sourceLabels": ["__meta_kubernetes_service_label_posthouse_dev_relay"],
                "targetLabel": "relay",
            }],
        }],
    });
    Some(object(request, "ServiceMonitor", &spec))
}

/// An object of the Prometheus operator, with the relay's name.
pub(super) fn object(request: &Request<'_>, kind: &str, spec: &serde_json::Value) -> DynamicObject {
    DynamicObject {
        types: Some(TypeMeta {
            api_version: API_VERSION.to_owned(),
            kind: kind.to_owned(),
        }),
        metadata: metadata(request, names::workload(&request.valid.name)),
        data: json!({ "spec": spec }),
    }
}
