//! Sessions and transactions as dialogues: what the server says, what we say, how it ends.

use super::*;
use crate::{Mailbox, ReversePath, reply::stream::ReplyStream};

fn plan(security: Security, credentials: bool) -> Plan {
    Plan {
        hostname: "mail.example".into(),
        security,
        credentials: credentials.then(|| Credentials {
            username: "user".into(),
            password: "secret".into(),
        }),
    }
}

fn replies(text: &str) -> Vec<Reply> {
    let octets = text.as_bytes();
    let mut input = octets;
    let mut stream = ReplyStream::default();
    let mut out = Vec::new();
    while let Some(reply) = stream.next(&mut input).unwrap() {
        out.push(reply);
    }
    out
}

/// Opens a session with the server's replies; gives what we said and the last step.
fn open(plan: Plan, server: &str) -> (String, Step) {
    let mut said = String::new();
    let mut opening = Opening::new(plan);
    let mut replies = replies(server).into_iter();
    loop {
        let mut step = opening.on(replies.next().expect("the script is too short"));
        if let Step::Secure(securing) = step {
            said.push_str("(handshake)\n");
            step = securing.done();
        }
        match step {
            Step::Send(next, octets) => {
                said.push_str(&String::from_utf8(octets).unwrap().replace("\r\n", "\n"));
                opening = next;
            }
            last => {
                assert!(replies.next().is_none(), "replies are left over");
                return (said, last);
            }
        }
    }
}

#[test]
fn a_session_opens_with_starttls_and_forgets_what_was_said_before() {
    let (said, step) = open(
        plan(Security::StartTls, true),
        "220 hi\r\n250-x\r\n250-PIPELINING\r\n250-AUTH LOGIN\r\n250 STARTTLS\r\n220 go\r\n250-x\r\n250 AUTH PLAIN LOGIN\r\n235 ok\r\n",
    );
    assert_eq!(
        said,
        "EHLO mail.example\nSTARTTLS\n(handshake)\nEHLO mail.example\nAUTH PLAIN AHVzZXIAc2VjcmV0\n"
    );
    let Step::Ready(ready) = step else {
        panic!("{step:?}")
    };
    assert!(
        !ready
            .extensions()
            .offers(crate::extension::Keyword::Pipelining)
    );
}

#[test]
fn starttls_never_falls_back_to_clear() {
    let (said, step) = open(plan(Security::StartTls, true), "220 hi\r\n250 x\r\n");
    assert!(matches!(step, Step::Failed(OpeningFailure::NoStartTls)));
    assert_eq!(said, "EHLO mail.example\n");
    let (_, step) = open(
        plan(Security::StartTls, false),
        "220 hi\r\n250-x\r\n250 STARTTLS\r\n454 4.7.0 not now\r\n",
    );
    assert!(matches!(
        step,
        Step::Failed(OpeningFailure::Refused {
            stage: OpeningStage::Tls,
            ..
        })
    ));
    // A server that refuses EHLO cannot offer STARTTLS: no HELO.
    let (said, step) = open(plan(Security::StartTls, false), "220 hi\r\n502 what\r\n");
    assert!(matches!(step, Step::Failed(_)));
    assert_eq!(said, "EHLO mail.example\n");
}

#[test]
fn login_is_spoken_where_plain_is_not_offered() {
    let (said, step) = open(
        plan(Security::Implicit, true),
        "220 hi\r\n250-x\r\n250 auth xoauth2 login\r\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 ok\r\n",
    );
    assert!(matches!(step, Step::Ready(_)));
    assert_eq!(said, "EHLO mail.example\nAUTH LOGIN\ndXNlcg==\nc2VjcmV0\n");
}

#[test]
fn authentication_failures_say_what_they_are() {
    for (server, expected) in [
        (
            "250-x\r\n250 AUTH PLAIN\r\n535 5.7.8 no\r\n",
            "535 5.7.8 no",
        ),
        (
            "250-x\r\n250 AUTH XOAUTH2\r\n",
            "no usable AUTH mechanism is offered (XOAUTH2)",
        ),
        ("250 x\r\n", "no usable AUTH mechanism is offered (none)"),
        (
            "250-x\r\n250 AUTH PLAIN\r\n334 \r\n334 \r\n",
            "unexpected reply: 334",
        ),
        (
            "250-x\r\n250 AUTH PLAIN\r\n354 x\r\n",
            "unexpected reply: 354 x",
        ),
    ] {
        let (_, step) = open(
            plan(Security::Implicit, true),
            &format!("220 hi\r\n{server}"),
        );
        let Step::Failed(failure) = step else {
            panic!("{step:?}")
        };
        assert_eq!(failure.to_string(), expected);
        assert_eq!(failure.stage(), OpeningStage::Authentication);
    }
}

