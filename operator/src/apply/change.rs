//! Changes that are no apply: claims that grow, pods and claims that go, finalizers, status.
//!
//! Each names the uid of the object it means, so that a successor of the same name is never hit.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{Resource, ResourceExt, api::ApiResource};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Applier, ApplyError,
    error::Doing,
    wire::{APPLY, Place},
};
use crate::{call::CallError, labels, mail_relay::plan::Object};

/// RFC 7396.
const MERGE_PATCH: &str = "application/merge-patch+json";

/// RFC 6902.
const JSON_PATCH: &str = "application/json-patch+json";

impl Applier {
    /// Asks for more storage. It is a merge of that one field: the rest of a claim is the StatefulSet controller's.
    ///
    /// # Errors
    /// [`CallError::Forbidden`] where the storage class cannot grow, [`CallError::Conflict`] when the claim is another.
    pub async fn patch_claim_size(
        &self,
        namespace: &str,
        claim: &Object,
        size: &Quantity,
    ) -> Result<(), ApplyError> {
        let resource = ApiResource::erase::<PersistentVolumeClaim>(&());
        let place = Place {
            resource: &resource,
            namespace,
            name: &claim.name,
        };
        let body = json!({
            "metadata": { "uid": claim.uid },
            "spec": { "resources": { "requests": { "storage": size } } },
        });
        self.change("grow", place, None, MERGE_PATCH, &body).await
    }

    /// Sets how many gateways a StatefulSet has, and nothing else of it: its relay is being deleted, and what it says may
    /// be invalid by now.
    ///
    /// # Errors
    /// By the cause of the failed call.
    pub async fn patch_replicas(&self, set: &StatefulSet, replicas: i32) -> Result<(), ApplyError> {
        let body = json!({
            "metadata": { "uid": set.metadata.uid },
            "spec": { "replicas": replicas },
        });
        self.change_of("scale", set, None, MERGE_PATCH, &body).await
    }

    /// Deletes a pod, so that the StatefulSet controller makes it anew; one that is gone is fine.
    ///
    /// Not an eviction: the plan already lets one gateway go at a time and only while every other is ready, and a
    /// disruption budget that counts not-ready and draining gateways would refuse exactly the pods that are to go first.
    /// The pod has its usual time to stop.
    ///
    /// # Errors
    /// By the cause of the failed call.
    pub async fn delete_pod(&self, namespace: &str, pod: &Object) -> Result<(), ApplyError> {
        self.delete_object::<Pod>(namespace, pod).await
    }

    /// Deletes a claim whose spool was reported empty; one that is gone is fine.
    ///
    /// # Errors
    /// By the cause of the failed call.
    pub async fn delete_claim(&self, namespace: &str, claim: &Object) -> Result<(), ApplyError> {
        self.delete_object::<PersistentVolumeClaim>(namespace, claim)
            .await
    }

    /// Deletes the object of this very uid; one that is gone is fine.
    ///
    /// # Errors
    /// By the cause of the failed call.
    pub async fn delete_object<K: Resource<DynamicType = ()>>(
        &self,
        namespace: &str,
        object: &Object,
    ) -> Result<(), ApplyError> {
        let resource = ApiResource::erase::<K>(&());
        let place = Place {
            resource: &resource,
            namespace,
            name: &object.name,
        };
        let doing = Doing::new("delete", place);
        let deleted = self.delete(place, object.uid.clone()).await;
        deleted.map_err(|e| doing.failed(e))
    }

