//! Tokens as clients show them: in every mechanism, with the replies a client sees.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;
use crate::inbound::token::tests::{Signer, believing_on, claims_from, listed};

/// The wall clock of [`ManualClock::new`], in seconds.
const START: u64 = 20_454 * 24 * 3600;

/// Trusts loopback, so that tokens need no TLS there.
const TRUSTING: &str = "loopbackIsTrusted: true";

fn believing(signer: &Signer, more: &str) -> Snapshot {
    let document = document(PLAIN, more);
    let believing = believing_on(document, &[signer.key("k")], &listed());
    let files = [("keys/1".to_owned(), Arc::from(key().as_bytes().as_slice()))].into();
    Snapshot::new(believing.document, believing.senders, files)
}

/// A house that believes a signer, its client on loopback.
fn house(signer: &Signer) -> House {
    let mut house = House::of(believing(signer, TRUSTING));
    house.client = [127, 0, 0, 1].into();
    house
}

fn token(signer: &Signer) -> String {
    signer.token("k", &claims_from(START))
}

fn auth(mechanism: &str, response: &str) -> String {
    format!("AUTH {mechanism} {}", BASE64_STANDARD.encode(response))
}

impl House {
    /// A client after EHLO, and what was said to that.
    async fn greeted(&self) -> (Client, String) {
        let mut client = self.connect().await;
        client.reply().await;
        let hello = client.ask("EHLO me").await;
        (client, hello)
    }

