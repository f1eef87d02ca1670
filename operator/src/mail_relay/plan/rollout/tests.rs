//! Which pod goes next, what it waits for, and what is said when nothing gets on.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::mail_relay::plan::world::{World, at};

/// Gateways in service, of which those of `old` have another revision than the StatefulSet.
fn world(replicas: u32, old: &[u32]) -> World {
    let mut world = World::serving(replicas);
    for ordinal in old {
        world.patch_pod(*ordinal, &of_revision("old"));
    }
    world
}

fn of_revision(revision: &str) -> Value {
    json!({ "metadata": { "labels": { "controller-revision-hash": revision } } })
}

/// A pod whose readiness changed at a time; one that never was ready has the time it was started.
fn readiness(status: &str, seconds: i64) -> Value {
    json!({ "status": { "conditions": [{ "type": "Ready", "status": status, "lastTransitionTime": at(seconds) }] } })
}

/// A pod made and started at a time, and not ready since.
fn started(seconds: i64) -> Value {
    let mut pod = readiness("False", seconds);
    pod["metadata"] = json!({ "creationTimestamp": at(seconds) });
    pod["status"]["startTime"] = json!(at(seconds));
    pod
}

fn waiting(reason: &str) -> Value {
    json!({ "status": { "containerStatuses": [{ "name": "gateway", "image": "x", "imageID": "", "ready": false,
        "restartCount": 4, "state": { "waiting": { "reason": reason, "message": "back-off" } } }] } })
}

/// The pod that goes next, or how far the rollout is, with so many gateways that serve and all there are.
fn next(world: &World, serving: u32, replicas: u32) -> String {
    let step = step(&world.facts, serving, replicas);
    match (step.restart, step.rollout) {
        (Some(pod), Rollout::UnderWay) => pod.name,
        (None, Rollout::Stalled(why)) => why,
        (None, rollout) => format!("{rollout:?}"),
        (Some(pod), rollout) => panic!("{pod:?} while {rollout:?}"),
    }
}

#[test]
fn nothing_goes_while_all_are_current() {
    assert_eq!(next(&world(3, &[]), 3, 3), "Done");
}

#[test]
fn the_highest_ordinal_goes_first() {
    assert_eq!(next(&world(3, &[0, 1, 2]), 3, 3), "outbound-2");
    assert_eq!(next(&world(3, &[0, 1]), 3, 3), "outbound-1");
    assert_eq!(next(&world(3, &[0]), 3, 3), "outbound-0");
}

#[test]
fn the_uid_of_the_pod_is_named() {
    let pod = step(&world(1, &[0]).facts, 1, 1).restart.unwrap();
    assert_eq!(pod.uid, "pod-0");
}

#[test]
fn the_next_goes_when_the_one_before_was_ready_for_ten_seconds() {
    let mut world = world(2, &[0]);
    world.patch_pod(1, &started(0)).now(60);
    assert_eq!(next(&world, 2, 2), "UnderWay");
    world.patch_pod(1, &readiness("True", 51));
    assert_eq!(next(&world, 2, 2), "UnderWay");
    world.now(61);
    assert_eq!(next(&world, 2, 2), "outbound-0");
}

#[test]
fn the_last_one_must_be_ready_before_the_rollout_is_done() {
    let mut world = world(2, &[]);
    world.patch_pod(0, &started(0)).now(60);
    assert_eq!(next(&world, 2, 2), "UnderWay");
    world.patch_pod(0, &readiness("True", 30));
    assert_eq!(next(&world, 2, 2), "Done");
}

#[test]
fn nothing_goes_while_a_pod_is_away() {
    let mut ending = world(3, &[0, 1]);
    ending.patch_pod(2, &json!({ "metadata": { "deletionTimestamp": at(0) } }));
    assert_eq!(next(&ending, 3, 3), "UnderWay");
    let mut missing = world(3, &[0, 1]);
    assert_eq!(next(missing.without_pod(2), 3, 3), "UnderWay");
    let mut draining = world(3, &[0, 1]);
    draining.patch_pod(2, &json!({ "metadata": { "deletionTimestamp": at(0) } }));
    assert_eq!(next(&draining, 2, 3), "UnderWay");
}

