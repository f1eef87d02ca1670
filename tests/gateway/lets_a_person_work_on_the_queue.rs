//! A person sees what waits and why, tries it again or gives it up, through the control socket in the spool.

use std::process::Command;

use posthouse_tests::{
    Provider, Script, Site, Turn, client::message, gateway::executable, peer, provider::Step, wait,
};
use serde_json::Value;

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

/// `posthouse-gateway queue …` on a site's spool.
fn queue(site: &Site, arguments: &[&str]) -> Command {
    let mut command = Command::new(executable("posthouse-gateway"));
    command
        .arg("queue")
        .args(arguments)
        .arg("--spool")
        .arg(site.spool());
    command
}

fn list(site: &Site, filter: &[&str]) -> Vec<Value> {
    let arguments = [&["list", "--output", "json"][..], filter].concat();
    let text = peer::run(&mut queue(site, &arguments), b"");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn full() -> Script {
    Script::new(|exchange| match exchange.step {
        Step::Rcpt => Turn::reply("452 4.2.2 Mailbox full"),
        _ => Turn::Usual,
    })
}

/// A gateway with two messages that wait; they would wait for minutes.
fn waiting() -> (Site, posthouse_tests::Gateway, Provider) {
    let provider = Provider::start(full());
    let mut site = Site::relaying_to(provider.port());
    site.document.retry.initial_seconds = 600;
    site.document.retry.maximum_seconds = 600;
    let gateway = site.start();
    for subject in ["first", "second"] {
        gateway.client().send(FROM, &[TO], &message(FROM, subject));
    }
    wait::until_true("both wait", || {
        list(&site, &["--reason", "RecipientDeferred"]).len() == 2
    });
    (site, gateway, provider)
}

fn id(shown: &Value) -> String {
    shown["id"].as_str().unwrap().to_owned()
}

#[test]
fn it_is_shown_and_tried_again() {
    let (site, gateway, provider) = waiting();
    let shown = list(&site, &[]);
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(list(&site, &["--sender", "nobody.nowhere"]).is_empty());
    let first = id(&shown[0]);
    let text = peer::run(&mut queue(&site, &["show", "--id", &first]), b"");
    assert!(text.contains(&first) && text.contains("452"), "{text}");

    provider.follow(Script::take());
    peer::run(&mut queue(&site, &["retry", "--id", &first]), b"");
    assert_eq!(provider.wait_for(1)[0].subject(), "first");
    wait::until_true("one is left", || gateway.status().queue.messages == 1);
}

#[test]
fn it_is_cancelled_and_logged() {
    let (site, gateway, provider) = waiting();
    let first = id(&list(&site, &[])[0]);
    peer::run(&mut queue(&site, &["cancel", "--id", &first]), b"");
    wait::until_true("one is left", || gateway.status().queue.messages == 1);
    wait::until_true("it is logged", || {
        let lines = gateway.log().lines_with(&first);
        lines
            .iter()
            .any(|line| line.to_lowercase().contains("cancelled"))
    });
    assert!(
        (gateway.metric("posthouse_recipients_total", &["outcome=\"cancelled\""]) - 1.0).abs()
            < 0.5
    );
    provider.follow(Script::take());
    gateway.kill();
    let gateway = site.restart();
    let left = list(&site, &[]);
    assert_eq!(left.len(), 1, "cancelled for good: {left:?}");
    peer::run(&mut queue(&site, &["retry", "--id", &id(&left[0])]), b"");
    assert_eq!(provider.wait_for(1)[0].subject(), "second");
    wait::until_true("the queue is empty", || {
        gateway.status().queue.messages == 0
    });
    assert_eq!(provider.count(), 1);
}

#[test]
fn what_cannot_be_done_is_said() {
    let (site, gateway, _provider) = waiting();
    let unknown = "0".repeat(20);
    let (output, text) = peer::attempt(&mut queue(&site, &["retry", "--id", &unknown]), b"");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no such message"), "{text}");
    let (output, text) = peer::attempt(&mut queue(&site, &["list", "--reason", "Boredom"]), b"");
    assert_eq!(output.status.code(), Some(2), "{text}");
    gateway.kill();
    let (output, text) = peer::attempt(&mut queue(&site, &["list"]), b"");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("control.sock"), "{text}");
}
