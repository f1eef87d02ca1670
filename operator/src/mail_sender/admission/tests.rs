use std::collections::BTreeSet;

use posthouse_config::yaml;
use serde_json::{Value, json};

use super::*;
use crate::{
    cases::merge,
    mail_relay::{self, Audience, facts::LiveChildren},
    settings::Capabilities,
};

const NOW: &str = "2026-11-22T12:00:00Z";
const LATER: &str = "2026-11-22T13:00:00Z";
const EARLIER: &str = "2026-11-22T11:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A relay that lets namespace shop send as shop.example, with changes.
fn relay(change: &str) -> (mail_relay::ValidRelay, Arc<posthouse_api::MailRelay>) {
    let mut object: Value = yaml::from_str(
        "{ apiVersion: posthouse.dev/v1alpha1, kind: MailRelay, metadata: { name: outbound, namespace: mail }, spec: {
            hostname: mail.example.com, upstreams: [{ name: a, provider: Capture }],
            clients: { grants: [{ name: a, namespaces: { names: [shop] }, senderDomains: [shop.example, '*.shop.example'] },
                { name: b, namespaces: { selector: { matchLabels: { mail: secret-label } } }, senderDomains: [hidden.example] }] } } }",
    )
    .unwrap();
    merge(&mut object, &yaml::from_str(change).unwrap());
    let typed: posthouse_api::MailRelay = yaml::from_value(object).unwrap();
    let (findings, valid) = mail_relay::validate(&typed, Audience::Cluster);
    (
        valid.unwrap_or_else(|| panic!("{findings:#?}")),
        Arc::new(typed),
    )
}

fn uid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The n-th sender of a namespace, created in that second, with changes.
fn sender(namespace: &str, number: usize, change: &str) -> Arc<MailSender> {
    let created = now() - jiff::SignedDuration::from_hours(1000)
        + jiff::SignedDuration::from_secs(i64::try_from(number).unwrap());
    let mut object = json!({
        "apiVersion": "posthouse.dev/v1alpha1",
        "kind": "MailSender",
        "metadata": { "name": format!("s{number}"), "namespace": namespace, "uid": uid(number),
            "creationTimestamp": created.to_string(), "generation": 1 },
        "spec": { "relayRef": { "name": "outbound", "namespace": "mail" }, "from": ["shop.example"] },
    });
    merge(&mut object, &yaml::from_str(change).unwrap());
    Arc::new(yaml::from_value(object).unwrap())
}

fn facts(relay: &Arc<posthouse_api::MailRelay>, senders: Vec<Arc<MailSender>>) -> Facts {
    let namespaces = ["shop", "other"].map(|name| (name.to_owned(), Namespace::named(name)));
    let account = |name: &str, uid: &str| (("shop".to_owned(), name.to_owned()), uid.to_owned());
    Facts {
        relay: Arc::clone(relay),
        now: now(),
        capabilities: Capabilities::default(),
        is_served: true,
        namespace_is_terminating: false,
        relay_uids: BTreeSet::new(),
        senders,
        namespaces: namespaces.into(),
        service_accounts: [account("web", "u-web"), account("cron", "u-cron")].into(),
        issuers: Vec::new(),
        children: LiveChildren::default(),
        gateways: BTreeMap::new(),
    }
}

/// The senders file with one row for the first sender.
fn live(change: &str) -> Senders {
    let mut row = json!({ "name": "s1", "namespace": "shop", "uid": uid(1), "rotations": [1],
        "from": ["shop.example", "hidden.example"], "class": "Bulk" });
    merge(&mut row, &yaml::from_str(change).unwrap());
    yaml::from_value(json!({ "format": 1, "number": 5, "generation": 1, "senders": [row] }))
        .unwrap()
}

/// What the sender is told, `Accepted` or reason, path and words.
fn told(admissions: &Admissions, namespace: &str, name: &str) -> String {
    let key = (namespace.to_owned(), name.to_owned());
    match &admissions.verdicts[&key].answer {
        Answer::Accepted(_) => "Accepted".to_owned(),
        Answer::Refused(refusals) => refusals
            .iter()
            .map(|refusal| {
                let reason = refusal.reason.as_str();
                format!("{reason} {}: {}", refusal.path, refusal.plain)
            })
            .collect::<Vec<_>>()
            .join(" | "),
    }
}

const STRANGER: &str = "NotGranted spec.relayRef: there is no MailRelay \"outbound\" in namespace \"mail\" that lets \
                        this namespace send";
