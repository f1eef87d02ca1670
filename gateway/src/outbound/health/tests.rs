//! One test per arrow, and for each rule by which mail itself says something about an upstream.

use super::*;
use crate::{
    clock::{Clock, ManualClock},
    outbound::tests::fixture::message,
};

struct Upstream {
    clock: ManualClock,
    health: Health,
}

fn said() -> Evidence {
    evidence(Phase::Mail, &"450 x")
}

fn fault(state: UpstreamState) -> Fault {
    Fault {
        state,
        wait: None,
        evidence: said(),
        remedy: None,
    }
}

fn blame(upstream: Blame) -> Effects {
    Effects {
        upstream,
        reverse_path: PathEffect::Nothing,
    }
}

impl Upstream {
    fn untried() -> Self {
        let clock = ManualClock::new();
        let now = Now {
            monotonic: clock.now(),
            wall: clock.wall(),
        };
        Self {
            health: Health::new(10, now),
            clock,
        }
    }

    fn ready() -> Self {
        let mut upstream = Self::untried();
        assert_eq!(upstream.probed(), Change::State);
        upstream
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.clock.now(),
            wall: self.clock.wall(),
        }
    }

    fn probed(&mut self) -> Change {
        self.health.probed(self.now())
    }

    fn fault(&mut self, state: UpstreamState, origin: Origin) -> Change {
        let now = self.now();
        self.health.fault(&fault(state), origin, now)
    }

    fn apply(&mut self, number: u64, upstream: Blame) -> Change {
        let now = self.now();
        self.health
            .apply(&message(number, 1), &blame(upstream), 0, now)
    }

    fn state(&self) -> UpstreamState {
        self.health.view().state
    }

    /// Waits for the next probe, and says how long that took.
    fn wait(&self) -> Duration {
        let at = self.health.view().retry_at.unwrap();
        let wait = at.since(self.clock.now());
        self.clock.advance(wait);
        wait
    }
}

#[test]
fn an_untried_upstream_is_probed_at_once_and_gets_no_mail_before() {
    let mut upstream = Upstream::untried();
    assert_eq!(upstream.wait(), Duration::ZERO);
    assert_eq!(upstream.health.view().capacity, 0);
    upstream.probed();
    assert_eq!(upstream.state(), UpstreamState::Ready);
    assert_eq!(upstream.health.view().capacity, 1);
    assert_eq!(upstream.health.view().retry_at, None);
    assert_eq!(upstream.probed(), Change::Nothing);
}

#[test]
fn what_comes_back_by_itself_is_probed_after_1_5_15_and_every_15_minutes() {
    for state in [
        UpstreamState::Unreachable,
        UpstreamState::Throttled,
        UpstreamState::QuotaExhausted,
    ] {
        let mut upstream = Upstream::ready();
        upstream.fault(state, Origin::Mail);
        for expected in [1, 5, 15, 15, 15] {
            assert_eq!(upstream.wait(), Duration::from_mins(expected), "{state}");
            upstream.fault(state, Origin::Probe);
        }
    }
}

#[test]
fn what_a_person_must_mend_is_probed_every_15_minutes() {
    for state in [
        UpstreamState::TlsFailed,
        UpstreamState::AuthenticationFailed,
        UpstreamState::CredentialMissing,
        UpstreamState::Refused,
    ] {
        let mut upstream = Upstream::ready();
        upstream.fault(state, Origin::Probe);
        for _ in 0..3 {
            assert_eq!(upstream.wait(), Duration::from_mins(15));
            upstream.fault(state, Origin::Probe);
        }
        assert_eq!(upstream.health.view().capacity, 0);
        assert!(upstream.health.view().remedy.is_some());
    }
}

#[test]
fn a_time_of_its_own_comes_before_the_timetable() {
    let mut upstream = Upstream::ready();
    let throttled = Fault {
        wait: Some(Duration::from_mins(5)),
        ..fault(UpstreamState::Throttled)
    };
    for expected in [5, 5, 15, 15] {
        let now = upstream.now();
        upstream.health.fault(&throttled, Origin::Probe, now);
        assert_eq!(upstream.wait(), Duration::from_mins(expected));
    }
}

