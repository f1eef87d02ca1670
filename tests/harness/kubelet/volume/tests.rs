use k8s_openapi::{ByteString, api::core::v1::ProjectedVolumeSource};
use serde_json::json;

use super::*;

/// One ConfigMap `config` and one Secret `keys`.
struct Two;

impl Objects for Two {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
        let data = [("gateway.yaml".to_owned(), "format: 1".to_owned())];
        let object = ConfigMap {
            data: Some(data.into()),
            ..ConfigMap::default()
        };
        (name == "config").then(|| Arc::new(object))
    }

    fn secret(&self, name: &str) -> Option<Arc<Secret>> {
        let data = [("password".to_owned(), ByteString(b"hunter2".to_vec()))];
        let object = Secret {
            data: Some(data.into()),
            ..Secret::default()
        };
        (name == "keys").then(|| Arc::new(object))
    }
}

fn projected(sources: serde_json::Value) -> Result<Files, String> {
    let sources = serde_json::from_value(sources).unwrap();
    let volume = Volume {
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(sources),
        }),
        ..Volume::default()
    };
    let pod = serde_json::from_value(json!({"metadata": {
        "uid": "u-1", "labels": {"apps.kubernetes.io/pod-index": "3"},
    }}));
    files(&volume, &pod.unwrap(), &Two).map(Option::unwrap)
}

#[test]
fn sources_are_joined() {
    let files = projected(json!([
        {"configMap": {"name": "config"}},
        {"secret": {"name": "keys", "items": [{"key": "password", "path": "up/p", "mode": 0o400}]}},
        {"downwardAPI": {"items": [{"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
    ]))
    .unwrap();
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["gateway.yaml", "uid", "up/p"]);
    assert_eq!(files["up/p"].content, b"hunter2");
    assert_eq!(files["up/p"].mode, 0o400);
    assert_eq!(files["uid"].content, b"u-1");
    assert_eq!(files["gateway.yaml"].mode, 0o440);
}

#[test]
fn what_is_required_must_be_there() {
    for source in [
        json!({"configMap": {"name": "none"}}),
        json!({"secret": {"name": "none"}}),
        json!({"secret": {"name": "keys", "items": [{"key": "none", "path": "p"}]}}),
    ] {
        let error = projected(json!([source])).unwrap_err();
        assert!(error.contains("none"), "{error}");
    }
}

#[test]
fn what_is_optional_need_not() {
    for source in [
        json!({"configMap": {"name": "none", "optional": true}}),
        json!({"secret": {"name": "none", "optional": true}}),
        json!({"secret": {"name": "keys", "optional": true, "items": [{"key": "none", "path": "p"}]}}),
    ] {
        assert_eq!(projected(json!([source])).unwrap(), Files::new());
    }
}

#[test]
fn fields_of_the_pod_are_found() {
    let pod = serde_json::from_value(json!({"metadata": {
        "name": "relay-3", "labels": {"apps.kubernetes.io/pod-index": "3"},
    }}));
    let pod: Pod = pod.unwrap();
    let field = |path: &str| {
        let selector = ObjectFieldSelector {
            field_path: path.to_owned(),
            ..ObjectFieldSelector::default()
        };
        super::field(&selector, &pod)
    };
    let index = field("metadata.labels['apps.kubernetes.io/pod-index']");
    assert_eq!(index.as_deref(), Some("3"));
    assert_eq!(field("metadata.name").as_deref(), Some("relay-3"));
    assert_eq!(field("metadata.labels['none']").as_deref(), Some(""));
    assert_eq!(field("status.hostIP"), None);
}