/// Replies are logged and shown; some servers say back the line they refuse.
#[test]
fn a_reply_that_says_credentials_back_is_shown_without_them() {
    for (server, expected) in [
        (
            "250 AUTH PLAIN\r\n535 5.7.8 no: AUTH PLAIN AHVzZXIAc2VjcmV0, user/Secret\r\n",
            "535 5.7.8 no: AUTH PLAIN ***, user/***",
        ),
        (
            "250 AUTH PLAIN\r\n501-bad AHVzZXIAc2V\r\n501 secretsecret\r\n",
            "501 bad *** ******",
        ),
        (
            "250 AUTH LOGIN\r\n334 a\r\n334 b\r\n500 dXNlcg== c2VjcmV0 c2Vj ü\r\n",
            "500 dXNlcg== *** c2Vj ü",
        ),
        (
            "250 AUTH LOGIN\r\n334 a\r\n334 b\r\n334 c2VjcmV0\r\n",
            "unexpected reply: 334 ***",
        ),
    ] {
        let server = format!("220 hi\r\n250-x\r\n{server}");
        let (_, step) = open(plan(Security::Implicit, true), &server);
        let Step::Failed(failure) = step else {
            panic!("{step:?}")
        };
        assert_eq!(failure.to_string(), expected);
    }
}

#[test]
fn credentials_go_in_clear_only_to_loopback() {
    let server = "220 hi\r\n250-x\r\n250 AUTH PLAIN\r\n";
    let (said, step) = open(plan(Security::Clear, true), server);
    assert!(matches!(
        step,
        Step::Failed(OpeningFailure::CredentialsInClear)
    ));
    assert!(!said.contains("AUTH"));
    let (_, step) = open(
        plan(Security::ClearToLoopback, true),
        &format!("{server}235 ok\r\n"),
    );
    assert!(matches!(step, Step::Ready(_)));
    assert_eq!(
        format!("{:?}", plan(Security::Clear, true).credentials),
        "Some(Credentials(…))"
    );
}

#[test]
fn helo_is_tried_where_nothing_more_is_needed() {
    let (said, step) = open(
        plan(Security::Clear, false),
        "220 hi\r\n500 what\r\n250 x\r\n",
    );
    assert!(matches!(step, Step::Ready(_)));
    assert_eq!(said, "EHLO mail.example\nHELO mail.example\n");
}

#[test]
fn a_greeting_that_is_none_fails_the_opening() {
    for server in ["554 no\r\n", "421 busy\r\n", "354 what\r\n"] {
        let (said, step) = open(plan(Security::Clear, false), server);
        let Step::Failed(failure) = step else {
            panic!("{step:?}")
        };
        assert_eq!(
            (failure.stage(), said.as_str()),
            (OpeningStage::Greeting, "")
        );
    }
}

// --- transactions

