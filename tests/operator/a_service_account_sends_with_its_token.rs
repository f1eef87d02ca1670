//! A pod sends with the token that the kubelet projects into it: nothing is stored, and the token of another relay,
//! of another ServiceAccount of that name, of no pod, of another time or of another key opens nothing.

use std::{fs, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::ResourceExt;
use posthouse_api::MailSender;
use posthouse_config::document::tokens::audience;
use posthouse_tests::{Client, Cluster, Installation, Issuer, Namespace, Reply, issuer, wait};
use serde_json::json;

use crate::tenancy::{RELAY, Tenancy, send, told};

const FROM: &str = "web@shop.example.com";

/// The mechanisms that take tokens.
#[derive(Clone, Copy, Debug)]
enum Mechanism {
    Plain,
    OAuthBearer,
    XOAuth2,
}

impl Mechanism {
    /// AUTH with its initial response. An error of OAUTHBEARER and XOAUTH2 is told in a challenge, which is to be answered
    /// (RFC 7628 §3.2.3).
    fn log_in(self, client: &mut Client, user: &str, token: &str) -> Reply {
        let (name, response) = match self {
            Self::Plain => ("PLAIN", format!("\0{user}\0{token}")),
            Self::OAuthBearer if user.is_empty() => {
                ("OAUTHBEARER", format!("n,,\x01auth=Bearer {token}\x01\x01"))
            }
            Self::OAuthBearer => (
                "OAUTHBEARER",
                format!("n,a={user},\x01auth=Bearer {token}\x01\x01"),
            ),
            Self::XOAuth2 => (
                "XOAUTH2",
                format!("user={user}\x01auth=Bearer {token}\x01\x01"),
            ),
        };
        let reply = client.command(&format!("AUTH {name} {}", BASE64_STANDARD.encode(response)));
        if reply.code == 334 {
            return client.command("AQ==");
        }
        reply
    }
}

/// A relay, a namespace whose ServiceAccounts `web` and `job` may send, and a pod of each.
struct Shop {
    tenancy: Tenancy,
    namespace: Namespace,
}

impl Shop {
    fn apply(cluster: &Arc<Cluster>) -> Self {
        let namespace = cluster.namespace();
        let tenancy = Tenancy::apply(
            cluster,
            &format!(
                "[{{ name: shop, namespaces: {{ names: [{}] }}, senderDomains: [shop.example.com] }}]",
                namespace.name()
            ),
        );
        let shop = Self { tenancy, namespace };
        for account in ["web", "job"] {
            shop.apply_account(account);
            shop.namespace.apply(&format!(
                "{{ apiVersion: v1, kind: Pod, metadata: {{ name: {account}-pod }}, spec: {{
                    serviceAccountName: {account}, automountServiceAccountToken: false,
                    containers: [{{ name: app, image: registry.example/app }}] }} }}"
            ));
        }
        for (sender, accounts) in [("web", "web, absent"), ("mails", "job"), ("news", "job")] {
            let more = format!("  serviceAccounts: [{accounts}]");
            shop.tenancy
                .sender(&shop.namespace, sender, "shop.example.com", &more);
        }
        shop
    }

    fn apply_account(&self, name: &str) {
        self.namespace.apply(&format!(
            "{{ apiVersion: v1, kind: ServiceAccount, metadata: {{ name: {name} }} }}"
        ));
    }

    /// What a token for the relay must be for.
    fn audience(&self) -> String {
        audience(self.tenancy.namespace.name(), RELAY)
    }

    /// The token that a pod of an account has.
    fn token(&self, account: &str) -> String {
        let pod = format!("{account}-pod");
        self.namespace.token(account, &self.audience(), &pod)
    }

    fn user(&self, sender: &str) -> String {
        format!("{sender}.{}", self.namespace.name())
    }

    /// The reply to a token that no user name goes with.
    fn reply_to(&self, token: &str) -> Reply {
        Mechanism::OAuthBearer.log_in(&mut self.tenancy.client(), "", token)
    }
}