const CLEAR: &str = "spec: { listeners: [{ name: p, protocol: Submission, port: 587, plaintextAuthentication: Allow, \
                     tls: { policy: Disabled } }] }";

#[test]
fn every_refusal_names_its_reason_and_nothing_of_the_relay() {
    let none = "{}".to_owned();
    let clear = format!("{{ {CLEAR} }}");
    for (relay_change, namespace, change, expected) in [
        (&none, "shop", "{}", "Accepted"),
        (&none, "other", "{}", STRANGER),
        (&none, "absent", "{}", STRANGER),
        // Whether the relay has that listener is nobody's business but a granted one's.
        (
            &none,
            "other",
            "{ spec: { relayRef: { listener: x }, from: ['@'] } }",
            STRANGER,
        ),
        (
            &none,
            "shop",
            "{ spec: { from: [shop.example, hidden.example] } }",
            "NotGranted spec.from[1]: \"hidden.example\" is not granted to this namespace",
        ),
        (
            &none,
            "shop",
            "{ spec: { from: [] } }",
            "InvalidSpec spec.from: must have at least 1 items, has 0",
        ),
        (
            &none,
            "shop",
            "{ spec: { relayRef: { listener: x }, from: [hidden.example] } }",
            "NotGranted spec.from[0]: \"hidden.example\" is not granted to this namespace | \
             InvalidSpec spec.relayRef.listener: there is no listener \"x\"",
        ),
        (
            &none,
            "shop",
            "{ spec: { expirySeconds: 500000 } }",
            "InvalidSpec spec.expirySeconds: must not be more than 432000",
        ),
        (
            &none,
            "shop",
            "{ spec: { credential: { rotation: 3 } }, status: { credential: { rotation: 4 } } }",
            "InvalidSpec spec.credential.rotation: must be at least 4",
        ),
        (
            &clear,
            "shop",
            "{ spec: { serviceAccounts: [web], relayRef: { listener: p } } }",
            "TokensWithoutTls spec.serviceAccounts: tokens must not cross the network in clear: the listener has no TLS",
        ),
        (
            &clear,
            "shop",
            "{ spec: { relayRef: { listener: p } } }",
            "Accepted",
        ),
        (
            &none,
            "shop",
            "{ spec: { serviceAccounts: [web] } }",
            "Accepted",
        ),
    ] {
        let (valid, relay) = relay(relay_change);
        let facts = facts(&relay, vec![sender(namespace, 1, change)]);
        let admissions = admissions(&facts, &valid, None);
        assert_eq!(told(&admissions, namespace, "s1"), expected, "{change}");
        assert_eq!(
            admissions.rows.len(),
            usize::from(expected == "Accepted"),
            "{change}"
        );
    }
    let missing = without_relay(&sender("shop", 1, "{}"));
    let Answer::Refused(refusals) = missing.answer else {
        panic!("{:?}", missing.answer)
    };
    assert!(STRANGER.ends_with(&refusals[0].plain));
}

/// The row's rotations, ServiceAccounts and patterns.
fn row(admissions: &Admissions) -> Option<String> {
    let row = admissions.rows.first()?;
    let accounts: Vec<_> = row
        .service_accounts
        .iter()
        .map(|account| format!("{}={}", account.name, account.uid))
        .collect();
    let from: Vec<_> = row.from.iter().map(ToString::to_string).collect();
    Some(format!(
        "{:?} {} {}",
        row.rotations,
        accounts.join(","),
        from.join(",")
    ))
}

