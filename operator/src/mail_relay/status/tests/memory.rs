//! A lost gateway never makes the queue look shorter.

use super::*;

fn queue(status: &MailRelayStatus) -> (i64, i64, i64) {
    let queue = status.queue.as_ref().unwrap();
    (queue.messages, queue.held, queue.bytes)
}

fn row<'a>(status: &'a MailRelayStatus, name: &str) -> &'a GatewayStatus {
    status.gateways.iter().find(|row| row.name == name).unwrap()
}

#[test]
fn a_silent_gateway_counts_with_its_last_answer() {
    let mut world = World::healthy();
    hold(&mut world, "Poison");
    world.silent(0);
    let status = world.status();
    assert_eq!(queue(&status), (12, 2, 1200));
    let silent = row(&status, "outbound-0");
    assert_eq!(
        (silent.state, silent.messages, silent.held),
        (GatewayState::Silent, Some(6), Some(2))
    );
    assert_eq!(silent.silent_since, Some(Time(ago(300))));
    let text = message(&status, "QueueHealthy");
    for part in [
        "outbound-0",
        "6 messages",
        "2 of them held",
        "spool-outbound-0",
        "pv-0",
        "node-0",
        "2026-03-01T11:55:00Z",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("outbound-1"), "{text}");
}

#[test]
fn a_new_operator_remembers_what_status_says() {
    let mut world = World::healthy();
    world.later(600);
    // A new process has heard nothing; the node of the second gateway is gone.
    world.hear(
        1,
        Heard::Nothing {
            since: world.facts.now - SignedDuration::from_secs(40),
        },
    );
    let status = world.later(100);
    assert_eq!(
        queue(&status),
        (12, 0, 1200),
        "octets are remembered all together"
    );
    assert_eq!(
        condition(&status, "QueueHealthy").reason,
        "Flowing",
        "it may just be starting"
    );
    let status = world.status();
    assert_eq!(queue(&status), (12, 0, 1200));
    assert_eq!(row(&status, "outbound-1").state, GatewayState::Silent);
    assert_eq!(condition(&status, "QueueHealthy").reason, "NoReport");
}

#[test]
fn a_spool_that_is_not_read_yet_is_not_empty() {
    for state in [SpoolState::Starting, SpoolState::Failed] {
        let mut world = World::healthy();
        world.later(60);
        let says = world.says(1);
        says.spool.state = state;
        says.queue = posthouse_config::status::QueueStatus::default();
        let status = world.status();
        assert_eq!(queue(&status), (12, 0, 1200), "{state:?}");
        assert_eq!(row(&status, "outbound-1").state, GatewayState::Starting);
    }
}

#[test]
fn a_gateway_nobody_knows_anything_of_is_not_empty_but_unknown() {
    let mut world = World::healthy();
    world.hear(1, Heard::Nothing { since: ago(3600) });
    let status = world.status();
    assert_eq!(row(&status, "outbound-1").messages, None);
    assert_eq!(condition(&status, "QueueHealthy").status, "Unknown");
    assert!(message(&status, "QueueHealthy").contains("nothing is known of its queue"));
}

#[test]
fn a_pod_that_is_gone_is_remembered_by_its_volume() {
    let mut world = World::healthy();
    world.later(60);
    world.facts.children.pods.remove("outbound-1");
    world.facts.gateways.remove("outbound-1");
    let status = world.later(130);
    assert_eq!(queue(&status), (12, 0, 1200));
    assert_eq!(row(&status, "outbound-1").state, GatewayState::Starting);
    assert_eq!((status.replicas, status.ready_replicas), (Some(1), Some(1)));
    let status = world.status();
    assert_eq!(row(&status, "outbound-1").state, GatewayState::Silent);
    let text = message(&status, "QueueHealthy");
    assert!(
        text.contains("spool-outbound-1 (pv-1) on node node-1, for which no pod is there"),
        "{text}"
    );
}

#[test]
fn a_volume_with_mail_that_no_gateway_comes_for_stays_in_sight() {
    let mut world = World::healthy();
    world.later(60);
    world.facts.children.pods.remove("outbound-1");
    world.facts.gateways.remove("outbound-1");
    let set = world.facts.children.stateful_set.as_mut().unwrap();
    Arc::make_mut(set).spec.as_mut().unwrap().replicas = Some(1);
    world.later(130);
    let status = world.later(10);
    assert_eq!(queue(&status), (12, 0, 1200));
    assert_eq!(condition(&status, "QueueHealthy").reason, "NoReport");
    // Someone deletes the volume: there is no mail any more.
    world.facts.children.claims.remove("spool-outbound-1");
    let status = world.status();
    assert_eq!((status.gateways.len(), queue(&status).0), (1, 6));
}

#[test]
fn a_drained_gateway_goes() {
    let mut world = World::healthy();
    world.says(1).queue = posthouse_config::status::QueueStatus::default();
    world.later(60);
    world.facts.children.pods.remove("outbound-1");
    world.facts.gateways.remove("outbound-1");
    let set = world.facts.children.stateful_set.as_mut().unwrap();
    Arc::make_mut(set).spec.as_mut().unwrap().replicas = Some(1);
    let status = world.status();
    assert_eq!(status.gateways.len(), 1, "its volume stays, and is empty");
    assert_eq!(condition(&status, "QueueHealthy").reason, "Flowing");
}

#[test]
fn nothing_known_is_no_queue() {
    let mut world = World::healthy();
    world.facts.gateways.clear();
    assert_eq!(world.status().queue, None);
}

#[test]
fn gateways_are_listed_by_ordinal() {
    let mut world = World::healthy();
    for n in [10, 2] {
        let (name, pod) = pod(n);
        world.facts.children.pods.insert(name, Arc::new(pod));
    }
    let status = world.status();
    let names: Vec<_> = status
        .gateways
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["outbound-0", "outbound-1", "outbound-2", "outbound-10"]
    );
}

#[test]
fn a_ready_gateway_is_asked_before_a_status_is_believed() {
    let mut world = World::healthy();
    assert!(is_heard_out(&world.facts));
    world.hear(1, Heard::Nothing { since: ago(29) });
    assert!(!is_heard_out(&world.facts));
    world.hear(1, Heard::Nothing { since: ago(30) });
    assert!(is_heard_out(&world.facts));
    world.facts.gateways.remove("outbound-1");
    assert!(is_heard_out(&world.facts), "nobody is asked");
    unready(&mut world);
    assert!(
        is_heard_out(&world.facts),
        "one that is not ready may never answer"
    );
}
