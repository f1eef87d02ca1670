//! The first SIGTERM lets what is under way finish, the second ends everything at once. Neither loses what was
//! confirmed.

use std::time::{Duration, Instant};

use posthouse_tests::{Provider, Script, Site, Turn, client::message, provider::Step, wait};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

#[test]
fn a_transaction_may_finish() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let mut gateway = site.start();
    let mut idle = gateway.client();
    let mut busy = gateway.client();
    busy.begin(FROM, &[TO]);
    let content = message(FROM, "last");
    let (first, rest) = content.split_at(20);
    busy.raw(first.as_bytes()).unwrap();
    gateway.terminate();
    let reply = idle.expect_reply(421);
    assert!(reply.lines[0].starts_with("4.3.2"), "{}", reply.text());
    busy.raw(format!("{rest}\r\n.\r\n").as_bytes()).unwrap();
    assert_eq!(busy.reply().unwrap().code, 250);
    assert!(gateway.wait().success(), "{}", gateway.log().text());

    let _gateway = site.restart();
    assert_eq!(provider.wait_for(1)[0].subject(), "last");
}

#[test]
fn it_is_not_ready_while_it_stops() {
    let provider = Provider::start(Script::new(|exchange| match exchange.step {
        Step::Final => Turn::Stall,
        _ => Turn::Usual,
    }));
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    gateway.client().send(FROM, &[TO], &message(FROM, "slow"));
    wait::until_true("the content is on its way", || {
        provider.commands_of("DATA") == 1
    });
    gateway.terminate();
    let ready =
        || posthouse_tests::admin::get(gateway.admin(), "/readyz").map(|answer| answer.code);
    wait::until_true("it is not ready any more", || {
        ready().is_ok_and(|code| code == 503)
    });
}

#[test]
fn the_second_signal_does_not_wait() {
    let provider = Provider::start(Script::new(|exchange| match exchange.step {
        Step::Final => Turn::Stall,
        _ => Turn::Usual,
    }));
    let mut site = Site::relaying_to(provider.port());
    site.document.stop.grace_seconds = 600;
    let mut gateway = site.start();
    gateway.client().send(FROM, &[TO], &message(FROM, "slow"));
    wait::until_true("the content is on its way", || {
        provider.commands_of("DATA") == 1
    });
    gateway.terminate();
    let ready =
        || posthouse_tests::admin::get(gateway.admin(), "/readyz").map(|answer| answer.code);
    wait::until_true("it has begun to stop", || {
        ready().map_or(true, |code| code == 503)
    });
    let start = Instant::now();
    gateway.terminate();
    gateway.wait();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );

    // RFC 1047: the final dot went out and no reply came; it is not sent again at once.
    let gateway = site.restart();
    let queue = gateway.status().queue;
    assert_eq!(queue.messages, 1, "{queue:?}");
}
