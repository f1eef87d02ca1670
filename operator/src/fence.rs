//! The proof that admission keeps the operator from Secrets that are not its own.
//!
//! Rights alone cannot say "only your own", so the chart installs a ValidatingAdmissionPolicy; but it may be installed
//! last, and anybody may delete it later. So the operator tries what the policy must forbid: with `dryRun` it POSTs an
//! `Opaque` Secret in its own namespace. Only a denial that names the policy proves it; until then, and when the proof
//! grows old, nothing is written ([`crate::secret::writer`]).

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Client, Resource, core::Status};
use prometheus::IntGauge;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use crate::{
    call::{CallError, bounded},
    names,
};

/// How often the proof is made again: a policy that somebody deletes is missed within this time.
const AGAIN: Duration = Duration::from_mins(10);

/// How often it is tried while there is none: an installation waits for it.
const UNPROVED: Duration = Duration::from_secs(10);

/// How old a proof may grow while the API server does not answer. It cannot write then either.
const OLDEST: Duration = Duration::from_mins(20);

/// Whether the policy is known to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// Nothing is known yet, or not any more.
    Unproved,
    /// It denied what it must deny, at this time.
    Proved(Instant),
    /// It did not; for people, why.
    Missing(String),
}

/// The fence as it was last seen.
pub struct Fence {
    client: Client,
    namespace: String,
    state: watch::Sender<FenceState>,
    /// `posthouse_operator_secret_fence`: 1 while it is proved.
    gauge: IntGauge,
}

impl Fence {
    /// A fence that is not proved yet. `namespace` is the operator's own.
    pub fn new(client: Client, namespace: &str, gauge: IntGauge) -> Arc<Self> {
        gauge.set(0);
        Arc::new(Self {
            client,
            namespace: namespace.to_owned(),
            state: watch::Sender::new(FenceState::Unproved),
            gauge,
        })
    }

    /// Whether Secrets may be written.
    pub fn is_proved(&self) -> bool {
        matches!(*self.state.borrow(), FenceState::Proved(at) if at.elapsed() < OLDEST)
    }

    /// Changes of the state; a proof that was made again is none.
    pub fn watch(&self) -> watch::Receiver<FenceState> {
        self.state.subscribe()
    }

    /// Waits until Secrets may be written.
    pub async fn proved(&self) {
        let mut state = self.watch();
        // The sender is ours, so the channel stays open.
        let _ = state
            .wait_for(|state| matches!(state, FenceState::Proved(_)))
            .await;
    }

    /// Proves the fence once, and tells what came of it.
    pub async fn prove(&self) -> FenceState {
        let state = match self.attempt().await {
            Ok(()) => FenceState::Missing(format!(
                "the admission policy {} let a Secret through that is not the operator's",
                names::FENCE
            )),
            Err(CallError::Invalid(status) | CallError::Forbidden(status)) => {
                if is_denied_by_policy(&status) {
                    FenceState::Proved(Instant::now())
                } else {
                    FenceState::Missing(format!(
                        "the proof was refused by something else than the admission policy {}: {}",
                        names::FENCE,
                        status.message
                    ))
                }
            }
            Err(error) => {
                warn!(%error, "secret fence: cannot be proved now");
                self.as_it_was()
            }
        };
        self.publish(state.clone());
        state
    }

    /// Proves the fence when this operator becomes the leader, and again and again from then on.
    pub async fn keep(&self, mut leading: watch::Receiver<bool>) {
        loop {
            if leading.wait_for(|leads| *leads).await.is_err() {
                return;
            }
            match self.prove().await {
                FenceState::Proved(at) if at.elapsed() < UNPROVED => sleep_until(at + AGAIN).await,
                _ => sleep(UNPROVED).await,
            }
        }
    }

    /// A call that could not be made proves nothing, neither way.
    fn as_it_was(&self) -> FenceState {
        if self.is_proved() {
            self.state.borrow().clone()
        } else {
            FenceState::Unproved
        }
    }

