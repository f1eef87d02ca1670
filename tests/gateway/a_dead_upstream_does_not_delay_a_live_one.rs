//! Mail that waits for a dead upstream does not delay mail for a live one, however much waits.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use posthouse_tests::{
    Client, Provider, Script, Site, client::message, provider::Absent, site::route, wait,
};

const SESSIONS: usize = 8;

/// How long mail for the live upstream may take while the rest waits. An idle machine needs some milliseconds.
const PROMPTLY: Duration = Duration::from_secs(5);

/// Hands over `count` messages for the dead upstream, pipelined (RFC 2920), over one session.
fn fill(address: SocketAddr, count: usize) {
    let mut client = Client::connect(address);
    client.hello();
    let content = message("batch@dead.example", "waits");
    let envelope =
        "MAIL FROM:<batch@dead.example>\r\nRCPT TO:<someone@customer.example>\r\nDATA\r\n";
    for _ in 0..count {
        client.raw(envelope.as_bytes()).unwrap();
        for code in [250, 250, 354] {
            client.expect_reply(code);
        }
        client
            .raw(format!("{content}\r\n.\r\n").as_bytes())
            .unwrap();
        client.expect_reply(250);
    }
}

fn with_waiting(count: usize) {
    let dead = Absent::reserve();
    let live = Provider::start(Script::take());
    let mut site = Site::relaying_to(live.port());
    site.upstream("dead", dead.port());
    let mut to_dead = route("dead", "dead");
    to_dead.sender_domains = vec!["dead.example".parse().unwrap()];
    site.document.routes.insert(0, to_dead);
    site.document.spool.segment_bytes = 32 << 20;
    let gateway = Arc::new(site.start());
    let address = gateway.address("plain");
    let fillers: Vec<_> = (0..SESSIONS)
        .map(|_| thread::spawn(move || fill(address, count / SESSIONS)))
        .collect();

    let mut worst = Duration::ZERO;
    let mut relayed = 0;
    let mut one = || {
        let start = Instant::now();
        let from = "login@shop.example";
        let mut client = gateway.client();
        let reply = client.send(from, &["someone@customer.example"], &message(from, "code"));
        assert_eq!(reply.code, 250, "{}", reply.text());
        relayed += 1;
        live.wait_for(relayed);
        worst = worst.max(start.elapsed());
    };
    while fillers.iter().any(|filler| !filler.is_finished()) {
        one();
    }
    for filler in fillers {
        filler.join().unwrap();
    }
    for _ in 0..10 {
        one();
    }
    println!(
        "{count} waiting: slowest of {relayed} for the live upstream took {worst:?}, {} KiB",
        gateway.proportional_kib()
    );
    assert!(worst < PROMPTLY, "{worst:?}");
    let waiting = (count / SESSIONS * SESSIONS) as u64;
    wait::until_true("only what waits for the dead upstream is left", || {
        gateway.status().queue.messages == waiting
    });
    assert!(live.mails().iter().all(|mail| mail.subject() == "code"));
}

#[test]
fn two_thousand_waiting() {
    with_waiting(2000);
}

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn a_hundred_thousand_waiting() {
    with_waiting(100_000);
}
