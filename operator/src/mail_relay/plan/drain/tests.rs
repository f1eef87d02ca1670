//! Each step of scaling down, what ends it and what does not, and that mail is never removed, whatever happens.

use posthouse_config::status::SpoolState;
use serde_json::json;

use super::*;
use crate::mail_relay::{
    facts::Heard,
    plan::world::{World, at},
};

/// Document replicas, StatefulSet replicas, and the drain as text.
fn summary(world: &World) -> (u32, u32, Option<String>) {
    let wanted = u32::try_from(world.facts.relay.spec.replicas).unwrap();
    let course = course(&world.facts, wanted);
    let drain = course.drain.map(|drain| {
        let messages = drain
            .messages
            .map_or("?".to_owned(), |messages| messages.to_string());
        format!("{} {:?} {messages}", drain.gateway, drain.state)
    });
    (course.document_replicas, course.replicas, drain)
}

fn expect(world: &World, document: u32, replicas: u32, drain: &str) {
    let drain = (!drain.is_empty()).then(|| drain.to_owned());
    assert_eq!(summary(world), (document, replicas, drain));
}

fn reasons(world: &World, wanted: u32) -> Vec<String> {
    let notices = course(&world.facts, wanted).notices;
    notices.into_iter().map(|notice| notice.reason).collect()
}

/// Three gateways of which one is wanted, the last one told, with so much mail.
fn told(messages: u64) -> World {
    let mut world = World::serving(3);
    world.wants(1).document(8, 2).report(2, 8, messages);
    world
}

#[test]
fn everything_is_made_at_once_where_nothing_is_there() {
    expect(&World::wanting(3), 3, 3, "");
}

#[test]
fn more_gateways_come_at_once_and_the_document_with_them() {
    let mut world = World::serving(2);
    expect(world.wants(4), 4, 4, "");
}

#[test]
fn the_document_is_lowered_by_one_before_anything_else() {
    let mut world = World::serving(3);
    expect(world.wants(1), 2, 3, "outbound-2 Telling 0");
}

#[test]
fn a_gateway_is_told_once_it_reports_the_document() {
    let mut world = World::serving(3);
    world.wants(1).document(8, 2);
    expect(&world, 2, 3, "outbound-2 Telling 0");
    expect(world.report(2, 7, 4), 2, 3, "outbound-2 Telling 4");
    expect(world.report(2, 8, 4), 2, 3, "outbound-2 Draining 4");
    expect(world.report(2, 9, 3), 2, 3, "outbound-2 Draining 3");
}

#[test]
fn an_empty_gateway_goes_and_the_next_one_waits_until_its_pod_is_gone() {
    let mut world = told(0);
    expect(&world, 2, 2, "");
    assert_eq!(reasons(&world, 1), ["Drained"]);
    world.stateful_set(2);
    expect(&world, 2, 2, "outbound-2 Draining 0");
    world.patch_pod(2, &json!({ "metadata": { "deletionTimestamp": at(60) } }));
    expect(&world, 2, 2, "outbound-2 Draining 0");
    expect(world.without_pod(2), 1, 2, "outbound-1 Telling 0");
}

#[test]
fn no_report_but_a_drained_one_of_that_pod_lets_a_gateway_go() {
    type Change = fn(&mut posthouse_config::Status);
    let changes: [(&str, Change); 8] = [
        ("mail", |status| status.queue.messages = 1),
        ("a session", |status| status.sessions = 1),
        ("it serves", |status| status.draining = false),
        ("an older document", |status| status.document.number = 7),
        ("recovery", |status| {
            status.spool.state = SpoolState::Starting;
        }),
        ("a failed spool", |status| {
            status.spool.state = SpoolState::Failed;
        }),
        ("another pod", |status| status.pod_uid = "before".to_owned()),
        ("no pod", |status| status.pod_uid = String::new()),
    ];
    for (what, change) in changes {
        let mut world = told(0);
        world.report_of(2, |status| {
            status.document.number = 8;
            status.draining = true;
            change(status);
        });
        assert_eq!(summary(&world).1, 3, "{what}");
    }
    assert_eq!(summary(&told(0)).1, 2);
}

#[test]
fn a_drained_report_counts_also_after_the_pod_fell_silent() {
    let mut world = told(0);
    expect(world.silent(2), 2, 2, "");
}

#[test]
fn a_silent_gateway_is_waited_for_and_named() {
    let mut world = World::serving(3);
    world.wants(2).document(8, 2).silent(2).now(90_000);
    expect(&world, 2, 3, "outbound-2 Telling 0");
    let nothing = Heard::Nothing { since: at(0) };
    world
        .facts
        .gateways
        .insert("outbound-2".to_owned(), nothing);
    expect(&world, 2, 3, "outbound-2 Telling ?");
}

#[test]
fn a_pod_deleted_by_hand_is_waited_for_and_told_again() {
    let mut world = told(5);
    world.remembers(2, DrainState::Draining, 0).without_pod(2);
    expect(&world, 2, 3, "outbound-2 Draining ?");
    world
        .pod(2)
        .patch_pod(2, &json!({ "metadata": { "uid": "again" } }));
    expect(&world, 2, 3, "outbound-2 Draining ?");
    world.report_of(2, |status| {
        status.pod_uid = "again".to_owned();
        status.document.number = 8;
        status.draining = true;
    });
    expect(&world, 2, 2, "");
}

