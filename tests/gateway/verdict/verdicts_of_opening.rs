//! Rows 1–4: a session that cannot be opened says something about the upstream and never fails mail.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use posthouse_config::{
    document::UpstreamTlsMode,
    reason::{Reason, UpstreamState},
};
use posthouse_gateway::mail::Progress;
use posthouse_tests::{
    Authority, Provider, Script, Site, Turn,
    provider::{Absent, ProviderTls, Step},
    wait,
};

use super::relaying::*;

/// Row 1.
#[test]
fn a_refused_connection_defers_and_mail_leaves_when_somebody_answers() {
    let absent = Absent::reserve();
    let relaying = Relaying::start(Site::relaying_to(absent.port()));
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
    assert!(relaying.reply("provider").starts_with("Connect: "));
    assert_eq!(
        relaying.progress(id),
        Progress::default(),
        "its own retries are not spent"
    );
    assert_eq!(relaying.shown(id), ("deferred", Some(Reason::Unreachable)));
    relaying.advance(minutes(120));
    relaying.assert_nothing_failed();
    assert_eq!(relaying.progress(id), Progress::default());

    let provider = absent.answer(Script::take());
    relaying.advance(minutes(15));
    relaying.assert_relayed(1);
    assert_eq!(transactions(&provider), 1);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
}

/// Row 1.
#[test]
fn a_name_that_is_not_found_defers() {
    let mut site = Site::relaying_to(1);
    "no..name".clone_into(&mut site.transport("provider").host);
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
    assert!(relaying.reply("provider").starts_with("Connect: "));
    assert_eq!(relaying.shown(id), ("deferred", Some(Reason::Unreachable)));
    relaying.assert_nothing_failed();
}

/// Row 1.
#[test]
fn whatever_refuses_before_mail_defers_and_is_asked_again_after_a_minute() {
    for (step, turn) in [
        (Step::Connect, Turn::reply("554 5.7.1 Go away")),
        (Step::Connect, Turn::reply("450 4.3.2 Not now")),
        (
            Step::Connect,
            Turn::ReplyAndClose("421 4.3.2 Closing".into()),
        ),
        (Step::Connect, Turn::Close),
        (Step::Hello, Turn::reply("550 5.7.1 Not you")),
        (Step::Hello, Turn::ReplyAndClose("421 4.3.2 Closing".into())),
        (Step::Hello, Turn::Close),
    ] {
        let (relaying, provider) = Relaying::to(at(step, turn.clone()));
        let id = relaying.send(FROM, &[TO]);
        assert_eq!(
            relaying.state("provider"),
            UpstreamState::Unreachable,
            "{turn:?}"
        );
        if let Turn::Reply(reply) | Turn::ReplyAndClose(reply) = &turn {
            assert!(relaying.reply("provider").ends_with(reply), "{turn:?}");
        }
        assert_eq!(relaying.progress(id), Progress::default(), "{turn:?}");
        relaying.assert_nothing_failed();
        provider.follow(Script::take());
        relaying.advance(minutes(1));
        relaying.assert_relayed(1);
        assert_eq!(transactions(&provider), 1, "{turn:?}");
    }
}

/// Row 1, time-outs (RFC 5321 §4.5.3.2).
#[test]
fn a_provider_that_falls_silent_before_mail_defers() {
    for (step, heard, limit, reply) in [
        (Step::Connect, 0, minutes(5), "Greeting: timed out"),
        (Step::Hello, 1, minutes(5), "Hello: timed out"),
        (Step::StartTls, 2, minutes(1), "Tls: timed out"),
        (Step::Auth, 4, minutes(2), "Auth: timed out"),
    ] {
        let (site, provider, speak) = secured(UpstreamTlsMode::StartTls, at(step, Turn::Stall));
        let relaying = Relaying::start(site);
        wait::until_true("silence", || provider.commands().len() == heard);
        relaying.time_out(limit);
        assert_eq!(relaying.reply("provider"), reply);
        let id = relaying.send(FROM, &[TO]);
        assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
        assert_eq!(relaying.progress(id), Progress::default());
        relaying.assert_nothing_failed();
        provider.follow(speak(Script::take()));
        relaying.advance(minutes(1));
        relaying.assert_relayed(1);
    }
}

/// Row 1: a server that closes says nothing of TLS.
#[test]
fn a_421_to_starttls_defers() {
    let closing = at(
        Step::StartTls,
        Turn::ReplyAndClose("421 4.3.2 Closing".to_owned()),
    );
    let (site, provider, speak) = secured(UpstreamTlsMode::StartTls, closing);
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Unreachable);
    assert_eq!(relaying.shown(id), ("deferred", Some(Reason::Unreachable)));
    assert_nothing_in_clear(&provider);
    provider.follow(speak(Script::take()));
    relaying.advance(minutes(1));
    relaying.assert_relayed(1);
}

