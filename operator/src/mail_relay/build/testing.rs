//! Requests to build from, for the tests of every child.

use k8s_openapi::api::core::v1::ConfigMap;
use posthouse_api::MailRelay;
use posthouse_config::yaml;
use serde_json::Value;

use super::*;
use crate::mail_relay::{Audience, plan::Rollout, validate};

/// A relay of which only what a test is about is said.
pub(super) const SMALL: &str = "
apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: { name: outbound, namespace: mail, uid: 11111111-1111-4111-8111-111111111111, generation: 4,
  labels: { app.kubernetes.io/instance: argo }, annotations: { argocd.argoproj.io/tracking-id: x } }
spec:
  hostname: mail.example.com
  clients: { grants: [{ name: shop, namespaces: { names: [shop] }, senderDomains: [shop.example.com] }] }
  upstreams:
    - { name: isp, provider: Custom, endpoint: { host: smtp.isp.example, port: 587 }, auth: { password: { secretRef: { name: isp } } } }
";

/// What a request borrows.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) relay: MailRelay,
    pub(super) valid: ValidRelay,
    pub(super) plan: Plan,
    pub(super) keys: KeyRotations,
    pub(super) settings: Settings,
    pub(super) capabilities: Capabilities,
    pub(super) live: LiveChildren,
    pub(super) reported: Reported,
    pub(super) written: Written,
}

impl Cluster {
    /// With a relay and nothing of it there.
    pub(super) fn with(relay: MailRelay) -> Self {
        let (findings, valid) = validate(&relay, Audience::Cluster);
        let valid = valid.unwrap_or_else(|| panic!("{findings:#?}"));
        Self {
            plan: plan(valid.replicas),
            keys: KeyRotations {
                current: valid.key_rotation,
                previous: None,
                since: "2030-01-01T00:00:00Z".parse().unwrap(),
            },
            settings: Settings::default(),
            capabilities: Capabilities::default(),
            live: LiveChildren::default(),
            reported: Reported::default(),
            written: Written::default(),
            relay,
            valid,
        }
    }

    /// With [`SMALL`] after a merge patch of its spec.
    pub(super) fn patched(patch: &str) -> Self {
        let mut object: Value = yaml::from_str(SMALL).unwrap();
        crate::cases::merge(&mut object["spec"], &yaml::from_str(patch).unwrap());
        Self::with(yaml::from_value(object).unwrap())
    }

    pub(super) fn small() -> Self {
        Self::patched("{}")
    }

    pub(super) fn request(&self) -> Request<'_> {
        let mut anchor = anchor(&self.relay);
        anchor.metadata.uid = Some("22222222-2222-4222-8222-222222222222".to_owned());
        Request {
            relay: &self.relay,
            valid: &self.valid,
            plan: &self.plan,
            keys: &self.keys,
            settings: &self.settings,
            capabilities: self.capabilities,
            owners: Owners::of(&self.relay, &anchor),
            issuers: &[],
            senders: Vec::new(),
            authority: Some("the authority"),
            live: &self.live,
            reported: self.reported,
            written: self.written.clone(),
        }
    }

    pub(super) fn children(&self) -> Children {
        children(&self.request()).unwrap()
    }
}

/// Nothing to be done but to have as many gateways.
pub(super) fn plan(replicas: u32) -> Plan {
    Plan {
        document_replicas: replicas,
        replicas,
        draining: 0,
        drain: None,
        restart: None,
        rollout: Rollout::Done,
        resize: Vec::new(),
        delete_claims: Vec::new(),
        not_expanded: None,
        is_over: false,
        notices: Vec::new(),
    }
}

/// Every child as JSON, as it goes to the API server.
pub(super) fn all(children: &Children) -> Vec<Value> {
    let Children {
        service_account,
        config,
        senders,
        authority,
        service,
        headless_service,
        stateful_set,
        pod_disruption_budget,
        network_policy,
        service_monitor,
        prometheus_rule,
    } = children;
    let mut all = vec![
        json(service_account),
        json(config),
        json(senders),
        json(service),
        json(headless_service),
        json(stateful_set),
        json(pod_disruption_budget),
    ];
    all.extend(authority.as_ref().map(json));
    all.extend(network_policy.as_ref().map(json));
    all.extend(service_monitor.as_ref().map(json));
    all.extend(prometheus_rule.as_ref().map(json));
    all
}

pub(super) fn json(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

/// The text of a ConfigMap's one file.
pub(super) fn file(map: &ConfigMap) -> &str {
    map.data.as_ref().unwrap().values().next().unwrap()
}
