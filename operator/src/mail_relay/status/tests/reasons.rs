//! Every reason of the API's table, and which is shown of several.

use super::*;

/// Each row: what happened, the condition, its status and reason.
const TABLE: &[(Change, &str, &str, Reason)] = &[
    (|_| {}, "Accepted", "True", Reason::Accepted),
    (
        |w| w.relay().spec.hostname = "localhost".to_owned(),
        "Accepted",
        "False",
        Reason::InvalidSpec,
    ),
    (
        |w| w.relay().spec.hostname = "localhost".to_owned(),
        "Stalled",
        "True",
        Reason::InvalidSpec,
    ),
    (
        |w| w.relay().spec.hostname = "localhost".to_owned(),
        "Ready",
        "False",
        Reason::InvalidSpec,
    ),
    (
        |w| {
            w.live
                .push((Reason::InvalidSpec, "must be at least 4".to_owned()));
        },
        "Accepted",
        "False",
        Reason::InvalidSpec,
    ),
    (
        |w| w.facts.is_served = false,
        "Accepted",
        "False",
        Reason::NamespaceNotServed,
    ),
    (|_| {}, "ResolvedRefs", "True", Reason::ResolvedRefs),
    (
        |w| missing(w, &["upstreams/isp/username", "upstreams/isp/password"]),
        "ResolvedRefs",
        "False",
        Reason::SecretNotFound,
    ),
    (
        |w| missing(w, &["upstreams/isp/password"]),
        "ResolvedRefs",
        "False",
        Reason::SecretKeyMissing,
    ),
    (
        |w| missing(w, &["upstreams/isp/ca.crt"]),
        "ResolvedRefs",
        "False",
        Reason::ConfigMapNotFound,
    ),
    (
        |w| {
            w.says(0)
                .files
                .invalid
                .push("tls/submission/tls.crt cannot be used: keys differ".to_owned());
        },
        "ResolvedRefs",
        "False",
        Reason::InvalidCertificate,
    ),
    (
        |w| w.facts.gateways.clear(),
        "ResolvedRefs",
        "Unknown",
        Reason::Pending,
    ),
    (|_| {}, "Programmed", "True", Reason::Programmed),
    (
        |w| {
            w.applied = ApplyOutcome::Failed {
                message: "no".to_owned(),
            }
        },
        "Programmed",
        "False",
        Reason::ApplyFailed,
    ),
    (
        |w| w.applied = ApplyOutcome::FenceMissing,
        "Programmed",
        "False",
        Reason::SecretFenceMissing,
    ),
    (
        |w| {
            w.live
                .push((Reason::StorageImmutable, "it is 10Gi of fast".to_owned()));
        },
        "Programmed",
        "False",
        Reason::StorageImmutable,
    ),
    (
        |w| w.plan.not_expanded = Some("the class forbids it".to_owned()),
        "Programmed",
        "False",
        Reason::StorageNotExpanded,
    ),
    (
        |w| w.plan.rollout = Rollout::Stalled("outbound-1 is not ready".to_owned()),
        "Programmed",
        "False",
        Reason::RolloutStalled,
    ),
    (
        |w| w.relay().metadata.deletion_timestamp = Some(Time(ago(5))),
        "Programmed",
        "False",
        Reason::Draining,
    ),
    (
        |w| w.says(1).document.generation = 2,
        "Programmed",
        "Unknown",
        Reason::Pending,
    ),
    (
        |w| w.facts.gateways.clear(),
        "Programmed",
        "Unknown",
        Reason::Pending,
    ),
    (
        |w| w.applied = ApplyOutcome::NotTried,
        "Programmed",
        "Unknown",
        Reason::Pending,
    ),
    (
        |w| w.applied = kept(),
        "Programmed",
        "Unknown",
        Reason::Pending,
    ),
    (|_| {}, "Ready", "True", Reason::Ready),
    (
        |w| w.says(1).document.generation = 2,
        "Ready",
        "Unknown",
        Reason::Pending,
    ),
    (unready, "Ready", "False", Reason::NoReadyGateway),
    (
        |w| w.applied = ApplyOutcome::FenceMissing,
        "Ready",
        "False",
        Reason::SecretFenceMissing,
    ),
    (|_| {}, "UpstreamsHealthy", "True", Reason::Relaying),
    (
        |w| w.upstream(0, "isp", UpstreamState::Throttled),
        "UpstreamsHealthy",
        "True",
        Reason::Relaying,
    ),
    (
        |w| w.upstream(0, "isp", UpstreamState::AuthenticationFailed),
        "UpstreamsHealthy",
        "False",
        Reason::AuthenticationFailed,
    ),
    (
        |w| w.upstream(0, "isp", UpstreamState::CredentialMissing),
        "UpstreamsHealthy",
        "False",
        Reason::CredentialMissing,
    ),
    (
        |w| w.upstream(0, "isp", UpstreamState::TlsFailed),
        "UpstreamsHealthy",
        "False",
        Reason::TlsFailed,
    ),
    (
        |w| w.upstream(0, "isp", UpstreamState::Unreachable),
        "UpstreamsHealthy",
        "False",
        Reason::Unreachable,
    ),
    (
        |w| w.upstream(0, "isp", UpstreamState::Refused),
        "UpstreamsHealthy",
        "False",
        Reason::Refused,
    ),
    (
        |w| w.upstream(0, "isp", UpstreamState::QuotaExhausted),
        "UpstreamsHealthy",
        "False",
        Reason::QuotaExhausted,
    ),
    (untried, "UpstreamsHealthy", "Unknown", Reason::Untried),
    (
        |w| w.facts.gateways.clear(),
        "UpstreamsHealthy",
        "Unknown",
        Reason::NoReport,
    ),
    (|_| {}, "QueueHealthy", "True", Reason::Flowing),
    (
        |w| spool(w, |s| s.state = SpoolState::Failed),
        "QueueHealthy",
        "False",
        Reason::SpoolFailed,
    ),
    (
        |w| spool(w, |s| s.damaged_records = 2),
        "QueueHealthy",
        "False",
        Reason::SpoolDamaged,
    ),
    (
        |w| spool(w, |s| s.state = SpoolState::Full),
        "QueueHealthy",
        "False",
        Reason::SpoolFull,
    ),
    (
        |w| w.says(0).queue.clock_stepped = true,
        "QueueHealthy",
        "False",
        Reason::ClockStepped,
    ),
    (|w| hold(w, "Poison"), "QueueHealthy", "False", Reason::Held),
    (
        |w| hold(w, "AuthenticationFailed"),
        "QueueHealthy",
        "True",
        Reason::Flowing,
    ),
    (
        |w| w.says(0).queue.oldest_message_time = Some(ago(1801).to_string()),
        "QueueHealthy",
        "False",
        Reason::Backlogged,
    ),
    (
        |w| w.says(0).queue.oldest_message_time = Some(ago(1799).to_string()),
        "QueueHealthy",
        "True",
        Reason::Flowing,
    ),
    (|w| w.silent(1), "QueueHealthy", "Unknown", Reason::NoReport),
    (
        |w| w.hear(1, Heard::Nothing { since: ago(121) }),
        "QueueHealthy",
        "Unknown",
        Reason::NoReport,
    ),
    (
        |w| w.hear(1, Heard::Nothing { since: ago(119) }),
        "QueueHealthy",
        "True",
        Reason::Flowing,
    ),
];

