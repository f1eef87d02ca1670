//! How a reply is cut into packets changes nothing: each row of a transaction once whole and once octet by octet.

use posthouse_config::reason::{Reason, UpstreamState};
use posthouse_gateway::mail::State;
use posthouse_tests::{Script, provider::Step};

use super::relaying::*;

/// What a recipient came to; `None` if it has its end.
type Expected = Option<(State, Option<Reason>)>;

const fn deferred(reason: Reason) -> (State, Option<Reason>) {
    (State::Deferred, Some(reason))
}

const HELD: Expected = Some((State::Held, Some(Reason::ReversePathRefused)));
const UNCONFIRMED: Expected = Some((State::Unconfirmed, Some(Reason::Unconfirmed)));

/// Row, step, reply, what it means for the recipient, and how many fail.
const ROWS: [(u8, Step, &str, Expected, u64); 16] = [
    (
        5,
        Step::Mail,
        "451-4.3.0 Not\r\n451 4.3.0 now",
        Some(deferred(Reason::TransactionDeferred)),
        0,
    ),
    (6, Step::Mail, "550 5.7.1 Not you", HELD, 0),
    (
        7,
        Step::Rcpt,
        "450 4.2.1 Busy",
        Some(deferred(Reason::RecipientDeferred)),
        0,
    ),
    (
        8,
        Step::Rcpt,
        "550-5.1.1 Who\r\n550 5.1.1 is that?",
        None,
        1,
    ),
    (
        9,
        Step::Rcpt,
        "550 5.7.1 Policy",
        Some(deferred(Reason::RecipientRefused)),
        0,
    ),
    (
        11,
        Step::Data,
        "451 4.3.0 Later",
        Some(deferred(Reason::TransactionDeferred)),
        0,
    ),
    (
        11,
        Step::Data,
        "554 5.7.0 No",
        Some(deferred(Reason::MessageRefused)),
        0,
    ),
    (
        13,
        Step::Data,
        "354 Go\r\n250 2.0.0 Taken",
        Some(deferred(Reason::ProtocolError)),
        0,
    ),
    (
        14,
        Step::Final,
        "250-2.0.0 Taken\r\n250 2.0.0 as 4711",
        None,
        0,
    ),
    (
        15,
        Step::Final,
        "451 4.3.0 Later",
        Some(deferred(Reason::TransactionDeferred)),
        0,
    ),
    (16, Step::Final, "554 5.6.0 Malformed", None, 1),
    (
        17,
        Step::Final,
        "554 5.7.1 Spam",
        Some(deferred(Reason::MessageRefused)),
        0,
    ),
    (18, Step::Final, "OK", UNCONFIRMED, 0),
    (
        19,
        Step::Rcpt,
        "421 4.3.2 Closing",
        Some(deferred(Reason::TransactionDeferred)),
        0,
    ),
    (
        20,
        Step::Rcpt,
        "999 What",
        Some(deferred(Reason::ProtocolError)),
        0,
    ),
    (
        21,
        Step::Mail,
        "530 5.7.0 Log in",
        Some(deferred(Reason::SessionRefused)),
        0,
    ),
];

type Came = (
    Option<Vec<(State, Option<Reason>)>>,
    UpstreamState,
    u64,
    usize,
);

/// What one message brought: its recipient, the upstream, those failed, and transactions.
fn brought(script: Script) -> Came {
    let (relaying, provider) = Relaying::to(script);
    let id = relaying.send(FROM, &[TO]);
    let states = relaying.stored(id).map(|_| relaying.states(id));
    (
        states,
        relaying.state("provider"),
        relaying.outcomes("failed"),
        transactions(&provider),
    )
}

#[test]
fn each_reply_of_a_transaction() {
    for (row, step, reply, expected, failed) in ROWS {
        let script = || says_of_mail(step, reply);
        let expected = (
            expected.map(|state| vec![state]),
            UpstreamState::Ready,
            failed,
            1,
        );
        assert_eq!(brought(script()), expected, "row {row}, whole: {reply:?}");
        if row == 13 {
            // Cut up, the reply that is one too many may arrive when our dot is already out: then nobody can tell it
            // from the reply to the dot.
            continue;
        }
        assert_eq!(
            brought(script().dripping()),
            expected,
            "row {row}, octet by octet: {reply:?}"
        );
    }
}

/// A script that answers the first message's step so; the report on it is taken.
fn says_of_mail(step: Step, reply: &'static str) -> Script {
    match step {
        Step::Rcpt => refuses(step, TO, reply),
        Step::Final => refuses(step, "an order", reply),
        _ => says(step, reply),
    }
}
