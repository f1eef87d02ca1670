//! Which claims grow, and what is said of those that do not.

use posthouse_api::mail_relay::{Storage, storage::VolumeClaim};
use serde_json::{Value, json};

use super::*;
use crate::mail_relay::plan::world::{World, at};

/// Two gateways with volumes of 10Gi, of which another size is wanted.
fn wanting(size: &str) -> World {
    let mut world = World::serving(2);
    world.relay().spec.storage = Some(Storage {
        volume_claim: Some(VolumeClaim {
            size: size.to_owned(),
            storage_class_name: None,
            access_mode: None,
        }),
        on_delete: None,
    });
    world
}

fn resized(world: &World, replicas: u32) -> Vec<String> {
    let resize = growth(&world.facts, replicas).resize;
    let claims = resize.into_iter();
    claims
        .map(|(claim, size)| format!("{} {} {}", claim.name, claim.uid, size.0))
        .collect()
}

/// A claim that was patched to 20Gi at 0 by somebody.
fn patched() -> Value {
    json!({
        "metadata": { "managedFields": [
            { "operation": "Update", "time": at(0), "fieldsV1": { "f:spec": { "f:resources": { "f:requests": { "f:storage": {} } } } } },
            { "operation": "Update", "subresource": "status", "time": at(800), "fieldsV1": { "f:status": {} } },
        ] },
        "spec": { "resources": { "requests": { "storage": "20Gi" } } },
    })
}

fn condition(kind: &str, seconds: i64) -> Value {
    json!({ "status": { "conditions": [{ "type": kind, "status": "True", "message": "no room", "lastTransitionTime": at(seconds) }] } })
}

fn not_expanded(world: &World) -> String {
    growth(&world.facts, 2).not_expanded.unwrap_or_default()
}

#[test]
fn claims_that_are_smaller_grow_and_others_stay() {
    for (size, grows) in [
        ("10Gi", false),
        ("10240Mi", false),
        ("5Gi", false),
        ("10241Mi", true),
    ] {
        assert_eq!(resized(&wanting(size), 2).is_empty(), !grows, "{size}");
    }
    assert_eq!(
        resized(&wanting("20Gi"), 2),
        [
            "spool-outbound-0 claim-0 20Gi",
            "spool-outbound-1 claim-1 20Gi"
        ]
    );
    assert!(resized(&World::serving(2), 2).is_empty());
}

#[test]
fn claims_that_are_not_bound_or_go_wait() {
    let mut world = wanting("20Gi");
    world.patch_claim(0, &json!({ "status": { "phase": "Pending" } }));
    world.patch_claim(1, &json!({ "metadata": { "deletionTimestamp": at(0) } }));
    assert!(resized(&world, 2).is_empty());
}

#[test]
fn claims_of_gateways_that_come_later_grow_then() {
    let mut world = wanting("20Gi");
    world.claim(2);
    assert_eq!(resized(&world, 2).len(), 2);
    assert_eq!(resized(&world, 3).len(), 3);
}

#[test]
fn a_claim_that_was_patched_has_fifteen_minutes_to_grow() {
    let mut world = wanting("20Gi");
    world.patch_claim(0, &patched()).patch_claim(1, &patched());
    assert!(resized(&world, 2).is_empty());
    world.now(899);
    assert_eq!(not_expanded(&world), "");
    world.now(900);
    let text = not_expanded(&world);
    assert!(
        text.starts_with("claim spool-outbound-0 has still 10Gi, 15 minutes after"),
        "{text}"
    );
    world.patch_claim(0, &condition("FileSystemResizePending", 500));
    world.patch_claim(
        1,
        &json!({ "status": { "capacity": { "storage": "20Gi" } } }),
    );
    assert_eq!(not_expanded(&world), "");
    assert_ne!(not_expanded(world.now(1_400)), "");
    world.patch_claim(
        0,
        &json!({ "status": { "capacity": { "storage": "21Gi" } } }),
    );
    assert_eq!(not_expanded(&world), "");
}

#[test]
fn a_refusal_is_told_at_once() {
    let mut world = wanting("20Gi");
    world.patch_claim(1, &patched());
    for kind in ["ControllerResizeError", "NodeResizeError"] {
        let mut world = world.clone();
        let text = not_expanded(world.patch_claim(1, &condition(kind, 0)));
        assert!(
            text.starts_with("claim spool-outbound-1 cannot be enlarged: no room;"),
            "{text}"
        );
    }
    world.patch_claim(1, &json!({ "status": { "allocatedResourceStatuses": { "storage": "NodeResizeInProgress" } } }));
    assert_eq!(not_expanded(&world), "");
    world.patch_claim(1, &json!({ "status": { "allocatedResourceStatuses": { "storage": "ControllerResizeInfeasible" } } }));
    assert!(not_expanded(&world).contains("ControllerResizeInfeasible"));
}
