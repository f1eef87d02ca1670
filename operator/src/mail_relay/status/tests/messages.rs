//! What people read: who says so, on how many gateways, what still works and what to do.

use super::*;

#[test]
fn an_upstream_that_fails_on_one_gateway() {
    let mut world = World::healthy();
    world.upstream(1, "isp", UpstreamState::AuthenticationFailed);
    let status = world.status();
    let text = message(&status, "UpstreamsHealthy");
    assert_eq!(
        text,
        "upstream isp is AuthenticationFailed on 1 of 2 gateways, \"535 5.7.139 \\\"no\\\"\": renew the password; \
         route shop has a target on 1 of 2 gateways; every other route still has a target"
    );
    assert_eq!(status.upstream_summary.as_deref(), Some("1/2"));
    assert_eq!(status.upstreams[0].state, "AuthenticationFailed");
    assert_eq!(
        status.upstreams[0].reply.as_deref(),
        Some("535 5.7.139 \"no\"")
    );
    assert_eq!(status.mail.as_deref(), Some("AuthenticationFailed"));
    assert_eq!(
        condition(&status, "Ready").status,
        "True",
        "deploying does not depend on a provider"
    );
}

#[test]
fn which_routes_still_have_a_target() {
    let mut world = World::healthy();
    for n in 0..2 {
        world.upstream(n, "isp", UpstreamState::Unreachable);
    }
    let status = world.status();
    let text = message(&status, "UpstreamsHealthy");
    assert!(
        text.ends_with("route shop has no target left; every other route still has a target"),
        "{text}"
    );
    for n in 0..2 {
        world.upstream(n, "isp", UpstreamState::Ready);
        world.upstream(n, "other", UpstreamState::Unreachable);
    }
    let status = world.status();
    let text = message(&status, "UpstreamsHealthy");
    assert!(text.ends_with("; every route still has a target"), "{text}");
}

#[test]
fn an_upstream_one_gateway_has_not_tried_is_what_the_other_says() {
    let mut world = World::healthy();
    world.upstream(0, "isp", UpstreamState::Untried);
    assert_eq!(world.status().upstream_summary.as_deref(), Some("2/2"));
    world.upstream(1, "isp", UpstreamState::Throttled);
    let status = world.status();
    assert_eq!(status.upstreams[0].state, "Throttled");
    assert!(message(&status, "UpstreamsHealthy").contains("isp asked us to slow down"));
}

#[test]
fn an_old_state_of_a_silent_gateway_is_no_state() {
    let mut world = World::healthy();
    world.upstream(1, "isp", UpstreamState::Refused);
    world.silent(1);
    assert_eq!(
        condition(&world.status(), "UpstreamsHealthy").reason,
        "Relaying"
    );
}

#[test]
fn replies_are_cut_to_what_status_takes() {
    let mut world = World::healthy();
    world.upstream(1, "isp", UpstreamState::Refused);
    world.says(1).upstreams[0].reply = Some("ü".repeat(4_000));
    let status = world.status();
    assert!(status.upstreams[0].reply.as_ref().unwrap().len() <= 1024);
    assert!(message(&status, "UpstreamsHealthy").len() < 1024);
}

#[test]
fn held_mail_is_counted_per_reason() {
    let mut world = World::healthy();
    let queue = &mut world.says(1).queue;
    queue.held = 9;
    queue.held_reasons = of(json!([
        { "reason": "Poison", "upstream": "isp", "messages": 2 },
        { "reason": "Poison", "upstream": "other", "messages": 1 },
        { "reason": "AuthenticationFailed", "upstream": "isp", "messages": 5 },
        { "reason": "ByHand", "upstream": "none", "messages": 1 },
    ]));
    let status = world.status();
    assert_eq!(
        message(&status, "QueueHealthy"),
        "gateway outbound-1: messages are held: Poison 3, ByHand 1"
    );
}

#[test]
fn a_fault_is_told_while_another_gateway_is_silent() {
    let mut world = World::healthy();
    spool(&mut world, |spool| {
        spool.state = SpoolState::Failed;
        spool.error = Some("/spool/3.segment: EIO".to_owned());
    });
    world.silent(0);
    let status = world.status();
    assert_eq!(condition(&status, "QueueHealthy").reason, "SpoolFailed");
    let text = message(&status, "QueueHealthy");
    assert!(
        text.contains("EIO") && text.contains("gateway outbound-0 does not answer"),
        "{text}"
    );
}

#[test]
fn a_refused_document_is_named() {
    let mut world = World::healthy();
    let document = &mut world.says(1).document;
    document.generation = 2;
    document.problems = vec!["needs: this gateway lacks x".to_owned()];
    let status = world.status();
    let expected = "gateway outbound-1 goes by generation 2 and refuses the new document: needs: this gateway lacks x";
    assert_eq!(message(&status, "Programmed"), expected);
    assert_eq!(message(&status, "Ready"), expected);
}

#[test]
fn neither_silent_nor_draining_gateways_are_waited_for() {
    let mut world = World::healthy();
    world.says(1).document.generation = 2;
    world.says(1).draining = true;
    assert_eq!(condition(&world.status(), "Programmed").status, "True");
    world.silent(1);
    assert_eq!(condition(&world.status(), "Programmed").status, "True");
}

#[test]
fn warnings_are_shown_beside_accepted_and_all_problems_at_once() {
    let status = World::healthy().status();
    assert!(
        message(&status, "Accepted").contains("warning: "),
        "plain passwords are warned of"
    );
    let mut world = World::healthy();
    world.relay().spec.hostname = "localhost".to_owned();
    world.relay().spec.replicas = 99;
    let status = world.status();
    let text = message(&status, "Accepted");
    assert!(
        text.contains("spec.hostname: must be") && text.contains("spec.replicas: must"),
        "{text}"
    );
}

#[test]
fn an_invalid_spec_changes_nothing_about_what_runs() {
    let mut world = World::healthy();
    let before = world.later(5);
    world.relay().spec.hostname = "localhost".to_owned();
    world.applied = ApplyOutcome::NotTried;
    let after = world.status();
    assert_eq!(after.endpoints, before.endpoints);
    assert_eq!(after.senders, before.senders);
    assert_eq!(after.mail.as_deref(), Some("Flowing"));
    assert_eq!(after.upstream_summary, before.upstream_summary);
    assert_eq!(condition(&after, "Programmed").status, "Unknown");
}