#[test]
fn and_with_nothing_else() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let shop = Shop::apply(&cluster);
    no_token_goes_in_clear(&shop);
    let ready = told(&shop.namespace, "web", "Ready", "Ready");
    assert_eq!(ready.status, "True");
    let programmed = told(&shop.namespace, "web", "Programmed", "Programmed");
    let absent = "not the tokens of ServiceAccounts that do not exist: absent";
    assert!(programmed.message.ends_with(absent), "{programmed:?}");
    let sender: MailSender = shop.namespace.get("web");
    let status = sender.status.unwrap();
    assert_eq!(
        (status.audience, status.binding),
        (Some(shop.audience()), None)
    );
    assert_eq!(
        shop.namespace
            .find::<Secret>("web-smtp")
            .map(|s| s.name_any()),
        None
    );

    let token = shop.token("web");
    for mechanism in [Mechanism::Plain, Mechanism::OAuthBearer, Mechanism::XOAuth2] {
        let mut client = shop.tenancy.client();
        let reply = mechanism.log_in(&mut client, &shop.user("web"), &token);
        assert_eq!(reply.code, 235, "{mechanism:?}: {}", reply.text());
        let subject = format!("{mechanism:?}");
        send(&mut client, FROM, &subject);
        shop.tenancy.wait_relayed(&subject);
    }
    assert_eq!(shop.reply_to(&token).code, 235, "the one sender it is in");
    who_is_in_two_says_which(&shop);
    what_is_not_quite_right_is_refused(&shop, &token);
    a_namesake_is_somebody_else(&shop, &token);
    let log = shop.tenancy.gateway().log().text();
    assert!(!log.contains(&token), "the token is in the log");
}

/// The API server signs with a new key: its tokens are put off until the operator has fetched the key, and those of the
/// former key stay good.
#[test]
fn also_when_the_cluster_has_a_new_key() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let Some(installation) = Installation::install(&cluster, &["relayNamespaces={*}"]) else {
        return;
    };
    let operator = installation.start();
    let shop = Shop::apply(&cluster);
    told(&shop.namespace, "web", "Ready", "Ready");
    let former = shop.token("web");
    assert_eq!(shop.reply_to(&former).code, 235);

    operator.freeze();
    renew_key(&cluster);
    installation.wait_for_rights();
    operator.thaw();
    let token = shop.token("web");
    assert_ne!(issuer::key_id(&token), issuer::key_id(&former));
    let reply = shop.reply_to(&token);
    assert_eq!(reply.code, 454, "{}", reply.text());
    wait::until("the new key is known", wait::SOON * 3, || {
        let code = shop.reply_to(&token).code;
        assert!([235, 454].contains(&code), "{code}");
        (code == 235).then_some(())
    });
    assert_eq!(shop.reply_to(&former).code, 235);
}

/// Restarts the API server with a new key before the one it has: the first signs, all are published.
fn renew_key(cluster: &Cluster) {
    let file = cluster.folder().join("credentials/tokens.key");
    let former = fs::read_to_string(&file).unwrap();
    cluster.kill_server();
    fs::write(&file, format!("{}{former}", issuer::new_key())).unwrap();
    cluster.restart_server();
}

