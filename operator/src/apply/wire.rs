//! The requests: a look, a PATCH, a DELETE. Only metadata ever comes back.

use kube::{
    Resource,
    api::{ApiResource, DeleteParams, DynamicObject, PartialObjectMeta, Preconditions},
    core::{ObjectMeta, Request},
};
use serde_json::Value;

use super::Applier;
use crate::call::{CallError, METADATA_ONLY, bounded};

/// Server-side apply. JSON is YAML.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// One object by kind and name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) resource: &'a ApiResource,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Place<'_> {
    pub(super) fn collection(&self) -> Request {
        Request::new(DynamicObject::url_path(self.resource, Some(self.namespace)))
    }
}

/// Metadata, whatever the object.
pub(super) type Metadata = PartialObjectMeta<DynamicObject>;

impl Applier {
    /// An object's metadata, if there is one.
    pub(super) async fn look(&self, place: Place<'_>) -> Result<Option<ObjectMeta>, CallError> {
        let request = place
            .collection()
            .get_metadata(place.name, &kube::api::GetParams::default())
            .map_err(kube::Error::BuildRequest)?;
        match bounded(self.client.0.request::<Metadata>(request)).await {
            Ok(found) => Ok(Some(found.metadata)),
            Err(CallError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the object of this very uid; one that is gone, or has a successor, is none.
    pub(super) async fn delete(&self, place: Place<'_>, uid: String) -> Result<(), CallError> {
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid),
            resource_version: None,
        });
        let request = place
            .collection()
            .delete(place.name, &params)
            .map_err(kube::Error::BuildRequest)?;
        match bounded(self.client.0.request::<Value>(request)).await {
            Ok(_) | Err(CallError::NotFound(_) | CallError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One PATCH; only metadata comes back.
    pub(super) async fn patch(
        &self,
        url: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Metadata, CallError> {
        let body = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
        let request = http::Request::patch(url)
            .header(http::header::ACCEPT, METADATA_ONLY)
            .header(http::header::CONTENT_TYPE, content_type)
            .body(body)
            .map_err(kube::Error::HttpError)?;
        bounded(self.client.0.request(request)).await
    }
}
