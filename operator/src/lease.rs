//! Which of several operators acts: a Lease, written by compare-and-swap on its `resourceVersion`.
//!
//! [`state`] decides, this asks and writes. A write that lost a race answers 409 and changes nothing. Every call is
//! bounded. An operator that lost its Lease must end: what it has under way cannot be called back, so [`Lease::lost`]
//! resolves once and the caller ends the process. Mail does not depend on any of this: gateways go on by themselves.
//!
//! Rights: `get`, `create`, `update` on `leases` in the operator's own namespace.

mod state;

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::Lease as LeaseObject, apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use state::{RETRY, Record, State, Step, TERM};

/// How long one call may take; less than the rest of the term after the deadline.
const CALL: Duration = Duration::from_secs(5);

/// Why a call did not do what it was for.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    /// Somebody else wrote first.
    #[error("somebody else wrote it first")]
    Raced,
    /// The API server refused, or could not be reached.
    #[error("the API server did not do it")]
    Call(#[source] kube::Error),
    /// No answer.
    #[error("no answer of the API server in {} s", CALL.as_secs())]
    TimedOut,
}

/// One operator's part in the election.
#[derive(Debug)]
pub struct Lease {
    api: Api<LeaseObject>,
    name: String,
    identity: String,
    state: State,
    /// When a leader looks next; kept here, so that a wait that is dropped and begun again does not put it off.
    due: Instant,
}

impl Lease {
    /// A candidate for a Lease. `identity` must be another one for each process, also of the same pod.
    pub fn new(
        client: Client,
        namespace: &str,
        name: impl Into<String>,
        identity: impl Into<String>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.into(),
            identity: identity.into(),
            state: State::Candidate { seen: None },
            due: Instant::now(),
        }
    }

    /// Waits until this process may act. From then on [`Lease::lost`] must be waited for, in a task of its own: it
    /// renews. Never resolves after the Lease was lost.
    pub async fn acquire(&mut self) {
        info!(
            lease = self.name,
            identity = self.identity,
            "waiting for the lease"
        );
        loop {
            self.round().await;
            if let State::Leader { renewed } = self.state {
                self.due = renewed + RETRY;
                info!(
                    lease = self.name,
                    identity = self.identity,
                    "lease acquired"
                );
                return;
            }
            sleep(RETRY).await;
        }
    }

    /// Renews the Lease and resolves when it is lost, 15 seconds before anybody else may act; at once if this process
    /// was not the leader. Safe to drop and to wait for again.
    pub async fn lost(&mut self) {
        while let State::Leader { renewed } = self.state {
            let attempt = async {
                sleep_until(self.due).await;
                self.due = Instant::now() + RETRY;
                self.round().await;
            };
            if timeout_at(renewed + state::DEADLINE, attempt)
                .await
                .is_err()
            {
                self.state = State::Lost;
            }
        }
        warn!(lease = self.name, identity = self.identity, "lease lost");
    }

    /// Lets the next operator act at once. To be called when nothing of this process acts any more; whatever happens,
    /// it ends in seconds, and a Lease that could not be released runs out.
    pub async fn release(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Lost);
        if !matches!(state, State::Leader { .. }) {
            return;
        }
        let released = async {
            let Some(object) = self.read().await? else {
                return Ok(());
            };
            if record(&object).holder == self.identity {
                self.write(Some(object), "").await?;
            }
            Ok::<_, LeaseError>(())
        };
        match released.await {
            Ok(()) => info!(
                lease = self.name,
                identity = self.identity,
                "lease released"
            ),
            Err(error) => self.warn("lease not released, it runs out", &error),
        }
    }

    /// Looks once and writes if it is our turn. What could not be done is tried again in the next round.
    async fn round(&mut self) {
        let object = match self.read().await {
            Ok(object) => object,
            Err(error) => return self.warn("lease not read", &error),
        };
        let record = object.as_ref().map(record);
        let asked = Instant::now();
        let (state, step) = state::next(self.state.clone(), record.as_ref(), &self.identity, asked);
        self.state = state;
        if step == Step::Wait {
            return;
        }
        match self.write(object, &self.identity).await {
            Ok(()) => self.state = state::written(&self.state, asked),
            Err(error) => self.warn("lease not written", &error),
        }
    }

    async fn read(&self) -> Result<Option<LeaseObject>, LeaseError> {
        bounded(self.api.get_opt(&self.name)).await
    }

    /// Writes a holder: over the object as it was read, or where there was none.
    async fn write(&self, object: Option<LeaseObject>, holder: &str) -> Result<(), LeaseError> {
        let written = written(object.clone(), &self.name, holder, Timestamp::now());
        let parameters = PostParams::default();
        if object.is_some() {
            bounded(self.api.replace(&self.name, &parameters, &written)).await?;
        } else {
            bounded(self.api.create(&parameters, &written)).await?;
        }
        Ok(())
    }

    fn warn(&self, what: &'static str, error: &LeaseError) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        warn!(lease = self.name, %error, cause, "{what}");
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    match timeout(CALL, call).await {
        Err(_) => Err(LeaseError::TimedOut),
        // 409 for a changed resourceVersion, and for a name that is taken by now.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(LeaseError::Raced),
        Ok(answer) => answer.map_err(LeaseError::Call),
    }
}

fn record(object: &LeaseObject) -> Record {
    let spec = object.spec.as_ref();
    let seconds = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        version: object.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec
            .and_then(|spec| spec.holder_identity.clone())
            .unwrap_or_default(),
        term: seconds.map_or(TERM, Duration::from_secs),
    }
}

/// The object with a holder. Its `resourceVersion` is that of what was read: the swap is compared with it. The times
/// are for people.
fn written(object: Option<LeaseObject>, name: &str, holder: &str, now: Timestamp) -> LeaseObject {
    let mut object = object.unwrap_or_default();
    object.metadata.name = Some(name.to_owned());
    let mut spec = object.spec.take().unwrap_or_default();
    let before = spec.holder_identity.replace(holder.to_owned());
    if before.as_deref() != Some(holder) && !holder.is_empty() {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = spec
            .lease_transitions
            .map_or(Some(0), |times| Some(times.saturating_add(1)));
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = i32::try_from(TERM.as_secs()).ok();
    object.spec = Some(spec);
    object
}

#[cfg(test)]
mod tests;