#[test]
fn attempts_that_fail_together_count_once() {
    let mut upstream = Upstream::ready();
    assert_eq!(
        upstream.fault(UpstreamState::Unreachable, Origin::Mail),
        Change::State
    );
    for _ in 0..20 {
        assert_eq!(
            upstream.fault(UpstreamState::Unreachable, Origin::Mail),
            Change::Nothing
        );
    }
    assert_eq!(upstream.wait(), Duration::from_mins(1));
}

#[test]
fn a_state_keeps_its_beginning_until_it_changes() {
    let mut upstream = Upstream::ready();
    upstream.fault(UpstreamState::Unreachable, Origin::Mail);
    let since = upstream.health.view().since;
    upstream.wait();
    upstream.fault(UpstreamState::Unreachable, Origin::Probe);
    assert_eq!(upstream.health.view().since, since);
    assert!(upstream.health.view().last_failure > Some(since));
    upstream.wait();
    upstream.fault(UpstreamState::TlsFailed, Origin::Probe);
    assert!(upstream.health.view().since > since);
}

#[test]
fn three_troubled_messages_in_a_row_make_it_unreachable() {
    let mut upstream = Upstream::ready();
    for number in [1, 1, 1, 2, 2] {
        upstream.apply(number, Blame::Trouble(said()));
        assert_eq!(upstream.state(), UpstreamState::Ready);
    }
    upstream.apply(3, Blame::Trouble(said()));
    assert_eq!(upstream.state(), UpstreamState::Unreachable);
}

#[test]
fn a_2yz_between_ends_every_row() {
    for blame in [Blame::Trouble(said()), Blame::Session(said())] {
        let mut upstream = Upstream::ready();
        for number in 0..30 {
            let blame = if number % 3 == 2 {
                Blame::Praise
            } else {
                blame.clone()
            };
            upstream.apply(number, blame);
            assert_eq!(upstream.state(), UpstreamState::Ready);
        }
    }
}

#[test]
fn three_messages_that_blame_the_session_make_it_refused() {
    let mut upstream = Upstream::ready();
    for number in 1..3 {
        upstream.apply(number, Blame::Session(said()));
        assert_eq!(upstream.state(), UpstreamState::Ready);
    }
    upstream.apply(3, Blame::Session(said()));
    assert_eq!(upstream.state(), UpstreamState::Refused);
}

fn sent_by(number: u64, name: &str) -> Message {
    Message {
        sender: SenderIdentity::Sender {
            namespace: "n".into(),
            name: name.into(),
        },
        ..message(number, 1)
    }
}

#[test]
fn twenty_refusals_from_three_senders_open_the_breaker() {
    let mut upstream = Upstream::ready();
    let refusal = blame(Blame::Refusal(said()));
    let now = upstream.now();
    for number in 0..40 {
        let message = sent_by(number, if number % 2 == 0 { "a" } else { "b" });
        assert!(!upstream.health.history(&message, 5).breaker_is_due);
        upstream.health.apply(&message, &refusal, 5, now);
    }
    assert_eq!(
        upstream.state(),
        UpstreamState::Ready,
        "two senders of five"
    );
    let third = sent_by(41, "c");
    assert!(upstream.health.history(&third, 5).breaker_is_due);
    upstream.health.apply(&third, &refusal, 5, now);
    assert_eq!(upstream.state(), UpstreamState::Refused);
}

#[test]
fn fewer_than_three_senders_are_all_of_them() {
    for senders in [0, 1] {
        let mut upstream = Upstream::ready();
        let now = upstream.now();
        let refusal = blame(Blame::Refusal(said()));
        for number in 0..20 {
            assert_eq!(upstream.state(), UpstreamState::Ready);
            let message = sent_by(number, "a");
            assert_eq!(
                upstream.health.history(&message, senders).breaker_is_due,
                number == 19
            );
            upstream.health.apply(&message, &refusal, senders, now);
        }
        assert_eq!(upstream.state(), UpstreamState::Refused);
    }
}

