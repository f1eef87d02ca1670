//! Children of a relay in the API server: applied when they are ours or not there, left alone when they are not.
//!
//! Server-side apply with one field manager for ever. A forced apply onto an object of somebody else would merge without a
//! word, so the first apply of a name looks at what is there: nothing → an apply that takes no field from anybody; ours →
//! a forced apply that names the uid, so that a successor of the same name is not hit; else [`ApplyError::Foreign`].
//! What did not change since this process applied it is not sent again: at rest a reconcile makes no call. [`memory`]
//! knows what was applied, [`change`] has everything that is no apply, [`wire`] the requests. Secrets are not here: they are never patched.

mod change;
mod error;
mod memory;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Client, Resource, api::ApiResource};
use serde::Serialize;
use serde_json::{Value, json};

pub use self::error::ApplyError;
use self::{
    error::Doing,
    memory::Memory,
    wire::{APPLY, Place},
};
use crate::labels;

/// For whom a child is applied.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The MailRelay's namespace, and so its children's.
    pub namespace: &'a str,
    /// The MailRelay's name.
    pub relay: &'a str,
    /// The MailRelay's uid.
    pub uid: &'a str,
    /// The uids of every MailRelay of the namespace: what is labelled with another one was left behind, and is adopted.
    pub relay_uids: &'a BTreeSet<String>,
}

impl Owner<'_> {
    /// Whether an object is a child of this relay, or one that a relay of this name left behind.
    pub fn has(&self, object: &ObjectMeta) -> bool {
        let label = |name| object.labels.as_ref().and_then(|labels| labels.get(name));
        let is_of_this_name = label(labels::RELAY).is_some_and(|relay| relay == self.relay);
        is_of_this_name
            && label(labels::OWNER)
                .is_some_and(|uid| uid == self.uid || !self.relay_uids.contains(uid))
    }
}

/// Applies objects, and remembers what it applied.
#[derive(Debug)]
pub struct Applier {
    client: Connection,
    memory: Memory,
}

/// A client that can be printed.
#[derive(Clone)]
struct Connection(Client);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// What is known of the object that is there.
#[derive(Clone, Copy, Debug)]
enum Live<'a> {
    /// What the watch says; nothing, if there is no object.
    Watched(Option<&'a ObjectMeta>),
    /// Nobody watches it.
    Unwatched,
}

impl Applier {
    /// An applier that remembers nothing yet.
    pub fn new(client: Client) -> Self {
        Self {
            client: Connection(client),
            memory: Memory::default(),
        }
    }

    /// Makes the API server's object be like `object`, unless it is somebody else's. `live` is the watched object's
    /// metadata; without one the API server is asked. The answer is the object's metadata as it is now.
    ///
    /// A `resourceVersion` in `object` is a precondition: [`ApplyError::is_conflict`] when the object is another by now.
    ///
    /// # Errors
    /// [`ApplyError::Foreign`] when the object is not ours, else by the cause of the failed call.
    pub async fn apply<K>(
        &self,
        object: &K,
        live: Option<&ObjectMeta>,
        owner: &Owner<'_>,
    ) -> Result<ObjectMeta, ApplyError>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        self.apply_as(&ApiResource::erase::<K>(&()), object, live, owner)
            .await
    }

    /// [`Self::apply`] of a kind that is known by name only.
    ///
    /// # Errors
    /// As there.
    pub async fn apply_as<K>(
        &self,
        resource: &ApiResource,
        object: &K,
        live: Option<&ObjectMeta>,
        owner: &Owner<'_>,
    ) -> Result<ObjectMeta, ApplyError>
    where
        K: Resource + Serialize,
    {
        self.settle(resource, object, Live::Watched(live), owner)
            .await
    }

    /// [`Self::apply_as`] of an object that nobody watches. What was applied is believed for an hour: then whatever
    /// somebody did to it is put right.
    ///
    /// # Errors
    /// As there.
    pub async fn apply_unwatched<K>(
        &self,
        resource: &ApiResource,
        object: &K,
        owner: &Owner<'_>,
    ) -> Result<ObjectMeta, ApplyError>
    where
        K: Resource + Serialize,
    {
        self.settle(resource, object, Live::Unwatched, owner).await
    }

    async fn settle<K>(
        &self,
        resource: &ApiResource,
        object: &K,
        live: Live<'_>,
        owner: &Owner<'_>,
    ) -> Result<ObjectMeta, ApplyError>
    where
        K: Resource + Serialize,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let place = Place {
            resource,
            namespace: owner.namespace,
            name: &name,
        };
        let doing = Doing::new("apply", place);
        let object = serde_json::to_value(object)
            .map_err(|error| doing.failed(kube::Error::SerdeError(error).into()))?;
        let digest = memory::digest(&object);
        if let Some(settled) = self.memory.settled(place, &digest, live) {
            return Ok(settled);
        }
        let found = match live {
            Live::Watched(found) => found,
            Live::Unwatched => None,
        };
        let has_precondition = object.pointer("/metadata/resourceVersion").is_some();
        let applied = match self.try_apply(place, &object, found, owner).await {
            // It was replaced or made between our look and our apply: look once more.
            Err(error) if error.is_conflict() && !has_precondition => {
                self.try_apply(place, &object, None, owner).await?
            }
            result => result?,
        };
        self.memory
            .remember(place, owner.relay, digest, applied.clone());
        Ok(applied)
    }

    async fn try_apply(
        &self,
        place: Place<'_>,
        object: &Value,
        live: Option<&ObjectMeta>,
        owner: &Owner<'_>,
    ) -> Result<ObjectMeta, ApplyError> {
        let doing = Doing::new("apply", place);
        let found = match live {
            Some(live) => Some(live.clone()),
            None => self.look(place).await.map_err(|e| doing.failed(e))?,
        };
        let (object, is_forced) = match found {
            None => (object.clone(), false),
            Some(found) if owner.has(&found) => (with_uid(object, found.uid.as_deref()), true),
            Some(_) => return Err(doing.foreign()),
        };
        let force = if is_forced { "&force=true" } else { "" };
        let url = format!(
            "{}/{}?fieldManager={}{force}",
            place.collection().url_path,
            place.name,
            labels::MANAGER
        );
        let applied = self.patch(&url, APPLY, &object).await;
        Ok(applied.map_err(|e| doing.failed(e))?.metadata)
    }

    /// Deletes an object if it is there and ours. Once it is known not to be there nobody is asked again.
    ///
    /// # Errors
    /// By the cause of the failed call.
    pub async fn delete_ours(
        &self,
        resource: &ApiResource,
        name: &str,
        owner: &Owner<'_>,
    ) -> Result<(), ApplyError> {
        let place = Place {
            resource,
            namespace: owner.namespace,
            name,
        };
        if self.memory.is_absent(place) {
            return Ok(());
        }
        let doing = Doing::new("delete", place);
        let found = self.look(place).await.map_err(|e| doing.failed(e))?;
        if let Some(found) = found.filter(|found| owner.has(found)) {
            self.delete(place, found.uid.unwrap_or_default())
                .await
                .map_err(|e| doing.failed(e))?;
        }
        self.memory.remember_absence(place, owner.relay);
        Ok(())
    }

    /// Forgets what was applied for a relay that is gone.
    pub fn forget(&self, namespace: &str, relay: &str) {
        self.memory.forget(namespace, relay);
    }
}

fn with_uid(object: &Value, uid: Option<&str>) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), json!(uid));
    }
    object
}