#[test]
fn nothing_goes_before_the_controller_has_seen_the_stateful_set() {
    let mut stale = world(2, &[0, 1]);
    stale.patch_stateful_set(&json!({ "metadata": { "generation": 2 } }));
    assert_eq!(next(&stale, 2, 2), "UnderWay");
    let mut young = world(2, &[0, 1]);
    young.patch_stateful_set(&json!({ "status": null }));
    assert_eq!(next(&young, 2, 2), "UnderWay");
    young.facts.children.stateful_set = None;
    assert_eq!(next(&young, 2, 2), "UnderWay");
}

#[test]
fn broken_pods_of_the_old_revision_go_first_also_if_all_are_broken() {
    let mut world = world(3, &[0, 1, 2]);
    world.patch_pod(0, &started(-9_000));
    assert_eq!(next(&world, 3, 3), "outbound-0");
    world
        .patch_pod(1, &started(-9_000))
        .patch_pod(2, &started(-9_000));
    assert_eq!(next(&world, 3, 3), "outbound-2");
    world
        .patch_pod(2, &of_revision("new"))
        .patch_pod(2, &started(0));
    assert_eq!(next(&world, 3, 3), "UnderWay");
    world.patch_pod(2, &readiness("True", 5)).now(15);
    assert_eq!(next(&world, 3, 3), "outbound-1");
}

#[test]
fn a_ready_pod_does_not_go_while_another_is_not() {
    let mut world = world(2, &[1]);
    world.patch_pod(0, &readiness("False", -5));
    assert_eq!(next(&world, 2, 2), "UnderWay");
}

#[test]
fn draining_gateways_go_last_and_need_not_be_ready() {
    let mut world = world(3, &[0, 2]);
    world.patch_pod(2, &readiness("False", -9_000));
    assert_eq!(next(&world, 2, 3), "outbound-0");
    world.patch_pod(0, &of_revision("new"));
    assert_eq!(next(&world, 2, 3), "outbound-2");
    world.patch_pod(2, &of_revision("new"));
    assert_eq!(next(&world, 2, 3), "Done");
}

#[test]
fn fifteen_minutes_without_progress_are_a_stall_and_the_reason_is_named() {
    let mut world = world(2, &[0]);
    world.patch_pod(1, &started(0)).now(899);
    assert_eq!(next(&world, 2, 2), "UnderWay");
    world.now(900).silent(1);
    let silent = "outbound-1 is not ready: it does not answer the operator";
    assert_eq!(next(&world, 2, 2), silent);
    world.report_of(1, |status| {
        status.spool.error = Some("no space".to_owned());
    });
    let said = "outbound-1 is not ready: its spool is Ready (no space)";
    assert_eq!(next(&world, 2, 2), said);
    let mut pending = world.clone();
    pending.patch_pod(
        1,
        &json!({ "status": { "conditions": [{ "type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/3 nodes" }] } }),
    );
    let unscheduled = "outbound-1 is not ready: Unschedulable (0/3 nodes)";
    assert_eq!(next(&pending, 2, 2), unscheduled);
    world.patch_pod(1, &waiting("ImagePullBackOff"));
    let image = "outbound-1 is not ready: ImagePullBackOff (back-off)";
    assert_eq!(next(&world, 2, 2), image);
}

#[test]
fn a_first_rollout_that_never_gets_ready_is_a_stall_and_a_later_fault_is_not() {
    let mut world = world(1, &[]);
    world.patch_pod(0, &started(0)).now(900);
    assert!(next(&world, 1, 1).starts_with("outbound-0 is not ready"));
    world.patch_pod(0, &readiness("False", 30)).now(9_000);
    assert_eq!(next(&world, 1, 1), "Done");
}