    /// Adds our finalizer, so that the object stays until its children are drained.
    ///
    /// A JSON patch that tests what it goes by: only a change of the finalizers themselves makes it fail. A merge patch
    /// would replace the whole list, and with the resourceVersion as its guard it would lose to every status write.
    ///
    /// # Errors
    /// [`CallError::Conflict`] when the finalizers are others by now.
    pub async fn add_finalizer<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
    ) -> Result<(), ApplyError> {
        let present = object.finalizers();
        if present.iter().any(|name| name == labels::FINALIZER) {
            return Ok(());
        }
        // RFC 6902 §4.1: `add` to a member that is there replaces it, so the test must see that there is none.
        let (before, member, value) = if present.is_empty() {
            (
                Value::Null,
                "/metadata/finalizers",
                json!([labels::FINALIZER]),
            )
        } else {
            (
                json!(present),
                "/metadata/finalizers/-",
                json!(labels::FINALIZER),
            )
        };
        let patch = json!([
            { "op": "test", "path": "/metadata/uid", "value": object.meta().uid },
            { "op": "test", "path": "/metadata/finalizers", "value": before },
            { "op": "add", "path": member, "value": value },
        ]);
        self.patch_finalizers("add the finalizer of", object, &patch)
            .await
    }

    /// Removes our finalizer: the object goes as soon as nobody else holds it. Whether it was this call that removed it:
    /// an object that is gone is fine.
    ///
    /// # Errors
    /// [`CallError::Conflict`] when the finalizers are others by now.
    pub async fn remove_finalizer<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
    ) -> Result<bool, ApplyError> {
        let mut present = object.finalizers().iter();
        let Some(at) = present.position(|name| name == labels::FINALIZER) else {
            return Ok(false);
        };
        let member = format!("/metadata/finalizers/{at}");
        let patch = json!([
            { "op": "test", "path": "/metadata/uid", "value": object.meta().uid },
            { "op": "test", "path": member, "value": labels::FINALIZER },
            { "op": "remove", "path": member },
        ]);
        let removed = self
            .patch_finalizers("remove the finalizer of", object, &patch)
            .await;
        match removed {
            Err(ApplyError::Call {
                source: CallError::NotFound(_) | CallError::NamespaceGone(_),
                ..
            }) => Ok(false),
            result => result.map(|()| true),
        }
    }

    async fn patch_finalizers<K: Resource<DynamicType = ()>>(
        &self,
        verb: &'static str,
        object: &K,
        patch: &Value,
    ) -> Result<(), ApplyError> {
        let result = self.change_of(verb, object, None, JSON_PATCH, patch).await;
        match result {
            // A test that fails is answered 422 without details; nothing else here can be invalid.
            Err(ApplyError::Call {
                verb,
                kind,
                name,
                source: CallError::Invalid(status),
            }) => Err(ApplyError::Call {
                verb,
                kind,
                name,
                source: CallError::Conflict(status),
            }),
            result => result,
        }
    }

    /// Writes a status. What an earlier one had and this one lacks goes.
    ///
    /// # Errors
    /// [`CallError::NotFound`] when the object is gone, [`CallError::Conflict`] when it is another of that name.
    pub async fn write_status<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        status: &impl Serialize,
    ) -> Result<(), ApplyError> {
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": object.name_any(), "uid": object.meta().uid },
            "status": status,
        });
        self.change_of("write the status of", object, Some("status"), APPLY, &body)
            .await
    }

    async fn change_of<K: Resource<DynamicType = ()>>(
        &self,
        verb: &'static str,
        object: &K,
        subresource: Option<&str>,
        content_type: &str,
        body: &Value,
    ) -> Result<(), ApplyError> {
        let resource = ApiResource::erase::<K>(&());
        let name = object.name_any();
        let place = Place {
            resource: &resource,
            namespace: object.meta().namespace.as_deref().unwrap_or_default(),
            name: &name,
        };
        self.change(verb, place, subresource, content_type, body)
            .await
    }

    async fn change(
        &self,
        verb: &'static str,
        place: Place<'_>,
        subresource: Option<&str>,
        content_type: &str,
        body: &Value,
    ) -> Result<(), ApplyError> {
        let mut url = format!("{}/{}", place.collection().url_path, place.name);
        if let Some(subresource) = subresource {
            url.push('/');
            url.push_str(subresource);
        }
        url.push_str("?fieldManager=");
        url.push_str(labels::MANAGER);
        if content_type == APPLY {
            url.push_str("&force=true");
        }
        let changed = self.patch(&url, content_type, body).await;
        changed
            .map(|_| ())
            .map_err(|e| Doing::new(verb, place).failed(e))
    }
}