/// Row 2.
#[test]
fn a_provider_that_speaks_in_clear_where_tls_is_implicit_holds_and_hears_nothing() {
    let (site, provider, speak) = secured(UpstreamTlsMode::Implicit, Script::take());
    provider.follow(Script::take().user("relay", PASSWORD));
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::TlsFailed);
    assert_eq!(relaying.shown(id), ("held", Some(Reason::TlsFailed)));
    assert_nothing_in_clear_at_all(&provider);
    provider.follow(speak(Script::take()));
    relaying.advance(minutes(15));
    relaying.assert_relayed(1);
}

/// Row 1: known only when mail is offered, the next target has it at once.
#[test]
fn a_first_target_that_vanishes_passes_its_mail_to_the_next_at_once() {
    let (relaying, first, second) = Relaying::with_fallback(Script::take(), Script::take());
    first.follow(Script::new(|exchange| match exchange.step {
        Step::Connect => Turn::reply("554 5.7.1 Go away"),
        Step::Mail => Turn::Close,
        _ => Turn::Usual,
    }));
    relaying.send(FROM, &[TO]);
    relaying.advance(Duration::from_secs(2));
    assert_eq!(relaying.state("first"), UpstreamState::Unreachable);
    relaying.assert_relayed(1);
    assert_eq!((first.count(), second.count()), (0, 1));
}

const PASSWORD: &str = "sesame-4711";

/// A site that relays with TLS and a password, its provider, and what makes other scripts speak as that provider does.
fn secured(mode: UpstreamTlsMode, script: Script) -> (Site, Provider, impl Fn(Script) -> Script) {
    let authority = Authority::new();
    let identity = authority.issue(&["provider.example"]);
    let tls = match mode {
        UpstreamTlsMode::Implicit => ProviderTls::Implicit(identity),
        UpstreamTlsMode::StartTls | UpstreamTlsMode::None => ProviderTls::StartTls(identity),
    };
    let speak = move |script: Script| script.tls(tls.clone()).user("relay", PASSWORD);
    let provider = Provider::start(speak(script));
    let mut site = Site::relaying_to(provider.port());
    site.upstream_tls("provider", mode, &authority.pem());
    site.upstream_auth("provider", "relay", PASSWORD);
    (site, provider, speak)
}

/// Nothing that was to be said under TLS crossed the wire in clear, and every command came after the handshake.
fn assert_nothing_in_clear(provider: &Provider) {
    assert_nothing_in_clear_at_all(provider);
    let mut commands = provider.commands().into_iter();
    assert!(commands.all(|command| command.secure || is_harmless(&command.text)));
}

/// Nothing that was to be said under TLS crossed the wire in clear.
fn assert_nothing_in_clear_at_all(provider: &Provider) {
    let octets = String::from_utf8_lossy(&provider.octets()).into_owned();
    for secret in [
        "AUTH",
        PASSWORD,
        &BASE64_STANDARD.encode(PASSWORD),
        &BASE64_STANDARD.encode(format!("\0relay\0{PASSWORD}")),
        "MAIL",
        "RCPT",
        FROM,
        TO,
        "Subject",
    ] {
        assert!(!octets.contains(secret), "{secret} in {octets:?}");
    }
}

fn is_harmless(line: &str) -> bool {
    ["EHLO", "STARTTLS", "QUIT"]
        .iter()
        .any(|verb| line.starts_with(verb))
}

/// Row 2.
#[test]
fn starttls_that_cannot_be_had_holds_and_says_nothing_in_clear() {
    for (script, reply) in [
        // Not offered; AUTH is, to tempt us.
        (Script::take().user("relay", PASSWORD), ""),
        (says(Step::StartTls, "501 5.5.1 No"), "501 5.5.1 No"),
        (says(Step::StartTls, "450 4.7.0 No"), "450 4.7.0 No"),
    ] {
        let is_offered = !reply.is_empty();
        let (site, provider, speak) = secured(UpstreamTlsMode::StartTls, Script::take());
        provider.follow(if is_offered { speak(script) } else { script });
        let relaying = Relaying::start(site);
        let id = relaying.send(FROM, &[TO]);
        assert_eq!(relaying.state("provider"), UpstreamState::TlsFailed);
        assert!(relaying.reply("provider").contains(reply));
        assert_eq!(relaying.shown(id), ("held", Some(Reason::TlsFailed)));
        assert_eq!(relaying.progress(id), Progress::default());
        relaying.assert_nothing_failed();
        provider.follow(speak(Script::take()));
        relaying.advance(minutes(15));
        relaying.assert_relayed(1);
        assert!(provider.mails()[0].secure);
        assert_nothing_in_clear(&provider);
    }
}