#[test]
fn rows_say_who_may_authenticate_and_how() {
    for (change, live, expected) in [
        ("{}", None, "[1]  shop.example"),
        // Passwords, tokens, or both.
        (
            "{ spec: { serviceAccounts: [web, gone, cron] } }",
            None,
            "[] cron=u-cron,web=u-web shop.example",
        ),
        (
            "{ spec: { serviceAccounts: [web], credential: {} } }",
            None,
            "[1] web=u-web shop.example",
        ),
        // Make before break.
        (
            "{ spec: { credential: { rotation: 2 } }, status: { credential: { rotation: 1 } } }",
            Some(live("{}")),
            "[2, 1]  shop.example",
        ),
        (
            &format!(
                "{{ spec: {{ credential: {{ rotation: 2 }} }},
                    status: {{ credential: {{ rotation: 2, previousValidUntil: '{LATER}' }} }} }}"
            ),
            Some(live("{ rotations: [2, 1] }")),
            "[2, 1]  shop.example",
        ),
        (
            &format!(
                "{{ spec: {{ credential: {{ rotation: 2 }} }},
                    status: {{ credential: {{ rotation: 2, previousValidUntil: '{EARLIER}' }} }} }}"
            ),
            Some(live("{ rotations: [2, 1] }")),
            "[2]  shop.example",
        ),
    ] {
        let (valid, relay) = relay("{}");
        let facts = facts(&relay, vec![sender("shop", 1, change)]);
        let admissions = admissions(&facts, &valid, live.as_ref());
        assert_eq!(row(&admissions).as_deref(), Some(expected), "{change}");
        let until = LATER.parse().unwrap();
        let has_end = change.contains(LATER);
        assert_eq!(admissions.next_change, has_end.then_some(until), "{change}");
    }
}

#[test]
fn absent_accounts_are_told() {
    let (valid, relay) = relay("{}");
    let change = "{ spec: { serviceAccounts: [web, gone] } }";
    let facts = facts(&relay, vec![sender("shop", 1, change)]);
    let admissions = admissions(&facts, &valid, None);
    let key = ("shop".to_owned(), "s1".to_owned());
    let Answer::Accepted(accepted) = &admissions.verdicts[&key].answer else {
        panic!("{admissions:#?}")
    };
    assert_eq!(accepted.absent_accounts, ["gone"]);
}

#[test]
fn a_bad_edit_keeps_the_row_and_withdrawn_consent_does_not() {
    let kept = "[1]  shop.example";
    let withdrawn = "{ spec: { clients: { grants: [] } } }";
    let moved = "{ spec: { clients: { grants: [{ name: a, namespaces: { names: [shop] }, senderDomains: [new.example] }] } } }";
    for (relay_change, change, live, expected) in [
        // Its own mistakes: what was accepted stays, cut down to what is granted now.
        ("{}", "{ spec: { from: ['@'] } }", live("{}"), Some(kept)),
        (
            "{}",
            "{ spec: { from: [x.example] } }",
            live("{}"),
            Some(kept),
        ),
        (
            "{}",
            "{ spec: { relayRef: { listener: x } } }",
            live("{}"),
            Some(kept),
        ),
        (
            "{}",
            "{ spec: { credential: { rotation: 1 } }, status: { credential: { rotation: 2 } } }",
            live("{ rotations: [2, 1] }"),
            Some("[2]  shop.example"),
        ),
        // A ServiceAccount that was made again by somebody is another one.
        (
            "{}",
            "{ spec: { from: ['@'] } }",
            live(
                "{ rotations: [], serviceAccounts: [{ name: web, uid: u-web }, { name: cron, uid: former }] }",
            ),
            Some("[] web=u-web shop.example"),
        ),
        (
            &format!("{{ {CLEAR} }}"),
            "{ spec: { serviceAccounts: [web], relayRef: { listener: p } } }",
            live("{ serviceAccounts: [{ name: web, uid: u-web }] }"),
            Some(kept),
        ),
        // The row is somebody else's who had the same name.
        (
            "{}",
            "{ spec: { from: ['@'] } }",
            live("{ uid: former }"),
            None,
        ),
        // Consent withdrawn, wholly or for what it sends as.
        (withdrawn, "{}", live("{}"), None),
        (moved, "{}", live("{}"), None),
        // Nothing that could be kept.
        (
            "{}",
            "{ spec: { from: ['@'] } }",
            live("{ from: [hidden.example] }"),
            None,
        ),
        (
            "{}",
            "{ spec: { from: ['@'] } }",
            live("{ rotations: [] }"),
            None,
        ),
        // It is being deleted.
        (
            "{}",
            "{ metadata: { deletionTimestamp: '2026-11-22T11:59:00Z' } }",
            live("{}"),
            None,
        ),
    ] {
        let (valid, relay) = relay(relay_change);
        let facts = facts(&relay, vec![sender("shop", 1, change)]);
        let admissions = admissions(&facts, &valid, Some(&live));
        assert_eq!(
            row(&admissions).as_deref(),
            expected,
            "{relay_change} {change}"
        );
        let accepted = admissions
            .verdicts
            .values()
            .any(|verdict| matches!(verdict.answer, Answer::Accepted(_)));
        assert!(!accepted, "{change}");
    }
}

