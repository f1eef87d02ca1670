//! Nobody's mail waits for somebody else's.

use std::{sync::Arc, time::Instant};

use super::*;
use crate::{
    clock::ManualClock,
    mail::{Message, Queued},
    queue::{
        deliver::Upstreams,
        entry::Now,
        schedule::{Schedule, Taken},
    },
    route::Router,
};

const ROUTES: &str = "routes:\n  - { name: dead, recipientDomains: [dead.example], targets: [{ upstream: dead }] }\n  - { name: d, targets: [{ upstream: live }] }\n";

fn schedule() -> (Schedule, Now) {
    let router = Arc::new(Router::new(document(&["dead", "live"], "", ROUTES)));
    let now = Now::read(&ManualClock::new());
    let mut schedule = Schedule::new(router, Arc::default());
    let views: Upstreams = [
        (Arc::from("live"), view(UpstreamState::Ready, u32::MAX)),
        (Arc::from("dead"), view(UpstreamState::Unreachable, 0)),
    ]
    .into();
    schedule.upstreams_changed(&views, now);
    (schedule, now)
}

fn queued(message: Message) -> Queued {
    Queued {
        message: Arc::new(message),
        content: None,
        deaths: 0,
    }
}

fn next(schedule: &mut Schedule, now: Now) -> Option<Taken> {
    schedule.next(&Arc::from("live"), now)
}

#[test]
fn an_upstream_that_was_gone_for_a_while_is_served_again() {
    let (mut schedule, now) = schedule();
    let mail = message(1, "other.ns", "u@x.example", &["x@live.example"]);
    schedule.admit(queued(mail), now);
    schedule.upstreams_changed(&Upstreams::new(), now);
    let ready = [(Arc::from("live"), view(UpstreamState::Ready, 1))].into();
    schedule.upstreams_changed(&ready, now);
    assert!(next(&mut schedule, now).is_some());
}

#[test]
fn mail_that_cannot_be_sorted_now_rests_alone() {
    let (mut schedule, now) = schedule();
    for i in 1..=2 {
        let mail = message(i, "other.ns", "u@x.example", &["x@dead.example"]);
        schedule.admit(queued(mail), now);
    }
    let router = Router::new(document(&["live"], "", ""));
    schedule.document_changed(Arc::new(router), Arc::default(), now);
    let first = schedule.next_to_sort().unwrap();
    let minute = Duration::from_mins(1);
    schedule.later(first, now.mono.plus(minute));
    assert_ne!(schedule.next_to_sort().unwrap(), first);
    assert_eq!(schedule.next_to_sort(), None);
    schedule.advance(Now {
        mono: now.mono.plus(minute),
        ..now
    });
    assert_eq!(schedule.next_to_sort(), Some(first));
}

#[test]
fn a_hundred_thousand_waiting_for_a_dead_upstream_cost_the_others_nothing() {
    let (mut schedule, now) = schedule();
    let live = |i| {
        queued(message(
            1_000_000 + i,
            "other.ns",
            "u@x.example",
            &["x@live.example"],
        ))
    };
    let time = |schedule: &mut Schedule, from: u64| {
        let start = Instant::now();
        for i in 0..10_000 {
            schedule.admit(live(from + i), now);
            let taken = next(schedule, now).unwrap();
            assert!(taken.cached.is_some(), "just accepted mail is in memory");
            schedule.freed("live");
            schedule.settled(&taken.cached.unwrap().message);
        }
        start.elapsed()
    };
    let empty = time(&mut schedule, 0);
    for i in 0..100_000 {
        schedule.admit(
            queued(message(i, "noisy.ns", "u@x.example", &["x@dead.example"])),
            now,
        );
    }
    let full = time(&mut schedule, 10_000);
    let figures = schedule.figures();
    assert_eq!(
        (figures.messages, figures.by_state),
        (100_000, [0, 0, 100_000, 0, 0])
    );
    assert!(
        full < empty * 4 + Duration::from_millis(50),
        "{full:?} instead of {empty:?}"
    );
}

#[test]
fn one_noisy_sender_does_not_delay_another() {
    let (mut schedule, now) = schedule();
    for i in 0..5000 {
        schedule.admit(
            queued(message(i, "noisy.ns", "u@x.example", &["x@live.example"])),
            now,
        );
    }
    schedule.admit(
        queued(message(
            9999,
            "quiet.ns",
            "u@x.example",
            &["x@live.example"],
        )),
        now,
    );
    let turn = (0..10).position(|_| next(&mut schedule, now).unwrap().id == QueueId::new(1, 9999));
    assert!(turn.is_some_and(|turn| turn <= 1), "{turn:?}");
}

#[test]
fn a_sender_over_its_rate_waits_while_others_go_on() {
    let senders = r#"{"format":1,"number":1,"generation":1,"senders":[{"name":"slow","namespace":"ns","uid":"u","from":["*"],"limits":{"messagesPerMinute":60}},{"name":"bulk","namespace":"ns","uid":"v","from":["*"],"class":"Bulk"}]}"#;
    let senders = Arc::new(posthouse_config::Senders::parse(senders).unwrap());
    let (mut schedule, now) = schedule();
    let router = Arc::clone(schedule.router());
    schedule.document_changed(router, senders, now);
    for i in 0..100 {
        schedule.admit(
            queued(message(i, "slow.ns", "u@x.example", &["x@live.example"])),
            now,
        );
        schedule.admit(
            queued(message(
                1000 + i,
                "bulk.ns",
                "u@x.example",
                &["x@live.example"],
            )),
            now,
        );
    }
    let mut slow = 0;
    while let Some(taken) = next(&mut schedule, now) {
        slow += u64::from(taken.id.sequence() < 1000);
    }
    assert_eq!(slow, 6, "a burst of a tenth of a minute's mail");
    let wake = schedule.next_wake().unwrap().since(now.mono);
    assert!(
        wake > Duration::ZERO && wake <= Duration::from_secs(2),
        "{wake:?}"
    );
    let later = Now {
        mono: now.mono.plus(Duration::from_secs(10)),
        ..now
    };
    schedule.advance(later);
    while next(&mut schedule, later).is_some() {
        slow += 1;
    }
    assert_eq!(
        slow, 12,
        "time that passed unused is not saved up beyond the burst"
    );
}