fn ready(extensions: &str) -> Ready {
    let ehlo = std::iter::once("x")
        .chain(extensions.lines())
        .map(str::to_owned)
        .collect();
    Ready::new(Extensions::of(&Reply {
        code: 250,
        enhanced: None,
        lines: ehlo,
    }))
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

/// Runs a transaction to two recipients with the server's replies; a `.` in `server` stands for our dot.
fn run(extensions: &str, server: &str) -> (String, End) {
    let (from, a, b) = (
        ReversePath::parse("s@a.example").unwrap(),
        mailbox("1@b.example"),
        mailbox("2@b.example"),
    );
    let envelope = Envelope {
        reverse_path: &from,
        size: 100,
        body: Body::EightBit,
        utf8: true,
        envid: Some("id+3D1"),
        ret: Some(Return::Headers),
        recipients: vec![
            EnvelopeRecipient {
                forward_path: &a,
                notify: Some("NEVER"),
                orcpt: Some("rfc822;1@b.example"),
            },
            EnvelopeRecipient {
                forward_path: &b,
                notify: None,
                orcpt: Some("x y\r\nRSET"),
            },
        ],
    };
    let (mut transaction, first) = ready(extensions).begin(&envelope);
    let mut said = String::from_utf8(first).unwrap();
    let (before, after) = server.split_once("(dot)").unwrap_or((server, ""));
    let mut before = replies(before).into_iter();
    let end = loop {
        match transaction.on(before.next().expect("the script is too short")) {
            Event::Wait(next) => transaction = next,
            Event::Send(next, octets) => {
                said.push_str(std::str::from_utf8(&octets).unwrap());
                transaction = next;
            }
            Event::End(end) => break end,
            Event::Content(sending) => match before.next() {
                Some(early) => break sending.on(early),
                None => break sending.finish().on(replies(after).remove(0)),
            },
        }
    };
    assert!(before.next().is_none(), "replies are left over");
    (said.replace("\r\n", "\n"), end)
}

#[test]
fn parameters_go_only_where_they_are_offered() {
    let (said, _) = run(
        "PIPELINING\nSIZE 1000\n8BITMIME\nSMTPUTF8\nDSN",
        "250 \r\n250 \r\n250 \r\n354 \r\n(dot)250 ok\r\n",
    );
    assert_eq!(
        said,
        "MAIL FROM:<s@a.example> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+3D1\n\
         RCPT TO:<1@b.example> NOTIFY=NEVER ORCPT=rfc822;1@b.example\nRCPT TO:<2@b.example>\nDATA\n"
    );
    let (said, end) = run("", "250 \r\n250 \r\n251 \r\n354 \r\n(dot)250 ok\r\n");
    assert_eq!(
        said,
        "MAIL FROM:<s@a.example>\nRCPT TO:<1@b.example>\nRCPT TO:<2@b.example>\nDATA\n"
    );
    assert!(matches!(end.ending, Ending::Relayed(_)));
    assert_eq!(end.then, Then::Reuse);
}

#[test]
fn each_recipient_has_its_own_answer() {
    for extensions in ["PIPELINING", ""] {
        let (_, end) = run(
            extensions,
            "250 \r\n550 5.1.1 unknown\r\n250 \r\n354 \r\n(dot)250 ok\r\n",
        );
        assert!(matches!(&end.answers[0], Answer::Refused(reply) if reply.code == 550));
        assert_eq!(end.answers[1], Answer::Accepted);
        assert!(matches!(end.ending, Ending::Relayed(_)));
    }
}

#[test]
fn data_without_recipients_is_left_by_a_lone_dot() {
    let (said, end) = run(
        "PIPELINING",
        "250 \r\n550 a\r\n550 b\r\n354 go\r\n250 queued\r\n",
    );
    assert!(said.ends_with("DATA\n.\n"));
    assert_eq!((end.ending, end.then), (Ending::NoRecipients, Then::Reuse));
    let (said, end) = run("PIPELINING", "250 \r\n550 a\r\n550 b\r\n554 none\r\n");
    assert!(said.ends_with("DATA\n"));
    assert_eq!((end.ending, end.then), (Ending::NoRecipients, Then::Reset));
    let (said, end) = run("", "250 \r\n550 a\r\n550 b\r\n");
    assert!(said.ends_with("RCPT TO:<2@b.example>\n"));
    assert_eq!((end.ending, end.then), (Ending::NoRecipients, Then::Reset));
}

#[test]
fn a_refused_mail_still_reads_the_replies_to_what_was_pipelined() {
    let (said, end) = run(
        "PIPELINING",
        "550 5.7.1 no\r\n503 x\r\n503 x\r\n354 go\r\n250 odd\r\n",
    );
    assert!(said.ends_with("DATA\n.\n"));
    assert!(
        matches!(&end.ending, Ending::Refused { stage: Stage::Mail, reply } if reply.code == 550)
    );
    assert_eq!(end.then, Then::Reuse);
    let (said, end) = run("", "550 5.7.1 no\r\n");
    assert_eq!(said, "MAIL FROM:<s@a.example>\n");
    assert_eq!(end.then, Then::Reuse);
}

#[test]
fn nothing_before_the_final_dot_says_relayed() {
    let begin = "250 \r\n250 \r\n250 \r\n354 \r\n";
    for (early, refused) in [("250 ok", false), ("354 go", false), ("552 big", true)] {
        let (_, end) = run("PIPELINING", &format!("{begin}{early}\r\n"));
        assert_eq!(end.then, Then::Close);
        match end.ending {
            Ending::Refused { stage, .. } => {
                assert!(refused);
                assert_eq!(stage, Stage::Content);
            }
            Ending::Unexpected { stage, .. } => {
                assert!(!refused);
                assert_eq!(stage, Stage::Content);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn replies_out_of_place_close_the_session() {
    for server in [
        "354 what\r\n",
        "250 \r\n354 what\r\n",
        "250 \r\n250 \r\n250 \r\n250 what\r\n",
        "250 \r\n250 \r\n250 \r\n354 \r\n(dot)354 what\r\n",
    ] {
        let (_, end) = run("PIPELINING", server);
        assert!(matches!(end.ending, Ending::Unexpected { .. }), "{server}");
        assert_eq!(end.then, Then::Close);
    }
}

#[test]
fn the_421_of_a_server_ends_the_transaction_wherever_it_comes() {
    for (server, stage) in [
        ("421 bye\r\n", Stage::Mail),
        ("250 \r\n421 bye\r\n", Stage::Rcpt),
        ("250 \r\n250 \r\n250 \r\n421 bye\r\n", Stage::Data),
        (
            "250 \r\n250 \r\n250 \r\n354 \r\n421 bye\r\n",
            Stage::Content,
        ),
        (
            "250 \r\n250 \r\n250 \r\n354 \r\n(dot)421 bye\r\n",
            Stage::Final,
        ),
    ] {
        let (_, end) = run("PIPELINING", server);
        assert!(
            matches!(&end.ending, Ending::Refused { stage: at, .. } if *at == stage),
            "{end:?}"
        );
        assert_eq!(end.then, Then::Close);
    }
}
