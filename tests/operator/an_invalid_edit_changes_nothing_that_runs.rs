//! An edit that cannot be honoured is told with what is wrong, and changes nothing: document, children and pods stay as
//! they are, and mail flows. Mended, it is carried out.

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::ConfigMap};
use kube::ResourceExt;
use posthouse_api::MailRelay;
use posthouse_tests::{
    Installation, Relay,
    relay::{RELAY, condition, is},
    wait,
};
use serde_json::json;

/// The document's version, the workload's generation, the pods.
type Running = (Option<String>, Option<i64>, Vec<(String, String, i32)>);

/// What must not change: the document, the workload, the pods.
fn running(relay: &Relay) -> Running {
    let namespace = relay.namespace();
    let config = namespace.get::<ConfigMap>(&format!("{RELAY}-config"));
    let workload = namespace.get::<StatefulSet>(RELAY);
    let pods = relay.pods();
    (
        config.resource_version(),
        workload.metadata.generation,
        pods,
    )
}

#[test]
fn until_it_is_mended() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Relay::start(&cluster);
    let before = running(&relay);
    let number = relay.document().number;

    // The API server cannot know either: three gateways need three connections, and a name must be resolvable.
    let generation = relay.edit(|spec| {
        spec["replicas"] = json!(3);
        spec["upstreams"][0]["limits"] = json!({"maxConnections": 2});
        spec["routes"] = json!([{"name": "all", "targets": [{"upstream": "nobody"}]}]);
        spec["limits"] = json!({"sessions": 50});
    });
    let message = relay.wait_reason("Accepted", "InvalidSpec");
    assert!(
        message.contains("spec.replicas: must not be more than"),
        "{message}"
    );
    assert!(
        message.contains("spec.routes[0].targets[0].upstream"),
        "{message}"
    );
    let found = relay.namespace().get::<MailRelay>(RELAY);
    assert_eq!(found.metadata.generation, Some(generation));
    for (type_, status, reason) in [
        ("Stalled", "True", "InvalidSpec"),
        ("Ready", "False", "InvalidSpec"),
        ("Accepted", "False", "InvalidSpec"),
    ] {
        let condition = condition(&found, type_).unwrap();
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            (status, reason)
        );
        assert_eq!(condition.observed_generation, Some(generation), "{type_}");
    }
    assert!(
        is(&found, "UpstreamsHealthy", "True"),
        "what runs is still told"
    );
    relay.relay(0, "one");
    relay.relay(1, "two");
    assert_eq!(running(&relay), before);
    assert!(is(&relay.namespace().get(RELAY), "Stalled", "True"));

    relay.edit(|spec| {
        spec["upstreams"][0]["limits"] = json!({"maxConnections": 3});
        spec["routes"][0]["targets"][0]["upstream"] = json!("provider");
    });
    let mended = relay.wait("it is as it was asked for", |relay| {
        let ready = relay
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas);
        is(relay, "Ready", "True") && ready == Some(3)
    });
    assert!(condition(&mended, "Stalled").is_none());
    wait::until_true("the document is another", || {
        relay.document().number > number
    });
    relay.relay(2, "three");
    let pods = relay.pods();
    assert_eq!(pods[..2], before.2, "what ran goes on");
}
