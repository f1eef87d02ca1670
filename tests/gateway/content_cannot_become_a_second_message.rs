//! The end of content is exactly `CRLF . CRLF` (RFC 5321 §4.1.1.4, §2.3.8), on the way in and on the way out. Each row
//! goes over a real socket once whole and once octet by octet, to a listener that repairs and one that refuses, and on
//! to a provider that is as lax as those that fell for smuggling: it must see one message for each we accepted.

use std::collections::BTreeMap;

use posthouse_config::document::BareNewlines;
use posthouse_tests::{Client, Mail, Provider, Script, Site};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";
const SMUGGLED: &str = "MAIL FROM:<evil@shop.example>";

/// What must become of a row where bare newlines are repaired.
enum Relayed {
    /// The body that the provider has.
    Body(&'static str),
    /// A reply code; nothing is relayed.
    Never(u16),
    /// Lines folded at 998 octets that joined again are this.
    Folded(String),
}

struct Row {
    name: &'static str,
    /// The body as sent, without the end of content.
    sent: String,
    relayed: Relayed,
    /// What a listener that refuses says to it.
    refusing: u16,
}

fn row(name: &'static str, sent: &str, body: &'static str, refusing: u16) -> Row {
    Row {
        name,
        sent: sent.to_owned(),
        relayed: Relayed::Body(body),
        refusing,
    }
}

fn rows() -> Vec<Row> {
    vec![
        row("empty", "", "", 250),
        row("lone dot", "..\r\n", ".\r\n", 250),
        row("doubled dot", "...\r\n", "..\r\n", 250),
        row("leading dot on the first line", ".a\r\n", "a\r\n", 250),
        row(
            "LF . LF",
            "a\n.\nMAIL FROM:<evil@shop.example>\r\n",
            "a\r\n.\r\nMAIL FROM:<evil@shop.example>\r\n",
            554,
        ),
        row(
            "LF . CRLF",
            "a\n.\r\nMAIL FROM:<evil@shop.example>\r\n",
            "a\r\n.\r\nMAIL FROM:<evil@shop.example>\r\n",
            554,
        ),
        row(
            "CRLF . LF",
            "a\r\n.\nMAIL FROM:<evil@shop.example>\r\n",
            "a\r\n\r\nMAIL FROM:<evil@shop.example>\r\n",
            554,
        ),
        row(
            "CR . CR",
            "a\r.\rMAIL FROM:<evil@shop.example>\r\n",
            "a . MAIL FROM:<evil@shop.example>\r\n",
            554,
        ),
        row(
            "CRLF . CR CR LF",
            "a\r\n.\r\r\nMAIL FROM:<evil@shop.example>\r\n",
            "a\r\n \r\nMAIL FROM:<evil@shop.example>\r\n",
            554,
        ),
        row("bare CR", "a\rb\r\n", "a b\r\n", 554),
        row("bare LF", "a\nb\r\n", "a\r\nb\r\n", 554),
        row("NUL", "a\0b\r\n", "a b\r\n", 554),
        Row {
            name: "over-long line",
            sent: format!("{}\r\n", "word ".repeat(1000)),
            relayed: Relayed::Folded("word ".repeat(1000)),
            refusing: 250,
        },
        Row {
            name: "over-long message",
            sent: "A line of a message that is too long.\r\n".repeat(600),
            relayed: Relayed::Never(552),
            refusing: 552,
        },
    ]
}

fn content(subject: &str, body: &str) -> String {
    format!("From: <{FROM}>\r\nSubject: {subject}\r\n\r\n{body}")
}

/// One transaction, its content whole or octet by octet, and at its end the next command in the same packet.
fn hand_over(client: &mut Client, content: &str, octet_by_octet: bool) -> u16 {
    client.begin(FROM, &[TO]);
    let bytes = [content.as_bytes(), b".\r\nNOOP\r\n"].concat();
    if octet_by_octet {
        for &octet in &bytes {
            client.raw(&[octet]).unwrap();
        }
    } else {
        client.raw(&bytes).unwrap();
    }
    let reply = client.reply().unwrap();
    client.expect_reply(250);
    reply.code
}

/// Every row, in both ways of sending; the codes and what the provider had at the end.
fn play(bare_newlines: BareNewlines) -> (BTreeMap<String, u16>, Vec<Mail>) {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    site.document.listeners[0].bare_newlines = bare_newlines;
    site.document.limits.message_bytes = 16 << 10;
    let gateway = site.start();
    let mut codes = BTreeMap::new();
    for octet_by_octet in [false, true] {
        for row in rows() {
            let subject = format!("{} {octet_by_octet}", row.name);
            let mut client = gateway.client();
            let code = hand_over(&mut client, &content(&subject, &row.sent), octet_by_octet);
            codes.insert(subject, code);
        }
    }
    let accepted = codes.values().filter(|&&code| code == 250).count();
    let mut client = gateway.client();
    // The last of all: what was smuggled would have come before it.
    hand_over(&mut client, &content("last", "\r\n"), false);
    let mails = provider.wait_for(accepted + 1);
    posthouse_tests::wait::until_true("the queue is empty", || {
        gateway.status().queue.messages == 0
    });
    assert_eq!(
        provider.commands_of("MAIL"),
        accepted + 1,
        "{:?}",
        provider.commands()
    );
    assert!(
        provider
            .commands()
            .iter()
            .all(|command| !command.text.starts_with(SMUGGLED))
    );
    (codes, mails)
}

#[test]
fn where_bare_newlines_are_repaired() {
    let (codes, mails) = play(BareNewlines::Repair);
    for row in rows() {
        for octet_by_octet in [false, true] {
            let subject = format!("{} {octet_by_octet}", row.name);
            let mail = mails.iter().find(|mail| mail.subject() == subject);
            let code = codes[&subject];
            match &row.relayed {
                Relayed::Never(expected) => {
                    assert_eq!(code, *expected, "{subject}");
                    assert!(mail.is_none(), "{subject}");
                }
                Relayed::Body(body) => {
                    assert_eq!(code, 250, "{subject}");
                    let mail = mail.unwrap_or_else(|| panic!("{subject} is not there"));
                    assert_eq!(String::from_utf8_lossy(mail.body()), *body, "{subject}");
                }
                Relayed::Folded(body) => {
                    let text = String::from_utf8_lossy(mail.unwrap().body()).into_owned();
                    assert!(
                        text.split("\r\n").all(|line| line.len() <= 998),
                        "{subject}"
                    );
                    assert_eq!(
                        text.trim_end_matches("\r\n").replace("\r\n ", ""),
                        *body,
                        "{subject}"
                    );
                }
            }
        }
    }
    for mail in &mails {
        let text = mail.text().replace("\r\n", "");
        assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
    }
}

#[test]
fn where_bare_newlines_are_refused() {
    let (codes, mails) = play(BareNewlines::Refuse);
    for row in rows() {
        for octet_by_octet in [false, true] {
            let subject = format!("{} {octet_by_octet}", row.name);
            assert_eq!(codes[&subject], row.refusing, "{subject}");
            let there = mails.iter().any(|mail| mail.subject() == subject);
            assert_eq!(there, row.refusing == 250, "{subject}");
        }
    }
}

#[test]
fn a_message_of_nothing_at_all_is_given_its_fields() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    assert_eq!(hand_over(&mut gateway.client(), "", false), 250);
    let mails = provider.wait_for(1);
    // RFC 6409 §8: Date, Message-ID; From from the reverse-path.
    for field in ["From", "Date", "Message-ID", "Received"] {
        assert!(
            mails[0].field(field).is_some(),
            "{field} in {}",
            mails[0].text()
        );
    }
    assert!(mails[0].field("From").unwrap().contains(FROM));
}
