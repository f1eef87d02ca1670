//! What of a gateway's status matters at once, and what is a figure that can wait.
//!
//! Everything matters that changes a condition or moves a drain on; counts, sizes, times and the wording of replies do
//! not, since they change with every message.

use posthouse_config::Status;

/// Whether something differs that somebody should know at once.
pub(super) fn differ(before: &Status, now: &Status) -> bool {
    essence(before) != essence(now)
}

/// Whether anything differs but the number of the answer.
pub(super) fn figures_differ(before: &Status, now: &Status) -> bool {
    let unnumbered = |status: &Status| Status {
        sequence: 0,
        ..status.clone()
    };
    unnumbered(before) != unnumbered(now)
}

/// A status without its figures.
fn essence(status: &Status) -> Status {
    let mut essence = status.clone();
    essence.sequence = 0;
    // A drain ends when both are zero; otherwise they come and go.
    let count = |n: u64| if status.draining { n.min(1) } else { 0 };
    essence.sessions = count(status.sessions);
    let queue = &mut essence.queue;
    queue.messages = count(queue.messages);
    queue.held = queue.held.min(1);
    (queue.in_flight, queue.unconfirmed, queue.bytes) = (0, 0, 0);
    queue.oldest_message_time = None;
    for held in &mut queue.held_reasons {
        held.messages = 0;
        held.reply = None;
    }
    let spool = &mut essence.spool;
    (spool.bytes, spool.free_bytes) = (0, 0);
    spool.damaged_records = spool.damaged_records.min(1);
    for upstream in &mut essence.upstreams {
        upstream.since.clear();
        upstream.reply = None;
        upstream.last_relayed_time = None;
    }
    essence.failures.clear();
    essence.waiting.clear();
    essence
}

#[cfg(test)]
mod tests {
    use posthouse_config::{
        reason::UpstreamState,
        status::{FailureStatus, UpstreamStatus},
    };

    use super::*;

    fn status(change: impl FnOnce(&mut Status)) -> Status {
        let mut status = Status {
            upstreams: vec![UpstreamStatus {
                name: "ses".into(),
                state: UpstreamState::Ready,
                since: "2030-01-01T00:00:00Z".into(),
                reply: None,
                remedy: None,
                last_relayed_time: None,
            }],
            ..Status::default()
        };
        change(&mut status);
        status
    }

    #[test]
    fn conditions_and_drains_matter_and_figures_do_not() {
        let before = status(|_| {});
        let figures: [fn(&mut Status); 6] = [
            |s| s.sessions = 3,
            |s| s.queue.messages = 5,
            |s| s.queue.oldest_message_time = Some("2030-01-01T00:00:00Z".into()),
            |s| s.spool.free_bytes = 1,
            |s| s.upstreams[0].reply = Some("250 2.0.0 queued as 1".into()),
            |s| s.failures.push(FailureStatus::default()),
        ];
        for (i, change) in figures.into_iter().enumerate() {
            let now = status(change);
            assert!(!differ(&before, &now), "figure {i}");
            assert!(figures_differ(&before, &now), "figure {i}");
        }
        let matters: [fn(&mut Status); 8] = [
            |s| s.draining = true,
            |s| s.document.number = 2,
            |s| s.senders.number = 2,
            |s| s.queue.held = 1,
            |s| s.queue.clock_stepped = true,
            |s| s.spool.damaged_records = 1,
            |s| s.upstreams[0].state = UpstreamState::AuthenticationFailed,
            |s| s.unknown_key_ids.push("k".into()),
        ];
        for (i, change) in matters.into_iter().enumerate() {
            assert!(differ(&before, &status(change)), "matter {i}");
        }
        assert!(!figures_differ(&before, &status(|s| s.sequence = 9)));
    }

    #[test]
    fn the_end_of_a_drain_matters() {
        let draining = |sessions, messages| {
            status(|s| {
                s.draining = true;
                s.sessions = sessions;
                s.queue.messages = messages;
            })
        };
        assert!(!differ(&draining(3, 9), &draining(1, 8)));
        assert!(differ(&draining(1, 8), &draining(0, 8)));
        assert!(differ(&draining(0, 1), &draining(0, 0)));
    }
}
