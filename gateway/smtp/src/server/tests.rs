//! Dialogues as loops over strings: no sockets, no clock.

use super::*;
use crate::{ReversePath, content::Scanned, line::Framed, line::Framer, sasl::Presented};

fn terms() -> Terms {
    Terms {
        hostname: "mail.example".into(),
        login: LoginPolicy::Required,
        start_tls: StartTls::Absent,
        plaintext_login: PlaintextLogin::Allow,
        bearer_login: BearerLogin::Absent,
        message_octets: 100,
        recipients: 2,
    }
}

/// A session whose questions are answered by fixed rules: the password is `right`, nobody sends as `no@…`, and every
/// message is accepted. Holds everything that was said.
struct Player {
    server: Option<Server>,
    content: Option<Content>,
    handshake: Option<Handshake>,
    said: Vec<String>,
    stored: Vec<u8>,
    buffer: Vec<u8>,
    framer: Framer,
    /// Of the refusal that ended the session.
    rejection: Option<Rejection>,
}

impl Player {
    fn new(terms: Terms) -> Self {
        let (server, greeting) = Server::greet(Arc::new(terms), Channel::Plain);
        Self {
            server: Some(server),
            content: None,
            handshake: None,
            said: vec![greeting.to_string()],
            stored: Vec::new(),
            buffer: Vec::new(),
            framer: Framer::default(),
            rejection: None,
        }
    }

    fn send(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
        while self.advance() {}
    }

    fn advance(&mut self) -> bool {
        if let Some(mut content) = self.content.take() {
            let input = std::mem::take(&mut self.buffer);
            let Scanned::End(at) = content.receive(&input, &mut self.stored) else {
                self.content = Some(content);
                return false;
            };
            self.buffer = input[at..].to_vec();
            let reply = Reply::new(250, None, format!("stored {}", content.facts().octets));
            self.step(content.finish(reply));
            return true;
        }
        let Some(server) = self.server.take() else {
            return false;
        };
        let (line, taken) = match self.framer.frame(&self.buffer, server.mode()) {
            Framed::Line(length) => (Ok(self.buffer[..length].to_vec()), length + 2),
            Framed::Faulty(taken, fault) => (Err(fault), taken),
            Framed::Incomplete(_) | Framed::Endless => {
                self.server = Some(server);
                return false;
            }
        };
        self.buffer.drain(..taken);
        let step = server.on(line.as_deref().map_err(|&fault| fault));
        self.step(step);
        true
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Reply(server, reply) | Step::Refuse(server, reply, _) => {
                self.said.push(reply.to_string());
                self.server = Some(server);
            }
            Step::StartTls(handshake, reply) => {
                self.said.push(reply.to_string());
                self.handshake = Some(handshake);
            }
            Step::Authenticate(claim) => {
                let (name, secret) = match claim.presented() {
                    Presented::Password(given) => (given.username.clone(), given.password.clone()),
                    Presented::Bearer(given) => (
                        given.username.clone().unwrap_or_default(),
                        given.token.clone(),
                    ),
                };
                self.step(match secret.as_slice() {
                    b"right" => claim.accept(name.into()),
                    b"later" => claim.defer(Reply::new(454, None, "later")),
                    _ => claim.refuse(Reply::new(535, None, "wrong")),
                });
            }
            Step::Mail(request) => {
                let step = match request.reverse_path() {
                    ReversePath::Mailbox(mailbox) if mailbox.local_part() == "no" => {
                        request.refuse(Reply::new(550, None, "no"))
                    }
                    _ => request.accept(),
                };
                self.step(step);
            }
            Step::Data(request) => {
                let (content, reply) = request.accept();
                self.said.push(reply.to_string());
                self.content = Some(content);
            }
            Step::Close(reply, ending) => {
                self.said.push(format!("{reply} [{ending:?}]"));
            }
            Step::GiveUp(farewell) => {
                self.said.push(farewell.refusal.to_string());
                self.said.push(format!("{} [given up]", farewell.reply));
                self.rejection = farewell.rejection;
            }
        }
    }
}

/// Plays lines of `C: …` and `S: …` whole, octet by octet, and cut at every position; `S:` lines are prefixes.
fn play(terms: &Terms, dialogue: &str) {
    let lines = |prefix: &str| -> Vec<String> {
        dialogue
            .lines()
            .filter_map(|line| line.trim().strip_prefix(prefix))
            .map(|line| line.trim_start().replace("␍", "\r").replace("␀", "\0"))
            .collect()
    };
    let sent: Vec<u8> = lines("C:")
        .iter()
        .flat_map(|line| format!("{line}\r\n").into_bytes())
        .collect();
    let expected = lines("S:");
    let check = |pieces: &[&[u8]], how: &str| {
        let mut player = Player::new(terms.clone());
        for piece in pieces {
            player.send(piece);
        }
        let said = &player.said[1..];
        assert_eq!(said.len(), expected.len(), "{how}: {said:#?}");
        for (said, expected) in said.iter().zip(&expected) {
            assert!(
                said.starts_with(expected.as_str()),
                "{how}: {said} is not {expected}"
            );
        }
    };
    check(&[&sent], "whole");
    check(&sent.chunks(1).collect::<Vec<_>>(), "octet by octet");
    for cut in 0..sent.len() {
        let (first, second) = sent.split_at(cut);
        check(&[first, second], &format!("cut at {cut}"));
    }
}