/// Row 2.
#[test]
fn a_454_to_starttls_throttles_and_says_nothing_in_clear() {
    let (site, provider, speak) = secured(
        UpstreamTlsMode::StartTls,
        says(Step::StartTls, "454 4.7.0 Not now"),
    );
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Throttled);
    assert_eq!(relaying.shown(id), ("deferred", Some(Reason::Throttled)));
    assert_eq!(relaying.reply("provider"), "Tls: 454 4.7.0 Not now");
    relaying.assert_nothing_failed();
    provider.follow(speak(Script::take()));
    relaying.advance(minutes(1));
    relaying.assert_relayed(1);
    assert_nothing_in_clear(&provider);
}

/// Row 2.
#[test]
fn a_handshake_or_certificate_that_fails_holds_and_says_nothing_in_clear() {
    let other = Authority::new();
    for mode in [UpstreamTlsMode::StartTls, UpstreamTlsMode::Implicit] {
        for identity in [
            other.issue(&["provider.example"]),
            other.issue_expired(&["provider.example"]),
        ] {
            let (site, provider, speak) = secured(mode, Script::take());
            let tls = match mode {
                UpstreamTlsMode::Implicit => ProviderTls::Implicit(identity),
                UpstreamTlsMode::StartTls | UpstreamTlsMode::None => {
                    ProviderTls::StartTls(identity)
                }
            };
            provider.follow(Script::take().tls(tls).user("relay", PASSWORD));
            let relaying = Relaying::start(site);
            let id = relaying.send(FROM, &[TO]);
            assert_eq!(relaying.state("provider"), UpstreamState::TlsFailed);
            assert!(relaying.reply("provider").starts_with("Tls: TLS: "));
            assert_eq!(relaying.shown(id), ("held", Some(Reason::TlsFailed)));
            relaying.assert_nothing_failed();
            assert_eq!(provider.count(), 0);
            assert_nothing_in_clear(&provider);
            provider.follow(speak(Script::take()));
            relaying.advance(minutes(15));
            relaying.assert_relayed(1);
        }
    }
}

/// Row 2: what comes in one packet with the reply to STARTTLS would be read as if it had been said under TLS.
#[test]
fn replies_injected_before_tls_hold_and_are_never_believed() {
    let injected = "220 2.0.0 Go ahead\r\n250-provider.example\r\n250 AUTH PLAIN";
    let (site, provider, speak) =
        secured(UpstreamTlsMode::StartTls, says(Step::StartTls, injected));
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::TlsFailed);
    assert_eq!(
        relaying.reply("provider"),
        "Tls: unexpected data after the reply to STARTTLS"
    );
    assert_eq!(relaying.shown(id), ("held", Some(Reason::TlsFailed)));
    relaying.assert_nothing_failed();
    assert_nothing_in_clear(&provider);
    provider.follow(speak(Script::take()));
    relaying.advance(minutes(15));
    relaying.assert_relayed(1);
    assert_nothing_in_clear(&provider);
}

/// Row 3.
#[test]
fn a_transient_reply_to_auth_throttles_for_five_minutes() {
    let (site, provider, speak) = secured(
        UpstreamTlsMode::Implicit,
        says(Step::Auth, "454 4.7.0 Later"),
    );
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Throttled);
    assert_eq!(relaying.reply("provider"), "Auth: 454 4.7.0 Later");
    assert_eq!(relaying.shown(id), ("deferred", Some(Reason::Throttled)));
    assert_eq!(relaying.progress(id), Progress::default());
    provider.follow(speak(Script::take()));
    relaying.advance(minutes(5).saturating_sub(Duration::from_secs(1)));
    assert_eq!(
        provider.commands_of("AUTH"),
        1,
        "accounts are locked by those who try too soon"
    );
    relaying.advance(Duration::from_secs(1));
    relaying.assert_relayed(1);
    assert_eq!(
        (provider.commands_of("AUTH"), transactions(&provider)),
        (2, 1)
    );
}

