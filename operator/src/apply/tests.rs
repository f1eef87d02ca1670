use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::api::resource::Quantity};
use posthouse_api::MailRelay;

use super::*;
use crate::{
    call::METADATA_ONLY,
    mail_relay::plan::Object,
    testing::{Record, api_server, failure},
};

const URL: &str = "/api/v1/namespaces/mail/configmaps/outbound-config";

fn config(value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": { "name": "outbound-config", "namespace": "mail", "labels": labels::of_child("outbound", "u1") },
        "data": { "gateway.yaml": value },
    }))
    .unwrap()
}

fn live(relay: &str, owner: &str, version: &str) -> Value {
    json!({ "metadata": {
        "name": "outbound-config", "uid": "c1", "resourceVersion": version, "labels": labels::of_child(relay, owner),
    }})
}

fn meta(value: &Value) -> ObjectMeta {
    serde_json::from_value(value["metadata"].clone()).unwrap()
}

fn uids() -> BTreeSet<String> {
    ["u1", "u2"].map(str::to_owned).into()
}

fn owner(relay_uids: &BTreeSet<String>) -> Owner<'_> {
    Owner {
        namespace: "mail",
        relay: "outbound",
        uid: "u1",
        relay_uids,
    }
}

/// An applier whose API server has this object to begin with, and takes every apply.
fn applier(found: Option<Value>) -> (Applier, Record) {
    let (client, record) = api_server(move |asked| {
        if asked.line.starts_with("GET") {
            return match &found {
                Some(found) => Some((200, found.clone())),
                None => failure(404, "NotFound", json!({"kind": "configmaps"})),
            };
        }
        Some((200, live("outbound", "u1", "7")))
    });
    (Applier::new(client), record)
}

#[tokio::test]
async fn what_is_absent_is_applied_without_force() {
    let (applier, record) = applier(None);
    let uids = uids();
    let answer = applier.apply(&config("a"), None, &owner(&uids)).await;
    assert_eq!(answer.unwrap().uid.as_deref(), Some("c1"));
    assert_eq!(
        record.lines(),
        [
            format!("GET {URL}"),
            format!("PATCH {URL}?fieldManager=posthouse-operator")
        ]
    );
    let patch = &record.all()[1];
    assert_eq!(patch.content_type, "application/apply-patch+yaml");
    assert!(
        record
            .all()
            .iter()
            .all(|asked| asked.accept == METADATA_ONLY)
    );
    assert_eq!(patch.body["kind"], "ConfigMap");
    assert_eq!(patch.body["metadata"].get("uid"), None);
}

#[tokio::test]
async fn ours_is_forced_by_uid_and_adopted_when_its_owner_is_no_more() {
    for previous in ["u1", "gone"] {
        let (applier, record) = applier(Some(live("outbound", previous, "3")));
        let uids = uids();
        applier
            .apply(&config("a"), None, &owner(&uids))
            .await
            .unwrap();
        assert!(record.lines()[1].ends_with("&force=true"), "{previous}");
        assert_eq!(record.all()[1].body["metadata"]["uid"], "c1");
    }
}

#[tokio::test]
async fn somebody_elses_is_left_alone() {
    let unlabelled = json!({"metadata": {"name": "outbound-config", "uid": "c1"}});
    for found in [
        unlabelled,
        live("outbound", "u2", "3"),
        live("other", "u1", "3"),
    ] {
        let (applier, record) = applier(Some(found.clone()));
        let uids = uids();
        let error = applier.apply(&config("a"), None, &owner(&uids)).await;
        let error = error.unwrap_err();
        assert_eq!(error.category(), "foreign", "{found}");
        assert!(
            error
                .to_string()
                .starts_with("ConfigMap \"outbound-config\" is there already")
        );
        assert_eq!(record.lines(), [format!("GET {URL}")]);
        let config_map = ApiResource::erase::<ConfigMap>(&());
        applier
            .delete_ours(&config_map, "outbound-config", &owner(&uids))
            .await
            .unwrap();
        assert!(record.lines().iter().all(|line| line.starts_with("GET")));
    }
}

