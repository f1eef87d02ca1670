//! What is added and removed, field by field.

use super::*;

const CONTENT_ID: &str = "Message-ID: <given@client.example>\r\n";

fn fixed(content: &str, change: impl FnOnce(&mut Trail<'_>)) -> Result<(String, FixedUp), Refusal> {
    let hello = Hello {
        name: "pc.example".into(),
        kind: HelloKind::Ehlo,
    };
    let client = Client {
        address: [192, 0, 2, 7].into(),
        hello: "pc.example".into(),
    };
    let login = Login::As("checkout.shop".into());
    let mut trail = Trail {
        hostname: "mail.example.com",
        id: QueueId::new(1, 2),
        now: Timestamp::from_millis(1_767_225_600_000),
        trace: Trace::Minimal,
        client: &client,
        hello: &hello,
        channel: Channel::Encrypted,
        login: &login,
        utf8: Utf8::Absent,
    };
    change(&mut trail);
    let header = HeaderSection::parse(content.as_bytes()).unwrap();
    let authors = [Mailbox::parse("a@Shop.example").unwrap()];
    let fixed = fix_up(&header, content.as_bytes(), &authors, &trail)?;
    let added = String::from_utf8(fixed.edits.prepend.clone()).unwrap();
    Ok((added, fixed))
}

/// What is left of content once the ranges are taken out.
fn left(content: &str, fixed: &FixedUp) -> String {
    let mut left = content.to_owned();
    for range in fixed.edits.remove.iter().rev() {
        left.replace_range(range.start as usize..range.end as usize, "");
    }
    left
}

#[test]
fn only_what_is_missing_is_added() {
    let complete = format!("From: a@shop.example\r\ndate: x\r\n{CONTENT_ID}\r\nbody\r\n");
    let (added, fixed_up) = fixed(&complete, |_| {}).unwrap();
    assert_eq!(
        added.lines().filter(|line| !line.starts_with('\t')).count(),
        1
    );
    assert!(added.starts_with("Received: by mail.example.com with ESMTPSA\r\n\tid "));
    assert_eq!(&*fixed_up.message_id, "<given@client.example>");
    assert!(fixed_up.edits.remove.is_empty());
    let (added, fixed_up) = fixed("Subject: x\r\n\r\n", |_| {}).unwrap();
    assert!(added.contains("\r\nFrom: a@Shop.example\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n"));
    assert!(
        fixed_up.message_id.ends_with("@shop.example>"),
        "{}",
        fixed_up.message_id
    );
    assert!(added.ends_with(&format!("Message-ID: {}\r\n", fixed_up.message_id)));
}

#[test]
fn what_must_not_be_passed_on_is_left_out() {
    let content = "BCC: x@y.example,\r\n z@y.example\r\nTo: a@b.example\r\nReturn-Path: <q@r.example>\r\nMessage-ID:\r\nresent-bcc: w@x.example\r\n\r\nBcc: in the body\r\n";
    let (added, fixed_up) = fixed(content, |_| {}).unwrap();
    assert_eq!(
        left(content, &fixed_up),
        "To: a@b.example\r\n\r\nBcc: in the body\r\n"
    );
    assert!(added.contains("Message-ID: <"));
}

#[test]
fn the_client_is_told_of_only_when_asked() {
    let (added, _) = fixed("From: a@b.example\r\n\r\n", |_| {}).unwrap();
    assert!(!added.contains("pc.example") && !added.contains("192.0.2.7"));
    let (added, _) = fixed("From: a@b.example\r\n\r\n", |trail| {
        trail.trace = Trace::Full;
    })
    .unwrap();
    assert!(
        added.starts_with("Received: from pc.example ([192.0.2.7])\r\n\tby mail.example.com"),
        "{added}"
    );
    let odd = Hello {
        name: "x (y) by evil".into(),
        kind: HelloKind::Ehlo,
    };
    let client = Client {
        address: "2001:db8::1".parse().unwrap(),
        hello: "x".into(),
    };
    let content = "From: a@b.example\r\n\r\n";
    let header = HeaderSection::parse(content.as_bytes()).unwrap();
    let trail = Trail {
        hostname: "mail.example.com",
        id: QueueId::new(1, 2),
        now: Timestamp::default(),
        trace: Trace::Full,
        client: &client,
        hello: &odd,
        channel: Channel::Plain,
        login: &Login::Nobody,
        utf8: Utf8::Given,
    };
    let fixed_up = fix_up(&header, content.as_bytes(), &[], &trail).unwrap();
    let added = String::from_utf8(fixed_up.edits.prepend).unwrap();
    assert!(
        added.starts_with(
            "Received: from unknown ([IPv6:2001:db8::1])\r\n\tby mail.example.com with UTF8SMTP\r\n"
        ),
        "{added}"
    );
}

#[test]
fn fifty_hops_are_a_loop() {
    let around = |hops| "received: x\r\n".repeat(hops) + "\r\n";
    assert!(fixed(&around(49), |_| {}).is_ok());
    let refusal = fixed(&around(50), |_| {}).unwrap_err();
    assert_eq!(refusal, refusal::mail_loop());
}
