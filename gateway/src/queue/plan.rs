//! What an attempt may do, decided when the message has been read: which recipients are offered, or why none is.
//!
//! Pure. The lane was computed when the message entered the queue; the document may have changed since, so the way is
//! computed again here, and what no longer fits goes back for its new lane.

use std::sync::Arc;

use super::{
    entry::{Bond, Due},
    hold::HoldSet,
};
use crate::{
    mail::{Message, Progress, Timestamp},
    route::{Router, Way},
};

/// What to do with a message whose turn has come at an upstream.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// Offer these recipients.
    Offer {
        /// Positions, ascending.
        recipients: Vec<u32>,
        /// Their way.
        way: Arc<Way>,
        /// Whether the upstream is of the first eligible priority.
        first_priority: bool,
    },
    /// Its reverse-path is held there.
    HeldBack,
    /// Nothing of it belongs to this lane any more: it is to enter the queue again.
    Elsewhere,
    /// What belongs here may not be offered now: it is to enter the queue again, after a breath.
    NotNow,
}

/// Plans an attempt of a message at an upstream, for a lane with a way. `is_probe` asks a hold whether it can end.
pub(crate) fn plan(
    message: &Message,
    upstream: &str,
    lane: &Arc<Way>,
    router: &Router,
    holds: &HoldSet,
    is_probe: bool,
    now: Timestamp,
) -> Plan {
    let mut recipients = Vec::new();
    let mut way = None;
    for (position, recipient) in (0..).zip(&message.recipients) {
        let progress = &recipient.progress;
        if progress.state.is_final() {
            continue;
        }
        let own = router.way(message, recipient);
        // Lanes of an earlier document compare by content.
        if !Arc::ptr_eq(&own, lane) && own != *lane {
            continue;
        }
        if Due::of(progress).is_reached(now) && allows(progress, upstream, &own) {
            recipients.push(position);
        }
        way = Some(own);
    }
    match way.and_then(|way| Some((way.position(upstream)?, way))) {
        None => Plan::Elsewhere,
        Some(_) if recipients.is_empty() => Plan::NotNow,
        Some(_) if !is_probe && holds.contains(upstream, &message.reverse_path) => Plan::HeldBack,
        Some((position, way)) => Plan::Offer {
            recipients,
            first_priority: way.is_first_priority(position),
            way,
        },
    }
}

/// Whether a recipient may be offered there: what is unconfirmed goes to nobody else for a while, unless the document
/// no longer lets it go where it was.
fn allows(progress: &Progress, upstream: &str, way: &Way) -> bool {
    let last = progress.upstream.as_deref();
    Bond::of(progress) != Bond::Only
        || last == Some(upstream)
        || last.is_none_or(|last| way.position(last).is_none())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        clock::{Clock, ManualClock},
        mail::State,
        queue::{
            entry::Now,
            hold::Holds,
            testing::{START, document, message},
        },
    };

    fn offered(message: &Message, upstream: &str, now: Timestamp) -> Option<Vec<u32>> {
        let router = Router::new(document(&["a", "b"], "", ""));
        let lane = router.way(message, &message.recipients[0]);
        match plan(
            message,
            upstream,
            &lane,
            &router,
            &HoldSet::default(),
            false,
            now,
        ) {
            Plan::Offer { recipients, .. } => Some(recipients),
            Plan::HeldBack | Plan::Elsewhere | Plan::NotNow => None,
        }
    }

    #[test]
    fn only_who_is_due_is_offered() {
        let mut message = message(
            1,
            "a.b",
            "u@x.example",
            &["a@c.example", "b@c.example", "c@c.example"],
        );
        message.recipients[0].progress.state = State::Relayed;
        message.recipients[1].progress.state = State::Deferred;
        message.recipients[1].progress.next_attempt = Some(START.plus(Duration::from_mins(1)));
        assert_eq!(offered(&message, "a", START), Some(vec![2]));
        assert_eq!(
            offered(&message, "a", START.plus(Duration::from_mins(1))),
            Some(vec![1, 2])
        );
    }

    #[test]
    fn what_one_upstream_did_not_confirm_no_other_is_offered() {
        let mut message = message(1, "a.b", "u@x.example", &["a@c.example"]);
        message.recipients[0].progress = Progress {
            state: State::Unconfirmed,
            upstream: Some("a".into()),
            unconfirmed: 1,
            ..Progress::default()
        };
        assert_eq!(offered(&message, "b", START), None);
        assert_eq!(offered(&message, "a", START), Some(vec![0]));
        message.recipients[0].progress.unconfirmed = 2;
        assert_eq!(offered(&message, "b", START), Some(vec![0]));
        message.recipients[0].progress.unconfirmed = 1;
        message.recipients[0].progress.upstream = Some("removed".into());
        assert_eq!(
            offered(&message, "b", START),
            Some(vec![0]),
            "the document has it no more"
        );
    }

    #[test]
    fn a_document_that_routes_it_elsewhere_sends_it_back() {
        let message = message(1, "a.b", "u@x.example", &["a@c.example"]);
        let lane = Router::new(document(&["a", "b"], "", "")).way(&message, &message.recipients[0]);
        let at = |router: &Router| {
            plan(
                &message,
                "a",
                &lane,
                router,
                &HoldSet::default(),
                false,
                START,
            )
        };
        assert_eq!(at(&Router::new(document(&["b"], "", ""))), Plan::Elsewhere);
        assert!(matches!(
            at(&Router::new(document(&["a", "b"], "", ""))),
            Plan::Offer { .. }
        ));
    }

    #[test]
    fn a_held_reverse_path_lets_only_its_probe_through() {
        let clock = ManualClock::new();
        let message = message(1, "a.b", "u@x.example", &["a@c.example"]);
        let router = Router::new(document(&["a", "b"], "", ""));
        let lane = router.way(&message, &message.recipients[0]);
        let mut holds = Holds::default();
        holds.refused(&"a".into(), &message.reverse_path, Now::read(&clock));
        let at = |upstream, probe| {
            plan(
                &message,
                upstream,
                &lane,
                &router,
                &holds.set(),
                probe,
                clock.wall(),
            )
        };
        assert_eq!(at("a", false), Plan::HeldBack);
        assert!(matches!(at("a", true), Plan::Offer { .. }));
        assert!(matches!(at("b", false), Plan::Offer { .. }));
    }
}
