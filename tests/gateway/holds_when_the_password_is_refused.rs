//! A refused password is our own fault and never bounces mail: it is held, the status says why, and a corrected file
//! relays it without a restart.

use posthouse_config::{
    document::UpstreamTlsMode,
    reason::{Reason, UpstreamState},
};
use posthouse_tests::{
    Authority, Gateway, Provider, Script, Site, client::message, provider::ProviderTls, wait,
};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

fn state(gateway: &Gateway) -> UpstreamState {
    gateway.status().upstreams[0].state
}

/// A site that relays over STARTTLS with this password, and its provider, which wants `right`.
fn site(password: &str) -> (Site, Provider) {
    let authority = Authority::new();
    let identity = authority.issue(&["provider.example"]);
    let tls = ProviderTls::StartTls(identity);
    let provider = Provider::start(Script::take().tls(tls).user("relay", "right"));
    let mut site = Site::relaying_to(provider.port());
    site.upstream_tls("provider", UpstreamTlsMode::StartTls, &authority.pem());
    site.upstream_auth("provider", "relay", password);
    (site, provider)
}

#[test]
fn and_relays_when_the_file_is_corrected() {
    let (mut site, provider) = site("wrong");
    let gateway = site.start();
    let reply = gateway.client().send(FROM, &[TO], &message(FROM, "held"));
    assert_eq!(
        reply.code,
        250,
        "the application is not told of our fault: {}",
        reply.text()
    );
    wait::until_true("the upstream is AuthenticationFailed", || {
        state(&gateway) == UpstreamState::AuthenticationFailed
    });
    wait::until_true("the message is held", || gateway.status().queue.held == 1);
    let status = gateway.status();
    let held = &status.queue.held_reasons[0];
    assert_eq!(
        (held.reason, held.upstream.as_str()),
        (Reason::AuthenticationFailed, "provider")
    );
    assert!(
        status.upstreams[0]
            .reply
            .as_deref()
            .unwrap_or_default()
            .contains("535"),
        "{status:?}"
    );
    assert!(provider.commands_of("MAIL") == 0);
    let text = gateway.log().text() + &serde_json::to_string(&status).unwrap();
    assert!(!text.contains("wrong"), "no credential in log or status");

    site.secret("secrets/provider/password", b"right\n");
    let mails = provider.wait_for(1);
    assert_eq!(
        (mails[0].subject().as_str(), mails[0].user.as_deref()),
        ("held", Some("relay"))
    );
    assert!(mails[0].secure);
    wait::until_true("the upstream is Ready", || {
        state(&gateway) == UpstreamState::Ready
    });
}

#[test]
fn and_holds_while_there_is_no_file() {
    let (mut site, provider) = site("right");
    let file = site.folder().join("secrets/provider/password");
    std::fs::remove_file(&file).unwrap();
    let gateway = site.start();
    gateway.client().send(FROM, &[TO], &message(FROM, "waits"));
    wait::until_true("the upstream is CredentialMissing", || {
        state(&gateway) == UpstreamState::CredentialMissing
    });
    assert_eq!(
        gateway.status().files.missing,
        ["secrets/provider/password"]
    );
    assert_eq!(provider.commands_of("AUTH"), 0);

    site.secret("secrets/provider/password", b"right");
    assert_eq!(provider.wait_for(1)[0].subject(), "waits");
}

#[test]
fn a_file_that_disappears_changes_nothing() {
    let (mut site, provider) = site("right");
    let gateway = site.start();
    gateway.client().send(FROM, &[TO], &message(FROM, "before"));
    provider.wait_for(1);
    std::fs::remove_file(site.folder().join("secrets/provider/password")).unwrap();
    wait::until_true("the status says so", || {
        gateway.status().files.missing == ["secrets/provider/password"]
    });
    gateway.client().send(FROM, &[TO], &message(FROM, "after"));
    assert_eq!(provider.wait_for(2)[1].subject(), "after");
}
