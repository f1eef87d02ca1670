//! Who sent mail that failed is told once, also if the process is killed while it happens: the report and the
//! original's end are one batch in the spool (RFC 3464; RFC 3461 §6).

use std::collections::{BTreeMap, BTreeSet};

use posthouse_tests::{Mail, Provider, Script, Site, Turn, client::message, provider::Step, wait};

const FROM: &str = "orders@shop.example";
const MESSAGES: usize = 60;
const KILLS: usize = 5;

/// The subject of the message a report is about: its header section comes back with the report.
fn original(report: &Mail) -> String {
    let text = report.text();
    let subjects = text
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("Subject: "));
    subjects.last().unwrap_or_default().to_owned()
}

#[test]
fn for_each_message_that_failed() {
    let provider = Provider::start(Script::new(|exchange| match exchange.step {
        Step::Rcpt if exchange.line.contains("nobody@") => Turn::reply("550 5.1.1 No such mailbox"),
        _ => Turn::Usual,
    }));
    let mut site = Site::relaying_to(provider.port());
    let mut gateway = site.start();
    let mut sent = 0;
    for kill in 1..=KILLS {
        let mut client = gateway.client();
        while sent < MESSAGES * kill / KILLS {
            let content = message(FROM, &format!("failed-{sent}"));
            assert_eq!(
                client
                    .send(FROM, &["nobody@customer.example"], &content)
                    .code,
                250
            );
            sent += 1;
        }
        let refused = provider.commands_of("RCPT TO:<NOBODY@");
        wait::until_true("relaying goes on", || {
            provider.commands_of("RCPT TO:<NOBODY@") > refused
                || gateway.status().queue.messages == 0
        });
        gateway.kill();
        gateway = site.restart();
    }
    wait::until_true("the queue is empty", || {
        gateway.status().queue.messages == 0
    });
    let mut reports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mail in provider.mails() {
        assert_eq!(mail.recipients, [FROM]);
        assert_eq!(
            mail.from, "",
            "RFC 3461 §6.1: the reverse-path of a report is null"
        );
        assert!(
            mail.field("Content-Type")
                .unwrap()
                .contains("report-type=delivery-status")
        );
        assert!(
            mail.text().contains("Final-Recipient: rfc822;"),
            "{}",
            mail.text()
        );
        reports
            .entry(original(&mail))
            .or_default()
            .insert(mail.field("Message-ID").unwrap());
    }
    assert_eq!(reports.len(), MESSAGES, "{:?}", reports.keys());
    // One that was relayed twice is one report with one Message-ID.
    let several: Vec<_> = reports.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(several.is_empty(), "{several:?}");
}
