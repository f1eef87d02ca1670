//! Files that gateways miss, back at the fields that refer to them.

use super::*;

fn refs(world: &World) -> (String, String, String) {
    let status = world.status();
    let condition = condition(&status, "ResolvedRefs");
    (
        condition.status.clone(),
        condition.reason.clone(),
        condition.message.clone(),
    )
}

#[test]
fn every_problem_is_told_with_field_object_and_key() {
    let mut world = World::healthy();
    missing(
        &mut world,
        &[
            "upstreams/isp/username",
            "upstreams/isp/password",
            "upstreams/isp/ca.crt",
        ],
    );
    world.says(1).files.missing = vec!["tls/submission/tls.key".to_owned()];
    let (_, reason, text) = refs(&world);
    assert_eq!(reason, "SecretNotFound");
    for part in [
        "spec.upstreams[0].auth.password.secretRef: Secret \"isp-account\", or each of its keys password, username, is not there",
        "spec.listeners[0].tls.secretRef: Secret \"cert\" lacks tls.key",
        "spec.upstreams[0].endpoint.tls.caRef: ConfigMap \"isp-ca\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_missing_file_may_be_late() {
    let expect =
        |world: &World, status: &str, why: &str| assert_eq!(refs(world).0, status, "{why}");
    let mut world = World::healthy();
    missing(&mut world, &["upstreams/isp/password"]);
    expect(
        &world,
        "False",
        "Unknown for three minutes, in a pod that runs for an hour",
    );

    world.previously("ResolvedRefs", "Unknown", 179);
    expect(&world, "Unknown", "Unknown for less");
    world.previously("ResolvedRefs", "True", 9000);
    expect(&world, "Unknown", "it was there, and may come back");
    world.previously("ResolvedRefs", "False", 1);
    expect(&world, "False", "it was missing before");
    world.relay().status = None;
    expect(&world, "Unknown", "nothing is known of before");
    assert!(
        refs(&world)
            .2
            .contains("key password of Secret \"isp-account\""),
        "{}",
        refs(&world).2
    );

    world.previously("ResolvedRefs", "False", 600);
    let started = |seconds| Some(Time(ago(seconds)));
    world.pod(0).status.as_mut().unwrap().start_time = started(179);
    expect(&world, "Unknown", "the pod is young");
    world.pod(0).status.as_mut().unwrap().start_time = started(180);
    expect(&world, "False", "the pod is old enough");
}

#[test]
fn a_long_pull_of_the_image_does_not_count_a_crash_does() {
    let mut world = World::healthy();
    missing(&mut world, &["upstreams/isp/password"]);
    let containers = |restarts: i32| {
        of(json!([{
            "name": "gateway", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
            "state": { "running": { "startedAt": ago(60) } },
        }]))
    };
    world.pod(0).status.as_mut().unwrap().container_statuses = Some(containers(0));
    assert_eq!(refs(&world).0, "Unknown");
    world.pod(0).status.as_mut().unwrap().container_statuses = Some(containers(1));
    assert_eq!(refs(&world).0, "False");
}

#[test]
fn pods_of_an_older_revision_say_nothing() {
    let mut world = World::healthy();
    missing(&mut world, &["upstreams/isp/password"]);
    let label = ("controller-revision-hash".to_owned(), "old".to_owned());
    world
        .pod(0)
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .extend([label.clone()]);
    assert_eq!(
        refs(&world).1,
        "ResolvedRefs",
        "the other pod is current and misses nothing"
    );
    world
        .pod(1)
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .extend([label]);
    assert_eq!(refs(&world).1, "Pending");
}

#[test]
fn a_missing_certificate_is_not_called_invalid() {
    let mut world = World::healthy();
    missing(
        &mut world,
        &["tls/submission/tls.crt", "tls/submission/tls.key"],
    );
    world.says(0).files.invalid = vec!["tls/submission/tls.crt is missing".to_owned()];
    let (_, reason, text) = refs(&world);
    assert_eq!(reason, "SecretNotFound");
    assert!(!text.contains("is missing"), "{text}");
    world.relay().status = None;
    assert_eq!(refs(&world).1, "Pending");
}

#[test]
fn what_is_unusable_is_told_at_once() {
    let mut world = World::healthy();
    world.says(0).files.invalid = vec![
        "upstreams/isp/password: is not UTF-8".to_owned(),
        "tls/submission/tls.key holds no private key in PEM form".to_owned(),
    ];
    let (_, reason, text) = refs(&world);
    assert_eq!(reason, "SecretKeyMissing");
    assert!(
        text.contains("key password of Secret \"isp-account\": is not UTF-8"),
        "{text}"
    );
    assert!(
        text.contains("spec.listeners[0].tls.secretRef: key tls.key of Secret \"cert\": holds no private key in PEM form"),
        "{text}"
    );
}

#[test]
fn our_own_files_are_not_the_users_fault() {
    let mut world = World::healthy();
    missing(&mut world, &["tls/issued/tls.crt", "relay-1.key"]);
    assert_eq!(refs(&world).0, "True");
    unready(&mut world);
    let status = world.status();
    assert!(
        message(&status, "Ready").contains("tls/issued/tls.crt is missing"),
        "{}",
        message(&status, "Ready")
    );
}
