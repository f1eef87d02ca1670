//! Probes, metrics and status: their names are interface, counters start at zero, and no address of a recipient and no
//! credential is in any of them.

use posthouse_tests::{Provider, Script, Site, admin, client::message, wait};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone.private@customer.example";

/// Series that are there from the start, before any mail.
const FROM_THE_START: [&str; 18] = [
    "posthouse_build_info{version=",
    "posthouse_sessions{listener=\"plain\"} 0",
    "posthouse_sessions_total{listener=\"plain\",result=\"completed\"} 0",
    "posthouse_messages_rejected_total{listener=\"plain\",reason=\"too_large\"} 0",
    "posthouse_queue_messages{state=\"held\"} 0",
    "posthouse_queue_recipients{state=\"pending\",upstream=\"provider\"} 0",
    "posthouse_queue_bytes 0",
    "posthouse_queue_oldest_message_age_seconds 0",
    "posthouse_queue_deferrals_total{reason=\"unreachable\",upstream=\"provider\"} 0",
    "posthouse_unconfirmed_total{upstream=\"provider\"} 0",
    "posthouse_recipients_total{outcome=\"relayed\",upstream=\"provider\"} 0",
    "posthouse_upstream_failures_total{reason=\"tls_failed\",upstream=\"provider\"} 0",
    "posthouse_reports_total{kind=\"failed\"} 0",
    "posthouse_spool_bytes ",
    "posthouse_spool_free_bytes ",
    "posthouse_spool_sync_seconds_count ",
    "posthouse_spool_failed 0",
    "posthouse_config_generation ",
];

#[test]
fn before_and_after_a_message() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    assert_eq!(admin::get(gateway.admin(), "/livez").unwrap().code, 200);
    assert_eq!(admin::get(gateway.admin(), "/readyz").unwrap().code, 200);
    assert_eq!(
        admin::get(gateway.admin(), "/no-such-page").unwrap().code,
        404
    );
    let metrics = admin::get(gateway.admin(), "/metrics").unwrap().body;
    for series in FROM_THE_START {
        assert!(
            metrics.lines().any(|line| line.starts_with(series)),
            "{series} in\n{metrics}"
        );
    }

    gateway
        .client()
        .send(FROM, &[TO], &message(FROM, "counted"));
    provider.wait_for(1);
    wait::until_true("the outcome is counted", || {
        gateway.metric("posthouse_recipients_total", &["outcome=\"relayed\""]) >= 1.0
    });
    let accepted = ["listener=\"plain\"", "sender=\"anonymous\""];
    assert!((gateway.metric("posthouse_messages_accepted_total", &accepted) - 1.0).abs() < 0.5);
    wait::until_true("the upstream is up", || {
        gateway.metric("posthouse_upstream_up", &["upstream=\"provider\""]) > 0.5
    });
    assert!(gateway.metric("posthouse_relay_latency_seconds_count", &[]) >= 1.0);

    let status = serde_json::to_string(&gateway.status()).unwrap();
    let metrics = admin::get(gateway.admin(), "/metrics").unwrap().body;
    for text in [status, metrics, gateway.log().text()] {
        assert!(!text.contains("someone.private"), "{text}");
    }
}

#[test]
fn one_line_for_a_message_and_one_for_its_outcome() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    let reply = gateway.client().send(FROM, &[TO], &message(FROM, "logged"));
    provider.wait_for(1);
    // The queue id joins them: 20 characters of base32hex, in the reply to the content.
    let is_id = |word: &&str| {
        word.len() == 20
            && word
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'v').contains(&b))
    };
    let text = reply.text();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let id = words
        .into_iter()
        .find(is_id)
        .unwrap_or_else(|| panic!("no queue id in {text}"));
    wait::until_true("both lines are there", || {
        gateway.log().lines_with(id).len() >= 2
    });
    assert!(
        gateway
            .log()
            .lines_with(id)
            .iter()
            .any(|line| line.contains("Taken")),
        "the provider's reply"
    );
    for line in gateway.log().text().lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok(),
            "{line}"
        );
    }
}
