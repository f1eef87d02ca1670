//! A pod sends with the token of its ServiceAccount instead of a password: PLAIN, OAUTHBEARER and XOAUTH2, under TLS.

use base64::{Engine, prelude::BASE64_STANDARD};
use posthouse_config::{
    document::{Protocol, TlsPolicy, Tokens, tokens::audience},
    senders::SenderAccount,
};
use posthouse_tests::{
    Authority, Client, Gateway, Issuer, Provider, Reply, Script, Site, client::message, wait,
};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";
const ACCOUNT_UID: &str = "0d5c7f6e-0000-4000-8000-000000000002";

fn ours() -> String {
    audience("mail-system", "outbound")
}

/// A relay whose sender `checkout.shop` has no password and one ServiceAccount.
fn site(provider: &Provider, issuer: &Issuer, authority: &Authority) -> Site {
    let mut site = Site::relaying_to(provider.port());
    // Loopback would otherwise be trusted with tokens in clear.
    site.document.loopback_is_trusted = false;
    site.document.tokens = Some(Tokens {
        audience: ours(),
        issuers: vec![issuer.believed()],
    });
    let identity = authority.issue(&["localhost"]);
    site.listener(
        "submission",
        Protocol::Submission,
        TlsPolicy::Required,
        &identity,
    );
    site.sender("checkout", "shop.example");
    let sender = &mut site.senders.senders[0];
    sender.rotations.clear();
    sender.service_accounts = vec![SenderAccount {
        name: "checkout".to_owned(),
        uid: ACCOUNT_UID.to_owned(),
    }];
    site
}

fn client(gateway: &Gateway, authority: &Authority) -> Client {
    let mut client = Client::connect(gateway.address("submission"));
    let hello = client.hello();
    assert!(!hello.offers("AUTH"), "{}", hello.text());
    let hello = client.start_tls(authority.client_config(), "localhost");
    let offered = "AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2".to_owned();
    assert!(hello.lines.contains(&offered), "{}", hello.text());
    client
}

fn auth(client: &mut Client, mechanism: &str, response: &str) -> Reply {
    client.command(&format!(
        "AUTH {mechanism} {}",
        BASE64_STANDARD.encode(response)
    ))
}

#[test]
fn in_each_mechanism() {
    let (authority, issuer) = (Authority::new(), Issuer::new("key-1"));
    let provider = Provider::start(Script::take());
    let mut site = site(&provider, &issuer, &authority);
    let gateway = site.start();
    let token = issuer.token("checkout", ACCOUNT_UID, &ours());
    let responses = [
        ("PLAIN", format!("\0checkout.shop\0{token}")),
        ("OAUTHBEARER", format!("n,,\x01auth=Bearer {token}\x01\x01")),
        (
            "XOAUTH2",
            format!("user=checkout.shop\x01auth=Bearer {token}\x01\x01"),
        ),
    ];
    for (mechanism, response) in &responses {
        let mut client = client(&gateway, &authority);
        let reply = auth(&mut client, mechanism, response);
        assert_eq!(reply.code, 235, "{mechanism}: {}", reply.text());
        let content = message(FROM, mechanism);
        assert_eq!(client.send(FROM, &[TO], &content).code, 250);
    }
    let mut subjects: Vec<_> = provider
        .wait_for(3)
        .iter()
        .map(posthouse_tests::Mail::subject)
        .collect();
    subjects.sort();
    assert_eq!(subjects, ["OAUTHBEARER", "PLAIN", "XOAUTH2"]);
    let accepted = "posthouse_messages_accepted_total";
    assert!((gateway.metric(accepted, &["sender=\"checkout.shop\""]) - 3.0).abs() < f64::EPSILON);
    let log = gateway.log().text();
    assert!(!log.contains(&token), "the token is in the log");
    gateway.stop();
}

#[test]
fn of_another_relay_or_account_they_are_refused() {
    let (authority, issuer) = (Authority::new(), Issuer::new("key-1"));
    let provider = Provider::start(Script::take());
    let mut site = site(&provider, &issuer, &authority);
    let gateway = site.start();
    let elsewhere = issuer.token("checkout", ACCOUNT_UID, &audience("mail-system", "other"));
    let namesake = issuer.token("checkout", "another", &ours());
    let stranger = issuer.token("stranger", ACCOUNT_UID, &ours());
    for (token, word) in [
        (elsewhere, "audience"),
        (namesake, "another one"),
        (stranger, "no MailSender"),
    ] {
        let mut client = client(&gateway, &authority);
        let response = format!("n,,\x01auth=Bearer {token}\x01\x01");
        let challenge = auth(&mut client, "OAUTHBEARER", &response);
        assert_eq!(challenge.code, 334, "{}", challenge.text());
        let error = BASE64_STANDARD.decode(&challenge.lines[0]).unwrap();
        assert_eq!(error, br#"{"status":"invalid_token"}"#);
        let reply = client.command("AQ==");
        assert_eq!(reply.code, 535, "{}", reply.text());
        assert!(reply.text().contains(word), "{}", reply.text());
        assert_eq!(client.command(&format!("MAIL FROM:<{FROM}>")).code, 530);
    }
    gateway.stop();
}

/// The cluster has a new key that the document does not have yet: later, and the operator learns of it.
#[test]
fn of_a_new_key_they_are_put_off_until_it_is_known() {
    let (authority, issuer) = (Authority::new(), Issuer::new("key-1"));
    let provider = Provider::start(Script::take());
    let mut site = site(&provider, &issuer, &authority);
    let gateway = site.start();
    let renewed = Issuer::new("key-2");
    let token = renewed.token("checkout", ACCOUNT_UID, &ours());
    let response = format!("\0checkout.shop\0{token}");
    let reply = auth(&mut client(&gateway, &authority), "PLAIN", &response);
    assert_eq!(reply.code, 454, "{}", reply.text());
    assert_eq!(gateway.status().unknown_key_ids, ["key-2"]);

    let believed = site.document.tokens.as_mut().unwrap();
    believed.issuers[0].keys.push(renewed.public_key());
    site.write();
    wait::until_true("the new key is known", || {
        gateway.status().document.number == site.document.number
    });
    assert!(gateway.status().unknown_key_ids.is_empty());
    let mut client = client(&gateway, &authority);
    assert_eq!(auth(&mut client, "PLAIN", &response).code, 235);
    assert_eq!(
        client.send(FROM, &[TO], &message(FROM, "new key")).code,
        250
    );
    provider.wait_for(1);
    gateway.stop();
}
