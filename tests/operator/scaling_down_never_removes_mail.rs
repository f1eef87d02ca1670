//! A gateway with mail is not removed by scaling, whatever happens meanwhile: it drains for as long as it takes.
//!
//! One relay's life, on a cluster of its own, since its operator is killed.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    coordination::v1::Lease,
    core::v1::{PersistentVolumeClaim, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::ResourceExt;
use posthouse_api::mail_relay::status::{DrainState, DrainStatus};
use posthouse_tests::{Cluster, Installation, Operator, kubelet::Running, wait};
use serde_json::json;

use crate::relays::{LONG, Relays, listener};

const RELAY: &str = "relay";

/// The gateway that is to go.
const LEAVING: &str = "relay-1";

#[test]
fn and_nothing_else_waits_for_it() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some(installation) = Installation::install(&cluster, &["relayNamespaces={*}"]) else {
        return;
    };
    let operator = installation.start();
    let relays = Relays::of(&cluster);
    let spec = json!({"replicas": 2, "drain": {"timeoutSeconds": 1}});
    relays.apply(RELAY, &spec);
    let (_, leaving) = (relays.gateway(RELAY, 0), relays.gateway(RELAY, 1));
    relays.send(RELAY, &leaving, 0..3);

    it_drains_until_it_is_stuck(&relays, &leaving);
    more_replicas_cancel(&relays, &leaving);
    let _operator = another_operator_goes_on(&installation, operator, &relays, &leaving);
    a_rollout_goes_past_it(&relays, &leaving);
    it_can_be_evicted(&relays);
    it_goes_once_it_is_empty(&relays);
}

fn it_drains_until_it_is_stuck(relays: &Relays, leaving: &Running) {
    let mut client = relays.session(RELAY, leaving);
    relays.change(RELAY, &json!({"replicas": 1}));
    Relays::wait_greeting(leaving, 421);
    assert_eq!(Relays::offer(&mut client), 421);
    let drain = wait_drain(relays, DrainState::Stuck);
    assert_eq!((drain.gateway.as_str(), drain.messages), (LEAVING, Some(3)));
    let told = relays.wait_events(RELAY, "DrainStuck");
    let left = "3 messages of relay-1 stay on claim spool-relay-1";
    assert!(told.len() == 1 && told[0].contains(left), "{told:?}");
    assert_eq!(relays.replicas(RELAY), Some(2));
}

fn more_replicas_cancel(relays: &Relays, leaving: &Running) {
    relays.change(RELAY, &json!({"replicas": 2}));
    Relays::wait_greeting(leaving, 220);
    relays.wait_status("nothing drains", RELAY, |relay| {
        relay.status.as_ref()?.drain.is_none().then_some(())
    });
    relays.send(RELAY, leaving, 3..4);
    assert_eq!(relays.namespace.running(LEAVING).uid(), leaving.uid());
}

fn another_operator_goes_on(
    installation: &Installation,
    operator: Operator,
    relays: &Relays,
    leaving: &Running,
) -> Operator {
    relays.change(RELAY, &json!({"replicas": 1}));
    Relays::wait_greeting(leaving, 421);
    operator.kill();
    // What a minute does, too.
    installation
        .namespace()
        .delete::<Lease>("posthouse-operator");
    let operator = installation.start();
    let drain = wait_drain(relays, DrainState::Stuck);
    assert_eq!(drain.messages, Some(4));
    assert_eq!(relays.replicas(RELAY), Some(2));
    assert_eq!(relays.namespace.running(LEAVING).uid(), leaving.uid());
    operator
}

/// The other gateway is replaced first, and this one comes back with its mail.
fn a_rollout_goes_past_it(relays: &Relays, leaving: &Running) {
    let staying = relays.running(RELAY, 0);
    let listeners = json!([listener("plain", 587), listener("another", 2525)]);
    relays.change(RELAY, &json!({"listeners": listeners}));
    wait_replaced(relays, "relay-0", staying.uid());
    assert_eq!(relays.namespace.running(LEAVING).uid(), leaving.uid());
    relays.gateway(RELAY, 0);
    let leaving = wait_replaced(relays, LEAVING, leaving.uid());
    still_has_its_mail(&leaving);
}

/// And so can the other one: that this one is not ready does not count against the budget.
fn it_can_be_evicted(relays: &Relays) {
    let what = "one more may be away";
    relays
        .namespace
        .wait_longer_for::<PodDisruptionBudget, _>(what, RELAY, LONG, |budget| {
            let status = budget?.status.as_ref()?;
            (status.current_healthy == 1 && status.disruptions_allowed == 1).then_some(())
        });
    let leaving = relays.namespace.running(LEAVING);
    // The budget's controller may not have looked yet.
    wait::until("the eviction is allowed", LONG, || {
        relays.namespace.evict(LEAVING).ok()
    });
    still_has_its_mail(&wait_replaced(relays, LEAVING, leaving.uid()));
}

fn it_goes_once_it_is_empty(relays: &Relays) {
    relays.mend();
    relays.provider.wait_longer_for(4, LONG);
    let namespace = &relays.namespace;
    let what = "one gateway is left";
    namespace.wait_longer_for::<StatefulSet, _>(what, RELAY, LONG, |set| {
        (set?.spec.as_ref()?.replicas == Some(1)).then_some(())
    });
    namespace.wait_longer_for::<Pod, _>("it is gone", LEAVING, LONG, |pod| {
        pod.is_none().then_some(())
    });
    relays.wait_events(RELAY, "Drained");
    let claim = namespace.get::<PersistentVolumeClaim>("spool-relay-1");
    assert_eq!(claim.metadata.deletion_timestamp, None);
    let subjects = relays.provider.subjects();
    assert!(
        subjects.len() == 4 && subjects.values().all(|count| *count == 1),
        "{subjects:?}"
    );
}

fn wait_drain(relays: &Relays, state: DrainState) -> DrainStatus {
    relays.wait_status("the drain is so far", RELAY, |relay| {
        let drain = relay.status.as_ref()?.drain.clone()?;
        (drain.state == state).then_some(drain)
    })
}

/// Waits until another pod took a pod's place; its process.
fn wait_replaced(relays: &Relays, pod: &str, uid: &str) -> Arc<Running> {
    let what = format!("another {pod}");
    let namespace = &relays.namespace;
    let other = namespace.wait_longer_for::<Pod, _>(&what, pod, LONG, |pod| {
        pod?.uid().filter(|other| other != uid)
    });
    wait::until("the kubelet runs it", LONG, || {
        let running = namespace.running(pod);
        (running.uid() == other).then_some(running)
    })
}

fn still_has_its_mail(leaving: &Running) {
    Relays::wait_greeting(leaving, 421);
    wait::until("the spool is read", LONG, || {
        (Relays::messages(leaving)? == 4).then_some(())
    });
}
