//! The public keys that sign ServiceAccount tokens, as the API server publishes them.
//!
//! OIDC discovery gives the issuer and its JSON Web Keys (RFC 7517). They are asked for every five minutes, and
//! at once when a gateway meets a token of a key it does not know. What was seen within a day stays: tokens live that
//! long, and while API servers are restarted with a new key, one after the other, they do not all publish the same.
//!
//! A process that begins to lead knows nothing yet, but documents do: what a relay's live document has at the first look at
//! it is believed until keys were fetched, and its keys count as seen then, for that relay. So no document loses its
//! tokens while keys cannot be fetched, nor a key that was seen by the leader before.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use posthouse_config::{
    document::{self, Issuer, Tokens},
    yaml,
};
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
    /// What each relay's document had when it was first looked at, by namespace and name.
    found: Mutex<HashMap<(String, String), Union>>,
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
            found: Mutex::default(),
            issuers: watch::Sender::default(),
            wanted: Notify::new(),
        })
    }

    /// Whose tokens a relay believes, and their keys: those that were fetched, and those of its document at the first
    /// look. Somebody who changes the document later adds none.
    pub fn issuers(
        &self,
        namespace: &str,
        relay: &str,
        config: Option<&ConfigMap>,
        now: Timestamp,
    ) -> Vec<Issuer> {
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all
            .entry((namespace.to_owned(), relay.to_owned()))
            .or_insert_with(|| found(config, now));
        found.forget(now);
        let fetched = self.union().clone();
        // Names are taken over no longer: one that was taken out of the settings ends.
        if fetched.issuers.is_empty() {
            return found.issuers(&[]);
        }
        fetched.and_keys(found).issuers(&self.additional)
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

/// What the tokens in a live document were told of, as far as it can be read.
fn found(config: Option<&ConfigMap>, now: Timestamp) -> Union {
    #[derive(Deserialize)]
    struct Head {
        tokens: Option<Tokens>,
    }
    let text = config.and_then(|config| config.data.as_ref()?.get(document::FILE_NAME));
    let head = text.and_then(|text| yaml::from_str::<Head>(text).ok());
    let mut union = Union::default();
    for issuer in head
        .and_then(|head| head.tokens)
        .iter()
        .flat_map(|it| &it.issuers)
    {
        // What gateways would refuse must not get into the next document.
        if !issuer.issuer.is_empty() {
            union.add(issuer.issuer.clone(), issuer.keys.clone(), now);
        }
    }
    union
}

/// What was seen within [`KEPT`].
#[derive(Clone, Debug, Default)]
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
        self.forget(now);
        self.bound();
    }

    /// What was seen too long ago.
    fn forget(&mut self, now: Timestamp) {
        let is_young = |seen: Timestamp| now.duration_since(seen) < KEPT;
        self.issuers.retain(|_, seen| is_young(*seen));
        self.keys.retain(|_, (_, seen)| is_young(*seen));
    }

    /// This, and the keys of another one that are not in it.
    fn and_keys(mut self, other: &Self) -> Self {
        for (id, key) in &other.keys {
            self.keys.entry(id.clone()).or_insert_with(|| key.clone());
        }
        self.bound();
        self
    }

    fn bound(&mut self) {
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
