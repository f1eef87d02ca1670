use posthouse_config::reason::Reason;

use super::*;
use crate::{
    mail::{Progress, QueueId, State},
    queue::{
        entry::Names,
        testing::{document, message},
    },
    route::Router,
};

const PRIORITIES: &str = "routes: [{ name: d, targets: [{ upstream: a, priority: 1 }, { upstream: b, priority: 2 }] }]\n";

fn lane(routes: &str, standings: [Standing; 2]) -> Lane {
    let all = Router::new(document(&["a", "b"], "", routes));
    let probe = message(1, "s.n", "u@x.example", &["x@c.example"]);
    let way = all.way(&probe, &probe.recipients[0]);
    let mut names = Names::default();
    let numbers = way.names.iter().map(|name| names.number(name)).collect();
    let mut lane = Lane::new(probe.sender, way, numbers, Rank::Normal, None);
    lane.stand(standings.into());
    lane
}

/// The entry of a message that was tried at `a` with some progress, or never.
fn entry(sequence: u64, progress: Progress) -> Entry {
    let mut names = Names::default();
    names.number("a");
    names.number("b");
    let mut message = message(sequence, "s.n", "u@x.example", &["x@c.example"]);
    message.recipients[0].progress = progress;
    Entry::of(&message, message.recipients.iter(), &mut names)
        .unwrap()
        .0
}

fn tried(state: State, reason: Reason, unconfirmed: u16) -> Progress {
    Progress {
        state,
        reason: Some(reason),
        unconfirmed,
        upstream: Some("a".into()),
        ..Progress::default()
    }
}

#[test]
fn which_target_follows_from_priority_standing_and_what_happened_there() {
    use Standing::{Able, Away, Soon};
    let fresh = Progress::default();
    let greylisted = tried(State::Deferred, Reason::RecipientDeferred, 0);
    let too_large = tried(State::Deferred, Reason::TooLarge, 0);
    let once = tried(State::Unconfirmed, Reason::Unconfirmed, 1);
    let twice = tried(State::Unconfirmed, Reason::Unconfirmed, 2);
    for (progress, standings, expected) in [
        (&fresh, [Able, Able], 0),
        (&fresh, [Away, Able], 1),
        (&fresh, [Soon, Able], 0),
        (&fresh, [Away, Away], 0),
        (&greylisted, [Able, Able], 0),
        (&greylisted, [Away, Able], 1),
        (&too_large, [Able, Able], 1),
        (&too_large, [Able, Away], 1),
        (&once, [Away, Able], 0),
        (&twice, [Able, Able], 1),
        (&twice, [Able, Away], 0),
    ] {
        let lane = lane(PRIORITIES, standings);
        assert_eq!(
            lane.choose(&entry(1, progress.clone())),
            Some(expected),
            "{progress:?} {standings:?}"
        );
    }
}

#[test]
fn a_retry_stays_with_the_fallback_it_tried() {
    let lane = lane(PRIORITIES, [Standing::Able, Standing::Able]);
    let progress = Progress {
        upstream: Some("b".into()),
        ..tried(State::Deferred, Reason::RecipientDeferred, 0)
    };
    assert_eq!(lane.choose(&entry(1, progress)), Some(1));
}

#[test]
fn a_lower_priority_is_not_served_from_what_is_ready() {
    let mut lane = lane(PRIORITIES, [Standing::Able, Standing::Able]);
    lane.push_ready(entry(1, Progress::default()));
    assert!(!lane.has_work_for(1));
    assert!(lane.pop_for(1).0.is_none());
    assert_eq!(lane.pop_for(0).0.unwrap().id(), QueueId::new(1, 1));
}

#[test]
fn what_another_targets_turn_brings_up_is_staged_for_it() {
    let mut lane = lane("", [Standing::Able, Standing::Able]);
    for i in 0..40 {
        lane.push_ready(entry(i, Progress::default()));
    }
    let mut of = [0, 0];
    for target in [0, 1] {
        while let Some(entry) = lane.pop_for(target).0 {
            assert_eq!(lane.choose(&entry), Some(target));
            of[target] += 1;
        }
    }
    assert_eq!(of[0] + of[1], 40);
    assert!(of[0] > 8 && of[1] > 8, "{of:?}");
    assert!(lane.is_empty());
    assert_eq!(lane.tally, Tally::default());
}

#[test]
fn a_new_picture_unstages_and_what_is_bound_stays() {
    let mut lane = lane("", [Standing::Able, Standing::Able]);
    for i in 0..20 {
        lane.push_ready(entry(i, Progress::default()));
    }
    lane.push_ready(entry(99, tried(State::Unconfirmed, Reason::Unconfirmed, 1)));
    assert!(lane.pop_for(1).0.is_some());
    lane.stand([Standing::Away, Standing::Able].into());
    let mut count = 0;
    while let Some(entry) = lane.pop_for(1).0 {
        assert_ne!(
            entry.id(),
            QueueId::new(1, 99),
            "it may use the other target alone"
        );
        count += 1;
    }
    assert_eq!(count, 19);
    assert!(!lane.is_empty());
    lane.stand([Standing::Able, Standing::Able].into());
    assert_eq!(lane.pop_for(0).0.unwrap().id(), QueueId::new(1, 99));
}

#[test]
fn time_makes_ready_and_everything_is_counted() {
    let mut lane = lane(PRIORITIES, [Standing::Able, Standing::Able]);
    lane.push_waiting(
        5,
        entry(1, tried(State::Deferred, Reason::RecipientDeferred, 0)),
    );
    lane.push_waiting(NEVER, entry(2, tried(State::Held, Reason::Unconfirmed, 3)));
    assert_eq!(
        (lane.next_tick(), lane.tally.messages),
        (Some(5), [0, 1, 0, 1])
    );
    assert_eq!(lane.tally.held, BTreeMap::from([(Reason::Unconfirmed, 1)]));
    lane.promote(4);
    assert!(!lane.has_work_for(0));
    lane.promote(5);
    assert!(lane.pop_for(0).0.is_some());
    assert_eq!(lane.next_tick(), None);
    assert_eq!(lane.extract(9, |_| true).len(), 1);
    assert_eq!(lane.tally.messages, [0; 4]);
}

#[test]
fn a_million_entries_take_their_32_octets_and_little_more() {
    let mut lane = lane(PRIORITIES, [Standing::Away, Standing::Away]);
    let entry = entry(1, Progress::default());
    for _ in 0..1_000_000 {
        lane.push_ready(entry);
    }
    assert!(lane.ready.capacity() * size_of::<Entry>() < 50_000_000);
}
