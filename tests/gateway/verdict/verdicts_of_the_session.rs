//! Rows 19–21: replies that are about the session, whatever the phase. Mail waits; several messages in a row tell on the
//! upstream.

use posthouse_config::reason::{Reason, UpstreamState};
use posthouse_gateway::mail::State;
use posthouse_tests::{Script, Turn, provider::Step};

use super::relaying::*;

/// What may come in a transaction.
const STEPS: [Step; 4] = [Step::Mail, Step::Rcpt, Step::Data, Step::Final];

/// Row 19.
#[test]
fn a_421_in_a_transaction_closes_and_defers_and_three_messages_make_the_upstream_unreachable() {
    for step in STEPS {
        let turn = Turn::ReplyAndClose("421 4.3.2 Closing".to_owned());
        let (relaying, provider) = Relaying::to(at(step, turn));
        for number in 1..=3 {
            assert_eq!(
                relaying.state("provider"),
                UpstreamState::Ready,
                "{step:?}, before message {number}"
            );
            let id = relaying.send(FROM, &[TO]);
            assert_eq!(
                relaying.states(id),
                [(State::Deferred, Some(Reason::TransactionDeferred))],
                "{step:?}"
            );
        }
        assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
        assert!(relaying.reply("provider").ends_with("421 4.3.2 Closing"));
        relaying.assert_nothing_failed();
        provider.follow(Script::take());
        relaying.advance(minutes(15));
        relaying.assert_relayed(3);
    }
}

/// Row 19: a server may close between transactions; that costs a new connection and nothing else.
#[test]
fn a_421_to_the_first_command_on_a_kept_connection_is_tried_at_once_on_a_new_one() {
    let script = Script::new(|exchange| {
        if exchange.step == Step::Mail && exchange.connection == 0 {
            Turn::ReplyAndClose("421 4.4.2 Idle for too long".to_owned())
        } else {
            Turn::Usual
        }
    });
    let (relaying, provider) = Relaying::to(script);
    relaying.send(FROM, &[TO]);
    relaying.assert_relayed(1);
    assert_eq!((transactions(&provider), provider.connections()), (2, 2));
    assert_eq!(relaying.outcomes("deferred"), 0);
}

/// Row 20.
#[test]
fn what_no_server_may_say_there_defers_and_three_messages_make_the_upstream_unreachable() {
    for (step, reply) in [
        (Step::Mail, "999 What"),
        (Step::Mail, "354 Go ahead"),
        (Step::Mail, "250-Ok\r\n550 No"),
        // One reply too many, from here on each is the answer to another command.
        (Step::Mail, "250 Ok\r\n250 Ok"),
        (Step::Rcpt, "199 Wait"),
        (Step::Rcpt, "354 Go ahead"),
        (Step::Rcpt, "OK"),
        (Step::Data, "250 Ok"),
        (Step::Data, "600 What"),
    ] {
        let (relaying, provider) = Relaying::to(says(step, reply));
        for number in 1..=3 {
            assert_eq!(
                relaying.state("provider"),
                UpstreamState::Ready,
                "{reply:?}, before message {number}"
            );
            let id = relaying.send(FROM, &[TO]);
            assert_eq!(
                relaying.states(id),
                [(State::Deferred, Some(Reason::ProtocolError))],
                "{reply:?}"
            );
        }
        assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
        assert_eq!(
            (relaying.outcomes("relayed"), provider.count()),
            (0, 0),
            "{reply:?}"
        );
        relaying.assert_nothing_failed();
        provider.follow(Script::take());
        relaying.advance(minutes(15));
        relaying.assert_relayed(3);
    }
}

/// Row 21.
#[test]
fn a_reply_that_blames_our_session_defers_and_never_fails() {
    for reply in [
        "500 5.5.1 What?",
        "502 5.5.1 Not implemented",
        "503 5.5.1 Sequence",
        "504 5.5.4 Parameter",
        "530 5.7.0 Log in",
        "534 5.7.9 Too weak",
        "535 5.7.8 Who?",
        "538 5.7.11 Encrypt",
    ] {
        for step in STEPS {
            let (relaying, _provider) = Relaying::to(says(step, reply));
            let id = relaying.send(FROM, &[TO]);
            let progress = relaying.progress(id);
            assert_eq!(
                (progress.state, progress.reason, progress.refusals),
                (State::Deferred, Some(Reason::SessionRefused), 0),
                "{step:?} {reply}"
            );
            assert_eq!(progress.reply.as_deref(), Some(reply));
            assert_eq!(relaying.state("provider"), UpstreamState::Ready);
            relaying.assert_nothing_failed();
        }
    }
}

/// Row 21.
#[test]
fn three_messages_in_a_row_that_blame_our_session_make_the_upstream_refused() {
    for step in STEPS {
        let reply = "530 5.7.0 Log in";
        let (relaying, provider) = Relaying::to(says(step, reply));
        for number in 1..=3 {
            assert_eq!(
                relaying.state("provider"),
                UpstreamState::Ready,
                "{step:?}, before message {number}"
            );
            relaying.send(FROM, &[TO]);
        }
        assert_eq!(relaying.state("provider"), UpstreamState::Refused);
        assert!(relaying.reply("provider").ends_with(reply));
        let fourth = relaying.send(FROM, &[TO]);
        assert_eq!(relaying.shown(fourth), ("held", Some(Reason::Refused)));
        assert_eq!(relaying.figures().by_state, [0, 0, 0, 0, 4]);
        assert_eq!(transactions(&provider), 3, "the fourth is not offered");

        // A probe goes through; the first message of the same trouble is enough to go back.
        relaying.advance(minutes(15));
        assert_eq!(relaying.state("provider"), UpstreamState::Refused);
        assert_eq!(transactions(&provider), 4);
        relaying.assert_nothing_failed();
        provider.follow(Script::take());
        relaying.advance(minutes(30));
        relaying.assert_relayed(4);
    }
}

/// Row 21: a tenant could switch an upstream off.
#[test]
fn one_message_that_blames_our_session_again_and_again_leaves_the_upstream_ready() {
    let (relaying, provider) = Relaying::to(refuses(Step::Rcpt, "bad@", "503 5.5.1 Sequence"));
    let id = relaying.send(FROM, &["bad@customer.example"]);
    relaying.advance(minutes(120));
    assert!(relaying.progress(id).attempts > 5);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    relaying.send(FROM, &[TO]);
    assert_eq!((relaying.outcomes("relayed"), provider.count()), (1, 1));
    relaying.assert_nothing_failed();
}
