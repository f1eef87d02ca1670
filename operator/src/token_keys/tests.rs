use serde_json::json;

use super::*;
use crate::testing::{Record, api_server, failure};

fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
}

fn key(id: &str) -> Value {
    json!({"kty": "RSA", "kid": id, "n": "x", "e": "AQAB"})
}

fn ids(issuer: &Issuer) -> Vec<&str> {
    let ids = issuer.keys.iter().map(|key| key["kid"].as_str().unwrap());
    ids.collect()
}

#[test]
fn what_was_seen_within_a_day_stays() {
    let mut union = Union::default();
    union.add(
        "https://a".into(),
        vec![key("2"), json!({"kty": "RSA"})],
        at(0),
    );
    union.add("https://a".into(), vec![key("1")], at(23));
    let issuers = union.issuers(&[]);
    assert_eq!(issuers.len(), 1);
    assert_eq!(ids(&issuers[0]), ["1", "2"]);
    union.add("https://a".into(), vec![key("1")], at(24));
    assert_eq!(ids(&union.issuers(&[])[0]), ["1"]);
}

#[test]
fn additional_issuers_are_other_names_of_the_same() {
    let mut union = Union::default();
    union.add("https://a".into(), vec![key("1")], at(0));
    let issuers = union.issuers(&["https://b".into(), "https://a".into()]);
    let names: Vec<_> = issuers
        .iter()
        .map(|issuer| issuer.issuer.as_str())
        .collect();
    assert_eq!(names, ["https://a", "https://b"]);
    assert_eq!(issuers[0].keys, issuers[1].keys);
}

#[test]
fn there_is_a_bound() {
    let mut union = Union::default();
    for n in 0..10 {
        let keys = (0..10).map(|k| key(&format!("{n}-{k}"))).collect();
        union.add(format!("https://{n}"), keys, at(n));
    }
    let issuers = union.issuers(&[]);
    assert_eq!(issuers.len(), ISSUERS);
    assert_eq!(issuers[0].keys.len(), KEYS);
    assert!(ids(&issuers[0]).contains(&"9-0"));
}

fn published() -> (Arc<TokenKeys>, Record) {
    let (client, record) = api_server(|asked| match asked.line.as_str() {
        "GET /.well-known/openid-configuration" => Some((
            200,
            json!({"issuer": "https://a", "jwks_uri": "https://a/keys"}),
        )),
        "GET /openid/v1/jwks" => Some((200, json!({"keys": [key("1")]}))),
        line => panic!("{line}"),
    });
    (TokenKeys::new(client, Vec::new()), record)
}

#[tokio::test]
async fn changes_are_told_once_and_a_failure_changes_nothing() {
    let (keys, _) = published();
    let mut changes = keys.watch();
    keys.refresh(at(0)).await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    keys.refresh(at(1)).await.unwrap();
    assert!(!changes.has_changed().unwrap());
    assert_eq!(ids(&of_a_new_relay(&keys)[0]), ["1"]);

    let (client, _) = api_server(|_| failure(403, "Forbidden", json!({})));
    let forbidden = TokenKeys::new(client, vec!["https://b".into()]);
    assert!(forbidden.refresh(at(0)).await.is_err());
    assert!(of_a_new_relay(&forbidden).is_empty());
}

fn of_a_new_relay(keys: &TokenKeys) -> Vec<Issuer> {
    keys.issuers("mail", "new", None, at(1))
}

/// A document of which only the tokens are known here.
fn config(issuer: &str, ids: &[&str]) -> ConfigMap {
    let keys: Vec<_> = ids.iter().map(|id| key(id)).collect();
    let issuers =
        json!([{ "issuer": issuer, "keys": keys }, { "issuer": "", "keys": [key("bad")] }]);
    let text = json!({ "later": true, "tokens": { "audience": "a", "issuers": issuers } });
    ConfigMap {
        data: Some(BTreeMap::from([(
            document::FILE_NAME.to_owned(),
            text.to_string(),
        )])),
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn what_documents_have_stays_until_keys_were_fetched_and_their_keys_for_a_day() {
    let (keys, _) = published();
    let first = config("https://former", &["0", "1"]);
    let issuers = |config: &ConfigMap, hours| keys.issuers("mail", "a", Some(config), at(hours));
    assert_eq!(issuers(&first, 0)[0].issuer, "https://former");
    let changed = config("https://evil", &["evil"]);
    let known = issuers(&changed, 1);
    assert_eq!((known.len(), &*known[0].issuer), (1, "https://former"));
    assert_eq!(ids(&known[0]), ["0", "1"]);

    keys.refresh(at(2)).await.unwrap();
    let known = issuers(&first, 2);
    assert_eq!((known.len(), &*known[0].issuer), (1, "https://a"));
    assert_eq!(ids(&known[0]), ["0", "1"]);
    assert_eq!(ids(&of_a_new_relay(&keys)[0]), ["1"], "it had none");
    assert_eq!(ids(&issuers(&first, 24)[0]), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_asked_for_at_once_but_not_always() {
    let (keys, record) = published();
    let (_lead, leading) = watch::channel(true);
    let kept = Arc::clone(&keys);
    tokio::spawn(async move { kept.keep(leading).await });
    let fetches = || record.lines().len() / 2;
    let pass = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    pass(60).await;
    assert_eq!(fetches(), 1);
    keys.want(&["1".into()]);
    pass(1).await;
    assert_eq!(fetches(), 1, "this one is known");
    for _ in 0..20 {
        keys.want(&["made up".into()]);
        pass(1).await;
    }
    assert_eq!(fetches(), 3, "once in ten seconds");
    pass(600).await;
    assert!((5..=6).contains(&fetches()), "{}", fetches());
}