#[test]
fn the_time_out_counts_from_the_first_report_and_removes_nothing() {
    let mut world = told(5);
    let drain = course(&world.facts, 1).drain.unwrap();
    assert_eq!(drain.since, Some(Time(at(0))));
    world.remembers(2, DrainState::Draining, 0);
    expect(
        world.now(599).report(2, 8, 4),
        2,
        3,
        "outbound-2 Draining 4",
    );
    expect(world.now(600).report(2, 8, 3), 2, 3, "outbound-2 Stuck 3");
    assert_eq!(reasons(&world, 1), ["DrainStuck"]);
    let note = &course(&world.facts, 1).notices[0].note;
    assert!(
        note.contains("3 messages of outbound-2 stay on claim spool-outbound-2"),
        "{note}"
    );
    world.remembers(2, DrainState::Stuck, 0);
    assert!(reasons(&world, 1).is_empty());
    expect(world.now(6_000).report(2, 8, 0), 2, 2, "");
}

#[test]
fn a_lost_memory_starts_the_time_out_again() {
    let mut world = told(5);
    world.now(900).report(2, 8, 5);
    expect(&world, 2, 3, "outbound-2 Draining 5");
    world.remembers(1, DrainState::Draining, 0);
    expect(&world, 2, 3, "outbound-2 Draining 5");
}

#[test]
fn the_users_time_out_counts() {
    let mut world = told(5);
    world.relay().spec.drain = Some(posthouse_api::mail_relay::Drain {
        timeout_seconds: Some(0),
    });
    expect(&world, 2, 3, "outbound-2 Stuck 5");
}

#[test]
fn a_person_ends_any_step() {
    let mut telling = World::serving(3);
    telling.wants(1).skip_drain();
    expect(&telling, 2, 2, "");
    // Its last report is of a time when it took mail.
    let notices = course(&telling.facts, 1).notices;
    let note = &notices[0].note;
    assert!(
        note.starts_with("an unknown number of messages of outbound-2 stays"),
        "{note}"
    );
    let mut draining = told(5);
    expect(draining.skip_drain(), 2, 2, "");
    let notices = course(&draining.facts, 1).notices;
    assert_eq!(notices[0].reason, "DrainSkipped");
    let note = &notices[0].note;
    assert!(
        note.starts_with("5 messages of outbound-2 stay on claim spool-outbound-2"),
        "{note}"
    );
    let mut leaving = World::serving(3);
    leaving.wants(1).stateful_set(2).skip_drain();
    expect(&leaving, 1, 1, "");
}

#[test]
fn raising_replicas_cancels() {
    let mut world = told(5);
    expect(world.wants(3), 3, 3, "");
    expect(world.wants(4), 4, 4, "");
    expect(world.wants(2), 2, 3, "outbound-2 Draining 5");
}

#[test]
fn a_gateway_without_a_volume_goes_at_once() {
    let mut world = World::serving(2);
    world.wants(2).stateful_set(3).document(7, 3);
    expect(&world, 2, 2, "");
    world.pod(2).patch_pod(
        2,
        &json!({ "status": { "phase": "Pending", "conditions": null } }),
    );
    world
        .claim(2)
        .patch_claim(2, &json!({ "status": { "phase": "Pending" } }));
    expect(&world, 2, 2, "");
    world.patch_claim(2, &json!({ "status": { "phase": "Bound" } }));
    expect(&world, 2, 3, "outbound-2 Telling ?");
}

#[test]
fn a_gateway_goes_at_once_while_no_container_ran_on_its_new_volume() {
    let mut world = World::serving(2);
    world.stateful_set(3).document(7, 3).claim(2).pod(2);
    world.patch_claim(2, &json!({ "metadata": { "creationTimestamp": at(0) } }));
    let waiting = json!([{ "name": "gateway", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ImagePullBackOff" } } }]);
    let pending = json!({ "metadata": { "creationTimestamp": at(1) },
        "status": { "phase": "Pending", "containerStatuses": waiting } });
    world.patch_pod(2, &pending);
    expect(&world, 2, 2, "");
    let mut older = world.clone();
    older.patch_claim(2, &json!({ "metadata": { "creationTimestamp": at(-60) } }));
    expect(&older, 2, 3, "outbound-2 Telling ?");
    let mut ran = world.clone();
    let waiting = json!([{ "name": "gateway", "image": "x", "imageID": "", "ready": false, "restartCount": 1,
        "state": { "waiting": { "reason": "CrashLoopBackOff" } } }]);
    ran.patch_pod(2, &json!({ "status": { "containerStatuses": waiting } }));
    expect(&ran, 2, 3, "outbound-2 Telling ?");
}

#[test]
fn gateways_that_somebody_added_to_the_stateful_set_drain_too() {
    let mut world = World::serving(4);
    expect(world.wants(2).document(7, 2), 3, 4, "outbound-3 Telling 0");
}

#[test]
fn a_stateful_set_deleted_by_hand_comes_back_with_every_gateway() {
    let mut world = told(5);
    world.facts.children.stateful_set = None;
    expect(&world, 2, 3, "outbound-2 Draining 5");
    world.without_pod(1).without_pod(2);
    expect(&world, 1, 2, "outbound-1 Telling ?");
}

#[test]
fn a_document_that_is_missing_or_cannot_be_read_has_told_nobody() {
    let mut world = told(0);
    world.document_text("number: many".to_owned());
    expect(&world, 2, 3, "outbound-2 Telling 0");
    world.facts.children.config = None;
    expect(&world, 2, 3, "outbound-2 Telling 0");
}