/// Row 4.
#[test]
fn a_refused_password_holds_and_a_corrected_file_relays_without_a_restart() {
    let (site, provider, _) = secured(UpstreamTlsMode::StartTls, Script::take());
    site.secret("secrets/provider/password", b"wrong");
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(
        relaying.state("provider"),
        UpstreamState::AuthenticationFailed
    );
    assert!(relaying.reply("provider").starts_with("Auth: 535 5.7.8 "));
    assert_eq!(
        relaying.shown(id),
        ("held", Some(Reason::AuthenticationFailed))
    );
    relaying.advance(minutes(15).saturating_sub(Duration::from_secs(10)));
    assert_eq!(provider.commands_of("AUTH"), 1);
    relaying.advance(minutes(60));
    assert_eq!(
        relaying.state("provider"),
        UpstreamState::AuthenticationFailed
    );
    assert_eq!(relaying.progress(id), Progress::default());
    assert_eq!(transactions(&provider), 0);
    relaying.assert_nothing_failed();

    relaying
        .site
        .secret("secrets/provider/password", PASSWORD.as_bytes());
    relaying.publish();
    relaying.assert_relayed(1);
    assert_eq!(relaying.state("provider"), UpstreamState::Ready);
    assert_eq!(provider.mails()[0].user.as_deref(), Some("relay"));
}

/// Row 4.
#[test]
fn a_provider_without_our_mechanism_holds() {
    let (site, provider, speak) = secured(UpstreamTlsMode::Implicit, Script::take());
    let mut silent = speak(Script::take());
    silent.user = None;
    provider.follow(silent);
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(
        relaying.state("provider"),
        UpstreamState::AuthenticationFailed
    );
    assert_eq!(
        relaying.shown(id),
        ("held", Some(Reason::AuthenticationFailed))
    );
    assert_eq!(
        (provider.commands_of("AUTH"), transactions(&provider)),
        (0, 0)
    );
    relaying.assert_nothing_failed();
    provider.follow(speak(Script::take()));
    relaying.advance(minutes(15));
    relaying.assert_relayed(1);
}

/// Row 4: a file that is absent is the same for mail, and nothing is tried without it.
#[test]
fn a_missing_password_holds_and_its_coming_relays() {
    let (site, provider, _) = secured(UpstreamTlsMode::Implicit, Script::take());
    std::fs::remove_file(site.folder().join("secrets/provider/password")).unwrap();
    let relaying = Relaying::start(site);
    let id = relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::CredentialMissing);
    assert_eq!(
        relaying.shown(id),
        ("held", Some(Reason::CredentialMissing))
    );
    relaying.advance(minutes(30));
    assert_eq!(provider.connections(), 0);
    relaying.assert_nothing_failed();
    relaying
        .site
        .secret("secrets/provider/password", PASSWORD.as_bytes());
    relaying.publish();
    relaying.assert_relayed(1);
}

/// Rows 1–4: while the first target is away for whatever cause, the next one has its mail.
#[test]
fn a_target_that_cannot_be_opened_leaves_its_mail_to_the_next() {
    for (step, reply, state) in [
        (
            Step::Connect,
            "554 5.7.1 Go away",
            UpstreamState::Unreachable,
        ),
        (Step::StartTls, "501 5.5.1 No", UpstreamState::TlsFailed),
        (
            Step::StartTls,
            "454 4.7.0 Not now",
            UpstreamState::Throttled,
        ),
        (Step::Auth, "454 4.7.0 Later", UpstreamState::Throttled),
        (
            Step::Auth,
            "535 5.7.8 No",
            UpstreamState::AuthenticationFailed,
        ),
    ] {
        let (mut site, first, _) = secured(UpstreamTlsMode::StartTls, says(step, reply));
        let second = Provider::start(Script::take());
        fallback(&mut site, second.port());
        site.document.routes[0].spill_seconds = 0;
        let relaying = Relaying::start(site);
        relaying.send(FROM, &[TO]);
        assert_eq!(relaying.state("provider"), state);
        relaying.assert_relayed(1);
        assert_eq!((first.count(), second.count()), (0, 1));
        assert_nothing_in_clear(&first);
    }
}

/// Rows 2 and 3: a target that is throttled for less than `spillSeconds` is waited for.
#[test]
fn a_target_that_is_throttled_for_a_short_while_keeps_its_mail() {
    let (mut site, first, speak) = secured(
        UpstreamTlsMode::Implicit,
        says(Step::Auth, "454 4.7.0 Later"),
    );
    let second = Provider::start(Script::take());
    fallback(&mut site, second.port());
    let relaying = Relaying::start(site);
    relaying.send(FROM, &[TO]);
    assert_eq!(relaying.state("provider"), UpstreamState::Throttled);
    first.follow(speak(Script::take()));
    relaying.advance(minutes(5));
    relaying.assert_relayed(1);
    assert_eq!((first.count(), second.count()), (1, 0));
}