fn names(admissions: &Admissions) -> Vec<&str> {
    admissions
        .rows
        .iter()
        .map(|row| row.name.as_str())
        .collect()
}

#[test]
fn the_oldest_stay_where_there_are_too_many() {
    let two = "{ spec: { clients: { grants: [{ name: a, namespaces: { names: ['*'] }, senderDomains: [shop.example], limits: { senders: 2 } }] } } }";
    let (valid, relay) = relay(two);
    let invalid = "{ spec: { from: ['@'] } }";
    let senders = vec![
        sender("shop", 4, "{}"),
        sender("shop", 3, "{}"),
        sender("other", 5, "{}"),
        sender("shop", 1, "{}"),
        sender("shop", 2, invalid),
    ];
    let facts = facts(&relay, senders);
    // One that has no row takes no place.
    let found = admissions(&facts, &valid, None);
    assert_eq!(names(&found), ["s1", "s3", "s5"]);
    assert_eq!(
        told(&found, "shop", "s4"),
        "RelayFull spec.relayRef: this namespace may have 2 MailSenders for this relay, and older ones stay"
    );
    // One that keeps its row does.
    let kept = live(&format!("{{ name: s2, uid: {} }}", uid(2)));
    let found = admissions(&facts, &valid, Some(&kept));
    assert_eq!(names(&found), ["s1", "s2", "s5"]);
}

/// Senders of which each row takes about a number of octets.
fn many(count: usize, octets: usize) -> Vec<Arc<MailSender>> {
    let change = if octets < 500 {
        "{}".to_owned()
    } else {
        let patterns: Vec<_> = (0..octets / 300)
            .map(|i| {
                format!(
                    "{}@a{i}.{}.shop.example",
                    "x".repeat(60),
                    [&*"y".repeat(60); 3].join(".")
                )
            })
            .collect();
        format!("{{ spec: {{ from: [{}] }} }}", patterns.join(", "))
    };
    (1..=count)
        .map(|number| sender("shop", number, &change))
        .collect()
}

#[test]
fn the_senders_file_has_bounds() {
    let (valid, relay) = relay("{}");
    let found = admissions(&facts(&relay, many(2001, 0)), &valid, None);
    assert_eq!(found.rows.len(), 2000);
    assert_eq!(found.rows[0].name, "s1");
    assert_eq!(
        told(&found, "shop", "s2001"),
        "RelayFull spec.relayRef: the relay has as many MailSenders as it may have, and older ones stay"
    );

    let mut senders = many(500, 4000);
    senders.push(sender("shop", 501, "{}"));
    let found = admissions(&facts(&relay, senders), &valid, None);
    let count = found.rows.len();
    let file = Senders {
        format: 1,
        number: u64::MAX,
        generation: i64::MAX,
        senders: found.rows.clone(),
    };
    let bytes = serde_json::to_vec(&file).unwrap().len();
    let row = serde_json::to_vec(&found.rows[0]).unwrap().len();
    assert!(
        bytes <= MOST_BYTES && bytes + row + FRAME_BYTES > MOST_BYTES,
        "{bytes}"
    );
    assert!((200..400).contains(&count), "{count}");
    // A small one behind those that have no place has none either.
    assert!(told(&found, "shop", "s501").starts_with("RelayFull"));
}

#[test]
fn the_order_of_what_is_asked_does_not_matter() {
    let (valid, relay) = relay("{}");
    let senders = many(20, 0);
    let forward = admissions(&facts(&relay, senders.clone()), &valid, None);
    let backward = admissions(
        &facts(&relay, senders.into_iter().rev().collect()),
        &valid,
        None,
    );
    assert_eq!(forward, backward);
}

/// Prints how long 2,000 senders take: `cargo test --release -p posthouse-operator --lib -- --ignored --nocapture`.
#[test]
#[ignore = "prints a time, and proves nothing"]
#[expect(clippy::print_stdout, reason = "it is what this is for")]
fn how_long_two_thousand_senders_take() {
    let (valid, relay) = relay("{}");
    let facts = facts(&relay, many(2000, 0));
    let first = admissions(&facts, &valid, None);
    let live = Senders {
        senders: first.rows,
        ..live("{}")
    };
    for _ in 0..3 {
        let start = std::time::Instant::now();
        let found = admissions(&facts, &valid, Some(&live));
        println!("{} rows in {:?}", found.rows.len(), start.elapsed());
    }
}