#[test]
fn capacity_starts_at_one_and_doubles_up_to_the_connections() {
    let mut upstream = Upstream::ready();
    let mut seen = vec![1];
    for number in 0..50 {
        if upstream.apply(number, Blame::Praise) == Change::Capacity {
            seen.push(upstream.health.view().capacity);
        }
    }
    assert_eq!(seen, [1, 2, 4, 8, 10]);
    upstream.fault(UpstreamState::Unreachable, Origin::Mail);
    upstream.probed();
    assert_eq!(upstream.health.view().capacity, 1);
}

#[test]
fn mail_that_led_out_of_ready_leads_out_again_at_its_first_trouble() {
    let mut upstream = Upstream::ready();
    for number in 1..=3 {
        upstream.apply(number, Blame::Trouble(said()));
    }
    for (number, expected) in [(4, 1), (5, 5), (6, 15)] {
        assert_eq!(upstream.wait(), Duration::from_mins(expected));
        upstream.probed();
        assert_eq!(upstream.state(), UpstreamState::Ready);
        upstream.apply(number, Blame::Trouble(said()));
        assert_eq!(upstream.state(), UpstreamState::Unreachable);
    }
    upstream.wait();
    upstream.probed();
    upstream.apply(7, Blame::Praise);
    upstream.apply(8, Blame::Trouble(said()));
    assert_eq!(upstream.state(), UpstreamState::Ready, "trust is back");
}

#[test]
fn a_2yz_of_mail_under_way_makes_it_ready() {
    let mut upstream = Upstream::ready();
    upstream.fault(UpstreamState::Unreachable, Origin::Mail);
    assert_eq!(upstream.apply(1, Blame::Praise), Change::State);
    assert_eq!(upstream.state(), UpstreamState::Ready);
    assert!(upstream.health.view().last_relayed.is_some());
}

#[test]
fn somebody_can_ask_for_a_probe_now() {
    let mut upstream = Upstream::ready();
    upstream.fault(UpstreamState::AuthenticationFailed, Origin::Mail);
    let now = upstream.now();
    upstream.health.hurry(now);
    assert_eq!(upstream.wait(), Duration::ZERO);
}

#[test]
fn refusals_of_a_reverse_path_are_remembered_until_a_2yz() {
    let mut upstream = Upstream::ready();
    let now = upstream.now();
    let refused = Effects {
        upstream: Blame::Nothing,
        reverse_path: PathEffect::Refused,
    };
    for number in [1, 1, 2] {
        upstream.health.apply(&message(number, 1), &refused, 0, now);
    }
    let others = |upstream: &Upstream| upstream.health.history(&message(3, 1), 0).others_refused;
    assert_eq!(others(&upstream), 2);
    assert_eq!(upstream.health.history(&message(2, 1), 0).others_refused, 1);
    upstream.apply(4, Blame::Praise);
    assert_eq!(others(&upstream), 0);
}

#[test]
fn other_content_relayed_since_a_loss_is_evidence() {
    let mut upstream = Upstream::ready();
    let since_lost = |upstream: &Upstream| {
        upstream
            .health
            .history(&message(1, 1), 0)
            .relayed_since_lost
    };
    upstream.apply(2, Blame::Praise);
    upstream.clock.advance(Duration::from_secs(1));
    let now = upstream.now();
    upstream.health.lost(&message(1, 1), now);
    assert!(!since_lost(&upstream));
    upstream.clock.advance(Duration::from_secs(1));
    upstream.apply(2, Blame::Praise);
    assert!(since_lost(&upstream));
}

#[test]
fn a_smaller_share_lowers_the_capacity_at_once_and_a_larger_one_is_grown_into() {
    let mut upstream = Upstream::ready();
    let before = upstream.health.view.capacity;
    assert_eq!(upstream.health.limit(before), Change::Nothing);
    assert_eq!(
        upstream.health.limit(1),
        if before > 1 {
            Change::Capacity
        } else {
            Change::Nothing
        }
    );
    assert_eq!(upstream.health.view.capacity, 1);
    assert_eq!(upstream.health.limit(50), Change::Nothing);
    assert_eq!(upstream.health.view.capacity, 1);
}
