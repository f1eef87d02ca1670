//! Deleting a relay: what is waited for, what ends the waiting, and which claims go.

use posthouse_api::mail_relay::{Drain, Storage};
use serde_json::json;

use super::*;
use crate::mail_relay::{
    facts::Heard,
    plan::world::{World, at},
};

/// Two gateways of a deleted relay that were told, with so much mail in each.
fn told(messages: [u64; 2]) -> World {
    let mut world = World::serving(2);
    world.deleted(0).document(8, 0);
    for (ordinal, messages) in (0..).zip(messages) {
        world.report(ordinal, 8, messages);
    }
    world
}

fn drain(world: &World) -> String {
    let ending = ending(&world.facts);
    ending.drain.map_or(String::new(), |drain| {
        format!("{} {:?} {}", ending.replicas, drain.state, drain.gateway)
    })
}

fn reasons(ending: &Ending) -> Vec<&str> {
    let notices = ending.notices.iter();
    notices.map(|notice| notice.reason.as_str()).collect()
}

fn deleting(world: &mut World) -> &mut World {
    world.relay().spec.storage = Some(Storage {
        volume_claim: None,
        on_delete: Some(OnDelete::Delete),
    });
    world
}

#[test]
fn every_gateway_is_told_at_once_and_the_highest_that_was_not_is_named() {
    let mut world = World::serving(2);
    assert_eq!(drain(world.deleted(0)), "2 Telling outbound-1");
    world.document(8, 0).report(1, 8, 3);
    assert_eq!(drain(&world), "2 Telling outbound-0");
    world.report(0, 8, 3);
    assert_eq!(drain(&world), "2 Draining outbound-1");
    world.report(1, 8, 0);
    assert_eq!(drain(&world), "2 Draining outbound-0");
}

#[test]
fn once_all_are_empty_all_go_and_the_end_is_when_their_pods_are_gone() {
    let mut world = told([0, 0]);
    let now = ending(&world.facts);
    assert_eq!((now.replicas, now.is_over), (0, false));
    assert_eq!(reasons(&now), ["Drained"]);
    assert!(now.delete_claims.is_empty());
    world.stateful_set(0).without_pod(1);
    let now = ending(&world.facts);
    assert_eq!((now.replicas, now.is_over), (0, false));
    assert!(now.notices.is_empty());
    assert!(ending(&world.without_pod(0).facts).is_over);
}

#[test]
fn a_relay_that_was_never_made_ends_at_once() {
    assert!(ending(&World::wanting(2).deleted(0).facts).is_over);
}

#[test]
fn the_time_out_leaves_the_mail_on_its_volume_and_says_so() {
    let mut world = told([0, 3]);
    let since = ending(&world.facts).drain.unwrap().since.unwrap();
    assert_eq!(since.0, at(0));
    world.remembers(1, DrainState::Draining, 0).now(599);
    assert_eq!(drain(&world), "2 Draining outbound-1");
    let now = ending(&world.now(600).facts);
    assert_eq!((now.replicas, now.is_over), (0, false));
    assert_eq!(reasons(&now), ["MailLeft"]);
    let note = &now.notices[0].note;
    assert!(
        note.starts_with("3 messages of outbound-1 stay on claim spool-outbound-1"),
        "{note}"
    );
}

#[test]
fn the_time_of_a_drain_before_the_deletion_does_not_count() {
    let mut world = told([0, 3]);
    world
        .remembers(1, DrainState::Stuck, -1)
        .now(700)
        .report(1, 8, 3);
    assert_eq!(drain(&world), "2 Draining outbound-1");
}

#[test]
fn a_new_operator_asks_before_it_believes_that_the_time_is_over() {
    let mut world = told([0, 3]);
    world.remembers(1, DrainState::Draining, 0).now(700);
    for name in ["outbound-0", "outbound-1"] {
        let nothing = Heard::Nothing { since: at(690) };
        world.facts.gateways.insert(name.to_owned(), nothing);
    }
    assert_eq!(drain(&world), "2 Draining outbound-1");
    world.now(705).report(0, 8, 0).report(1, 8, 0);
    assert_eq!(reasons(&ending(&world.facts)), ["Drained"]);
    let nothing = Heard::Nothing { since: at(690) };
    world
        .facts
        .gateways
        .insert("outbound-1".to_owned(), nothing);
    assert_eq!(ending(&world.now(719).facts).replicas, 2);
    assert_eq!(reasons(&ending(&world.now(720).facts)), ["MailLeft"]);
}

#[test]
fn a_silent_gateway_is_waited_for_as_long_as_it_takes() {
    let mut world = told([0, 0]);
    world
        .report_of(1, |status| status.document.number = 7)
        .silent(1)
        .now(90_000);
    assert_eq!(drain(&world), "2 Telling outbound-1");
}