#[tokio::test]
async fn at_rest_there_is_no_call() {
    let (applier, record) = applier(None);
    let uids = uids();
    let owner = owner(&uids);
    let first = applier.apply(&config("a"), None, &owner).await.unwrap();
    let again = applier.apply(&config("a"), Some(&first), &owner).await;
    assert_eq!(again.unwrap(), first);
    assert_eq!(record.lines().len(), 2);

    // Touched by somebody, changed by us, or gone: applied again, and without a look while a watched one tells its uid.
    let touched = meta(&live("outbound", "u1", "8"));
    applier
        .apply(&config("a"), Some(&touched), &owner)
        .await
        .unwrap();
    applier
        .apply(&config("b"), Some(&first), &owner)
        .await
        .unwrap();
    assert_eq!(record.lines().len(), 4);
    applier.apply(&config("b"), None, &owner).await.unwrap();
    assert!(record.lines()[4].starts_with("GET"));
    applier.forget("mail", "outbound");
    applier
        .apply(&config("b"), Some(&first), &owner)
        .await
        .unwrap();
    assert!(record.lines()[6].starts_with("PATCH"));
}

#[tokio::test]
async fn a_successor_is_looked_at_before_it_is_applied() {
    let mut patches = 0;
    let (client, record) = api_server(move |asked| {
        if asked.line.starts_with("GET") {
            return failure(404, "NotFound", json!({"kind": "configmaps"}));
        }
        patches += 1;
        match patches {
            1 => failure(409, "Conflict", json!({"kind": "configmaps"})),
            _ => Some((200, live("outbound", "u1", "7"))),
        }
    });
    let uids = uids();
    let stale = meta(&live("outbound", "u1", "3"));
    let applied = Applier::new(client)
        .apply(&config("a"), Some(&stale), &owner(&uids))
        .await;
    assert!(applied.is_ok());
    let methods: Vec<_> = record
        .lines()
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(methods, ["PATCH", "GET", "PATCH"]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_by_cause_and_a_silent_server_ends_in_time() {
    let (client, _) =
        api_server(|_| failure(429, "TooManyRequests", json!({"retryAfterSeconds": 3})));
    let uids = uids();
    let busy = Applier::new(client)
        .apply(&config("a"), None, &owner(&uids))
        .await
        .unwrap_err();
    assert_eq!(busy.to_string(), "apply ConfigMap \"outbound-config\"");
    assert_eq!(busy.retry().delay(1).as_secs(), 3);

    let (client, _) = api_server(|_| None);
    let silent = Applier::new(client)
        .apply(&config("a"), None, &owner(&uids))
        .await
        .unwrap_err();
    assert!(matches!(
        silent.cause(),
        Some(crate::call::CallError::TimedOut)
    ));
}

#[tokio::test]
async fn a_child_that_is_not_wanted_is_deleted_by_uid_and_then_forgotten() {
    let (applier, record) = applier(Some(live("outbound", "u1", "3")));
    let uids = uids();
    let config_map = ApiResource::erase::<ConfigMap>(&());
    for _ in 0..2 {
        applier
            .delete_ours(&config_map, "outbound-config", &owner(&uids))
            .await
            .unwrap();
    }
    assert_eq!(
        record.lines(),
        [format!("GET {URL}"), format!("DELETE {URL}?")]
    );
    assert_eq!(record.all()[1].body["preconditions"]["uid"], "c1");
}

#[tokio::test]
async fn finalizers_are_patched_by_what_they_are_tested_for() {
    let relay = |finalizers: Value| -> MailRelay {
        serde_json::from_value(json!({
            "apiVersion": "posthouse.dev/v1alpha1", "kind": "MailRelay",
            "metadata": {"name": "outbound", "namespace": "mail", "uid": "u1", "finalizers": finalizers},
            "spec": {"hostname": "mail.example.com", "upstreams": []},
        }))
        .unwrap()
    };
    let (client, record) = api_server(|_| Some((200, live("outbound", "u1", "7"))));
    let applier = Applier::new(client);
    applier.add_finalizer(&relay(json!([]))).await.unwrap();
    applier.add_finalizer(&relay(json!(["a/b"]))).await.unwrap();
    let both = relay(json!(["a/b", labels::FINALIZER]));
    applier.add_finalizer(&both).await.unwrap();
    applier.remove_finalizer(&both).await.unwrap();
    applier.remove_finalizer(&relay(json!([]))).await.unwrap();
    let patches = record.all();
    assert_eq!(patches.len(), 3);
    assert_eq!(
        patches[0].line,
        "PATCH /apis/posthouse.dev/v1alpha1/namespaces/mail/mailrelays/outbound?fieldManager=posthouse-operator"
    );
    assert_eq!(patches[0].body[2]["value"], json!([labels::FINALIZER]));
    assert_eq!(patches[1].body[2]["path"], "/metadata/finalizers/-");
    assert_eq!(patches[2].body[1]["value"], labels::FINALIZER);
    assert_eq!(
        patches[2].body[2],
        json!({"op": "remove", "path": "/metadata/finalizers/1"})
    );

    let (client, _) = api_server(|_| failure(422, "Invalid", json!({})));
    let error = Applier::new(client).add_finalizer(&relay(json!([]))).await;
    assert_eq!(error.unwrap_err().category(), "conflict");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_watches_is_believed_for_an_hour() {
    let (applier, record) = applier(Some(live("outbound", "u1", "3")));
    let uids = uids();
    let owner = owner(&uids);
    let resource = ApiResource::erase::<ConfigMap>(&());
    for (minutes, value, calls) in [(0, "a", 2), (59, "a", 2), (2, "a", 4), (1, "b", 6)] {
        tokio::time::advance(std::time::Duration::from_mins(minutes)).await;
        applier
            .apply_unwatched(&resource, &config(value), &owner)
            .await
            .unwrap();
        assert_eq!(record.lines().len(), calls, "{value} {minutes} min later");
    }
}

#[tokio::test]
async fn every_change_names_the_uid_it_means() {
    let (client, record) = api_server(|asked| {
        if asked.line.starts_with("DELETE") {
            return failure(409, "Conflict", json!({}));
        }
        Some((200, live("outbound", "u1", "7")))
    });
    let applier = Applier::new(client);
    let claim = Object {
        name: "spool-outbound-0".into(),
        uid: "v1".into(),
    };
    let size = Quantity("20Gi".into());
    applier
        .patch_claim_size("mail", &claim, &size)
        .await
        .unwrap();
    // Another one of that name is there now: what was to go is gone.
    applier.delete_claim("mail", &claim).await.unwrap();
    applier.delete_pod("mail", &claim).await.unwrap();
    let relay: MailRelay = serde_json::from_value(json!({
        "metadata": {"name": "outbound", "namespace": "mail", "uid": "u1"},
        "apiVersion": "posthouse.dev/v1alpha1", "kind": "MailRelay",
        "spec": {"hostname": "mail.example.com", "upstreams": []},
    }))
    .unwrap();
    applier
        .write_status(&relay, &json!({"mail": "Flowing"}))
        .await
        .unwrap();
    let core = "/api/v1/namespaces/mail";
    assert_eq!(
        record.lines(),
        [
            format!("PATCH {core}/persistentvolumeclaims/spool-outbound-0?fieldManager=posthouse-operator"),
            format!("DELETE {core}/persistentvolumeclaims/spool-outbound-0?"),
            format!("DELETE {core}/pods/spool-outbound-0?"),
            "PATCH /apis/posthouse.dev/v1alpha1/namespaces/mail/mailrelays/outbound/status?fieldManager=posthouse-operator&force=true"
                .to_owned(),
        ]
    );
    let asked = record.all();
    assert_eq!(asked[0].content_type, "application/merge-patch+json");
    assert_eq!(asked[0].body["metadata"]["uid"], "v1");
    assert_eq!(
        asked[0].body["spec"]["resources"]["requests"]["storage"],
        "20Gi"
    );
    assert_eq!(asked[1].body["preconditions"]["uid"], "v1");
    // The pod has its usual time to stop.
    assert_eq!(asked[2].body.get("gracePeriodSeconds"), None);
    assert_eq!(asked[3].body["metadata"]["uid"], "u1");
    assert_eq!(asked[3].body["status"]["mail"], "Flowing");
}
