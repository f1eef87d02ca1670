//! The gateways' pods.
//!
//! Every change here restarts each gateway once, so nothing stands here that a gateway reads again by itself: no digest
//! of the document, no number, no sender. Restricted by the standard of Kubernetes' pod security, without a token for
//! its API.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use k8s_openapi::{
    api::core::v1::{
        Affinity, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec,
        SeccompProfile, TopologySpreadConstraint, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use posthouse_api::mail_relay::workload;

use super::{
    super::{Request, service},
    container, volume,
};
use crate::{labels, names};

/// The user and group of a gateway: nobody's in particular, as in images without a system.
const USER: i64 = 65532;

/// From SIGTERM to SIGKILL: the document's `stop` and a margin. Nothing is lost either way.
const GRACE_SECONDS: i64 = 60;

/// The pods' template.
pub fn template(request: &Request<'_>) -> PodTemplateSpec {
    let given = request.relay.spec.pod_template.clone().unwrap_or_default();
    let spec = spec(request, given.spec.unwrap_or_default());
    let mut metadata = metadata(request, given.metadata.unwrap_or_default());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.extend(upgrade_digest(&spec));
    PodTemplateSpec {
        metadata: Some(metadata),
        spec: Some(spec),
    }
}

fn metadata(request: &Request<'_>, given: workload::PodMetadata) -> ObjectMeta {
    let mut all_labels = given.labels;
    // Ours win, or no Service would find the pod. Not the owner's uid: adopted gateways need no restart.
    all_labels.extend(labels::selector(&request.valid.name));
    all_labels.insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
    let mut annotations = BTreeMap::from([
        service::opaque_ports(request.valid),
        (
            labels::NO_VOLUME_BACKUP.to_owned(),
            names::SPOOL_VOLUME.to_owned(),
        ),
        (
            labels::DEFAULT_CONTAINER.to_owned(),
            container::NAME.to_owned(),
        ),
    ]);
    annotations.extend(given.annotations);
    annotations.extend(account_digest(request));
    ObjectMeta {
        labels: Some(all_labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

/// What a MailRelay can change is left out, also where it has a default of ours: a person's edit waits for no turn. It is
/// made of the template alone, so it changes with no template that stays.
fn upgrade_digest(spec: &PodSpec) -> Option<(String, String)> {
    let mut ours = PodSpec {
        affinity: None,
        topology_spread_constraints: None,
        node_selector: None,
        tolerations: None,
        priority_class_name: None,
        image_pull_secrets: None,
        volumes: None,
        ..spec.clone()
    };
    for container in &mut ours.containers {
        container.ports = None;
        container.resources = None;
    }
    let text = serde_json::to_string(&ours).ok()?;
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    Some((labels::UPGRADE_DIGEST.to_owned(), short(digest.as_ref())?))
}

/// The beginning of a digest.
fn short(digest: &[u8]) -> Option<String> {
    let (short, _) = digest.split_first_chunk()?;
    Some(format!("{:016x}", u64::from_be_bytes(*short)))
}

/// What a cloud makes of a ServiceAccount's annotations is decided when a pod is made, so other ones need other pods.
fn account_digest(request: &Request<'_>) -> Option<(String, String)> {
    let account = request.relay.spec.service_account.as_ref()?;
    if account.annotations.is_empty() {
        return None;
    }
    let mut context = digest::Context::new(&digest::SHA256);
    for (key, value) in &account.annotations {
        for text in [key, value] {
            // Neither has a NUL, so no two sets of annotations read the same.
            context.update(text.as_bytes());
            context.update(&[0]);
        }
    }
    let text = short(context.finish().as_ref())?;
    Some((labels::SERVICE_ACCOUNT_DIGEST.to_owned(), text))
}

fn spec(request: &Request<'_>, given: workload::PodSpec) -> PodSpec {
    let relay = request.valid;
    let list = |is_empty: bool| (!is_empty).then_some(());
    PodSpec {
        service_account_name: Some(names::service_account(&relay.name)),
        automount_service_account_token: Some(false),
        // Otherwise each Service of the namespace would become variables of the gateway.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(pod_security(request.capabilities.openshift)),
        containers: vec![container::container(request)],
        volumes: Some(vec![volume::volume(relay)]),
        affinity: Some(given.affinity.unwrap_or_else(|| apart(&relay.name))),
        topology_spread_constraints: Some(if given.topology_spread_constraints.is_empty() {
            vec![over_zones(&relay.name)]
        } else {
            given.topology_spread_constraints
        }),
        node_selector: list(given.node_selector.is_empty()).map(|()| given.node_selector),
        tolerations: list(given.tolerations.is_empty()).map(|()| given.tolerations),
        priority_class_name: given.priority_class_name,
        image_pull_secrets: list(given.image_pull_secrets.is_empty())
            .map(|()| given.image_pull_secrets),
        ..PodSpec::default()
    }
}

/// Users and groups are the cluster's choice on `OpenShift`, which refuses ours.
fn pod_security(is_openshift: bool) -> PodSecurityContext {
    let user = (!is_openshift).then_some(USER);
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user,
        run_as_group: user,
        fs_group: user,
        // Else the kubelet would walk through every message at each start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// Preferably on different hosts: one that fails takes one gateway along.
fn apart(relay: &str) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: PodAffinityTerm {
                        topology_key: "kubernetes.io/hostname".to_owned(),
                        label_selector: Some(selector(relay)),
                        ..PodAffinityTerm::default()
                    },
                },
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// Over zones as far as it goes: a volume binds a gateway to its zone anyway.
fn over_zones(relay: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "topology.kubernetes.io/zone".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector(relay)),
        ..TopologySpreadConstraint::default()
    }
}

fn selector(relay: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels::selector(relay)),
        ..LabelSelector::default()
    }
}
