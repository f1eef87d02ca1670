use std::sync::Arc;

use posthouse_config::status::CertificateStatus;
use serde_json::json;

use super::*;
use crate::mail_relay::plan::world::{World, at};

const HOST: &str = "outbound.mail-system.svc";

fn names() -> Vec<String> {
    vec![HOST.to_owned()]
}

fn asked(made: Option<i64>, asked: i64) -> Issued {
    Issued {
        made: made.map(at),
        asked: Some(at(asked)),
        is_removed: false,
    }
}

/// A relay whose one gateway shows our certificate, with 80 days left.
fn serving() -> World {
    let mut world = World::serving(1);
    world.report_of(0, |status| {
        status.certificates = vec![CertificateStatus {
            path: place::ISSUED_CERTIFICATE.to_owned(),
            names: names(),
            not_after: at(80 * 86_400).to_string(),
        }];
    });
    world
}

#[test]
fn a_new_process_makes_sure_once_and_then_every_hour() {
    let mut world = serving();
    let mut told = |now, issued| step(&world.now(now).facts, &names(), false, issued);
    assert_eq!(told(0, Issued::default()), Some(Step::Ensure));
    assert_eq!(told(3_500, asked(None, 0)), None);
    assert_eq!(told(3_600, asked(None, 0)), Some(Step::Ensure));
}

/// It may be waiting for the Secret, and cannot say so.
#[test]
fn a_pod_that_says_nothing_has_both_made_sure_of_three_times_a_minute() {
    let mut world = serving();
    world.facts.gateways.clear();
    let mut told = |now| step(&world.now(now).facts, &names(), false, asked(Some(0), 0));
    assert_eq!(told(19), None);
    assert_eq!(told(20), Some(Step::Ensure));
    assert!(has_mute_pod(&world.facts));
    world.without_pod(0);
    assert!(!has_mute_pod(&world.facts));
}

#[test]
fn another_authority_and_other_names_issue_again_but_not_always() {
    let mut world = serving();
    world.now(100);
    let told = |names: &[String], is_other, issued| step(&world.facts, names, is_other, issued);
    assert_eq!(told(&names(), false, asked(None, 0)), None);
    assert_eq!(told(&names(), true, asked(None, 0)), Some(Step::Issue));
    assert_eq!(told(&names(), true, asked(Some(90), 90)), None);
    let other = ["other.example".to_owned()];
    assert_eq!(told(&other, false, asked(None, 0)), Some(Step::Issue));
    assert_eq!(told(&other, false, asked(Some(-600), 0)), Some(Step::Issue));
}

#[test]
fn the_authority_beside_a_certificate_tells_who_issued_it() {
    let authority = Certified {
        certificate: "new".to_owned(),
        key: String::new(),
    };
    let published = |text: &str| -> ConfigMap {
        serde_json::from_value(json!({ "data": { "ca.crt": text } })).unwrap()
    };
    assert!(is_of(&authority, Some(&published("new"))));
    assert!(!is_of(&authority, Some(&published("old"))));
    assert!(!is_of(&authority, None));
}

#[test]
fn what_a_pod_has_among_its_files_is_mounted() {
    let mut world = serving();
    assert!(!is_mounted(&world.facts, "outbound-tls"));
    let volumes = json!({ "spec": { "volumes": [
        { "name": "config", "projected": { "sources": [{ "secret": { "name": "outbound-tls" } }] } },
    ] } });
    world.patch_pod(0, &volumes);
    assert!(is_mounted(&world.facts, "outbound-tls"));
    assert!(!is_mounted(&world.facts, "outbound-keys"));
    world.without_pod(0);
    let set = json!({ "spec": { "template": volumes } });
    let set = serde_json::from_value(set).unwrap();
    world.facts.children.stateful_set = Some(Arc::new(set));
    assert!(is_mounted(&world.facts, "outbound-tls"));
}
