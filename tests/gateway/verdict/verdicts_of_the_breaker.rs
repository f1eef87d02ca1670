//! The breaker: a provider that refuses everything means us, and what it would have failed is held.

use posthouse_config::{
    document::ReportTo,
    reason::{Reason, UpstreamState},
};
use posthouse_gateway::mail::QueueId;
use posthouse_tests::{Provider, Script, Site, provider::Step};

use super::relaying::*;

/// Refusals in a row that open it.
const REFUSALS: u64 = 20;

const MALFORMED: &str = "554 5.6.0 Malformed";

/// A relay with senders `s0`, `s1` … and no reports, which would be relayed between, beside anonymous clients or not.
fn relaying(senders: usize, anonymous: bool, script: Script) -> (Relaying, Provider) {
    let provider = Provider::start(script);
    let mut site = Site::relaying_to(provider.port());
    site.document.reports.to = ReportTo::Nobody;
    for i in 0..senders {
        site.sender(&format!("s{i}"), "shop.example");
    }
    if !anonymous {
        site.document.anonymous = None;
    }
    let relaying = Relaying::start(site);
    relaying.settle();
    (relaying, provider)
}

/// Accepts message number `i`, of one of so many senders in turn, each with an address of its own.
fn send(relaying: &Relaying, i: u64, senders: u64) -> QueueId {
    let id = relaying.accept(&Mail {
        sender: Some(&format!("s{}", i % senders)),
        from: &format!("u{i}@shop.example"),
        ..Mail::default()
    });
    relaying.settle();
    id
}

#[test]
fn twenty_refusals_in_a_row_from_three_senders_hold_what_the_last_would_have_failed() {
    let (relaying, provider) = relaying(3, true, says(Step::Final, MALFORMED));
    for i in 1..REFUSALS {
        let id = send(&relaying, i, 3);
        assert_eq!(relaying.stored(id), None, "row 16");
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    }
    let last = send(&relaying, REFUSALS, 3);
    assert_eq!(relaying.state("provider"), UpstreamState::Refused);
    assert_eq!(relaying.reply("provider"), format!("Final: {MALFORMED}"));
    assert_eq!(relaying.shown(last), ("held", Some(Reason::Refused)));
    assert_eq!(relaying.progress(last).refusals, 0);
    assert_eq!(relaying.outcomes("failed"), REFUSALS - 1);
    let next = send(&relaying, 0, 3);
    assert_eq!(relaying.shown(next), ("held", Some(Reason::Refused)));
    assert_eq!(transactions(&provider) as u64, REFUSALS);

    // A probe goes through; the first message refused is enough to go back, and is not failed either.
    relaying.advance(minutes(15));
    assert_eq!(relaying.state("provider"), UpstreamState::Refused);
    assert_eq!(transactions(&provider) as u64, REFUSALS + 1);
    assert_eq!(relaying.outcomes("failed"), REFUSALS - 1);
    provider.follow(Script::take());
    relaying.advance(minutes(15));
    assert_eq!(
        (relaying.outcomes("relayed"), relaying.figures().messages),
        (2, 0)
    );
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
}

#[test]
fn refusals_of_two_senders_alone_leave_the_upstream_ready() {
    let (relaying, _provider) = relaying(2, true, says(Step::Final, MALFORMED));
    for i in 0..REFUSALS + 5 {
        send(&relaying, i, 2);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    assert_eq!(relaying.outcomes("failed"), REFUSALS + 5);
}

#[test]
fn where_there_is_one_sender_its_refusals_are_enough() {
    let (relaying, _provider) = relaying(1, false, says(Step::Final, MALFORMED));
    for i in 0..REFUSALS {
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
        send(&relaying, i, 1);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Refused);
    assert_eq!(relaying.outcomes("failed"), REFUSALS - 1);
}

#[test]
fn a_relayed_message_between_ends_the_row() {
    let (relaying, provider) = relaying(3, true, says(Step::Final, MALFORMED));
    for i in 1..REFUSALS {
        send(&relaying, i, 3);
    }
    provider.follow(Script::take());
    send(&relaying, 0, 3);
    provider.follow(says(Step::Final, MALFORMED));
    for i in 1..REFUSALS {
        send(&relaying, i, 3);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    assert_eq!(relaying.outcomes("failed"), 2 * (REFUSALS - 1));
}

#[test]
fn refused_recipients_leave_the_upstream_ready() {
    let (relaying, _provider) = relaying(3, true, says(Step::Rcpt, "550 5.1.1 Who?"));
    for i in 0..REFUSALS + 5 {
        send(&relaying, i, 3);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    assert_eq!(relaying.outcomes("failed"), REFUSALS + 5);
}

/// Row 6 counts too: when every reverse-path is refused it is not about them.
#[test]
fn twenty_refused_reverse_paths_of_three_senders_make_the_upstream_refused() {
    let (relaying, _provider) = relaying(3, true, says(Step::Mail, "550 5.7.1 Suspended"));
    for i in 0..REFUSALS {
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
        send(&relaying, i, 3);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Refused);
    assert_eq!(relaying.figures().by_state, [0, 0, 0, 0, REFUSALS]);
    relaying.assert_nothing_failed();
}
