//! What of each watched object is kept. The caches are most of the operator's memory, and most of a pod, of a workload
//! and of every `managedFields` is read by nobody.
//!
//! A field that somebody begins to read has to be kept here first: what is dropped looks as if it had never been set.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{
            ConfigMap, Container, PersistentVolumeClaim, Pod, PodSpec, PodTemplateSpec,
            ProjectedVolumeSource, SecretProjection, Volume, VolumeProjection,
        },
    },
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ObjectMeta},
};
use kube::{core::PartialObjectMeta, runtime::watcher::Event};
use posthouse_api::{MailRelay, MailSender};
use serde_json::{Value, json};

use crate::mail_relay::plan::CLAIM_REQUEST;

/// What kubectl keeps of its own: a second copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object that can do with less.
pub trait Slim {
    /// Drops what nobody reads.
    fn slim(&mut self);
}

/// Slims the object of an event.
pub(super) fn slim<K: Slim>(event: &mut Event<K>) {
    match event {
        Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => object.slim(),
        Event::Init | Event::InitDone => {}
    }
}

impl Slim for MailRelay {
    fn slim(&mut self) {
        undated(&mut self.metadata);
    }
}

impl Slim for MailSender {
    fn slim(&mut self) {
        undated(&mut self.metadata);
    }
}

impl Slim for ConfigMap {
    fn slim(&mut self) {
        undated(&mut self.metadata);
    }
}

impl<K> Slim for PartialObjectMeta<K> {
    fn slim(&mut self) {
        undated(&mut self.metadata);
    }
}

impl Slim for PersistentVolumeClaim {
    fn slim(&mut self) {
        dated(&mut self.metadata);
    }
}

impl Slim for StatefulSet {
    fn slim(&mut self) {
        dated(&mut self.metadata);
        if let Some(spec) = &mut self.spec {
            let template = std::mem::take(&mut spec.template);
            spec.template = PodTemplateSpec {
                // By an annotation upgrades are told from what people change.
                metadata: template.metadata.map(|metadata| ObjectMeta {
                    annotations: metadata.annotations,
                    ..ObjectMeta::default()
                }),
                spec: template.spec.map(images),
            };
        }
    }
}

impl Slim for Pod {
    fn slim(&mut self) {
        undated(&mut self.metadata);
        self.spec = self.spec.take().map(images);
    }
}

/// Where the pod is, the image of each of its containers, and the Secrets among its files.
fn images(spec: PodSpec) -> PodSpec {
    let image = |container: Container| Container {
        name: container.name,
        image: container.image,
        ..Container::default()
    };
    PodSpec {
        node_name: spec.node_name,
        volumes: spec
            .volumes
            .map(|all| all.into_iter().filter_map(secrets).collect()),
        containers: spec.containers.into_iter().map(image).collect(),
        ..PodSpec::default()
    }
}

/// The names of the Secrets in a projected volume.
fn secrets(volume: Volume) -> Option<Volume> {
    let sources = volume.projected?.sources.into_iter().flatten();
    let names = sources.filter_map(|source| source.secret).map(|secret| {
        let name = SecretProjection {
            name: secret.name,
            ..SecretProjection::default()
        };
        VolumeProjection {
            secret: Some(name),
            ..VolumeProjection::default()
        }
    });
    Some(Volume {
        name: volume.name,
        projected: Some(ProjectedVolumeSource {
            sources: Some(names.collect()),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    })
}

fn undated(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    without_copy(metadata);
}

/// Keeps who wrote when, which dates a pod that cannot be made and a claim that does not grow; of what was written only
/// whether it was a claim's size.
fn dated(metadata: &mut ObjectMeta) {
    for entry in metadata.managed_fields.iter_mut().flatten() {
        let fields = entry.fields_v1.take();
        let is_size = fields.is_some_and(|fields| fields.0.pointer(CLAIM_REQUEST).is_some());
        entry.fields_v1 = is_size.then(|| FieldsV1(nested(CLAIM_REQUEST)));
    }
    without_copy(metadata);
}

fn without_copy(metadata: &mut ObjectMeta) {
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// The smallest value that has something at a JSON pointer (RFC 6901).
fn nested(pointer: &str) -> Value {
    let names = pointer.rsplit('/').filter(|name| !name.is_empty());
    names.fold(json!({}), |inner, name| json!({ name: inner }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slimmed<K: Slim + serde::de::DeserializeOwned + serde::Serialize>(object: Value) -> Value {
        let mut object: K = serde_json::from_value(object).unwrap();
        object.slim();
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn of_a_pod_only_what_is_read_stays() {
        let pod = slimmed::<Pod>(json!({
            "metadata": {"name": "a-0", "labels": {"a": "b"}, "managedFields": [{"manager": "kubelet"}]},
            "spec": {
                "nodeName": "n",
                "volumes": [{"name": "spool"}, {"name": "config", "projected": {"sources": [
                    {"secret": {"name": "outbound-tls", "items": [{"key": "tls.crt", "path": "a"}]}},
                    {"configMap": {"name": "outbound-config"}},
                ]}}],
                "containers": [{"name": "gateway", "image": "i", "args": ["run"], "env": [{"name": "A"}]}],
            },
            "status": {"podIP": "127.0.0.1"},
        }));
        let spec = json!({
            "nodeName": "n",
            "containers": [{"name": "gateway", "image": "i"}],
            "volumes": [{"name": "config", "projected": {"sources": [{"secret": {"name": "outbound-tls"}}]}}],
        });
        assert_eq!(pod["spec"], spec);
        assert_eq!(
            pod["metadata"],
            json!({"name": "a-0", "labels": {"a": "b"}})
        );
        assert_eq!(pod["status"]["podIP"], "127.0.0.1");
    }

    #[test]
    fn a_workload_keeps_its_claims_and_when_it_was_written() {
        let set = slimmed::<StatefulSet>(json!({
            "metadata": {"managedFields": [
                {"subresource": "status", "time": "2030-01-01T00:00:00Z", "fieldsV1": {"f:status": {}}},
            ]},
            "spec": {
                "replicas": 2,
                "selector": {},
                "serviceName": "s",
                "template": {
                    "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
                    "spec": {"containers": [{"name": "gateway", "image": "i", "args": ["run"]}]},
                },
                "volumeClaimTemplates": [{"metadata": {"name": "spool"}, "spec": {}}],
            },
        }));
        assert_eq!(
            set["metadata"]["managedFields"],
            json!([{"subresource": "status", "time": "2030-01-01T00:00:00Z"}])
        );
        assert_eq!(set["spec"]["replicas"], 2);
        assert_eq!(
            set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"],
            "spool"
        );
        assert_eq!(
            set["spec"]["template"],
            json!({
                "metadata": {"annotations": {"c": "d"}},
                "spec": {"containers": [{"name": "gateway", "image": "i"}]},
            })
        );
    }

    #[test]
    fn a_claim_keeps_who_asked_for_its_size() {
        let asked = json!({"f:spec": {"f:resources": {"f:requests": {"f:storage": {}}}}});
        let mut more = asked.clone();
        more["f:metadata"] = json!({"f:labels": {"f:a": {}}});
        let claim = slimmed::<PersistentVolumeClaim>(json!({
            "metadata": {"managedFields": [{"manager": "one", "fieldsV1": more}, {"manager": "two", "fieldsV1": {"f:x": {}}}]},
        }));
        assert_eq!(
            claim["metadata"]["managedFields"],
            json!([{"manager": "one", "fieldsV1": asked}, {"manager": "two"}])
        );
    }
}
