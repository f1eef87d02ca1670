//! Who may send is what the relay's grants say: by a namespace's name or label, within domains, as many senders as are
//! allowed. Consent that is withdrawn ends what was begun; a mistake changes nothing that works.

use k8s_openapi::api::core::v1::{Namespace as CoreNamespace, Secret};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use posthouse_api::MailSender;
use posthouse_config::senders::{Class, Sender};
use posthouse_tests::{Client, Installation, Namespace, client::message};
use serde_json::json;

use crate::tenancy::{Login, Tenancy, login, ready, send, told};

const TO: &str = "someone@customer.example";

#[test]
fn by_name_within_its_domains() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let (shop, club) = (cluster.namespace(), cluster.namespace());
    let tenancy = Tenancy::apply(
        &cluster,
        &format!(
            "[{{ name: shop, namespaces: {{ names: [{}] }}, senderDomains: [shop.example.com] }},
              {{ name: club, namespaces: {{ names: [{}] }}, senderDomains: [club.example.com], limits: {{ senders: 1 }} }}]",
            shop.name(),
            club.name()
        ),
    );
    let more = "  class: Bulk
  expirySeconds: 3600
  credential:
    secretName: smtp-of-checkout
    secretTemplate: { labels: { team: blue }, annotations: { note: for the shop } }";
    tenancy.sender(&shop, "checkout", "shop.example.com", more);
    tenancy.sender(&shop, "greedy", "shop.example.com, elsewhere.example", "");
    tenancy.sender(&club, "first", "club.example.com", "");
    told(&club, "first", "Accepted", "Accepted");
    tenancy.sender(&club, "second", "club.example.com", "");

    let refused = told(&shop, "greedy", "Accepted", "NotGranted");
    let words = "spec.from[1]: \"elsewhere.example\" is not granted to this namespace";
    assert_eq!(refused.message, words);
    let full = told(&club, "second", "Accepted", "RelayFull");
    assert!(full.message.contains("may have 1 MailSenders"), "{full:?}");
    let secret = ready(&shop, "checkout");
    the_secret_is_a_binding(&tenancy, &shop, &secret);
    the_row_says_what_the_sender_wants(&tenancy);
    let checkout = Login::of(&secret);
    other_addresses_are_refused(&mut tenancy.session(&checkout));
    tenancy.send(&checkout, "orders@shop.example.com", "checkout");
    columns_say_it(&shop);

    a_mistake_changes_nothing(&tenancy, &shop, &checkout);
    // The place of the older one becomes free; both at once, since gateways take their time.
    club.delete::<MailSender>("first");
    shop.delete::<MailSender>("checkout");
    shop.wait_gone::<Secret>("smtp-of-checkout");
    tenancy.sender(&shop, "checkout", "shop.example.com", "");
    let again = login(&shop, "checkout");
    assert_eq!(again.username, checkout.username);
    assert_ne!(again.password, checkout.password);
    assert_eq!(tenancy.log_in(&checkout).code, 535, "that of its namesake");
    tenancy.send(&again, "orders@shop.example.com", "again");
    let second = login(&club, "second");
    tenancy.send(&second, "us@club.example.com", "second");
}

/// What applications and people find, in the shape that frameworks know.
fn the_secret_is_a_binding(tenancy: &Tenancy, shop: &Namespace, secret: &Secret) {
    assert_eq!(secret.name_any(), "smtp-of-checkout");
    assert_eq!(secret.type_.as_deref(), Some("servicebinding.io/smtp"));
    assert_eq!(secret.labels()["team"], "blue");
    assert_eq!(secret.annotations()["note"], "for the shop");
    let owner = &secret.owner_references()[0];
    let sender: MailSender = shop.get("checkout");
    assert_eq!(
        (owner.kind.as_str(), Some(&owner.uid)),
        ("MailSender", sender.metadata.uid.as_ref())
    );
    let data = secret.data.as_ref().unwrap();
    let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    let host = format!("outbound.{}.svc", tenancy.namespace.name());
    let (name, password) = (format!("checkout.{}", shop.name()), text("password"));
    assert!(text("certificates").contains("BEGIN CERTIFICATE"));
    for (key, value) in [
        ("type", "smtp".to_owned()),
        ("provider", "posthouse".to_owned()),
        ("host", host.clone()),
        ("port", "587".to_owned()),
        ("tls", "starttls".to_owned()),
        ("username", name.clone()),
        ("uri", format!("smtp://{name}:{password}@{host}:587")),
    ] {
        assert_eq!(text(key), value, "{key}");
    }
}

fn the_row_says_what_the_sender_wants(tenancy: &Tenancy) {
    let row = row(tenancy, "checkout").expect("a row");
    assert_eq!((row.class, row.expiry_seconds), (Class::Bulk, Some(3600)));
    assert!(row_is_absent(tenancy, "greedy") && row_is_absent(tenancy, "second"));
}

fn row(tenancy: &Tenancy, name: &str) -> Option<Sender> {
    let rows = tenancy.senders().senders.into_iter();
    rows.rev().find(|row| row.name == name)
}

fn row_is_absent(tenancy: &Tenancy, name: &str) -> bool {
    row(tenancy, name).is_none()
}

