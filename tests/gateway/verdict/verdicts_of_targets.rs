//! Rows 22 and 23: what a target lacks, and what a fallback says, fail mail only where no other target could do better.

use std::time::Duration;

use posthouse_config::reason::{Reason, UpstreamState};
use posthouse_gateway::mail::{QueueId, State};
use posthouse_tests::{
    Provider, Script, Site, Turn,
    provider::{Absent, Step},
};

use super::relaying::*;

/// Takes messages up to that many octets.
fn up_to(octets: usize) -> Script {
    Script::take().extensions(&["PIPELINING", &format!("SIZE {octets}"), "SMTPUTF8"])
}

/// Does not offer SMTPUTF8.
fn ascii() -> Script {
    Script::take().extensions(&["PIPELINING"])
}

/// Accepts a message of 20 KB: larger than any report.
fn send_large(relaying: &Relaying) -> QueueId {
    let id = relaying.accept(&Mail {
        body: &b"Hello.\r\n".repeat(2500),
        ..Mail::default()
    });
    relaying.settle();
    id
}

/// Accepts a message with UTF-8 in its header section.
fn send_utf8(relaying: &Relaying) -> QueueId {
    let id = relaying.accept(&Mail {
        subject: "Grüße",
        header_utf8: true,
        ..Mail::default()
    });
    relaying.settle();
    id
}

/// Row 22.
#[test]
fn a_message_larger_than_the_only_target_takes_fails_without_being_offered() {
    let by_document = |site: &mut Site| site.transport("provider").limits.message_bytes = 10_000;
    let by_server = |_: &mut Site| {};
    for (script, limit) in [
        (up_to(10_000), &by_server as &dyn Fn(&mut Site)),
        (Script::take(), &by_document),
    ] {
        let provider = Provider::start(script);
        let mut site = Site::relaying_to(provider.port());
        limit(&mut site);
        let relaying = Relaying::start(site);
        let id = send_large(&relaying);
        assert_eq!(relaying.stored(id), None);
        relaying.assert_reported(&provider, &[(TO, "5.3.4")]);
        assert_eq!(transactions(&provider), 0);
        relaying.send(FROM, &[TO]);
        assert_eq!(transactions(&provider), 1, "others are offered");
    }
}

/// Row 22.
#[test]
fn a_message_that_needs_smtputf8_fails_where_nobody_offers_it() {
    let (relaying, provider) = Relaying::to(ascii());
    let id = send_utf8(&relaying);
    assert_eq!(relaying.stored(id), None);
    assert_eq!(
        (relaying.outcomes("failed"), transactions(&provider)),
        (1, 0)
    );
    assert_eq!(relaying.reports(), 1);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
}

/// Row 22.
#[test]
fn what_the_first_target_lacks_another_has() {
    let (relaying, first, second) = Relaying::with_fallback(up_to(10_000), up_to(50_000));
    send_large(&relaying);
    relaying.advance(Duration::from_secs(2));
    relaying.assert_relayed(1);
    assert_eq!((transactions(&first), transactions(&second)), (0, 1));

    let (relaying, first, second) = Relaying::with_fallback(ascii(), Script::take());
    send_utf8(&relaying);
    relaying.advance(Duration::from_secs(2));
    relaying.assert_relayed(1);
    assert_eq!((transactions(&first), transactions(&second)), (0, 1));
    assert!(second.mails()[0].parameters.contains("SMTPUTF8"));
}

/// Row 22: what is not known is not lacking.
#[test]
fn a_message_waits_for_a_target_that_may_have_what_the_others_lack() {
    let first = Provider::start(up_to(10_000));
    let absent = Absent::reserve();
    let mut site = Site::new();
    site.upstream("first", first.port());
    fallback(&mut site, absent.port());
    let relaying = Relaying::start(site);
    let id = send_large(&relaying);
    relaying.advance(minutes(60));
    assert_eq!(
        relaying.states(id),
        [(State::Deferred, Some(Reason::TooLarge))]
    );
    relaying.assert_nothing_failed();
    let second = absent.answer(up_to(50_000));
    relaying.advance(minutes(15));
    relaying.assert_relayed(1);
    assert_eq!((transactions(&first), transactions(&second)), (0, 1));
}

/// Row 22: it is known of a target that is away, too.
#[test]
fn a_message_fails_once_every_target_is_known_to_lack_what_it_needs() {
    let first = Provider::start(up_to(10_000));
    let absent = Absent::reserve();
    let mut site = Site::new();
    site.upstream("first", first.port());
    fallback(&mut site, absent.port());
    let relaying = Relaying::start(site);
    let id = send_large(&relaying);
    relaying.assert_nothing_failed();
    let _second = absent.answer(up_to(5000));
    relaying.advance(minutes(30));
    assert_eq!(relaying.stored(id), None);
    relaying.assert_reported(&first, &[(TO, "5.3.4")]);
    assert_eq!(transactions(&first), 0);
}

