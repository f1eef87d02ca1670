//! A message whose recipients go different ways: its parts wait, are tried and end on their own, and none is lost.

use std::sync::Arc;

use super::*;
use crate::{
    clock::ManualClock,
    mail::Queued,
    queue::{deliver::Upstreams, entry::Now, schedule::Schedule, window::Cached},
    route::Router,
};

const ROUTES: &str = "routes:\n  - { name: gov, recipientDomains: [gov.example], targets: [{ upstream: a }] }\n  - { name: d, targets: [{ upstream: b }] }\n";

fn in_two_parts() -> Message {
    message(1, "s.n", "u@x.example", &["x@gov.example", "y@c.example"])
}

/// A schedule with one message of two parts; the part for `a` is under way.
fn first_part_taken() -> (Schedule, Cached, Now) {
    let router = Arc::new(Router::new(document(&["a", "b"], "", ROUTES)));
    let now = Now::read(&ManualClock::new());
    let mut schedule = Schedule::new(router, Arc::default());
    let ready = |name: &str| (Arc::from(name), view(UpstreamState::Ready, 9));
    let views: Upstreams = [ready("a"), ready("b")].into();
    schedule.upstreams_changed(&views, now);
    let message = Arc::new(in_two_parts());
    let queued = Queued {
        message: Arc::clone(&message),
        content: None,
        deaths: 0,
    };
    schedule.admit(queued, now);
    assert!(schedule.next(&"a".into(), now).is_some());
    let cached = Cached {
        message,
        content: None,
    };
    (schedule, cached, now)
}

#[test]
fn the_other_part_goes_on_when_one_is_held_back() {
    let (mut schedule, cached, now) = first_part_taken();
    schedule.reverse_path(&"a".into(), &cached.message, true, now);
    assert!(schedule.next(&"b".into(), now).is_none(), "one at a time");
    schedule.held_back(&cached, now);
    assert!(schedule.next(&"b".into(), now).is_some());
}

#[test]
fn the_other_part_goes_on_when_one_cannot_be_read() {
    let (mut schedule, cached, now) = first_part_taken();
    assert!(schedule.next(&"b".into(), now).is_none(), "one at a time");
    schedule.later(cached.message.id, now.mono.plus(HOUR));
    assert!(schedule.next(&"b".into(), now).is_some());
}

#[test]
fn the_other_part_goes_on_when_the_first_is_over() {
    let (mut schedule, cached, now) = first_part_taken();
    assert!(schedule.next(&"b".into(), now).is_none(), "one at a time");
    let mut message = in_two_parts();
    message.recipients[0].progress.state = State::Relayed;
    let cached = Cached {
        message: Arc::new(message),
        ..cached
    };
    schedule.again(&cached, now.mono, now);
    assert!(schedule.next(&"b".into(), now).is_some());
    schedule.settled(&cached.message);
    assert!(schedule.next(&"a".into(), now).is_none());
    assert_eq!(schedule.figures().messages, 0);
}
