//! What needs other pods is rolled out one gateway at a time, and what does not leaves them alone: volumes grow while
//! their gateways run.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::ResourceExt;
use posthouse_tests::{Installation, cluster::ready, kubelet::Expansion, wait};
use serde_json::{Value, json};

use crate::relays::{LONG, Relays, listener};

const RELAY: &str = "relay";

#[test]
fn and_only_what_needs_another_pod() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relays = Relays::of(&cluster);
    relays.apply(RELAY, &json!({"replicas": 2}));
    let fixed = json!({"size": "1Gi", "storageClassName": "fixed"});
    relays.apply("fixed", &json!({"storage": {"volumeClaim": fixed}}));
    relays.apply("smaller", &json!({}));
    relays.apply("other", &json!({}));
    volumes_grow(&relays);
    stays(&relays, "smaller", &json!({"size": "1Gi"}), "at least 10Gi");
    let class = json!({"size": "10Gi", "storageClassName": "fixed"});
    stays(&relays, "other", &class, "storageClassName");
    a_broken_gateway_is_first(&relays);
}

/// And at each moment one of them serves.
fn a_broken_gateway_is_first(relays: &Relays) {
    let namespace = &relays.namespace;
    let (broken, other) = (relays.gateway(RELAY, 0), relays.gateway(RELAY, 1));
    broken.freeze();
    namespace.wait_for::<Pod, _>("it is not ready", "relay-0", |pod| {
        (!ready(pod?)).then_some(())
    });
    let listeners = json!([listener("plain", 587), listener("another", 2525)]);
    relays.change(RELAY, &json!({"listeners": listeners}));
    namespace.wait_longer_for::<Pod, _>("it is deleted", "relay-0", LONG, |pod| {
        let pod = pod.filter(|pod| pod.uid().as_deref() == Some(broken.uid()));
        pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
            .then_some(())
    });
    // Else it would be killed only when its grace period is over.
    broken.thaw();
    let old = [broken.uid(), other.uid()];
    wait::until("both are new, and one of them always served", LONG, || {
        let pods = namespace.list::<Pod>("posthouse.dev/relay=relay");
        let serving = pods
            .iter()
            .filter(|pod| ready(pod) && pod.metadata.deletion_timestamp.is_none());
        let serving: Vec<_> = serving.filter_map(ResourceExt::uid).collect();
        assert!(!serving.is_empty(), "{}", namespace.account());
        let is_new = serving.iter().all(|uid| !old.contains(&uid.as_str()));
        (serving.len() == 2 && is_new).then_some(())
    });
    relays.wait_condition(RELAY, "Programmed", "True", "Programmed");
}

fn volumes_grow(relays: &Relays) {
    let gateways = [relays.gateway(RELAY, 0), relays.gateway(RELAY, 1)];
    let uids = gateways.each_ref().map(|gateway| gateway.uid());

    relays.change(
        RELAY,
        &json!({"storage": {"volumeClaim": {"size": "12Gi"}}}),
    );
    for claim in ["spool-relay-0", "spool-relay-1"] {
        let what = "it grew";
        relays
            .namespace
            .wait_longer_for::<PersistentVolumeClaim, _>(what, claim, LONG, |claim| {
                (capacity(claim?)? == "12Gi").then_some(())
            });
    }
    let kubelet = relays.namespace.cluster().kubelet();
    kubelet.expand(relays.namespace.name(), Expansion::Refuse);
    relays.change(
        RELAY,
        &json!({"storage": {"volumeClaim": {"size": "13Gi"}}}),
    );
    let said = relays.wait_condition(RELAY, "Programmed", "False", "StorageNotExpanded");
    assert!(said.contains("ControllerResizeInfeasible"), "{said}");
    kubelet.expand(relays.namespace.name(), Expansion::Follow);
    relays.wait_condition(RELAY, "Programmed", "True", "Programmed");

    // Here the API server itself says no.
    relays.change(
        "fixed",
        &json!({"storage": {"volumeClaim": {"size": "2Gi"}}}),
    );
    let said = relays.wait_condition("fixed", "Programmed", "False", "StorageNotExpanded");
    assert!(said.contains("spool-fixed-0"), "{said}");
    let now = [relays.running(RELAY, 0), relays.running(RELAY, 1)];
    assert_eq!(now.each_ref().map(|gateway| gateway.uid()), uids);
}

/// What cannot be changed is told, and everything stays as it is but for what can be changed.
fn stays(relays: &Relays, relay: &str, claim: &Value, why: &str) {
    let gateway = relays.gateway(relay, 0);
    let template = || {
        let set = relays.namespace.get::<StatefulSet>(relay).spec.unwrap();
        (set.volume_claim_templates, set.template)
    };
    let before = template();
    let spec = json!({"storage": {"volumeClaim": claim}, "hostname": "other.example.com"});
    relays.change(relay, &spec);
    let said = relays.wait_condition(relay, "Programmed", "False", "StorageImmutable");
    assert!(said.contains(why), "{said}");
    wait::until("the document has the other host name", LONG, || {
        relays
            .document(relay)
            .contains("other.example.com")
            .then_some(())
    });
    assert_eq!(template(), before);
    let claim = format!("spool-{relay}-0");
    let claim = relays.namespace.get::<PersistentVolumeClaim>(&claim);
    assert_eq!(capacity(&claim), Some("10Gi"));
    assert_eq!(relays.running(relay, 0).uid(), gateway.uid());
}

fn capacity(claim: &PersistentVolumeClaim) -> Option<&str> {
    let Quantity(capacity) = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
    Some(capacity)
}