/// Rows 22 and 23: nothing is failed by what a fallback lacks.
#[test]
fn what_only_a_fallback_was_asked_for_waits_for_the_first_target() {
    let absent = Absent::reserve();
    let second = Provider::start(up_to(10_000));
    let mut site = Site::new();
    site.upstream("first", absent.port());
    fallback(&mut site, second.port());
    let relaying = Relaying::start(site);
    let id = send_large(&relaying);
    relaying.advance(minutes(60));
    assert_eq!(
        relaying.states(id),
        [(State::Deferred, Some(Reason::TooLarge))]
    );
    relaying.assert_nothing_failed();
    let first = absent.answer(up_to(50_000));
    relaying.advance(minutes(15));
    relaying.assert_relayed(1);
    assert_eq!((transactions(&first), transactions(&second)), (1, 0));
}

/// Row 23.
#[test]
fn a_refusal_by_a_fallback_never_fails_mail_and_goes_back_to_the_first() {
    for (step, word, reply) in [
        (Step::Rcpt, TO, "550 5.1.1 Who?"),
        (Step::Final, "an order", "554 5.6.0 Malformed"),
        (Step::Final, "an order", "552 5.3.4 Too big"),
    ] {
        let absent = Absent::reserve();
        let second = Provider::start(refuses(step, word, reply));
        let mut site = Site::new();
        site.upstream("first", absent.port());
        fallback(&mut site, second.port());
        let relaying = Relaying::start(site);
        let id = relaying.send(FROM, &[TO]);
        let progress = relaying.progress(id);
        assert_eq!(
            (progress.state, progress.reason),
            (State::Deferred, Some(Reason::FallbackRefused)),
            "{reply}"
        );
        assert_eq!(progress.reply.as_deref(), Some(reply));
        relaying.advance(minutes(60));
        assert_eq!(transactions(&second), 1, "{reply}: asked once");
        relaying.assert_nothing_failed();
        let first = absent.answer(Script::take());
        relaying.advance(minutes(15));
        relaying.assert_relayed(1);
        assert_eq!((first.count(), second.count()), (1, 0), "{reply}");
    }
}

/// Row 23, on row 6: though the first is known to lack it too, only the first may fail it.
#[test]
fn a_552_to_mail_by_a_fallback_never_fails_mail() {
    let too_big = refuses(Step::Mail, "SIZE=20", "552 5.3.4 Too big");
    let (relaying, first, second) = Relaying::with_fallback(up_to(10_000), too_big);
    first.follow(Script::new(|exchange| match exchange.step {
        Step::Connect => Turn::reply("554 5.7.1 Go away"),
        Step::Mail => Turn::Close,
        _ => Turn::Usual,
    }));
    relaying.send(FROM, &[TO]);
    relaying.advance(Duration::from_secs(2));
    assert_eq!(relaying.state("first"), UpstreamState::Unreachable);
    let id = send_large(&relaying);
    assert_eq!(
        relaying.states(id),
        [(State::Deferred, Some(Reason::TooLarge))]
    );
    relaying.assert_nothing_failed();
    assert_eq!(transactions(&second), 2);
    first.follow(up_to(50_000));
    relaying.advance(minutes(15));
    relaying.assert_relayed(2);
}

/// Row 23: the first one may fail what its fallback refused.
#[test]
fn a_refusal_by_the_first_target_fails_what_its_fallback_had_refused() {
    let absent = Absent::reserve();
    let second = Provider::start(refuses(Step::Rcpt, TO, "550 5.1.1 Who?"));
    let mut site = Site::new();
    site.upstream("first", absent.port());
    fallback(&mut site, second.port());
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    relaying.assert_nothing_failed();
    let first = absent.answer(refuses(Step::Rcpt, TO, "550 5.1.1 Who?"));
    relaying.advance(minutes(15));
    assert_eq!(relaying.stored(id), None);
    relaying.assert_reported(&first, &[(TO, "5.1.1")]);
    assert_eq!((transactions(&first), transactions(&second)), (1, 1));
}

/// Row 23: both are of the first priority, so either may fail mail.
#[test]
fn targets_of_one_priority_both_decide() {
    let script = || {
        Script::new(|exchange| match exchange.step {
            Step::Rcpt if exchange.line.contains(TO) => Turn::reply("550 5.1.1 Who?"),
            _ => Turn::Usual,
        })
    };
    let (first, second) = (Provider::start(script()), Provider::start(script()));
    let mut site = Site::new();
    site.upstream("first", first.port());
    fallback(&mut site, second.port());
    site.document.routes[0].targets[1].priority = 0;
    let relaying = Relaying::start(site);
    relaying.settle();
    for _ in 0..8 {
        let id = relaying.send(FROM, &[TO]);
        assert_eq!(relaying.stored(id), None);
    }
    assert_eq!((relaying.outcomes("failed"), relaying.reports()), (8, 8));
    assert!(transactions(&first) > 0 && transactions(&second) > 0);
}