/// Each for its own reason, and told to those alone whose token is genuine.
fn what_is_not_quite_right_is_refused(shop: &Shop, token: &str) {
    let namespace = &shop.namespace;
    let relay = shop.tenancy.namespace.name();
    let other = namespace.token("web", &audience(relay, "other"), "web-pod");
    let unbound = namespace.token_bound_to("web", &shop.audience(), None);
    let path = namespace.cluster().folder().join("credentials/tokens.key");
    let server = Issuer::like(&fs::read_to_string(path).unwrap(), token);
    let mut past = issuer::claims(token);
    for time in ["iat", "nbf", "exp"] {
        past[time] = json!(past[time].as_u64().unwrap() - 7200);
    }
    let mut long = issuer::claims(token);
    long["exp"] = json!(long["iat"].as_u64().unwrap() + 86_401);
    let stranger = Issuer::new("made-up").sign(&issuer::claims(token));
    let forged = Issuer::new(&issuer::key_id(token)).sign(&issuer::claims(token));
    for (token, code, words) in [
        (other, 535, "it is not for the audience"),
        (unbound, 535, "it is not bound to a pod"),
        (server.sign(&past), 535, "it has expired"),
        (server.sign(&long), 535, "longer than 24 hours"),
        (forged, 535, "credentials invalid"),
        (stranger, 454, "4.7.0 Temporary authentication failure"),
    ] {
        let reply = shop.reply_to(&token);
        assert_eq!(reply.code, code, "{words}: {}", reply.text());
        assert!(reply.text().contains(words), "{}", reply.text());
    }
    let good = server.sign(&issuer::claims(token));
    assert_eq!(
        shop.reply_to(&good).code,
        235,
        "they differ in nothing else"
    );
}

/// Without a user name nobody knows which of them sends.
fn who_is_in_two_says_which(shop: &Shop) {
    told(&shop.namespace, "mails", "Ready", "Ready");
    told(&shop.namespace, "news", "Ready", "Ready");
    let token = shop.token("job");
    let reply = shop.reply_to(&token);
    assert!(
        reply.code == 535 && reply.text().contains("in several MailSenders"),
        "{}",
        reply.text()
    );
    let mut client = shop.tenancy.client();
    let reply = Mechanism::OAuthBearer.log_in(&mut client, &shop.user("news"), &token);
    assert_eq!(reply.code, 235, "{}", reply.text());
    let mut client = shop.tenancy.client();
    let reply = Mechanism::Plain.log_in(&mut client, &shop.user("web"), &token);
    let words = "is not in the MailSender of this user name";
    assert!(
        reply.code == 535 && reply.text().contains(words),
        "{}",
        reply.text()
    );
}

/// The account is deleted and made anew: what the first one left behind opens nothing any more.
fn a_namesake_is_somebody_else(shop: &Shop, token: &str) {
    let mut open = shop.tenancy.client();
    let reply = Mechanism::OAuthBearer.log_in(&mut open, "", token);
    assert_eq!(reply.code, 235, "{}", reply.text());
    shop.namespace.delete::<ServiceAccount>("web");
    shop.namespace.wait_gone::<ServiceAccount>("web");
    shop.apply_account("web");
    let renewed = shop.token("web");
    wait::until_true("the new account's token is accepted", || {
        shop.reply_to(&renewed).code == 235
    });
    let reply = shop.reply_to(token);
    assert!(
        reply.code == 535 && reply.text().contains("is another one than"),
        "{}",
        reply.text()
    );
    let reply = open.command(&format!("MAIL FROM:<{FROM}>"));
    assert_eq!(reply.code, 421, "{}", reply.text());
    assert!(shop.namespace.find::<Pod>("web-pod").is_some());
}

fn no_token_goes_in_clear(shop: &Shop) {
    let relay = shop.tenancy.namespace.name();
    shop.namespace.apply(&format!(
        "apiVersion: posthouse.dev/v1alpha1
kind: MailSender
metadata: {{ name: clear }}
spec:
  relayRef: {{ name: {RELAY}, namespace: {relay}, listener: clear }}
  from: [shop.example.com]
  serviceAccounts: [web]
"
    ));
    let refused = told(&shop.namespace, "clear", "Accepted", "TokensWithoutTls");
    let words = "spec.serviceAccounts: tokens must not cross the network in clear";
    assert!(refused.message.starts_with(words), "{refused:?}");
    let sender: MailSender = shop.namespace.get("clear");
    assert_eq!(sender.status.unwrap().audience, None);
}