/// `\0me\0right`
const RIGHT: &str = "AG1lAHJpZ2h0";
/// `\0me\0wrong`
const WRONG: &str = "AG1lAHdyb25n";

#[test]
fn a_transaction_from_hello_to_quit() {
    play(
        &terms(),
        &format!(
            "C: EHLO me
             S: 250 mail.example PIPELINING SIZE 100 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES AUTH PLAIN LOGIN
             C: AUTH PLAIN {RIGHT}
             S: 235 2.7.0
             C: MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME
             S: 250 2.1.0
             C: RCPT TO:<c@d.example>
             S: 250 2.1.5
             C: RCPT TO:<e@f.example>
             S: 250 2.1.5
             C: RCPT TO:<g@h.example>
             S: 452 4.5.3
             C: DATA
             S: 354
             C: Subject: x
             C:
             C: ..
             C: .
             S: 250 stored 17
             C: MAIL FROM:<>
             S: 250 2.1.0
             C: RSET
             S: 250 2.0.0
             C: NOOP
             S: 250 2.0.0
             C: VRFY x
             S: 252 2.1.5
             C: HELP
             S: 214 2.0.0
             C: QUIT
             S: 221 2.0.0"
        ),
    );
}

#[test]
fn commands_out_of_order_change_nothing() {
    play(
        &terms(),
        &format!(
            "C: MAIL FROM:<a@b.example>
             S: 503 5.5.1 Say EHLO first
             C: STARTTLS
             S: 503 5.5.1
             C: EHLO me
             S: 250
             C: MAIL FROM:<a@b.example>
             S: 530 5.7.0 Authentication
             C: AUTH PLAIN {RIGHT}
             S: 235
             C: AUTH PLAIN {RIGHT}
             S: 503 5.5.1
             C: RCPT TO:<a@b.example>
             S: 503 5.5.1
             C: DATA
             S: 503 5.5.1
             C: MAIL FROM:<no@b.example>
             S: 550
             C: RCPT TO:<a@b.example>
             S: 503 5.5.1
             C: MAIL FROM:<a@b.example>
             S: 250 2.1.0
             C: MAIL FROM:<a@b.example>
             S: 503 5.5.1
             C: DATA
             S: 554 5.5.1
             C: AUTH PLAIN {RIGHT}
             S: 503 5.5.1
             C: RCPT TO:<a@b.example>
             S: 250
             C: STARTTLS
             S: 503 5.5.1
             C: EHLO again
             S: 250
             C: DATA
             S: 503 5.5.1
             C: HELO again
             S: 250 mail.example
             C: MAIL FROM:<still@b.example>
             S: 250 2.1.0"
        ),
    );
}

#[test]
fn login_asks_for_name_and_password() {
    play(
        &terms(),
        "C: EHLO me
         S: 250
         C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: bWU=
         S: 334 UGFzc3dvcmQ6
         C: *
         S: 501 5.0.0
         C: AUTH LOGIN bWU=
         S: 334 UGFzc3dvcmQ6
         C: cmlnaHQ=
         S: 235 2.7.0",
    );
    play(
        &terms(),
        &format!(
            "C: EHLO me
             S: 250
             C: AUTH PLAIN
             S: 334
             C: {RIGHT}
             S: 235
             C: EHLO again
             S: 250
             C: MAIL FROM:<a@b.example>
             S: 250"
        ),
    );
    play(
        &terms(),
        "C: EHLO me
         S: 250
         C: AUTH PLAIN =
         S: 501 5.5.4
         C: AUTH PLAIN ???
         S: 501 5.5.2
         C: AUTH PLAIN b3RoZXIAbWUAcmlnaHQ=
         S: 535 5.7.8
         C: AUTH CRAM-MD5
         S: 504 5.5.4
         C: NOOP
         S: 250",
    );
}

/// With tokens, for which a `right` one is `right`.
fn bearer_terms() -> Terms {
    Terms {
        bearer_login: BearerLogin::Anywhere,
        ..terms()
    }
}

fn base64(text: &str) -> String {
    use ::base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(text)
}

