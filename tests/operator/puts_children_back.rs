//! What somebody deletes or edits of a relay's children is put back, and mail flows all the while; what is somebody
//! else's and merely has the name of a child is told and left alone.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::ResourceExt;
use posthouse_api::MailRelay;
use posthouse_tests::{
    Installation, Relay,
    relay::{RELAY, SENDER, condition, is},
    wait,
};
use serde_json::json;

#[test]
fn whoever_deleted_or_edited_them() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Relay::start(&cluster);
    let namespace = relay.namespace();
    let pods = relay.pods();
    let config = format!("{RELAY}-config");
    let document = relay.document();

    macro_rules! back {
        ($kind:ty, $name:expr) => {
            let before = namespace.get::<$kind>($name);
            namespace.delete::<$kind>($name);
            namespace.wait_for::<$kind, _>("it is back", $name, |now| {
                (now?.uid() != before.uid()).then_some(())
            });
        };
    }
    back!(ConfigMap, &config);
    back!(ConfigMap, &format!("{RELAY}-senders"));
    back!(ConfigMap, &format!("{RELAY}-ca"));
    back!(Service, RELAY);
    back!(Service, &format!("{RELAY}-pods"));
    back!(NetworkPolicy, RELAY);
    back!(PodDisruptionBudget, RELAY);
    assert_eq!(relay.document(), document, "also by its number");
    relay.relay(0, "after the deletions");

    let patch = json!({"data": {"gateway.yaml": "format: 1"}});
    namespace.merge::<ConfigMap>(&config, &patch).unwrap();
    wait::until_true("the document is as it was", || {
        let text = namespace.get::<ConfigMap>(&config).data.unwrap()["gateway.yaml"].clone();
        text.contains("upstreams")
    });
    let patch = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}, "spec": {"replicas": 0}});
    namespace.merge::<StatefulSet>(RELAY, &patch).unwrap();
    namespace.wait_for::<StatefulSet, _>("the workload is as it was", RELAY, |workload| {
        let workload = workload?;
        let labels = workload.labels();
        let is_ours = labels
            .get("app.kubernetes.io/managed-by")
            .map(String::as_str)
            == Some("posthouse-operator");
        (is_ours && workload.spec.as_ref()?.replicas == Some(2)).then_some(())
    });
    let patch = json!({"spec": {"ingress": null}});
    namespace.merge::<NetworkPolicy>(RELAY, &patch).unwrap();
    namespace.wait_for::<NetworkPolicy, _>("who may connect is as it was", RELAY, |policy| {
        let spec = policy?.spec.as_ref()?;
        (!spec.ingress.as_ref()?.is_empty()).then_some(())
    });
    let patch = json!({"spec": {"selector": {"app.kubernetes.io/name": "elsewhere"}}});
    namespace.merge::<Service>(RELAY, &patch).unwrap();
    namespace.wait_for::<Service, _>("the Service leads to the gateways", RELAY, |service| {
        let selector = service?.spec.as_ref()?.selector.as_ref()?;
        (selector["app.kubernetes.io/name"] == "posthouse-gateway").then_some(())
    });
    relay.wait("it is as it was", |relay| is(relay, "Ready", "True"));
    relay.relay(1, "after the edits");
    // Scaled to none, pods may have been stopped before the operator put that right; what counts is that they are there.
    assert_eq!(relay.pods().len(), pods.len());
    secrets(&relay);
}

/// Nobody watches Secrets. One that lacks a key is put back when a gateway says so, one that is gone when a pod needs it.
fn secrets(relay: &Relay) {
    let namespace = relay.namespace();
    let keys = format!("{RELAY}-keys");
    let before = namespace.get::<Secret>(&keys).data.unwrap();
    namespace
        .merge::<Secret>(&keys, &json!({"data": {"relay-1.key": null}}))
        .unwrap();
    namespace.wait_for::<Secret, _>("the key is back", &keys, |secret| {
        (secret?.data.as_ref() == Some(&before)).then_some(())
    });
    let issued = format!("{RELAY}-tls");
    namespace.delete::<Secret>(&keys);
    namespace.delete::<Secret>(&issued);
    let uid = relay.gateway(0).uid().to_owned();
    namespace.delete::<Pod>(&format!("{RELAY}-0"));
    namespace.wait_for::<Secret, _>("the keys are back", &keys, |secret| {
        (secret?.data.as_ref() == Some(&before)).then_some(())
    });
    namespace.wait_for::<Secret, _>("a certificate is back", &issued, |secret| secret.map(drop));
    namespace.wait_longer_for::<Pod, _>(
        "the pod runs",
        &format!("{RELAY}-0"),
        posthouse_tests::relay::START,
        |pod| {
            let pod = pod?;
            (pod.uid().as_ref() != Some(&uid) && posthouse_tests::cluster::ready(pod)).then_some(())
        },
    );
    relay.relay(0, "with its keys");
}

#[test]
fn but_nothing_that_is_somebody_elses() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Relay::prepare(&cluster);
    let namespace = relay.namespace();
    let foreign = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {RELAY}, labels: {{team: web}}}}, spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}"
    );
    namespace.apply(&foreign);
    let before = namespace.get::<Service>(RELAY);
    relay.apply_account(posthouse_tests::relay::PASSWORD);
    relay.apply_authority();
    relay.apply();
    relay.apply_sender(SENDER);
    let message = relay.wait_reason("Programmed", "ApplyFailed");
    assert!(
        message.contains("Service") && message.contains(RELAY),
        "{message}"
    );
    let found = namespace.get::<MailRelay>(RELAY);
    assert_eq!(condition(&found, "Ready").unwrap().reason, "ApplyFailed");
    assert_eq!(namespace.get::<Service>(RELAY), before, "it is untouched");

    namespace.delete::<Service>(RELAY);
    relay.wait("it is programmed", |relay| is(relay, "Ready", "True"));
    relay.relay(0, "one");
}
