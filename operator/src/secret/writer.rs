//! Writes Secrets without ever reading one, and writes nothing while the fence is not proved.
//!
//! The operator has `create`, `update` and `delete` on Secrets, and an admission policy keeps it to its own ones
//! ([`crate::fence`]). It has no `patch`: a patch is applied before admission, and the error of that step would print the
//! whole object. So a Secret is PUT whole, without a resourceVersion, and created with a POST when there is none; a PUT of
//! what is there already changes nothing. Answers are asked for as metadata, so no value ever comes back.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;

use super::{
    SecretDraft, SecretType,
    kept::Schedule,
    wire::{Wire, Write, body},
};
use crate::{
    call::{CallError, Retry},
    fence::Fence,
    labels,
};

/// How many living owners are asked about before a Secret counts as somebody else's. Each costs a call, and a namespace
/// with more relays and senders than this will not lack a person who can delete a Secret.
const OWNERS: usize = 64;

/// Why a Secret is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The admission policy that keeps us from other Secrets is not proved to work: nothing is written.
    #[error(
        "write no Secret, since the admission policy that keeps the operator to its own is not proved to work"
    )]
    Fence,
    /// A Secret of that name is somebody else's, or of another type.
    #[error(
        "Secret {name:?} is there already and does not belong to this object; name another, or delete it"
    )]
    Conflict {
        /// Its name.
        name: String,
    },
    /// A call failed.
    #[error("write Secret {name:?}")]
    Api {
        /// Its name.
        name: String,
        /// Why it failed.
        source: CallError,
    },
}

impl SecretError {
    /// When another try makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Fence => Retry::BackOff,
            Self::Conflict { .. } => Retry::OnChange,
            Self::Api { source, .. } => source.retry(),
        }
    }

    /// A word for metrics and logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Conflict { .. } => "secret_conflict",
            Self::Api { source, .. } => source.category(),
        }
    }
}

/// A Secret that is now as it was to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its uid.
    pub uid: String,
}

/// How the making of a Secret ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there with these values.
    Made,
    /// One of that name was there; it is as it was.
    Exists,
}

/// Tells who may own Secrets in a namespace: its MailRelays and MailSenders, with the type of their Secrets. Asked only
/// when a Secret is refused, which is seldom: there may be thousands of them.
pub type Living<'a> = &'a (dyn Fn() -> Vec<(SecretType, String)> + Sync);

/// Writes Secrets.
pub struct SecretWriter {
    wire: Wire,
    fence: Arc<Fence>,
    kept: Schedule,
}

impl SecretWriter {
    /// A writer that goes by this fence.
    pub fn new(client: Client, fence: Arc<Fence>) -> Self {
        Self {
            wire: Wire(client),
            fence,
            kept: Schedule::default(),
        }
    }

    /// [`Self::put`], unless the same was put within the hour. The hours of different Secrets are spread.
    ///
    /// # Errors
    /// As there.
    pub async fn keep(&self, draft: &SecretDraft, living: Living<'_>) -> Result<(), SecretError> {
        let name = (draft.namespace.clone(), draft.name.clone());
        let body = body(draft);
        if self.kept.is_current(&name, &body) {
            return Ok(());
        }
        self.put(draft, living).await?;
        self.kept.written(name, &body);
        Ok(())
    }

    /// Forgets when a Secret was written: a gateway misses one of its files, or the object is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.kept.forget(&(namespace.to_owned(), name.to_owned()));
    }

    /// Makes a Secret be like the draft, whatever it was, if it is ours or not there. A Secret whose owner is none of
    /// `living` was left behind, and is replaced.
    ///
    /// # Errors
    /// [`SecretError::Fence`] and then nothing was written; [`SecretError::Conflict`] when it is somebody else's.
    pub async fn put(
        &self,
        draft: &SecretDraft,
        living: Living<'_>,
    ) -> Result<Written, SecretError> {
        self.go_by_the_fence()?;
        let body = body(draft);
        let failed = |source| SecretError::Api {
            name: draft.name.clone(),
            source,
        };
        let put = match self.wire.send(Write::Put, draft, &body).await {
            Err(CallError::NotFound(_)) => match self.wire.send(Write::Post, draft, &body).await {
                // Made by somebody in between.
                Err(CallError::Exists(_)) => self.wire.send(Write::Put, draft, &body).await,
                result => result,
            },
            result => result,
        };
        match put {
            Err(error) if is_refused(&error) => {
                if self
                    .remove_left_behind(draft, living)
                    .await
                    .map_err(failed)?
                {
                    let made = self
                        .wire
                        .send(Write::Post, draft, &body)
                        .await
                        .map_err(failed)?;
                    return Ok(written(made.metadata));
                }
                Err(SecretError::Conflict {
                    name: draft.name.clone(),
                })
            }
            result => result
                .map(|answer| written(answer.metadata))
                .map_err(failed),
        }
    }

    /// Makes a Secret with values that cannot be computed again; one that is there stays as it is.
    ///
    /// # Errors
    /// [`SecretError::Fence`] and then nothing was written, else by the cause of the failed call.
    pub async fn create(&self, draft: &SecretDraft) -> Result<Created, SecretError> {
        self.go_by_the_fence()?;
        match self.wire.send(Write::Post, draft, &body(draft)).await {
            Ok(_) => Ok(Created::Made),
            Err(CallError::Exists(_)) => Ok(Created::Exists),
            Err(source) => Err(SecretError::Api {
                name: draft.name.clone(),
                source,
            }),
        }
    }

    /// Deletes the Secret that a PUT was refused for, if it has the label of an owner and that is none of the living.
    ///
    /// The label cannot be read. But admission tells, with `dryRun` and so without any effect: a DELETE is let through
    /// for an object that has the label, and a PUT for one whose label and type stay as they are.
    async fn remove_left_behind(
        &self,
        draft: &SecretDraft,
        living: Living<'_>,
    ) -> Result<bool, CallError> {
        let living = living();
        if living.len() > OWNERS {
            return Ok(false);
        }
        let uid = match self.wire.delete(draft, None).await {
            Ok(uid) => uid,
            Err(error) if is_refused(&error) => return Ok(false),
            Err(CallError::NotFound(_)) => return Ok(true),
            Err(error) => return Err(error),
        };
        for (secret_type, owner) in living {
            let is_asked = draft.labels.get(labels::OWNER) == Some(&owner);
            if is_asked && draft.secret_type == secret_type {
                continue; // that is what was refused
            }
            let mut asked = draft.clone();
            asked.secret_type = secret_type;
            asked.data.clear();
            asked.labels.insert(labels::OWNER.to_owned(), owner);
            match self.wire.send(Write::DryPut, &asked, &body(&asked)).await {
                Ok(_) => return Ok(false),
                Err(error) if is_refused(&error) => {}
                Err(error) => return Err(error),
            }
        }
        // Of this uid: what came after it is not ours to judge.
        self.wire.delete(draft, Some(uid)).await?;
        Ok(true)
    }

    fn go_by_the_fence(&self) -> Result<(), SecretError> {
        if self.fence.is_proved() {
            Ok(())
        } else {
            Err(SecretError::Fence)
        }
    }
}

/// Admission or validation said no. A 422 can only be about the Secret that is there, since what we write is valid
/// where nothing is; a policy may say 403 instead.
fn is_refused(error: &CallError) -> bool {
    match error {
        CallError::Invalid(_) => true,
        CallError::Forbidden(status) => crate::fence::is_denied_by_policy(status),
        _ => false,
    }
}

fn written(metadata: ObjectMeta) -> Written {
    Written {
        uid: metadata.uid.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
