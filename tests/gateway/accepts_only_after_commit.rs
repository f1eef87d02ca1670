//! A `250` after the content means the message is on stable storage: it survives SIGKILL, whole, and is relayed by the
//! next process. What was not confirmed is not a message.

use posthouse_tests::{Script, Site, client::message, provider::Absent, wait};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

/// Over 64 KiB, so that the content is a file of its own beside the log.
fn large(subject: &str) -> String {
    message(FROM, subject) + &"\r\nA line of a message that is not small.".repeat(5000)
}

#[test]
fn what_was_confirmed_survives_sigkill() {
    let absent = Absent::reserve();
    let mut site = Site::relaying_to(absent.port());
    let gateway = site.start();
    let mut client = gateway.client();
    for i in 0..20 {
        let reply = client.send(FROM, &[TO], &message(FROM, &format!("small {i}")));
        assert_eq!(reply.code, 250, "{}", reply.text());
    }
    let reply = client.send(FROM, &[TO], &large("large"));
    assert_eq!(reply.code, 250, "{}", reply.text());
    gateway.kill();

    let provider = absent.answer(Script::take());
    let gateway = site.restart();
    let mails = provider.wait_for(21);
    assert!(
        provider.subjects().values().all(|&count| count == 1),
        "{:?}",
        provider.subjects()
    );
    let relayed = mails.iter().find(|mail| mail.subject() == "large").unwrap();
    let expected = large("large");
    let body = expected.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(
        relayed.text().split_once("\r\n\r\n").unwrap().1.trim_end(),
        body
    );
    assert_eq!(
        (relayed.from.as_str(), &relayed.recipients[..]),
        (FROM, &[TO.to_owned()][..])
    );
    wait::until_true("the queue is empty", || {
        gateway.status().queue.messages == 0
    });
}

#[test]
fn what_was_relayed_is_not_relayed_again() {
    let provider = posthouse_tests::Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    let mut client = gateway.client();
    for i in 0..10 {
        client.send(FROM, &[TO], &message(FROM, &format!("once {i}")));
    }
    provider.wait_for(10);
    wait::until_true("every outcome is written", || {
        gateway.status().queue.messages == 0
    });
    gateway.kill();

    let gateway = site.restart();
    assert_eq!(gateway.status().queue.messages, 0);
    let mut client = gateway.client();
    client.send(FROM, &[TO], &message(FROM, "after"));
    // Relayed in the order of acceptance: what is older would have come first.
    provider.wait_for(11);
    assert_eq!(provider.subjects().len(), 11);
}

#[test]
fn content_that_did_not_end_is_not_a_message() {
    let provider = posthouse_tests::Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    let mut client = gateway.client();
    client.begin(FROM, &[TO]);
    client.raw(large("half").as_bytes()).unwrap();
    gateway.kill();

    let gateway = site.restart();
    assert_eq!(gateway.status().queue.messages, 0);
    let contents = std::fs::read_dir(site.spool().join("content")).unwrap();
    assert_eq!(contents.count(), 0, "content without a message is swept");
    gateway.stop();
    assert_eq!(provider.count(), 0);
}