    /// Lets the second pass that being wrong costs.
    async fn wait_a_second(&self) {
        while !self.clock.is_awaited(Duration::from_secs(1)) {
            tokio::task::yield_now().await;
        }
        self.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn every_mechanism_takes_a_token() {
    let signer = Signer::p256();
    let token = token(&signer);
    for (mechanism, response) in [
        ("PLAIN", format!("\0checkout.shop\0{token}")),
        ("OAUTHBEARER", format!("n,,\x01auth=Bearer {token}\x01\x01")),
        (
            "OAUTHBEARER",
            format!("n,a=checkout.shop,\x01auth=Bearer {token}\x01\x01"),
        ),
        (
            "XOAUTH2",
            format!("user=checkout.shop\x01auth=Bearer {token}\x01\x01"),
        ),
        ("XOAUTH2", format!("auth=Bearer {token}\x01\x01")),
    ] {
        let house = house(&signer);
        let (mut client, hello) = house.greeted().await;
        assert!(
            hello.contains("AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2\r\n"),
            "{hello}"
        );
        let said = client.ask(&auth(mechanism, &response)).await;
        assert!(said.starts_with("235 2.7.0"), "{mechanism}: {said}");
        let said = client.ask("MAIL FROM:<a@shop.example>").await;
        assert!(said.starts_with("250 2.1.0"), "{mechanism}: {said}");
        let said = client.ask("RSET").await;
        assert!(said.starts_with("250"), "{said}");
        let said = client.ask("MAIL FROM:<a@other.example>").await;
        assert!(said.starts_with("550 5.7.1"), "{mechanism}: {said}");
    }
    let house = house(&signer);
    let (mut client, _) = house.greeted().await;
    client.ask("AUTH LOGIN").await;
    client.ask(&BASE64_STANDARD.encode("checkout.shop")).await;
    let said = client.ask(&BASE64_STANDARD.encode(&token)).await;
    assert!(said.starts_with("235 2.7.0"), "{said}");
}

#[tokio::test]
async fn a_refused_token_is_told_in_two_steps() {
    let (signer, other) = (Signer::p256(), Signer::p256());
    let house = house(&signer);
    let (mut client, _) = house.greeted().await;
    let forged = other.token("k", &claims_from(START));
    let response = format!("n,,\x01auth=Bearer {forged}\x01\x01");
    client
        .send(format!("{}\r\n", auth("OAUTHBEARER", &response)))
        .await;
    house.wait_a_second().await;
    let challenge = BASE64_STANDARD.encode(r#"{"status":"invalid_token"}"#);
    assert_eq!(client.reply().await, format!("334 {challenge}\r\n"));
    assert_eq!(
        client.ask("AQ==").await,
        "535 5.7.8 Authentication credentials invalid\r\n"
    );
    assert_eq!(house.rejected("authentication"), 1);
    assert!(house.inbound.unknown_key_ids().is_empty());

    let old = signer.token("k", &claims_from(START - 7200));
    let response = format!("\0checkout.shop\0{old}");
    client
        .send(format!("{}\r\n", auth("PLAIN", &response)))
        .await;
    house.wait_a_second().await;
    assert_eq!(
        client.reply().await,
        "535 5.7.8 Token not accepted: it has expired\r\n"
    );
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_later_and_told_until_the_keys_change() {
    let (signer, new) = (Signer::p256(), Signer::p256());
    let house = house(&signer);
    let token = new.token("new", &claims_from(START));
    let response = auth("PLAIN", &format!("\0checkout.shop\0{token}"));
    let (mut client, _) = house.greeted().await;
    for _ in 0..4 {
        assert_eq!(
            client.ask(&response).await,
            "454 4.7.0 Temporary authentication failure\r\n"
        );
    }
    let bearer = format!("user=\x01auth=Bearer {token}\x01\x01");
    let said = client.ask(&auth("XOAUTH2", &bearer)).await;
    let challenge = BASE64_STANDARD.encode(r#"{"status":"503","schemes":"bearer"}"#);
    assert_eq!(said, format!("334 {challenge}\r\n"));
    assert!(client.ask("").await.starts_with("454 4.7.0"));
    assert_eq!(house.inbound.unknown_key_ids(), ["new"]);
    assert_eq!(house.rejected("authentication"), 5);

    let keys = [signer.key("k"), new.key("new")];
    let known = believing_on(document(PLAIN, TRUSTING), &keys, &listed());
    house.snapshot.send_replace(Arc::new(known));
    assert!(house.inbound.unknown_key_ids().is_empty());
    let said = client.ask(&response).await;
    assert!(said.starts_with("235"), "{said}");
}

/// RFC 7628 §4: what was overheard is as good as one's own.
#[tokio::test]
async fn tokens_in_clear_are_neither_offered_nor_taken() {
    let signer = Signer::p256();
    let house = House::of(believing(&signer, ""));
    let (mut client, hello) = house.greeted().await;
    assert!(hello.contains("AUTH PLAIN LOGIN\r\n"), "{hello}");
    let said = client.ask("AUTH OAUTHBEARER").await;
    assert!(said.starts_with("504 5.5.4"), "{said}");
    let response = format!("\0checkout.shop\0{}", token(&signer));
    client
        .send(format!("{}\r\n", auth("PLAIN", &response)))
        .await;
    house.wait_a_second().await;
    let said = client.reply().await;
    assert!(said.starts_with("538 5.7.11"), "{said}");
    assert_eq!(house.rejected("tls_required"), 1);
}

#[tokio::test]
async fn the_session_ends_with_its_token_between_transactions() {
    let signer = Signer::p256();
    let house = house(&signer);
    let (mut client, _) = house.greeted().await;
    let response = format!("\0checkout.shop\0{}", token(&signer));
    client.ask(&auth("PLAIN", &response)).await;
    // Commands now and then, as a client that is not idle.
    for _ in 0..15 {
        house.clock.advance(Duration::from_mins(4));
        assert!(client.ask("NOOP").await.starts_with("250"));
    }
    // An hour is over, the minute of leeway is not: a transaction may begin, and then end.
    let said = client.ask("MAIL FROM:<a@shop.example>").await;
    assert!(said.starts_with("250 2.1.0"), "{said}");
    house.clock.advance(Duration::from_mins(2));
    let said = client.ask("RCPT TO:<b@else.example>").await;
    assert!(said.starts_with("250 2.1.5"), "{said}");
    assert!(client.ask("DATA").await.starts_with("354"));
    client.send("From: a@shop.example\r\n\r\nHi\r\n.\r\n").await;
    let said = client.rest().await;
    let (stored, expired) = said.split_once("\r\n").unwrap();
    assert!(stored.starts_with("250 2.0.0"), "{said}");
    assert_eq!(expired, "421 4.7.0 The token has expired: log in again\r\n");
    assert_eq!(house.kept().len(), 1);
    assert_eq!(house.ended("completed"), 1);
}

/// Nothing is said that would wake the session.
#[tokio::test]
async fn an_idle_session_ends_with_its_token() {
    let signer = Signer::p256();
    let house = house(&signer);
    let (mut client, _) = house.greeted().await;
    let late = signer.token("k", &claims_from(START - 3600));
    let response = format!("\0checkout.shop\0{late}");
    assert!(
        client
            .ask(&auth("PLAIN", &response))
            .await
            .starts_with("235")
    );
    while !house.clock.is_awaited(Duration::from_mins(1)) {
        tokio::task::yield_now().await;
    }
    house.clock.advance(Duration::from_mins(1));
    assert_eq!(
        client.rest().await,
        "421 4.7.0 The token has expired: log in again\r\n"
    );
}

#[tokio::test]
async fn what_a_token_rests_on_may_be_withdrawn() {
    let signer = Signer::p256();
    let without_issuer = believing_on(document(PLAIN, TRUSTING), &[], &listed());
    let mut document = Document::clone(&without_issuer.document);
    document.tokens = None;
    let senders = Arc::clone(&without_issuer.senders);
    let without_issuer = Snapshot::new(Arc::new(document), senders, BTreeMap::new());
    let mut unlisted = listed();
    unlisted[0]["serviceAccounts"][0]["uid"] = "another".into();
    let without_account = believing_on(
        super::document(PLAIN, TRUSTING),
        &[signer.key("k")],
        &unlisted,
    );
    for withdrawn in [without_issuer, without_account] {
        let house = house(&signer);
        let (mut client, _) = house.greeted().await;
        let response = format!("\0checkout.shop\0{}", token(&signer));
        assert!(
            client
                .ask(&auth("PLAIN", &response))
                .await
                .starts_with("235")
        );
        house.snapshot.send_replace(Arc::new(withdrawn));
        client.send("MAIL FROM:<a@shop.example>\r\n").await;
        let said = client.rest().await;
        assert!(said.starts_with("421 4.7.0"), "{said}");
    }
}
