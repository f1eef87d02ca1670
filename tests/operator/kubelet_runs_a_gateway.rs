//! The stand-in node does what tests of the operator rely on: it runs a hand-written StatefulSet's gateway, with its files
//! and its volume, and follows what happens to its pods and claims. No operator is involved.

use std::{fs, path::PathBuf};

use k8s_openapi::{
    api::core::v1::{Event, PersistentVolumeClaim, Pod},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::ResourceExt;
use posthouse_config::credential::Key;
use posthouse_tests::{
    Client, Cluster, Namespace, admin, client::message, cluster::ready, kubelet::Expansion, wait,
};
use serde_json::json;

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";
const POD: &str = "relay-0";
const CLAIM: &str = "spool-relay-0";

/// The uid of the one sender, from which its password is derived.
const UID: &str = "6f1ed002-ab5c-4a5e-8b1a-000000000001";

/// The ConfigMap with the document of a number.
fn config(number: u64) -> String {
    let document = include_str!("kubelet_runs_a_gateway/gateway.yaml");
    let document = document.replace("number: 1", &format!("number: {number}"));
    let sender = json!({
        "name": "checkout",
        "namespace": "shop",
        "uid": UID,
        "rotations": [1],
        "from": ["shop.example"],
    });
    let senders = json!({"format": 1, "number": 1, "generation": 1, "senders": [sender]});
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "relay-config"},
        "data": {"gateway.yaml": document, "senders.json": senders.to_string()},
    });
    object.to_string()
}

/// A namespace in which the relay's objects are; its pod may still be starting.
fn relay() -> Option<Namespace> {
    let namespace = Cluster::shared()?.namespace();
    namespace.apply(&config(1));
    namespace.apply(include_str!("kubelet_runs_a_gateway/relay.yaml"));
    Some(namespace)
}

/// The messages that the relay's pod has captured.
fn captured(namespace: &Namespace) -> Vec<PathBuf> {
    let claim = namespace.get::<PersistentVolumeClaim>(CLAIM);
    let volume = claim.spec.unwrap().volume_name.unwrap();
    let folder = namespace.cluster().kubelet().volume(&volume);
    let entries = fs::read_dir(folder.join("captured/mailbox"));
    let paths = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .collect()
}

fn restarts(pod: &Pod) -> Option<i32> {
    let status = pod.status.as_ref()?;
    Some(status.container_statuses.as_ref()?.first()?.restart_count)
}

#[test]
fn mail_goes_in_and_the_volume_outlives_the_pod() {
    let Some(namespace) = relay() else { return };
    let running = namespace.wait_ready(POD);
    assert_eq!(admin::get(running.admin(), "/readyz").unwrap().code, 200);
    let key: Vec<u8> = (1..=32).collect();
    let password = Key::try_from(&key[..]).unwrap().password(UID, 1);
    let mut client = Client::connect(running.port(2587));
    client.hello();
    assert_eq!(client.auth("checkout.shop", &password).code, 235);
    assert_eq!(client.send(FROM, &[TO], &message(FROM, "one")).code, 250);
    wait::until_true("it is captured", || captured(&namespace).len() == 1);

    let (uid, pid) = (running.uid().to_owned(), running.pid().unwrap());
    namespace.delete::<Pod>(POD);
    namespace.wait_for::<Pod, _>("another pod is ready", POD, |pod| {
        let pod = pod.filter(|pod| pod.uid().as_ref() != Some(&uid))?;
        ready(pod).then_some(())
    });
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    assert!(
        running.log().text().contains("SIGTERM"),
        "it was asked to stop"
    );
    assert_eq!(captured(&namespace).len(), 1, "the same volume");
    assert_ne!(namespace.running(POD).pid(), Some(pid));
}

#[test]
fn a_changed_config_map_needs_no_restart() {
    let Some(namespace) = relay() else { return };
    let running = namespace.wait_ready(POD);
    let number = || running.status().map(|status| status.document.number);
    assert_eq!(number(), Some(1));
    let pid = running.pid();
    namespace.apply(&config(2));
    wait::until_true("the new document is in use", || number() == Some(2));
    assert_eq!(running.pid(), pid);

    running.rest_files();
    namespace.apply(&config(3));
    running.kill();
    wait::until_true("another process answers", || {
        number().is_some() && running.pid().is_some_and(|now| Some(now) != pid)
    });
    assert_eq!(number(), Some(2), "the files rest");
    running.refresh_files();
    wait::until_true("the files follow again", || number() == Some(3));
}

#[test]
fn a_missing_source_keeps_the_pod_from_starting() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let namespace = cluster.namespace();
    namespace.apply(include_str!("kubelet_runs_a_gateway/relay.yaml"));
    wait::until_true("the pod's events say so", || {
        namespace.list::<Event>("").iter().any(|event| {
            let message = event.message.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some("FailedMount") && message.contains("relay-config")
        })
    });
    let pod = namespace.get::<Pod>(POD);
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Pending"));
    assert_eq!(namespace.running(POD).pid(), None);
    namespace.apply(&config(1));
    namespace.wait_ready(POD);
}

#[test]
fn a_process_that_ends_is_started_again() {
    let Some(namespace) = relay() else { return };
    let running = namespace.wait_ready(POD);
    let uid = running.uid().to_owned();
    running.kill();
    namespace.wait_for::<Pod, _>("it is ready after a restart", POD, |pod| {
        let pod = pod.filter(|pod| ready(pod))?;
        (restarts(pod)? == 1).then_some(())
    });
    assert_eq!(namespace.running(POD).uid(), uid, "the same pod");
}

#[test]
fn a_pod_that_does_not_answer_is_not_ready_and_its_eviction_is_refused() {
    let Some(namespace) = relay() else { return };
    let running = namespace.wait_ready(POD);
    // The budget allows none. Until its controller has looked, the answer is the same.
    assert_eq!(namespace.evict(POD).unwrap_err().code, 429);
    running.freeze();
    namespace.wait_for::<Pod, _>("it is not ready", POD, |pod| (!ready(pod?)).then_some(()));
    running.thaw();
    namespace.wait_ready(POD);
}

#[test]
fn claims_grow_when_they_can() {
    let Some(namespace) = relay() else { return };
    namespace.wait_ready(POD);
    let ask = |size: &str| {
        let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        namespace
            .merge::<PersistentVolumeClaim>(CLAIM, &patch)
            .unwrap();
    };
    let capacity = |claim: &PersistentVolumeClaim| {
        let capacity = claim.status.as_ref()?.capacity.as_ref()?;
        capacity.get("storage").cloned()
    };
    ask("2Gi");
    namespace.wait_for::<PersistentVolumeClaim, _>("it grew", CLAIM, |claim| {
        (capacity(claim?)? == Quantity("2Gi".to_owned())).then_some(())
    });
    let kubelet = namespace.cluster().kubelet();
    kubelet.expand(namespace.name(), Expansion::Refuse);
    ask("3Gi");
    namespace.wait_for::<PersistentVolumeClaim, _>("it was refused", CLAIM, |claim| {
        let status = claim?.status.as_ref()?;
        let refused = status
            .allocated_resource_statuses
            .as_ref()?
            .get("storage")?;
        (refused == "ControllerResizeInfeasible").then_some(())
    });
    let claim = namespace.get::<PersistentVolumeClaim>(CLAIM);
    assert_eq!(capacity(&claim), Some(Quantity("2Gi".to_owned())));
}