#[test]
fn tokens_come_in_two_mechanisms_and_each_fails_in_two_steps() {
    let oauth = |token: &str| base64(&format!("n,,\x01auth=Bearer {token}\x01\x01"));
    let xoauth = |token: &str| base64(&format!("user=me\x01auth=Bearer {token}\x01\x01"));
    let invalid = base64(r#"{"status":"invalid_token"}"#);
    let unavailable = base64(r#"{"status":"temporarily_unavailable"}"#);
    let (wrong, later) = (oauth("wrong"), oauth("later"));
    play(
        &bearer_terms(),
        &format!(
            "C: EHLO me
             S: 250 mail.example PIPELINING SIZE 100 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2
             C: AUTH OAUTHBEARER {wrong}
             S: 334 {invalid}
             C: AQ==
             S: 535 wrong
             C: AUTH OAUTHBEARER
             S: 334
             C: {later}
             S: 334 {unavailable}
             C: AQ==
             S: 454 later
             C: AUTH oauthbearer {}
             S: 235",
            oauth("right")
        ),
    );
    let (invalid, wrong) = (
        base64(r#"{"status":"401","schemes":"bearer"}"#),
        xoauth("wrong"),
    );
    let unavailable = base64(r#"{"status":"503","schemes":"bearer"}"#);
    play(
        &bearer_terms(),
        &format!(
            "C: EHLO me
             S: 250
             C: AUTH XOAUTH2 {wrong}
             S: 334 {invalid}
             C: 
             S: 535 wrong
             C: AUTH XOAUTH2 {wrong}
             S: 334 {invalid}
             C: *
             S: 501 5.0.0
             C: AUTH XOAUTH2 {}
             S: 334 {unavailable}
             C: 
             S: 454 later
             C: AUTH XOAUTH2 {wrong}
             S: 334 {invalid}
             C: anything
             S: 535 wrong
             S: 421 4.7.0 Too many wrong passwords [given up]",
            xoauth("later")
        ),
    );
}

#[test]
fn a_token_that_cannot_be_read_fails_at_once() {
    play(
        &bearer_terms(),
        &format!(
            "C: EHLO me
             S: 250
             C: AUTH OAUTHBEARER {}
             S: 501 5.5.4
             C: AUTH XOAUTH2 ???
             S: 501 5.5.2
             C: AUTH XOAUTH2
             S: 334
             C: *
             S: 501 5.0.0",
            base64("n,,\x01\x01")
        ),
    );
}

#[test]
fn tokens_are_taken_under_tls_and_where_an_issuer_is_believed() {
    let offered = |bearer_login, channel| {
        let terms = Terms {
            bearer_login,
            ..terms()
        };
        let session = Session::new(Arc::new(terms), channel);
        let hello = session.hello(HelloKind::Ehlo).to_string();
        assert!(hello.contains("AUTH PLAIN LOGIN"));
        assert_eq!(
            hello.contains(" OAUTHBEARER XOAUTH2"),
            session.takes_bearer()
        );
        session.takes_bearer()
    };
    assert!(!offered(BearerLogin::UnderTls, Channel::Plain));
    assert!(offered(BearerLogin::UnderTls, Channel::Encrypted));
    assert!(offered(BearerLogin::Anywhere, Channel::Plain));
    assert!(!offered(BearerLogin::Absent, Channel::Encrypted));
    play(
        &terms(),
        "C: EHLO me
         S: 250
         C: AUTH OAUTHBEARER
         S: 504 5.5.4
         C: AUTH XOAUTH2
         S: 504 5.5.4",
    );
}

#[test]
fn a_request_of_http_ends_the_session_before_its_body_is_read() {
    play(
        &terms(),
        "C: POST / HTTP/1.1
         S: 421 4.7.0 This is SMTP, not HTTP [NotSmtp]
         C: EHLO me
         C: MAIL FROM:<a@b.example>",
    );
}

#[test]
fn the_third_wrong_password_ends_the_session() {
    play(
        &terms(),
        &format!(
            "C: EHLO me
             S: 250
             C: AUTH PLAIN {WRONG}
             S: 535
             C: AUTH PLAIN {WRONG}
             S: 535
             C: AUTH PLAIN {WRONG}
             S: 535
             S: 421 4.7.0 Too many wrong passwords [given up]"
        ),
    );
}

#[test]
fn the_twentieth_error_ends_the_session_unless_mail_came_between() {
    let mut player = Player::new(terms());
    let begin = format!("EHLO me\r\nAUTH PLAIN {RIGHT}\r\n");
    player.send(begin.as_bytes());
    for _ in 0..19 {
        player.send(b"FOO\r\n");
    }
    player.send(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n.\r\n");
    for _ in 0..19 {
        player.send(b"FOO\r\n");
        assert!(player.said.last().unwrap().starts_with("500 5.5.1"));
    }
    player.send(b"FOO\r\nNOOP\r\n");
    let last: Vec<&str> = player
        .said
        .iter()
        .rev()
        .map(String::as_str)
        .take(2)
        .collect();
    assert_eq!(last[0], "421 4.7.0 Too many errors [given up]");
    assert!(last[1].starts_with("500 5.5.1"), "{last:?}");
    assert_eq!(player.rejection, None);
    assert!(player.server.is_none());
}

/// A permanent refusal is the final word on an address or a message, whatever follows it.
#[test]
fn the_last_refusal_is_said_and_counted_before_the_session_ends() {
    let begin = format!("EHLO me\r\nAUTH PLAIN {RIGHT}\r\n{}", "FOO\r\n".repeat(19));
    for (line, refusal, rejection) in [
        ("MAIL FROM:<no@b.example>", "550 no", None),
        (
            "MAIL FROM:<a@b.example> SIZE=101",
            "552 5.3.4",
            Some(Rejection::TooLarge),
        ),
        (
            "MAIL FROM:<a>",
            "501 5.1.7",
            Some(Rejection::AddressInvalid),
        ),
    ] {
        let mut player = Player::new(terms());
        player.send(format!("{begin}{line}\r\n").as_bytes());
        let last: Vec<&str> = player
            .said
            .iter()
            .rev()
            .map(String::as_str)
            .take(2)
            .collect();
        assert!(last[1].starts_with(refusal), "{line}: {last:?}");
        assert_eq!(last[0], "421 4.7.0 Too many errors [given up]");
        assert_eq!(player.rejection, rejection, "{line}");
    }
}

#[test]
fn without_tls_there_is_nothing_where_it_is_required() {
    let required = Terms {
        start_tls: StartTls::Required,
        ..terms()
    };
    play(
        &required,
        &format!(
            "C: EHLO me
             S: 250 mail.example PIPELINING SIZE 100 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES STARTTLS
             C: AUTH PLAIN {RIGHT}
             S: 530 5.7.0 Must issue
             C: MAIL FROM:<a@b.example>
             S: 530 5.7.0 Must issue
             C: STARTTLS
             S: 220 2.0.0"
        ),
    );
    let offered = Terms {
        start_tls: StartTls::Offered,
        plaintext_login: PlaintextLogin::Refuse,
        ..terms()
    };
    play(
        &offered,
        "C: EHLO me
         S: 250 mail.example PIPELINING SIZE 100 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES STARTTLS
         C: AUTH PLAIN
         S: 538 5.7.11
         C: MAIL FROM:<a@b.example>
         S: 530 5.7.0 Authentication",
    );
}

#[test]
fn the_handshake_makes_the_client_start_over() {
    let mut player = Player::new(Terms {
        start_tls: StartTls::Required,
        plaintext_login: PlaintextLogin::Refuse,
        ..terms()
    });
    player.send(b"EHLO me\r\nSTARTTLS\r\n");
    player.server = Some(player.handshake.take().unwrap().done());
    player.send(b"AUTH PLAIN\r\nEHLO me\r\nSTARTTLS\r\n");
    player.send(format!("AUTH PLAIN {RIGHT}\r\n").as_bytes());
    let said: Vec<&str> = player.said.iter().skip(3).map(String::as_str).collect();
    assert_eq!(said[0], "503 5.5.1 Say EHLO first");
    assert!(said[1].ends_with("AUTH PLAIN LOGIN") && !said[1].contains("STARTTLS"));
    assert_eq!(said[2], "502 5.5.1 Not offered here");
    assert_eq!(said[3], "235 2.7.0 Authenticated");
}

#[test]
fn what_does_not_fit_is_refused_before_content() {
    play(
        &Terms {
            login: LoginPolicy::Optional,
            ..terms()
        },
        "C: EHLO me
         S: 250
         C: MAIL FROM:<a@b.example> SIZE=101
         S: 552 5.3.4
         C: MAIL FROM:<jörg@b.example>
         S: 553 5.6.7
         C: MAIL FROM:<a@b.example> FOO
         S: 555 5.5.4
         C: MAIL FROM:<a>
         S: 501 5.1.7
         C: MAIL FROM:<jörg@b.example> SMTPUTF8
         S: 250
         C: RCPT TO:<ü@b.example>
         S: 250
         C: RSET
         S: 250
         C: MAIL FROM:<a@b.example>
         S: 250
         C: RCPT TO:<ü@b.example>
         S: 553 5.6.7
         C: RCPT TO:<a>
         S: 501 5.1.3
         C: NOOP␀
         S: 500 5.5.2
         C: NOOP␍
         S: 500 5.5.2",
    );
}
