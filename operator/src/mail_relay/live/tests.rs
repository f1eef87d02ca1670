//! What slips through the API's rules and does not go with what lives.

use posthouse_api::mail_relay::Storage;
use serde_json::{Value, json};

use super::*;
use crate::mail_relay::plan::world::{World, document};

/// A relay in service whose claim template asks for 20Gi of a class.
fn world() -> World {
    let mut world = World::serving(2);
    let template = json!({
        "metadata": { "name": "spool" },
        "spec": { "storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "20Gi" } } },
    });
    world.patch_stateful_set(&json!({ "spec": { "volumeClaimTemplates": [template] } }));
    world
}

fn findings(world: &World) -> LiveFindings {
    check(&world.facts.relay, &world.facts)
}

fn storage_of(claim: Value) -> Option<String> {
    let mut world = world();
    world.relay().spec.storage = Some(Storage {
        volume_claim: serde_json::from_value(claim).unwrap(),
        on_delete: None,
    });
    findings(&world).storage_immutable
}

#[test]
fn what_goes_with_what_lives_is_accepted() {
    assert_eq!(findings(&World::serving(2)), LiveFindings::default());
    assert_eq!(findings(&World::wanting(2)), LiveFindings::default());
    for size in ["20Gi", "20480Mi", "1Ti"] {
        assert_eq!(
            storage_of(json!({ "size": size, "storageClassName": "fast" })),
            None,
            "{size}"
        );
    }
}

#[test]
fn a_namespace_that_is_not_served_names_the_ways_out() {
    let mut world = World::wanting(2);
    world.facts.is_served = false;
    let text = findings(&world).namespace_not_served.unwrap();
    assert!(
        text.contains("mail-system") && text.contains("relayNamespaces"),
        "{text}"
    );
}

#[test]
fn each_difference_from_the_claim_template_is_named() {
    for (claim, expected) in [
        (
            json!({ "size": "20Gi" }),
            "storageClassName is absent and must be \"fast\"",
        ),
        (
            json!({ "size": "20Gi", "storageClassName": "slow" }),
            "storageClassName is \"slow\" and must be \"fast\"",
        ),
        (
            json!({ "size": "19Gi", "storageClassName": "fast" }),
            "size is 19Gi and must be at least 20Gi",
        ),
        (
            json!({ "size": "20Gi", "storageClassName": "fast", "accessMode": "ReadWriteOncePod" }),
            "accessMode is ReadWriteOncePod and must be ReadWriteOnce",
        ),
        (Value::Null, "size is 10Gi and must be at least 20Gi"),
    ] {
        let text = storage_of(claim).unwrap();
        assert!(text.contains(expected), "{text}");
    }
    let all = storage_of(json!({ "size": "1Gi" })).unwrap();
    assert_eq!(all.matches("spec.storage").count(), 2, "{all}");
}

#[test]
fn a_key_rotation_that_goes_down_is_refused() {
    for (asked, refused) in [(3, true), (4, false), (5, false)] {
        let mut world = World::serving(2);
        world
            .document_text(document(7, 2, 4))
            .relay()
            .spec
            .clients
            .key_rotation = asked;
        let problems = findings(&world).invalid.problems;
        assert_eq!(problems.len(), usize::from(refused), "{asked}");
        for problem in problems {
            assert_eq!(problem.path, "spec.clients.keyRotation");
            assert!(problem.message.starts_with("must be at least 4"));
        }
    }
}

#[test]
fn a_document_that_cannot_be_read_refuses_nothing() {
    let mut world = World::serving(2);
    world.document_text("number: many".to_owned());
    assert_eq!(findings(&world).invalid, Findings::default());
}

#[test]
fn a_document_of_another_release_is_read_as_far_as_it_is_needed() {
    let mut world = World::serving(2);
    let text = document(7, 2, 4).replace("format: 1", "format: 99") + "\nlater: {}\n";
    world.document_text(text);
    assert_eq!(findings(&world).invalid.problems.len(), 1);
}