    /// Takes what a proof told. Who watches is woken only when that is news: every relay is looked at then.
    fn publish(&self, state: FenceState) {
        let is_proved = matches!(state, FenceState::Proved(_));
        self.gauge.set(is_proved.into());
        self.state.send_if_modified(|known| {
            let was_proved = matches!(known, FenceState::Proved(_));
            let is_news = !(is_proved && was_proved) && *known != state;
            match &state {
                FenceState::Proved(_) if is_news => info!("secret fence: proved"),
                FenceState::Missing(reason) if is_news => {
                    warn!(%reason, "secret fence: missing, no Secret is written");
                }
                _ => {}
            }
            *known = state;
            is_news
        });
    }

    async fn attempt(&self) -> Result<(), CallError> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": { "generateName": "posthouse-fence-" },
        });
        let url = format!(
            "{}?dryRun=All",
            Secret::url_path(&(), Some(&self.namespace))
        );
        let request = http::Request::post(url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        bounded(self.client.request::<Value>(request)).await?;
        Ok(())
    }
}

/// Whether an answer is a denial by our policy. The API server has no member for which policy it was: it stands in the
/// message, "`ValidatingAdmissionPolicy 'NAME' with binding 'NAME' denied request: …`", and a name cannot hold quotes.
pub(crate) fn is_denied_by_policy(status: &Status) -> bool {
    let sign = format!("ValidatingAdmissionPolicy '{}' ", names::FENCE);
    status.message.contains(&sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{api_server, failure};

    /// As kube-apiserver 1.34 says it.
    pub(crate) fn denial(policy: &str) -> Option<(u16, Value)> {
        let (code, mut status) = failure(422, "Invalid", json!({"kind": "secrets"}))?;
        status["message"] = json!(format!(
            "secrets \"posthouse-fence-x\" is forbidden: ValidatingAdmissionPolicy '{policy}' with binding 'b' denied \
             request: failed expression: object == null"
        ));
        Some((code, status))
    }

    fn gauge() -> IntGauge {
        IntGauge::new("posthouse_operator_secret_fence", "help").unwrap()
    }

    #[tokio::test]
    async fn only_a_denial_by_the_policy_opens() {
        for (answer, expected) in [
            (denial(names::FENCE), "proved"),
            (denial("posthouse-secret-fence-of-others"), "missing"),
            (failure(403, "Forbidden", json!({})), "missing"),
            (Some((201, json!({"kind": "Secret"}))), "missing"),
            (failure(503, "ServiceUnavailable", json!({})), "unproved"),
        ] {
            let told = answer.clone();
            let (client, record) = api_server(move |_| told.clone());
            let fence = Fence::new(client, "posthouse-system", gauge());
            assert!(!fence.is_proved());
            let mut changes = fence.watch();
            let state = match fence.prove().await {
                FenceState::Proved(_) => "proved",
                FenceState::Missing(_) => "missing",
                FenceState::Unproved => "unproved",
            };
            assert_eq!(state, expected, "{answer:?}");
            assert_eq!(fence.is_proved(), expected == "proved");
            assert_eq!(fence.gauge.get(), i64::from(expected == "proved"));
            assert_eq!(changes.has_changed().unwrap(), expected != "unproved");
            changes.mark_unchanged();
            fence.prove().await;
            assert!(!changes.has_changed().unwrap(), "the same again is no news");
            let asked = &record.all()[0];
            assert_eq!(
                asked.line,
                "POST /api/v1/namespaces/posthouse-system/secrets?dryRun=All"
            );
            assert_eq!(asked.body["type"], "Opaque");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_outlives_a_short_silence_and_no_long_one() {
        let mut answers = 0;
        let (client, _) = api_server(move |_| {
            answers += 1;
            if answers == 1 {
                denial(names::FENCE)
            } else {
                None
            }
        });
        let fence = Fence::new(client, "posthouse-system", gauge());
        let (lead, leading) = watch::channel(false);
        let kept = Arc::clone(&fence);
        let task = tokio::spawn(async move { kept.keep(leading).await });
        sleep(AGAIN).await;
        assert!(!fence.is_proved(), "only the leader proves");
        lead.send_replace(true);
        fence.proved().await;
        sleep(AGAIN + UNPROVED).await;
        assert!(fence.is_proved());
        sleep(OLDEST).await;
        assert!(!fence.is_proved());
        assert_eq!(*fence.watch().borrow(), FenceState::Unproved);
        task.abort();
    }
}
