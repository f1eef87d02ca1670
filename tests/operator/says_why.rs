//! What keeps a relay from working is in its status: with the reason, the field and the object that it is about, made by
//! real gateways and a real API server; and it goes when the cause does.

use k8s_openapi::api::core::v1::Secret;
use posthouse_tests::{
    Authority, Installation, Relay,
    provider::Absent,
    relay::{ACCOUNT, PASSWORD, SENDER, condition, is},
};
use serde_json::json;

#[test]
fn what_it_refers_to_cannot_be_used() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Relay::prepare(&cluster);
    let namespace = relay.namespace();
    relay.apply_authority();
    relay.apply();
    relay.apply_sender(SENDER);
    let message = relay.wait_reason("UpstreamsHealthy", "CredentialMissing");
    assert!(message.contains("upstream provider"), "{message}");
    wait_late(&relay);
    relay.submit(0, "held");
    relay.apply_account(PASSWORD);
    relay.wait_relayed("held");
    relay.wait_reason("UpstreamsHealthy", "Relaying");
    relay.wait_reason("ResolvedRefs", "ResolvedRefs");

    let ca = |text: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "provider-ca"},
            "data": {"ca.crt": text},
        })
    };
    namespace.apply(&ca("no certificate").to_string());
    let message = relay.wait_reason("ResolvedRefs", "InvalidCertificate");
    for part in [
        "spec.upstreams[0].endpoint.tls.caRef",
        "ca.crt",
        "ConfigMap \"provider-ca\"",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    relay.apply_authority();
    relay.wait_reason("ResolvedRefs", "ResolvedRefs");

    // Another authority: the certificate is there and does not fit the provider.
    namespace.apply(&ca(&Authority::new().pem()).to_string());
    let message = relay.wait_reason("UpstreamsHealthy", "TlsFailed");
    assert!(message.contains("certificate"), "{message}");
    relay.apply_authority();
    relay.wait_reason("UpstreamsHealthy", "Relaying");

    // The account that was there is used for as long as nothing replaces it.
    namespace.delete::<Secret>(ACCOUNT);
    wait_late(&relay);
    relay.relay(1, "by the former account");
}

/// Waits until the status says that the account is awaited: for three minutes it may just be late.
fn wait_late(relay: &Relay) {
    let found = relay.wait("the account is awaited", |relay| {
        condition(relay, "ResolvedRefs").is_some_and(|refs| refs.message.contains(ACCOUNT))
    });
    let refs = condition(&found, "ResolvedRefs").unwrap();
    assert_eq!(
        (refs.status.as_str(), refs.reason.as_str()),
        ("Unknown", "Pending")
    );
    for key in ["username", "password"] {
        let part = format!("key {key} of Secret {ACCOUNT:?}");
        assert!(refs.message.contains(&part), "{}", refs.message);
    }
}

#[test]
fn nobody_answers_and_no_gateway_is_ready() {
    let Some(cluster) = Installation::shared() else {
        return;
    };
    let relay = Relay::start_with(&cluster, |spec| spec["replicas"] = json!(1));
    let gone = Absent::reserve();
    let port = relay.provider().port();
    relay.edit(|spec| spec["upstreams"][0]["endpoint"]["port"] = json!(gone.port()));
    let message = relay.wait_reason("UpstreamsHealthy", "Unreachable");
    assert!(message.contains("no target left"), "{message}");
    relay.edit(|spec| spec["upstreams"][0]["endpoint"]["port"] = json!(port));
    relay.wait_reason("UpstreamsHealthy", "Relaying");

    let gateway = relay.gateway(0);
    gateway.freeze();
    relay.wait_reason("Ready", "NoReadyGateway");
    gateway.thaw();
    relay.wait("it is ready again", |relay| is(relay, "Ready", "True"));
    relay.relay(0, "one");
}