#[test]
fn a_pod_that_crashes_again_and_again_is_no_progress() {
    let mut world = world(2, &[0]);
    world
        .patch_pod(1, &started(0))
        .patch_pod(1, &readiness("False", 880));
    world.now(900);
    assert_eq!(next(&world, 2, 2), "UnderWay");
    world.patch_pod(1, &waiting("CrashLoopBackOff"));
    let crashes = "outbound-1 is not ready: CrashLoopBackOff (back-off)";
    assert_eq!(next(&world, 2, 2), crashes);
}

#[test]
fn a_pod_that_does_not_end_or_does_not_come_is_a_stall() {
    let mut ending = world(2, &[0]);
    ending
        .patch_pod(1, &json!({ "metadata": { "deletionTimestamp": at(0) } }))
        .now(900);
    assert_eq!(
        next(&ending, 2, 2),
        "outbound-1 does not end: its node may be lost"
    );
    let mut missing = world(2, &[0]);
    let status = json!([{ "manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": at(0) }]);
    missing
        .without_pod(1)
        .now(900)
        .patch_stateful_set(&json!({ "metadata": { "managedFields": status } }));
    let absent = "outbound-1 does not exist: see the Events of the StatefulSet";
    assert_eq!(next(&missing, 2, 2), absent);
    assert_eq!(next(&missing, 3, 3), absent);
    let mut growing = world(2, &[]);
    growing
        .now(900)
        .patch_stateful_set(&json!({ "metadata": { "managedFields": status } }));
    assert_eq!(next(&growing, 3, 3), "UnderWay");
}

#[test]
fn a_gateway_that_has_not_heard_yet_that_it_serves_again_is_not_held_up_against_anybody() {
    let mut world = world(2, &[0]);
    world.patch_pod(1, &readiness("False", 0)).now(5_000);
    world.report_of(1, |status| status.draining = true);
    assert_eq!(next(&world, 2, 2), "UnderWay");
}

/// Restarts pods as the rollout says until it is done; new ones get ready where they serve. A pod is its revision's
/// age and whether it is ready. Gives the pods in the order they went.
fn roll(pods: &[(bool, bool)], serving: u32) -> Vec<u32> {
    let replicas = u32::try_from(pods.len()).unwrap();
    let mut pods = pods.to_vec();
    let mut gone = Vec::new();
    for round in 0..3 * i64::from(replicas) {
        let mut world = World::serving(replicas);
        world.now(20 * round);
        for (ordinal, (is_old, is_ready)) in (0..).zip(&pods) {
            let revision = if *is_old { "old" } else { "new" };
            let status = if *is_ready { "True" } else { "False" };
            world.patch_pod(ordinal, &of_revision(revision));
            world.patch_pod(ordinal, &readiness(status, 20 * round - 15));
        }
        let step = step(&world.facts, serving, replicas);
        let Some(pod) = step.restart else {
            if step.rollout == Rollout::Done {
                return gone;
            }
            for (ordinal, pod) in (0..).zip(&mut pods) {
                pod.1 |= !pod.0 && ordinal < serving;
            }
            continue;
        };
        let ordinal: u32 = pod.name.rsplit_once('-').unwrap().1.parse().unwrap();
        let at = usize::try_from(ordinal).unwrap();
        assert!(pods[at].0, "{pod:?} is current");
        let others = (0..serving).zip(&pods).filter(|(it, _)| *it != ordinal);
        let others_are_ready = others.clone().all(|(_, (_, is_ready))| *is_ready);
        let serves_nobody = ordinal < serving && !pods[at].1;
        assert!(others_are_ready || serves_nobody, "{pod:?} of {pods:?}");
        pods[at] = (false, false);
        gone.push(ordinal);
    }
    panic!("not done: {pods:?} after {gone:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn from_any_state_every_old_pod_goes_once_and_no_ready_one_too_soon(
        pods in prop::collection::vec(any::<(bool, bool)>(), 1..6),
        serving in 0_u32..6,
    ) {
        let mut gone = roll(&pods, serving.min(u32::try_from(pods.len()).unwrap()));
        gone.sort_unstable();
        let old: Vec<_> = (0..).zip(&pods).filter(|(_, pod)| pod.0).map(|(ordinal, _)| ordinal).collect();
        prop_assert_eq!(gone, old);
    }
}
