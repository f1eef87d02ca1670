//! One relay at a time, and none past one that does not get on.

use serde_json::json;

use super::*;
use crate::mail_relay::plan::{plan, world::World};

/// The digest of another release.
const NEW: &str = "2";

/// Two gateways of the old revision and of digest 1; the new one has another digest, or not.
fn due(digest: &str) -> World {
    let mut world = World::serving(2);
    for ordinal in 0..2 {
        world.patch_pod(
            ordinal,
            &json!({ "metadata": {
                "labels": { "controller-revision-hash": "old" },
                "annotations": { labels::UPGRADE_DIGEST: "1" },
            } }),
        );
    }
    let annotations = json!({ labels::UPGRADE_DIGEST: digest });
    world.patch_stateful_set(
        &json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }),
    );
    world
}

fn stage_of(world: &World) -> Stage {
    stage(&world.facts, &plan(&world.facts, &world.valid()))
}

#[test]
fn only_an_upgrade_that_has_not_begun_waits() {
    assert_eq!(stage_of(&World::serving(2)), Stage::Idle);
    assert_eq!(stage_of(&due("1")), Stage::Rolling);
    assert_eq!(stage_of(&due(NEW)), Stage::Waiting);
    let mut begun = due(NEW);
    begun.patch_pod(
        1,
        &json!({ "metadata": { "labels": { "controller-revision-hash": "new" } } }),
    );
    assert_eq!(stage_of(&begun), Stage::Rolling);
    let mut first = due(NEW);
    assert_eq!(stage_of(first.without_pod(1)), Stage::Rolling);
    let mut broken = due(NEW);
    broken.patch_pod(1, &json!({ "status": { "conditions": [] } }));
    assert_eq!(stage_of(&broken), Stage::Rolling);
}

#[test]
fn upgrades_go_one_after_the_other() {
    use Stage::{Idle, Rolling, Stalled, Waiting};
    for (stages, may) in [
        ([Waiting, Waiting, Waiting], [true, false, false]),
        ([Idle, Waiting, Waiting], [true, true, false]),
        ([Waiting, Rolling, Waiting], [false, true, false]),
        ([Waiting, Stalled, Idle], [false, true, true]),
        ([Idle, Idle, Waiting], [true, true, true]),
    ] {
        let stages: BTreeMap<_, _> = ["a", "b", "c"].into_iter().zip(stages).collect();
        let found: Vec<_> = stages
            .keys()
            .map(|relay| may_roll(relay, &stages))
            .collect();
        assert_eq!(found, may, "{stages:?}");
    }
}

fn key(name: &str) -> Key {
    ("mail-system".to_owned(), name.to_owned())
}

#[test]
fn nobody_has_a_turn_before_every_relay_was_looked_at() {
    let turns = Turns::default();
    let now = Timestamp::UNIX_EPOCH;
    let relays = [key("a"), key("z")];
    let ask = |name, stage, pod, now| turns.give(&key(name), stage, Some(pod), &relays, now);
    assert!(!ask("a", Stage::Waiting, "a-0", now), "z is not known yet");
    ask("z", Stage::Stalled, "z-0", now);
    assert!(!ask("a", Stage::Waiting, "a-0", now));
    turns.pass(&key("z"));
    assert!(ask("a", Stage::Waiting, "a-0", now), "z has nothing to do");
    assert!(!ask("z", Stage::Waiting, "z-0", now), "a rolls already");
    // The cache shows the same pod for a moment.
    assert!(ask("a", Stage::Waiting, "a-0", now));
    assert!(!ask("z", Stage::Waiting, "z-0", now));
    assert!(ask("a", Stage::Idle, "a-0", now));
    assert!(ask("z", Stage::Waiting, "z-0", now));
}

#[test]
fn a_relay_that_is_gone_or_cannot_be_looked_at_stops_nobody_for_ever() {
    let turns = Turns::default();
    let now = Timestamp::UNIX_EPOCH;
    let all = [key("a"), key("b")];
    turns.give(&key("a"), Stage::Stalled, None, &all, now);
    let may = |relays: &[Key], now| turns.give(&key("b"), Stage::Waiting, Some("b-0"), relays, now);
    assert!(!may(&all, now));
    assert!(may(&all[1..], now), "a is gone");
    let unseen = [key("b"), key("c")];
    let turns = Turns::default();
    let may = |now| turns.give(&key("b"), Stage::Waiting, Some("b-0"), &unseen, now);
    assert!(!may(now));
    assert!(may(now + PATIENCE));
}
