//! TLS that was asked for and cannot be had holds mail; nothing falls back to clear text, on either side, and nothing
//! that came before TLS counts after it.

use posthouse_config::{
    document::{Protocol, TlsPolicy, UpstreamTlsMode},
    reason::UpstreamState,
};
use posthouse_tests::{
    Authority, Client, Provider, Script, Site, Turn,
    client::message,
    provider::{ProviderTls, Step},
    wait,
};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

/// Mail for this provider is held as `TlsFailed` (or deferred as `state`), and neither mail nor password was spoken.
fn assert_silent(
    case: &str,
    mode: UpstreamTlsMode,
    authority: &Authority,
    script: Script,
    states: &[UpstreamState],
) {
    let provider = Provider::start(script);
    let mut site = Site::relaying_to(provider.port());
    site.upstream_tls("provider", mode, &authority.pem());
    site.upstream_auth("provider", "relay", "secret");
    let gateway = site.start();
    gateway.client().send(FROM, &[TO], &message(FROM, case));
    wait::until_true(
        &format!("{case}: the upstream is one of {states:?}"),
        || states.contains(&gateway.status().upstreams[0].state),
    );
    assert_eq!(gateway.status().queue.messages, 1, "{case}");
    for command in provider.commands() {
        let verb = command.text.to_uppercase();
        assert!(
            !verb.starts_with("AUTH") && !verb.starts_with("MAIL"),
            "{case}: {command:?}"
        );
    }
}

#[test]
fn to_an_upstream() {
    let authority = Authority::new();
    let other = Authority::new();
    let good = authority.issue(&["provider.example"]);
    let bad = [
        ("wrong name", authority.issue(&["other.example"])),
        ("expired", authority.issue_expired(&["provider.example"])),
        ("unknown authority", other.issue(&["provider.example"])),
    ];
    let failed = [UpstreamState::TlsFailed];
    for (case, identity) in bad {
        let script = || Script::take().user("relay", "secret");
        let starttls = script().tls(ProviderTls::StartTls(identity.clone()));
        assert_silent(
            case,
            UpstreamTlsMode::StartTls,
            &authority,
            starttls,
            &failed,
        );
        let implicit = script().tls(ProviderTls::Implicit(identity));
        assert_silent(
            case,
            UpstreamTlsMode::Implicit,
            &authority,
            implicit,
            &failed,
        );
    }
    let none = Script::take().user("relay", "secret");
    assert_silent(
        "not offered",
        UpstreamTlsMode::StartTls,
        &authority,
        none,
        &failed,
    );
    let clear = Script::take().user("relay", "secret");
    assert_silent(
        "clear text at an implicit port",
        UpstreamTlsMode::Implicit,
        &authority,
        clear,
        &failed,
    );
    for (reply, states) in [
        ("502 5.5.1 Not now", [UpstreamState::TlsFailed]),
        // RFC 3207 §4: temporary.
        ("454 4.7.0 Not now", [UpstreamState::Throttled]),
    ] {
        let script = Script::new(move |exchange| match exchange.step {
            Step::StartTls => Turn::reply(reply),
            _ => Turn::Usual,
        });
        let script = script
            .tls(ProviderTls::StartTls(good.clone()))
            .user("relay", "secret");
        assert_silent(
            reply,
            UpstreamTlsMode::StartTls,
            &authority,
            script,
            &states,
        );
    }
}

#[test]
fn what_a_provider_says_before_tls_does_not_count_after_it() {
    let authority = Authority::new();
    let identity = authority.issue(&["provider.example"]);
    let script = Script::new(|exchange| match exchange.step {
        // One packet: what follows the first line must not be taken for replies under TLS.
        Step::StartTls => {
            Turn::reply("220 2.0.0 Go ahead\r\n250-evil.example\r\n250 AUTH PLAIN\r\n235 2.7.0 Ok")
        }
        _ => Turn::Usual,
    });
    let script = script
        .tls(ProviderTls::StartTls(identity))
        .user("relay", "secret");
    assert_silent(
        "injected",
        UpstreamTlsMode::StartTls,
        &authority,
        script,
        &[UpstreamState::TlsFailed],
    );
}

#[test]
fn from_a_client() {
    let authority = Authority::new();
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    // Loopback would otherwise be trusted with passwords in clear.
    site.document.loopback_is_trusted = false;
    let identity = authority.issue(&["localhost"]);
    site.listener(
        "submission",
        Protocol::Submission,
        TlsPolicy::Required,
        &identity,
    );
    let (username, password) = site.sender("checkout", "shop.example");
    let gateway = site.start();

    let mut client = Client::connect(gateway.address("submission"));
    let hello = client.hello();
    assert!(
        hello.offers("STARTTLS") && !hello.offers("AUTH"),
        "{}",
        hello.text()
    );
    let reply = client.command(&format!("MAIL FROM:<{FROM}>"));
    assert_eq!(reply.code, 530, "{}", reply.text());
    let reply = client.auth(&username, &password);
    assert!(
        (500..560).contains(&reply.code),
        "AUTH in clear: {}",
        reply.text()
    );

    let hello = client.start_tls(authority.client_config(), "localhost");
    assert!(
        hello.offers("AUTH") && !hello.offers("STARTTLS"),
        "{}",
        hello.text()
    );
    assert_eq!(client.auth(&username, &password).code, 235);
    assert_eq!(client.send(FROM, &[TO], &message(FROM, "secure")).code, 250);
    provider.wait_for(1);
}

#[test]
fn what_a_client_sends_before_tls_closes_the_session() {
    let authority = Authority::new();
    let mut site = Site::relaying_to(Provider::start(Script::take()).port());
    let identity = authority.issue(&["localhost"]);
    site.listener(
        "submission",
        Protocol::Submission,
        TlsPolicy::Required,
        &identity,
    );
    let gateway = site.start();
    let mut client = Client::connect(gateway.address("submission"));
    client.hello();
    // CVE-2011-0411: a command in the packet of STARTTLS, before the handshake.
    client
        .raw(b"STARTTLS\r\nEHLO injected.example\r\n")
        .unwrap();
    let replies: Vec<_> = std::iter::from_fn(|| client.reply().ok()).collect();
    assert!(replies.len() <= 1, "{replies:?}");
    assert!(
        replies.iter().all(|reply| !reply.offers("AUTH")),
        "{replies:?}"
    );
}
