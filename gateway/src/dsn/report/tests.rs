use std::{fs, path::Path};

use posthouse_config::reason::Reason;

use super::*;
use crate::{
    mail::State,
    queue::testing::{START, message},
};

const STORED: &[u8] =
    b"From: u@shop.example\r\nBcc: secret@c.example\r\nSubject: order 7\r\n\r\nThe body.\r\n";

fn original(recipients: &[&str]) -> Message {
    let mut original = message(7, "checkout.shop", "u@shop.example", recipients);
    original.facts.header_length = 65;
    original.facts.length = STORED.len() as u64;
    original.edits.prepend =
        b"Received: by mail.example.com id 7; Thu, 1 Jan 2026 00:00:00 +0000\r\n".to_vec();
    original.edits.remove.push(22..45);
    for recipient in &mut original.recipients {
        recipient.progress = Progress {
            state: State::Failed,
            reason: Some(Reason::RecipientRefused),
            upstream: Some("isp".into()),
            reply: Some("550 5.1.1 The email account that you tried to reach does not exist; see https://support.example/550".into()),
            attempts: 1,
            ..Progress::default()
        };
    }
    original
}

fn report(original: &Message, recipients: &[u32]) -> Report {
    let returned = Returned::new(original, STORED, original.return_full);
    let mailbox = |text| Mailbox::parse(text).unwrap();
    let notice = Notice {
        original,
        recipients,
        id: original.id.report(1),
        hostname: "mail.example.com",
        from: &mailbox("postmaster@mail.example.com"),
        to: original.reverse_path.mailbox().unwrap(),
        now: START,
    };
    compose(&notice, returned)
}

/// Compares with `tests/golden/reports/<name>.eml`; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, content: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden/reports")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }
    let expected = fs::read(&path).unwrap_or_default();
    assert_eq!(
        String::from_utf8_lossy(content),
        String::from_utf8_lossy(&expected),
        "{}",
        path.display()
    );
}

#[test]
fn one_failed_recipient() {
    let report = report(&original(&["x@c.example", "y@c.example"]), &[1]);
    golden("failed.eml", &report.content);
    assert!(
        !String::from_utf8_lossy(&report.content).contains("secret@"),
        "Bcc is not returned"
    );
}

#[test]
fn expired_with_everything_rfc_3461_knows() {
    let mut original = original(&["x@c.example", "y@c.example"]);
    original.envid = Some("order+2B7".into());
    original.return_full = true;
    original.recipients[0].orcpt = Some("rfc822;old+2Bname@c.example".into());
    for recipient in &mut original.recipients {
        recipient.progress.state = State::Expired;
        recipient.progress.reason = Some(Reason::Expired);
        recipient.progress.reply = Some("connection refused".into());
    }
    golden("expired.eml", &report(&original, &[0, 1]).content);
}

#[test]
fn international_addresses() {
    let report = report(&original(&["jörg@bücher.example"]), &[0]);
    golden("international.eml", &report.content);
    assert!(report.message.facts.eight_bit && !report.message.facts.header_utf8);
}

#[test]
fn a_report_is_one_by_its_kind_and_nobody_is_told_of_its_failure() {
    let report = report(&original(&["x@c.example"]), &[0]).message;
    assert_eq!(
        (report.kind, &report.reverse_path),
        (Kind::Report, &ReversePath::Null)
    );
    assert_eq!(report.id.to_string(), "0000000004000000003gr1");
    assert_eq!(report.from[0].as_str(), "postmaster@mail.example.com");
    assert_eq!(report.recipients[0].notify.as_deref(), Some("NEVER"));
}

#[test]
fn the_facts_fit_the_content() {
    let Report { message, content } = report(&original(&["x@c.example"]), &[0]);
    let header = usize::try_from(message.facts.header_length).unwrap();
    assert!(content[..header].ends_with(b"\r\n\r\n"));
    assert_eq!(message.facts.length, content.len() as u64);
    assert!(content.ends_with(b"\r\n") && message.facts.longest_line <= 998);
    let bare = content
        .windows(2)
        .filter(|pair| pair[1] == b'\n' && pair[0] != b'\r')
        .count();
    assert_eq!(bare, 0, "every line ends with CRLF");
}

#[test]
fn the_boundary_is_not_in_what_is_returned() {
    let id = QueueId::new(1, 2);
    assert_ne!(
        boundary(id, format!("--=_{id}--").as_bytes()),
        format!("=_{id}")
    );
}
