//! Operator and gateway need not be of one release: what a later operator adds is ignored, unless the document says that
//! it must not be; what this gateway cannot read changes nothing that runs and does not keep it from starting.

use std::fs;

use posthouse_config::status::Source;
use posthouse_tests::{
    Gateway, Provider, Script, Site, client::message, gateway::run_to_the_end, wait,
};
use serde_json::{Value, json};

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

/// Documents that this release must refuse, and what it says of them.
fn refused(document: &str) -> [(String, &'static str); 3] {
    [
        (
            document.replacen("format: 1", "format: 2", 1),
            "format: this gateway reads format 1, the file has format 2",
        ),
        // Of a later format nothing else is looked at.
        (
            "format: 3\nlisteners: { by: name }\n".to_owned(),
            "format: this gateway reads format 1, the file has format 3",
        ),
        (
            document.replacen("format: 1", "format: 1\nneeds: [dkim, teleportation]", 1),
            "needs: this gateway lacks dkim, teleportation",
        ),
    ]
}

fn document(site: &Site) -> String {
    fs::read_to_string(site.folder().join("gateway.yaml")).unwrap()
}

/// Replaces the document as the kubelet does: whole.
fn put(site: &Site, document: &str) {
    site.secret("gateway.yaml", document.as_bytes());
}

fn takes_mail(gateway: &Gateway, provider: &Provider, subject: &str) {
    let reply = gateway.client().send(FROM, &[TO], &message(FROM, subject));
    assert_eq!(reply.code, 250, "{}", reply.text());
    wait::until_true("it is relayed", || {
        provider
            .mails()
            .iter()
            .any(|mail| mail.subject() == subject)
    });
}

/// Adds a member to every object.
fn extend(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(extend);
            object.insert("ofALaterRelease".to_owned(), json!({ "any": [1, "x"] }));
        }
        Value::Array(values) => values.iter_mut().for_each(extend),
        _ => {}
    }
}

#[test]
fn unknown_members_are_ignored() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    site.sender("checkout", "shop.example");
    site.write();
    for file in ["gateway.yaml", "senders.json"] {
        let text = fs::read_to_string(site.folder().join(file)).unwrap();
        // JSON is YAML.
        let mut value = posthouse_config::yaml::documents(&text).unwrap().remove(0);
        // A union with a member more is no union.
        let upstreams = value.as_object_mut().unwrap().remove("upstreams");
        extend(&mut value);
        if let Some(upstreams) = upstreams {
            value["upstreams"] = upstreams;
            value["upstreams"][0]["ofALaterRelease"] = json!(true);
        }
        let text = serde_json::to_string_pretty(&value).unwrap();
        site.secret(file, text.as_bytes());
    }
    let gateway = site.restart();
    let status = gateway.status();
    assert_eq!(status.document.source, Source::Mounted);
    assert!(status.document.problems.is_empty(), "{status:?}");
    assert_eq!(status.senders.number, 1);
    takes_mail(&gateway, &provider, "later release");
    gateway.stop();
}

#[test]
fn it_tells_what_it_reads() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let status = site.start().status();
    assert_eq!(status.formats, [1]);
    assert!(status.features.is_empty(), "{:?}", status.features);
}

#[test]
fn what_it_cannot_read_changes_nothing_that_runs() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    let gateway = site.start();
    let good = document(&site);
    let number = gateway.status().document.number;
    for (bad, problem) in refused(&good) {
        put(&site, &bad);
        wait::until_true("it says what is wrong", || {
            gateway.status().document.problems == [problem]
        });
        let status = gateway.status();
        assert_eq!(
            (status.document.number, status.document.source),
            (number, Source::Mounted)
        );
        takes_mail(&gateway, &provider, problem);
    }
    put(&site, &good);
    wait::until_true("nothing is wrong any more", || {
        gateway.status().document.problems.is_empty()
    });
    gateway.stop();
}

#[test]
fn what_it_cannot_read_at_start_is_replaced_by_what_it_read_last() {
    let provider = Provider::start(Script::take());
    let mut site = Site::relaying_to(provider.port());
    site.start().stop();
    let good = document(&site);
    for (bad, problem) in refused(&good) {
        put(&site, &bad);
        let gateway = site.restart();
        let status = gateway.status();
        assert_eq!(status.document.source, Source::Stored, "{problem}");
        assert_eq!(status.document.problems, [problem]);
        takes_mail(&gateway, &provider, problem);
        gateway.stop();
        // Without anything to fall back on it is one line and exit status 1.
        let output = run_to_the_end(&site.folder(), &site.path("no-spool"), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(problem), "{said}");
    }
}
