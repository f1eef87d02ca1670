//! The requests about Secrets: PUT, POST, DELETE, and the same without any effect. Only metadata ever comes back.

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Resource,
    api::{DeleteParams, DynamicObject, PartialObjectMeta, Preconditions},
    core::Request,
};
use serde_json::{Value, json};

use super::SecretDraft;
use crate::{
    call::{CallError, METADATA_ONLY, bounded},
    labels,
};

/// How a Secret is written.
#[derive(Clone, Copy)]
pub(super) enum Write {
    /// Over the one that is there.
    Put,
    /// [`Self::Put`], without any effect.
    DryPut,
    /// Where there is none.
    Post,
}

/// What comes back.
pub(super) type Metadata = PartialObjectMeta<DynamicObject>;

/// Sends the requests.
pub(super) struct Wire(pub(super) Client);

impl Wire {
    /// Writes a Secret whole.
    pub(super) async fn send(
        &self,
        write: Write,
        draft: &SecretDraft,
        body: &Value,
    ) -> Result<Metadata, CallError> {
        let collection = collection(&draft.namespace).url_path;
        let named = format!("{collection}/{}", draft.name);
        let manager = labels::MANAGER;
        let request = match write {
            Write::Put => http::Request::put(format!("{named}?fieldManager={manager}")),
            Write::DryPut => {
                http::Request::put(format!("{named}?fieldManager={manager}&dryRun=All"))
            }
            Write::Post => http::Request::post(format!("{collection}?fieldManager={manager}")),
        };
        let body = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
        let request = request
            .header(http::header::ACCEPT, METADATA_ONLY)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        bounded(self.0.request(request)).await
    }

    /// Deletes the Secret of this uid; without one only asks whether it would be done. The answer is the uid.
    pub(super) async fn delete(
        &self,
        draft: &SecretDraft,
        uid: Option<String>,
    ) -> Result<String, CallError> {
        let mut params = DeleteParams::background();
        params.dry_run = uid.is_none();
        params.preconditions = uid.map(|uid| Preconditions {
            uid: Some(uid),
            resource_version: None,
        });
        let mut request = collection(&draft.namespace)
            .delete(&draft.name, &params)
            .map_err(kube::Error::BuildRequest)?;
        let headers = request.headers_mut();
        headers.insert(
            http::header::ACCEPT,
            http::HeaderValue::from_static(METADATA_ONLY),
        );
        let answer: Value = bounded(self.0.request(request)).await?;
        // A Status with details, or the object's metadata while something holds it.
        let uid = ["/details/uid", "/metadata/uid"]
            .iter()
            .find_map(|path| answer.pointer(path)?.as_str());
        Ok(uid.unwrap_or_default().to_owned())
    }
}

fn collection(namespace: &str) -> Request {
    Request::new(Secret::url_path(&(), Some(namespace)))
}

/// A Secret as it is sent.
pub(super) fn body(draft: &SecretDraft) -> Value {
    let data: serde_json::Map<_, _> = draft
        .data
        .iter()
        .map(|(key, value)| (key.clone(), BASE64_STANDARD.encode(value).into()))
        .collect();
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": draft.secret_type.as_str(),
        "metadata": {
            "name": draft.name,
            "namespace": draft.namespace,
            "labels": draft.labels,
            "annotations": draft.annotations,
            "ownerReferences": draft.owners,
        },
        "data": data,
    });
    if draft.secret_type.is_immutable()
        && let Some(body) = body.as_object_mut()
    {
        body.insert("immutable".to_owned(), true.into());
    }
    body
}
