//! The public keys that sign ServiceAccount tokens, as the API server publishes them.
//!
//! OIDC discovery gives the issuer and its JSON Web Keys (RFC 7517). They are asked for every five minutes, and
//! at once when a gateway meets a token of a key it does not know. What was seen within a day stays: tokens live that
//! long, and while API servers are restarted with a new key, one after the other, they do not all publish the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Request;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use posthouse_config::document::Issuer;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tracing::{info, warn};

use crate::call::{CallError, bounded};

/// How often keys are asked for.
const AGAIN: Duration = Duration::from_mins(5);

/// How often at most, however many tokens of unknown keys turn up: anybody can make up a key id.
const AT_MOST: Duration = Duration::from_secs(10);

/// How long what was seen stays: the longest life of a token that is believed.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Issuers at most, as in the gateways' document.
const ISSUERS: usize = 8;

/// Keys at most, the last seen first: a cluster has one or two.
const KEYS: usize = 32;

/// The keys of ServiceAccount tokens.
pub struct TokenKeys {
    client: Client,
    /// Other names of the same issuer.
    additional: Vec<String>,
    union: Mutex<Union>,
    issuers: watch::Sender<Arc<Vec<Issuer>>>,
    wanted: Notify,
}

/// The part of the discovery document we need (OIDC Discovery 1.0 §3).
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
}

/// RFC 7517 §5.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl TokenKeys {
    /// Nothing known yet. `additional` are names of the cluster's issuer besides the discovered one.
    pub fn new(client: Client, additional: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            client,
            additional,
            union: Mutex::default(),
            issuers: watch::Sender::default(),
            wanted: Notify::new(),
        })
    }

    /// Whose tokens are believed, and their keys; empty until they were fetched.
    pub fn issuers(&self) -> Vec<Issuer> {
        self.issuers.borrow().to_vec()
    }

    /// Told when they change: every relay's document has to be looked at then.
    pub fn watch(&self) -> watch::Receiver<Arc<Vec<Issuer>>> {
        self.issuers.subscribe()
    }

    /// A gateway met key ids it does not know. Those that are known here by now do not count: it gets them with its next
    /// document.
    pub fn want(&self, key_ids: &[String]) {
        let union = self.union();
        if key_ids.iter().any(|id| !union.keys.contains_key(id)) {
            self.wanted.notify_one();
        }
    }

    /// Fetches the keys now.
    ///
    /// # Errors
    /// By the cause of the failed call; what was known stays.
    pub async fn refresh(&self, now: Timestamp) -> Result<(), CallError> {
        let configuration: Configuration = self.fetch("/.well-known/openid-configuration").await?;
        let set: KeySet = self.fetch("/openid/v1/jwks").await?;
        let issuers = {
            let mut union = self.union();
            union.add(configuration.issuer, set.keys, now);
            union.issuers(&self.additional)
        };
        self.issuers.send_if_modified(|known| {
            let is_new = **known != issuers;
            if is_new {
                info!(issuers = issuers.len(), "token keys: changed");
                *known = Arc::new(issuers);
            }
            is_new
        });
        Ok(())
    }

    /// Keeps them current for as long as this operator leads.
    pub async fn keep(&self, mut leading: watch::Receiver<bool>) {
        while leading.wait_for(|leads| *leads).await.is_ok() {
            let started = Instant::now();
            let next = match self.refresh(Timestamp::now()).await {
                Ok(()) => AGAIN,
                Err(error) => {
                    warn!(error = %error, "token keys: cannot be fetched now");
                    AT_MOST
                }
            };
            sleep_until(started + AT_MOST).await;
            // Whether somebody wants them or the time is over: they are fetched.
            let _ = timeout_at(started + next, self.wanted.notified()).await;
        }
    }

    async fn fetch<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        bounded(self.client.request(request)).await
    }

    fn union(&self) -> MutexGuard<'_, Union> {
        self.union.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was seen within [`KEPT`].
#[derive(Debug, Default)]
struct Union {
    issuers: BTreeMap<String, Timestamp>,
    /// By key id (RFC 7517 §4.5).
    keys: BTreeMap<String, (Value, Timestamp)>,
}

impl Union {
    fn add(&mut self, issuer: String, keys: Vec<Value>, now: Timestamp) {
        self.issuers.insert(issuer, now);
        for key in keys {
            // A token names its key, so one without a name could never be found.
            if let Some(id) = key.get("kid").and_then(Value::as_str) {
                self.keys.insert(id.to_owned(), (key, now));
            }
        }
        let is_young = |seen: Timestamp| now.duration_since(seen) < KEPT;
        self.issuers.retain(|_, seen| is_young(*seen));
        self.keys.retain(|_, (_, seen)| is_young(*seen));
        while self.keys.len() > KEYS {
            let oldest = self.keys.iter().min_by_key(|(_, (_, seen))| *seen);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else {
                break;
            };
            self.keys.remove(&id);
        }
    }

    /// Every issuer with every key, in an order that does not depend on when they were seen, so that the document does
    /// not change.
    fn issuers(&self, additional: &[String]) -> Vec<Issuer> {
        let keys: Vec<_> = self.keys.values().map(|(key, _)| key.clone()).collect();
        let others = additional
            .iter()
            .filter(|name| !self.issuers.contains_key(*name));
        self.issuers
            .keys()
            .chain(others)
            .take(ISSUERS)
            .map(|issuer| Issuer {
                issuer: issuer.clone(),
                keys: keys.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
