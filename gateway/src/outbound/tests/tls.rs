//! Mail over each way of TLS, and what happens when it cannot be had.

use posthouse_config::reason::UpstreamState;

use super::{fixture::*, provider::*};

fn auth(replies: Vec<Step>) -> Vec<Step> {
    [
        ehlo(&["PIPELINING", "AUTH PLAIN"]),
        vec![Hear("AUTH PLAIN AHVzZXIAc2VjcmV0")],
        replies,
    ]
    .concat()
}

fn whole_session() -> Vec<Step> {
    [
        auth(vec![say("235 ok"), Hear("NOOP"), say("250 ok")]),
        taken(),
    ]
    .concat()
}

const FILES: [(&str, &str); 2] = [("u", "user\n"), ("p", "secret\n")];

fn secured(mode: &str, port: u16, identity: &Identity) -> Fixture {
    let smtp = format!(
        "tls: {{ mode: {mode}, ca: ca }}, auth: {{ password: {{ username: u, password: p }} }}"
    );
    let files = [FILES[0], FILES[1], ("ca", identity.ca.as_str())];
    Fixture::new(&upstream("a", port, &smtp), &files)
}

#[tokio::test]
async fn relays_over_implicit_tls() {
    let identity = Identity::of(&["127.0.0.1"]);
    let script = [vec![Secure, say("220 hi")], whole_session()].concat();
    let provider = Provider::with(vec![script], Some(&identity)).await;
    let fixture = secured("Implicit", provider.address.port(), &identity);
    fixture.until("a", UpstreamState::Ready).await;
    let report = fixture.attempt(message(1, 1)).await;
    assert_eq!(words(&report), [("relayed", None)]);
    assert_eq!(said(&report.verdicts[0].1), "Final: 250 2.0.0 taken");
    assert_eq!(
        provider.heard(),
        [
            "(secure)",
            "EHLO mail.example.com",
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
            "NOOP",
            "MAIL FROM:<s@a.example>",
            "RCPT TO:<r0@b.example>",
            "DATA",
            "From: s@a.example\r\nSubject: x\r\n\r\n..dot\r\n.\r\n",
        ]
    );
}

#[tokio::test]
async fn relays_over_starttls() {
    let identity = Identity::of(&["127.0.0.1"]);
    let script = [
        hello(&["STARTTLS", "AUTH PLAIN"]),
        vec![Hear("STARTTLS"), say("220 go"), Secure],
        whole_session(),
    ]
    .concat();
    let provider = Provider::with(vec![script], Some(&identity)).await;
    let fixture = secured("StartTls", provider.address.port(), &identity);
    fixture.until("a", UpstreamState::Ready).await;
    let report = fixture.attempt(message(1, 1)).await;
    assert_eq!(words(&report), [("relayed", None)]);
    assert_eq!(
        provider.heard()[1..4],
        ["STARTTLS", "(secure)", "EHLO mail.example.com"]
    );
}

#[tokio::test]
async fn relays_in_clear_where_that_is_asked() {
    let provider = Provider::start(vec![[probe(), taken()].concat()]).await;
    let fixture = Fixture::ready(provider.address.port()).await;
    let report = fixture.attempt(message(1, 1)).await;
    assert_eq!(words(&report), [("relayed", None)]);
}