/// Both addresses are judged, each in words that name the rule.
fn other_addresses_are_refused(client: &mut Client) {
    let (own, foreign) = ("orders@shop.example.com", "ceo@elsewhere.example");
    let reply = client.expect(&format!("MAIL FROM:<{foreign}>"), 550);
    let said = reply.text();
    assert!(
        said.contains(foreign) && said.contains("may send as shop.example.com"),
        "{said}"
    );
    let reply = client.send(own, &[TO], &message(foreign, "foreign"));
    let said = reply.text();
    assert!(
        reply.code == 550 && said.contains("From") && said.contains("shop.example.com"),
        "{said}"
    );
}

fn columns_say_it(shop: &Namespace) {
    let table = shop.kubectl(&["get", "msender"], "");
    let mut lines = table.lines();
    let words = |line: Option<&str>| -> Vec<String> {
        let words = line.unwrap().split_whitespace();
        words.map(str::to_owned).collect()
    };
    assert_eq!(
        words(lines.next()),
        [
            "NAME", "READY", "REASON", "RELAY", "SECRET", "HELD", "FAILURES", "AGE"
        ]
    );
    let checkout = words(lines.next());
    let expected = [
        "checkout",
        "True",
        "Ready",
        "outbound",
        "smtp-of-checkout",
        "0",
    ];
    assert_eq!(checkout[..6], expected, "{table}");
    assert_eq!(
        words(lines.next())[..4],
        ["greedy", "False", "NotGranted", "outbound"]
    );
}

/// The sender asks for what the relay does not give: it is told so, and goes on sending as before.
fn a_mistake_changes_nothing(tenancy: &Tenancy, shop: &Namespace, checkout: &Login) {
    let wish = json!({"spec": {"expirySeconds": 86401, "class": "Interactive"}});
    shop.merge::<MailSender>("checkout", &wish).unwrap();
    let invalid = told(shop, "checkout", "Accepted", "InvalidSpec");
    let words = "spec.expirySeconds: must not be more than 86400";
    assert_eq!(invalid.message, words);
    assert_eq!(
        told(shop, "checkout", "Ready", "InvalidSpec").status,
        "False"
    );
    let sender: MailSender = shop.get("checkout");
    let binding = sender.status.unwrap().binding.unwrap();
    assert_eq!(binding.name, "smtp-of-checkout");
    the_row_says_what_the_sender_wants(tenancy);
    tenancy.send(checkout, "orders@shop.example.com", "after a mistake");
}

#[test]
fn by_label_while_it_is_there() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let (team, stranger) = (cluster.namespace(), cluster.namespace());
    let tenancy = Tenancy::apply(
        &cluster,
        &format!(
            "[{{ name: teams, namespaces: {{ selector: {{ matchLabels: {{ mail: {} }} }} }}, senderDomains: ['*.example.com'] }}]",
            team.name()
        ),
    );
    tenancy.sender(&team, "news", "team.example.com", "");
    tenancy.sender(&stranger, "news", "team.example.com", "");
    strangers_learn_nothing(&tenancy, &stranger);
    told(&team, "news", "Accepted", "NotGranted");
    label(&team, Some(team.name()));
    let news = login(&team, "news");
    tenancy.send(&news, "us@team.example.com", "granted");

    let mut open = tenancy.session(&news);
    send(&mut open, "us@team.example.com", "still open");
    label(&team, None);
    told(&team, "news", "Accepted", "NotGranted");
    tenancy.wait_refused(&news);
    let reply = open.command("MAIL FROM:<us@team.example.com>");
    let refused = (
        550,
        vec!["5.7.1 This sender is no longer known here".to_owned()],
    );
    assert_eq!((reply.code, reply.lines), refused);
    // Pods that mount it go on starting.
    let sender: MailSender = team.get("news");
    let status = sender.status.unwrap();
    assert_eq!(status.binding.unwrap().name, "news-smtp");
    assert_eq!(Login::of(&team.get("news-smtp")), news);

    label(&team, Some(team.name()));
    assert_eq!(login(&team, "news"), news, "nothing has to be mounted anew");
    tenancy.send(&news, "us@team.example.com", "granted again");
}

/// No grant and no relay are told in the same words, and nothing else is different either.
fn strangers_learn_nothing(tenancy: &Tenancy, stranger: &Namespace) {
    let relay = tenancy.namespace.name();
    stranger.apply(&format!(
        "apiVersion: posthouse.dev/v1alpha1
kind: MailSender
metadata: {{ name: lost }}
spec: {{ relayRef: {{ name: missing, namespace: {relay} }}, from: [team.example.com] }}
"
    ));
    let refused = told(stranger, "news", "Accepted", "NotGranted");
    let lost = told(stranger, "lost", "Accepted", "NotGranted");
    assert_eq!(lost.message.replace("missing", "outbound"), refused.message);
    let status = |name: &str| {
        let sender: MailSender = stranger.get(name);
        let mut status = serde_json::to_value(sender.status.unwrap()).unwrap();
        for condition in status["conditions"].as_array_mut().unwrap() {
            condition["lastTransitionTime"] = json!(null);
        }
        status.to_string()
    };
    assert_eq!(
        status("lost").replace("missing", "outbound"),
        status("news")
    );
}

/// Puts the label on a namespace that a grant looks for, or takes it off.
fn label(namespace: &Namespace, value: Option<&str>) {
    let api = Api::<CoreNamespace>::all(namespace.cluster().client());
    let patch = Patch::Merge(json!({"metadata": {"labels": {"mail": value}}}));
    let parameters = PatchParams::default();
    let patched = api.patch(namespace.name(), &parameters, &patch);
    namespace.cluster().run(patched).unwrap();
}