#[test]
fn a_pod_that_comes_anew_while_all_drain_does_not_start_the_time_again() {
    let mut world = told([0, 3]);
    world.remembers(1, DrainState::Draining, 0);
    world
        .patch_pod(1, &json!({ "metadata": { "uid": "again" } }))
        .now(599);
    assert_eq!(drain(&world), "2 Draining outbound-1");
    assert_eq!(ending(&world.now(600).facts).replicas, 0);
}

#[test]
fn a_claim_without_a_pod_is_waited_for_until_the_time_is_over() {
    let mut world = told([0, 0]);
    world.without_pod(1).now(599);
    assert_eq!(drain(&world), "2 Draining outbound-1");
    let now = ending(&world.now(600).facts);
    assert_eq!((now.replicas, reasons(&now)), (0, vec!["MailLeft"]));
}

#[test]
fn where_nobody_can_be_told_the_time_counts_from_the_deletion() {
    let mut world = told([0, 0]);
    world.document_text("number: many".to_owned()).now(599);
    assert_eq!(drain(&world), "2 Draining outbound-1");
    assert_eq!(ending(&world.now(600).facts).replicas, 0);
}

#[test]
fn gateways_that_never_ran_are_not_waited_for() {
    let mut world = World::wanting(2);
    world.stateful_set(2).document(7, 2).deleted(0);
    assert_eq!(ending(&world.facts).replicas, 0);
    world
        .pod(0)
        .patch_pod(0, &json!({ "status": { "phase": "Pending" } }));
    assert_eq!(ending(&world.facts).replicas, 0);
    world.claim(0);
    assert_eq!(drain(&world), "2 Telling outbound-0");
}

#[test]
fn a_person_ends_it_at_once() {
    let mut world = told([2, 0]);
    let now = ending(&world.skip_drain().facts);
    assert_eq!((now.replicas, now.is_over), (0, true));
    assert_eq!(reasons(&now), ["DrainSkipped"]);
}

#[test]
fn claims_of_empty_spools_are_deleted_before_the_gateways_go() {
    let mut world = told([0, 3]);
    deleting(&mut world);
    world.relay().spec.drain = Some(Drain {
        timeout_seconds: Some(0),
    });
    let now = ending(&world.facts);
    assert_eq!((now.replicas, now.is_over), (2, false));
    let first = Object {
        name: "spool-outbound-0".to_owned(),
        uid: "claim-0".to_owned(),
    };
    assert_eq!(now.delete_claims, [first]);
    world.patch_claim(0, &json!({ "metadata": { "deletionTimestamp": at(0) } }));
    let now = ending(&world.facts);
    assert_eq!((now.replicas, now.delete_claims.len()), (0, 0));
    assert_eq!(reasons(&now), ["MailLeft"]);
}

#[test]
fn a_claim_with_damaged_records_is_kept() {
    let mut world = told([0, 0]);
    deleting(&mut world).report_of(0, |status| {
        status.document.number = 8;
        status.draining = true;
        status.spool.damaged_records = 2;
    });
    world.patch_claim(1, &json!({ "metadata": { "deletionTimestamp": at(0) } }));
    let now = ending(&world.facts);
    assert_eq!((now.replicas, now.delete_claims.len()), (0, 0));
    assert_eq!(reasons(&now), ["VolumeKept"]);
}

#[test]
fn claims_are_not_deleted_on_a_persons_word_but_on_a_report() {
    let mut world = told([0, 3]);
    let now = ending(&deleting(&mut world).skip_drain().facts);
    assert!(now.is_over);
    let names: Vec<_> = now.delete_claims.iter().map(|claim| &claim.name).collect();
    assert_eq!(names, ["spool-outbound-0"]);
}

#[test]
fn nothing_is_waited_for_in_a_terminating_namespace() {
    let mut world = told([2, 3]);
    world.facts.namespace_is_terminating = true;
    assert!(ending(&world.facts).is_over);
}

#[test]
fn a_relay_that_is_not_served_goes_and_its_gateways_stay() {
    let mut world = told([2, 3]);
    world.facts.is_served = false;
    let now = ending(&world.facts);
    assert!(now.is_over);
    assert!(now.notices[0].note.contains("ConfigMap outbound-anchor"));
}

#[test]
fn no_claim_goes_on_the_word_of_a_pod_that_is_being_stopped() {
    let mut world = told([0, 0]);
    deleting(&mut world).patch_pod(1, &json!({ "metadata": { "deletionTimestamp": at(60) } }));
    let now = ending(&world.facts);
    assert_eq!(now.replicas, 2);
    assert!(now.delete_claims.is_empty(), "{now:?}");
    assert_eq!(drain(&world), "2 Draining outbound-1");
}