#[test]
fn every_reason_is_reached() {
    for (row, (change, type_, status, reason)) in TABLE.iter().enumerate() {
        let mut world = World::healthy();
        change(&mut world);
        let written = world.status();
        let condition = condition(&written, type_);
        let expected = (*status, reason.as_str());
        let is = (condition.status.as_str(), condition.reason.as_str());
        assert_eq!(is, expected, "row {row}: {type_}: {}", condition.message);
        assert!(!condition.message.is_empty(), "row {row}");
        assert_eq!(condition.observed_generation, Some(3), "row {row}");
    }
    let reached: BTreeSet<_> = TABLE.iter().map(|row| row.3).collect();
    let all: BTreeSet<_> = Reason::ALL.iter().copied().collect();
    assert_eq!(reached, all, "every reason of the API has a row");
}

/// The table of the API, by condition and status, in its order.
#[test]
fn of_several_reasons_the_first_of_the_table_is_shown() {
    let orders: [(&str, &[Reason]); 5] = [
        (
            "Accepted",
            &[Reason::InvalidSpec, Reason::NamespaceNotServed],
        ),
        (
            "ResolvedRefs",
            &[
                Reason::SecretNotFound,
                Reason::SecretKeyMissing,
                Reason::ConfigMapNotFound,
                Reason::InvalidCertificate,
            ],
        ),
        (
            "Programmed",
            &[
                Reason::ApplyFailed,
                Reason::StorageImmutable,
                Reason::StorageNotExpanded,
                Reason::RolloutStalled,
                Reason::Draining,
            ],
        ),
        (
            "UpstreamsHealthy",
            &[
                Reason::AuthenticationFailed,
                Reason::CredentialMissing,
                Reason::Unreachable,
                Reason::QuotaExhausted,
            ],
        ),
        (
            "QueueHealthy",
            &[Reason::SpoolDamaged, Reason::ClockStepped, Reason::Held],
        ),
    ];
    for (type_, reasons) in orders {
        for (i, first) in reasons.iter().enumerate() {
            for second in reasons.iter().skip(i + 1) {
                let mut world = World::healthy();
                for reason in [second, first] {
                    let row = TABLE
                        .iter()
                        .find(|row| row.1 == type_ && row.3 == *reason && row.2 == "False");
                    both(&mut world, row.unwrap().0, *reason, *first);
                }
                let written = world.status();
                assert_eq!(
                    condition(&written, type_).reason,
                    first.as_str(),
                    "before {second}"
                );
            }
        }
    }
}

/// Applies a second fault without undoing the first: upstreams fail one each, and missing files add up.
fn both(world: &mut World, change: Change, reason: Reason, first: Reason) {
    let missing_before: Vec<_> = world.says(0).files.missing.clone();
    let states = [
        Reason::CredentialMissing,
        Reason::Unreachable,
        Reason::QuotaExhausted,
    ];
    if reason != first && states.contains(&reason) {
        let state = UpstreamState::ALL
            .iter()
            .find(|state| state.as_str() == reason.as_str());
        world.upstream(1, "other", *state.unwrap());
        return;
    }
    change(world);
    if reason == Reason::SecretNotFound
        && missing_before.len() == 1
        && missing_before[0].ends_with("password")
    {
        // One Secret cannot be gone and lack a key: the listener's lacks one instead.
        world
            .says(0)
            .files
            .missing
            .push("tls/submission/tls.key".to_owned());
    }
    world.says(0).files.missing.extend(missing_before);
}

/// The API server refuses a status as a whole.
#[test]
fn every_status_fits_the_schema() {
    let schema = crate::schema::Schema::of("MailRelay").unwrap();
    for (row, (change, ..)) in TABLE.iter().enumerate() {
        let mut world = World::healthy();
        change(&mut world);
        world.later(1);
        let problems = schema.problems(&serde_json::to_value(&*world.facts.relay).unwrap());
        let of_status: Vec<_> = problems
            .iter()
            .filter(|problem| problem.path.starts_with("status"))
            .collect();
        assert!(of_status.is_empty(), "row {row}: {of_status:?}");
    }
}
