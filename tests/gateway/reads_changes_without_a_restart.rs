//! Documents, senders, secrets and certificates are read again while the gateway runs; a bad change changes nothing
//! that works. (Passwords of upstreams: `holds_when_the_password_is_refused.rs`.)

use std::fs;

use posthouse_config::document::{Protocol, TlsPolicy};
use posthouse_tests::{
    Authority, Client, Gateway, Provider, Script, Site, admin, client::message, provider::Absent,
    wait,
};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

fn wait_for_document(gateway: &Gateway, number: u64) {
    wait::until_true("the document is in use", || {
        gateway.status().document.number == number
    });
}

#[test]
fn queued_mail_takes_the_new_route() {
    let dead = Absent::reserve();
    let live = Provider::start(Script::take());
    let mut site = Site::relaying_to(dead.port());
    let gateway = site.start();
    gateway
        .client()
        .send(FROM, &[TO], &message(FROM, "rerouted"));
    wait::until_true("the first upstream was tried", || {
        gateway.metric(
            "posthouse_queue_deferrals_total",
            &["upstream=\"provider\""],
        ) >= 1.0
            || gateway.metric(
                "posthouse_upstream_failures_total",
                &["upstream=\"provider\""],
            ) >= 1.0
    });
    site.upstream("other", live.port());
    site.document.routes[0].targets[0].upstream = "other".to_owned();
    site.write();
    assert_eq!(live.wait_for(1)[0].subject(), "rerouted");
    wait_for_document(&gateway, site.document.number);
    assert!(gateway.metric("posthouse_config_generation", &[]) >= 2.0);
}

#[test]
fn an_upstream_that_moved_is_found() {
    let dead = Absent::reserve();
    let live = Provider::start(Script::take());
    let mut site = Site::relaying_to(dead.port());
    let gateway = site.start();
    gateway.client().send(FROM, &[TO], &message(FROM, "moved"));
    site.transport("provider").port = live.port();
    site.write();
    assert_eq!(live.wait_for(1)[0].subject(), "moved");
}

#[test]
fn a_new_listener_waits_for_a_restart_and_mail_does_not() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    let mut second = site.document.listeners[0].clone();
    second.name = "second".to_owned();
    site.document.listeners.push(second);
    site.write();
    wait_for_document(&gateway, site.document.number);
    let answer = admin::get(gateway.admin(), "/readyz").unwrap();
    assert_eq!(answer.code, 200, "{}", answer.body);
    let content = message(FROM, "meanwhile");
    assert_eq!(gateway.client().send(FROM, &[TO], &content).code, 250);
    provider.wait_for(1);
}

#[test]
fn a_refused_document_changes_nothing() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    let number = gateway.status().document.number;
    let file = site.folder().join("gateway.yaml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("replicas: 1", "replicas: 99")).unwrap();
    wait::until_true("the status says what is wrong", || {
        let problems = gateway.status().document.problems;
        problems.iter().any(|problem| problem.contains("replicas"))
    });
    assert_eq!(gateway.status().document.number, number);
    assert!(gateway.metric("posthouse_config_reload_failures_total", &[]) >= 1.0);
    assert_eq!(
        gateway
            .client()
            .send(FROM, &[TO], &message(FROM, "works"))
            .code,
        250
    );
    provider.wait_for(1);

    fs::write(&file, good).unwrap();
    wait::until_true("the status has nothing to say", || {
        gateway.status().document.problems.is_empty()
    });
}

#[test]
fn a_new_sender_may_send_and_one_that_went_may_not() {
    let authority = Authority::new();
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let identity = authority.issue(&["localhost"]);
    site.listener(
        "submission",
        Protocol::Submission,
        TlsPolicy::Required,
        &identity,
    );
    let gateway = site.start();
    let (username, password) = site.sender("checkout", "shop.example");
    let login = || {
        let mut client = Client::connect(gateway.address("submission"));
        client.hello();
        client.start_tls(authority.client_config(), "localhost");
        let reply = client.auth(&username, &password);
        (client, reply.code)
    };
    assert_eq!(login().1, 535);
    site.write();
    wait::until_true("the senders are in use", || {
        gateway.status().senders.number == site.senders.number
    });
    let (mut client, code) = login();
    assert_eq!(code, 235);
    assert_eq!(
        client.send(FROM, &[TO], &message(FROM, "allowed")).code,
        250
    );
    let other = "orders@other.example";
    client
        .raw(format!("MAIL FROM:<{other}>\r\nRCPT TO:<{TO}>\r\nDATA\r\n").as_bytes())
        .unwrap();
    assert!(
        (0..3).any(|_| client.reply().unwrap().code >= 500),
        "a domain that is not its own"
    );

    site.senders.senders.clear();
    site.senders.number += 1;
    site.write();
    wait::until_true("the senders are in use", || {
        gateway.status().senders.number == site.senders.number
    });
    assert_eq!(login().1, 535);
}

/// It needs another process; until then this one serves those it has.
#[test]
fn an_added_listener_leaves_a_gateway_ready() {
    let mut site = Site::relaying_to(Provider::start(Script::take()).port());
    let gateway = site.start();
    let identity = Authority::new().issue(&["localhost"]);
    let tls = TlsPolicy::Required;
    site.listener("added", Protocol::Submissions, tls, &identity);
    site.write();
    wait_for_document(&gateway, site.document.number);
    assert_eq!(admin::get(gateway.admin(), "/readyz").unwrap().code, 200);
    let reply = gateway
        .client()
        .send(FROM, &[TO], &message(FROM, "meanwhile"));
    assert_eq!(reply.code, 250, "{}", reply.text());
}

#[test]
fn a_renewed_certificate_is_shown() {
    let old = Authority::new();
    let new = Authority::new();
    let mut site = Site::relaying_to(Provider::start(Script::take()).port());
    let identity = old.issue(&["localhost"]);
    site.listener(
        "submissions",
        Protocol::Submissions,
        TlsPolicy::Required,
        &identity,
    );
    let gateway = site.start();
    let address = gateway.address("submissions");
    Client::connect_tls(address, old.client_config(), "localhost").hello();
    site.certificate("submissions", &new.issue(&["localhost"]));
    wait::until_true("the new certificate is shown", || {
        Client::try_connect_tls(address, new.client_config(), "localhost").is_ok()
    });
}
