//! What is worth a write: states at once, figures once a minute, times never.

use super::*;

fn worth(old: &World, new: &World, seconds: i64) -> bool {
    let written = ago(seconds);
    worth_writing(Some(&old.status()), &new.status(), written, now())
}

#[test]
fn states_at_once() {
    let old = World::healthy();
    assert!(worth_writing(None, &old.status(), now(), now()));
    let changes: [Change; 6] = [
        |w| w.upstream(0, "isp", UpstreamState::Throttled),
        |w| w.says(1).document.generation = 2,
        |w| w.pod(1).status.as_mut().unwrap().conditions = None,
        |w| w.silent(1),
        |w| w.relay().metadata.generation = Some(4),
        |w| {
            w.plan.drain = Some(DrainStatus {
                gateway: "outbound-1".to_owned(),
                state: DrainState::Telling,
                since: None,
                messages: None,
            });
        },
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut new = World::healthy();
        change(&mut new);
        assert!(worth(&old, &new, 1), "change {i}");
    }
}

#[test]
fn figures_once_a_minute() {
    let old = World::healthy();
    let mut held = World::healthy();
    hold(&mut held, "Poison");
    let changes: [(&World, Change); 4] = [
        (&old, |w| w.says(0).queue.messages = 1_000_000),
        (&old, |w| {
            w.applied = ApplyOutcome::Applied {
                document_number: 7,
                senders_number: 5,
                generation: 3,
                senders: 13,
            }
        }),
        (&old, |w| {
            w.says(0).upstreams[0].reply = Some("250 id 17".to_owned());
        }),
        (&held, |w| {
            hold(w, "Poison");
            w.says(0).queue.held_reasons[0].messages = 3;
        }),
    ];
    for (i, (old, change)) in changes.iter().enumerate() {
        let mut new = World::healthy();
        change(&mut new);
        assert!(!worth(old, &new, 59), "change {i}");
        assert!(worth(old, &new, 60), "change {i}");
    }
}

#[test]
fn times_never() {
    let old = World::healthy();
    let mut new = World::healthy();
    new.facts.now += SignedDuration::from_hours(1);
    new.all_say(|status| {
        status.queue.oldest_message_time = Some(ago(-3000).to_string());
        for upstream in &mut status.upstreams {
            upstream.since = ago(1).to_string();
            upstream.last_relayed_time = Some(now().to_string());
        }
    });
    assert!(!worth(&old, &new, 86_400));
    assert!(!worth(&old, &World::healthy(), 86_400));
}