#[tokio::test]
async fn the_name_to_verify_can_be_another_than_the_host() {
    let identity = Identity::of(&["smtp.example.com"]);
    let script = [vec![Secure], probe()].concat();
    let provider = Provider::with(vec![script], Some(&identity)).await;
    let smtp = "tls: { mode: Implicit, ca: ca, serverName: smtp.example.com }";
    let fixture = Fixture::new(
        &upstream("a", provider.address.port(), smtp),
        &[("ca", &identity.ca)],
    );
    fixture.until("a", UpstreamState::Ready).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_ca_is_not_taken() {
    let (other_name, other_ca) = (Identity::of(&["x.example"]), Identity::of(&["127.0.0.1"]));
    for (identity, ca) in [
        (&other_name, other_name.ca.as_str()),
        (&other_ca, other_name.ca.as_str()),
        (&other_ca, ""),
        (&other_ca, "no certificate"),
    ] {
        let script = [vec![Secure], probe()].concat();
        let provider = Provider::with(vec![script], Some(identity)).await;
        let smtp = "tls: { mode: Implicit, ca: ca }";
        let files = [("ca", ca)];
        let files = if ca.is_empty() { &[][..] } else { &files };
        let fixture = Fixture::new(&upstream("a", provider.address.port(), smtp), files);
        let view = fixture.until("a", UpstreamState::TlsFailed).await;
        assert!(view.remedy.is_some() && view.reply.is_some(), "{view:?}");
        let report = fixture.attempt(message(1, 1)).await;
        assert_eq!(words(&report), [("not offered", None)]);
        assert!(!provider.heard().iter().any(|line| line.starts_with("EHLO")));
    }
}

#[tokio::test]
async fn tls_never_falls_back_to_clear() {
    for script in [
        hello(&["PIPELINING"]),
        [
            hello(&["STARTTLS"]),
            vec![Hear("STARTTLS"), say("501 5.5.1 no")],
        ]
        .concat(),
        [
            hello(&["STARTTLS"]),
            vec![Hear("STARTTLS"), say("220 go"), say("250 what handshake?")],
        ]
        .concat(),
    ] {
        let identity = Identity::of(&["127.0.0.1"]);
        let provider = Provider::with(vec![script], Some(&identity)).await;
        let fixture = secured("StartTls", provider.address.port(), &identity);
        fixture.until("a", UpstreamState::TlsFailed).await;
        for line in provider.heard() {
            assert!(
                !line.starts_with("AUTH") && !line.starts_with("MAIL"),
                "{line}"
            );
        }
    }
}

/// What comes in the same packet as the reply to STARTTLS would otherwise be read as said under TLS.
#[tokio::test]
async fn replies_injected_before_tls_are_fatal() {
    let identity = Identity::of(&["127.0.0.1"]);
    let script = [
        hello(&["STARTTLS"]),
        vec![
            Hear("STARTTLS"),
            say("220 go\n250-evil\n250 AUTH PLAIN"),
            Secure,
        ],
        whole_session(),
    ]
    .concat();
    let provider = Provider::with(vec![script], Some(&identity)).await;
    let fixture = secured("StartTls", provider.address.port(), &identity);
    let view = fixture.until("a", UpstreamState::TlsFailed).await;
    assert!(view.reply.unwrap().contains("unexpected data"));
    assert!(!provider.heard().iter().any(|line| line.starts_with("AUTH")));
}

#[tokio::test]
async fn a_missing_credential_holds_and_its_coming_is_tried_at_once() {
    let script = [
        vec![say("220 hi")],
        auth(vec![say("235 ok"), Hear("NOOP"), say("250 ok")]),
    ]
    .concat();
    let provider = Provider::start(vec![script]).await;
    let smtp = "auth: { password: { username: u, password: p } }";
    let one = upstream("a", provider.address.port(), smtp);
    let fixture = Fixture::new(&one, &FILES[..1]);
    let view = fixture.until("a", UpstreamState::CredentialMissing).await;
    assert_eq!(view.reply.as_deref(), Some("Auth: p is absent"));
    fixture.change(&one, &FILES);
    fixture.until("a", UpstreamState::Ready).await;
}

#[tokio::test]
async fn a_refused_credential_holds_and_another_one_is_tried_at_once() {
    let refuse = [
        vec![say("220 hi")],
        ehlo(&["AUTH LOGIN"]),
        vec![
            Hear("AUTH LOGIN"),
            say("334 VXNlcm5hbWU6"),
            Hear("dXNlcg=="),
            say("334 UGFzc3dvcmQ6"),
            Hear("b2xk"),
            say("535 5.7.8 no"),
        ],
    ]
    .concat();
    let accept = [
        vec![say("220 hi")],
        auth(vec![say("235 ok"), Hear("NOOP"), say("250 ok")]),
    ]
    .concat();
    let provider = Provider::start(vec![refuse, accept]).await;
    let smtp = "auth: { password: { username: u, password: p } }";
    let one = upstream("a", provider.address.port(), smtp);
    let fixture = Fixture::new(&one, &[("u", "user"), ("p", "old")]);
    let view = fixture
        .until("a", UpstreamState::AuthenticationFailed)
        .await;
    assert_eq!(view.reply.as_deref(), Some("Auth: 535 5.7.8 no"));
    let report = fixture.attempt(message(1, 1)).await;
    assert_eq!(words(&report), [("not offered", None)]);
    fixture.change(&one, &FILES);
    fixture.until("a", UpstreamState::Ready).await;
}
