//! Rows 7–9: replies to RCPT decide for each recipient alone, and a refusal fails one only where it is sure to be about
//! the recipient.

use std::sync::atomic::{AtomicUsize, Ordering};

use posthouse_config::reason::{Phase, Reason, UpstreamState};
use posthouse_gateway::mail::State;
use posthouse_tests::{Script, Turn, provider::Step};

use super::relaying::*;

const PICKY: &str = "picky@customer.example";

/// A script that answers RCPT of one recipient so.
fn to_picky(reply: &'static str) -> Script {
    refuses(Step::Rcpt, PICKY, reply)
}

/// Row 7.
#[test]
fn a_transient_reply_to_rcpt_defers_that_recipient_alone() {
    let (relaying, provider) = Relaying::to(to_picky("450 4.2.1 Mailbox busy"));
    let id = relaying.send(FROM, &[TO, PICKY]);
    assert_eq!(
        relaying.states(id),
        [
            (State::Relayed, None),
            (State::Deferred, Some(Reason::RecipientDeferred))
        ]
    );
    assert_eq!(provider.mails()[0].recipients, [TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    provider.follow(Script::take());
    relaying.advance(minutes(2));
    relaying.assert_relayed(2);
    assert_eq!(
        (transactions(&provider), &provider.mails()[1].recipients[..]),
        (2, &[PICKY.to_owned()][..])
    );
}

/// Row 7: what one recipient's server says is not the upstream's trouble.
#[test]
fn any_number_of_deferred_recipients_leave_the_upstream_ready() {
    let (relaying, _provider) = Relaying::to(to_picky("451 4.4.1 No answer from host"));
    for _ in 0..5 {
        relaying.send(FROM, &[PICKY]);
    }
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    relaying.assert_nothing_failed();
}

/// A script that takes two recipients of a transaction and answers to more like this.
fn two_at_once(reply: &'static str) -> Script {
    let taken = AtomicUsize::new(0);
    Script::new(move |exchange| match exchange.step {
        Step::Mail => {
            taken.store(0, Ordering::Relaxed);
            Turn::Usual
        }
        Step::Rcpt if taken.fetch_add(1, Ordering::Relaxed) >= 2 => Turn::reply(reply),
        _ => Turn::Usual,
    })
}

/// Row 7, second half (RFC 5321 §4.5.3.1.10).
#[test]
fn recipients_that_were_too_many_go_at_once_in_another_transaction() {
    for reply in [
        "452 4.5.3 Too many",
        "452 Too many",
        "552 5.5.3 Too many",
        "552 Too many",
    ] {
        let (relaying, provider) = Relaying::to(two_at_once(reply));
        let to: Vec<String> = (0..5).map(|i| format!("r{i}@customer.example")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        relaying.send(FROM, &to);
        relaying.assert_relayed(5);
        let taken: Vec<String> = provider
            .mails()
            .into_iter()
            .flat_map(|mail| mail.recipients)
            .collect();
        assert_eq!(
            (transactions(&provider), taken),
            (3, to.iter().map(|&to| to.to_owned()).collect()),
            "{reply}"
        );
        assert_eq!(relaying.outcomes("deferred"), 0, "{reply}");
    }
}

/// Row 7: without a recipient that was taken, or for a full mailbox, it is a recipient that waits.
#[test]
fn a_452_that_is_not_about_their_number_defers_the_recipient() {
    for (reply, to) in [
        ("452 4.5.3 Too many", &[PICKY][..]),
        ("452 4.2.2 Mailbox full", &[TO, PICKY][..]),
    ] {
        let (relaying, provider) = Relaying::to(to_picky(reply));
        let id = relaying.send(FROM, to);
        assert_eq!(
            relaying.states(id).last(),
            Some(&(State::Deferred, Some(Reason::RecipientDeferred))),
            "{reply}"
        );
        assert_eq!(transactions(&provider), 1, "{reply}");
    }
}

/// Row 8.
#[test]
fn a_recipient_that_does_not_exist_fails_and_is_reported() {
    for (reply, status) in [
        ("550 5.1.1 Who?", "5.1.1"),
        ("550 5.1.2 What host?", "5.1.2"),
        ("501 5.1.3 Syntax", "5.1.3"),
        ("553 5.1.4 Ambiguous", "5.1.4"),
        ("551 5.1.6 Moved", "5.1.6"),
        ("556 5.1.10 Null MX", "5.1.10"),
        ("550 5.2.1 Disabled", "5.2.1"),
        ("554 5.2.0 Mailbox", "5.2.0"),
        ("552 5.2.2 Full", "5.2.2"),
    ] {
        let (relaying, provider) = Relaying::to(to_picky(reply));
        let id = relaying.send(FROM, &[PICKY, TO]);
        assert_eq!(relaying.stored(id), None, "{reply}");
        relaying.assert_reported(&provider, &[(PICKY, status)]);
        assert!(reports(&provider)[0].text().contains(reply), "{reply}");
        assert_eq!(provider.mails()[0].recipients, [TO], "{reply}");
        assert_eq!(transactions(&provider), 1, "{reply}");
        assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    }
}

/// Row 8: without another recipient that was taken nothing says that the reply is about this one (row 9).
#[test]
fn a_550_without_enhanced_code_fails_only_beside_a_recipient_that_was_taken() {
    for reply in ["550 No", "551 No", "553 No"] {
        let (relaying, provider) = Relaying::to(to_picky(reply));
        relaying.send(FROM, &[PICKY, TO]);
        relaying.assert_reported(&provider, &[(PICKY, "5.1.0")]);

        let (relaying, provider) = Relaying::to(to_picky(reply));
        let id = relaying.send(FROM, &[PICKY]);
        assert_eq!(
            relaying.states(id),
            [(State::Deferred, Some(Reason::RecipientRefused))],
            "{reply}"
        );
        assert_eq!(transactions(&provider), 1, "{reply}");
        relaying.assert_nothing_failed();
    }
}

/// Row 9.
#[test]
fn an_unclear_refusal_is_asked_again_and_fails_only_while_other_mail_of_the_sender_passes() {
    let (relaying, provider) = Relaying::to(to_picky("550 5.7.1 Policy"));
    let id = relaying.send(FROM, &[PICKY]);
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.state, progress.reason, progress.phase),
        (
            State::Deferred,
            Some(Reason::RecipientRefused),
            Some(Phase::Rcpt)
        )
    );
    assert_eq!(progress.refusals, 1);
    relaying.advance(minutes(14));
    assert_eq!(transactions(&provider), 1, "not before 15 minutes");
    relaying.advance(minutes(2));
    assert_eq!(transactions(&provider), 2);
    let progress = relaying.progress(id);
    assert_eq!(
        (progress.state, progress.refusals),
        (State::Deferred, 2),
        "no evidence fails nothing"
    );
    // Mail of somebody else is no evidence.
    relaying.send("other@shop.example", &[TO]);
    relaying.advance(minutes(16));
    assert_eq!(relaying.progress(id).state, State::Deferred);
    relaying.assert_nothing_failed();

    relaying.send(FROM, &[TO]);
    relaying.advance(minutes(16));
    assert_eq!(relaying.stored(id), None);
    relaying.assert_reported(&provider, &[(PICKY, "5.7.1")]);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
}

/// Row 9: that another recipient was taken says nothing about a refusal with another code.
#[test]
fn an_unclear_refusal_beside_a_recipient_that_was_taken_is_asked_again() {
    for reply in [
        "550 5.7.1 Policy",
        "550 5.1.0 Address",
        "554 No",
        "555 5.5.4 Parameter",
    ] {
        let (relaying, provider) = Relaying::to(to_picky(reply));
        let id = relaying.send(FROM, &[TO, PICKY]);
        assert_eq!(
            relaying.states(id),
            [
                (State::Relayed, None),
                (State::Deferred, Some(Reason::RecipientRefused))
            ],
            "{reply}"
        );
        relaying.advance(minutes(14));
        assert_eq!(transactions(&provider), 1, "{reply}");
        relaying.assert_nothing_failed();
    }
}

/// Row 9: 550, 551 and 553 without enhanced code name a mailbox; any mail that passes is evidence.
#[test]
fn a_bare_550_that_comes_again_fails_while_any_mail_passes() {
    let (relaying, provider) = Relaying::to(to_picky("550 No"));
    let id = relaying.send(FROM, &[PICKY]);
    relaying.advance(minutes(1));
    relaying.send("other@shop.example", &[TO]);
    relaying.advance(minutes(15));
    assert_eq!(relaying.stored(id), None);
    relaying.assert_reported(&provider, &[(PICKY, "5.1.0")]);
}

/// Row 9.
#[test]
fn three_messages_of_a_sender_refused_in_a_row_hold_its_reverse_path() {
    let (relaying, provider) = Relaying::to(to_picky("554 5.7.1 Policy"));
    let ids: Vec<_> = (0..3).map(|_| relaying.send(FROM, &[PICKY])).collect();
    let last = relaying.send(FROM, &[TO]);
    assert_eq!(transactions(&provider), 3, "what is held is not offered");
    assert_eq!(
        relaying.states(ids[2]),
        [(State::Held, Some(Reason::ReversePathRefused))]
    );
    assert_eq!(
        relaying.shown(last),
        ("held", Some(Reason::ReversePathRefused))
    );
    let other = relaying.send("other@shop.example", &[TO]);
    assert_eq!(relaying.stored(other), None, "nobody else's mail is held");
    relaying.advance(minutes(50));
    assert_eq!(transactions(&provider), 4);
    relaying.assert_nothing_failed();
    provider.follow(Script::take());
    relaying.advance(minutes(15));
    relaying.assert_relayed(5);
}

/// Row 9: a 2yz between ends the row.
#[test]
fn refusals_with_a_relayed_message_between_hold_no_reverse_path() {
    let (relaying, _provider) = Relaying::to(to_picky("554 5.7.1 Policy"));
    for _ in 0..3 {
        relaying.send(FROM, &[PICKY]);
        relaying.send(FROM, &[TO]);
    }
    assert_eq!(relaying.outcomes("relayed"), 3);
    assert_eq!(relaying.figures().held_reasons, []);
}

/// Row 9, as row 6: x.1.7 and x.1.8 are about the sender.
#[test]
fn a_refusal_of_rcpt_that_is_about_the_sender_holds_the_reverse_path() {
    for reply in ["550 5.1.8 Your domain", "553 5.1.7 Your address"] {
        let (relaying, provider) = Relaying::to(to_picky(reply));
        let id = relaying.send(FROM, &[PICKY]);
        assert_eq!(
            relaying.states(id),
            [(State::Held, Some(Reason::ReversePathRefused))],
            "{reply}"
        );
        relaying.send(FROM, &[TO]);
        assert_eq!(transactions(&provider), 1, "{reply}");
        relaying.assert_nothing_failed();
        provider.follow(Script::take());
        relaying.advance(minutes(60));
        relaying.assert_relayed(2);
    }
}
