//! One pod's life: its files are made, its process runs, is probed, restarted, and stopped when the pod is deleted.
//!
//! Level-based: each step looks at the pod as it is now. A pod that vanishes without a deletion that was seen to its end
//! (`--force`) loses its process at once.

use std::{process::Command, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Running, Shared, arguments, every,
    files::{self, PodFiles},
    probe::Watch,
    report::{self, Conditions, ContainerReport, State},
};
use crate::gateway::executable;

/// How often a pod is looked at. The real kubelet is told of most changes; this is as quick.
const STEP: Duration = Duration::from_millis(100);

/// The pause before a process that ended is started again; the real kubelet begins at ten seconds.
const RESTART: Duration = Duration::from_secs(1);

/// What the image of a process that is really run has in its name; any other container is only said to run.
const IMAGE: &str = "posthouse-gateway";

/// One pod at work.
pub(super) struct Life {
    shared: Arc<Shared>,
    running: Arc<Running>,
    /// Of the container that is really run.
    state: State,
    last: Option<State>,
    restarts: i32,
    start_at: Instant,
    ready: Watch,
    alive: Watch,
    stop: Option<Stop>,
    files: PodFiles,
    complained: Option<String>,
    conditions: Conditions,
    reported: Option<Value>,
    since: String,
}

/// A process that was told to stop.
struct Stop {
    since: Instant,
    killed: bool,
}

impl Life {
    pub(super) fn new(shared: Arc<Shared>, running: Arc<Running>) -> Self {
        let files = PodFiles::new(Arc::clone(&shared), Arc::clone(&running));
        Self {
            shared,
            running,
            state: waiting("ContainerCreating", ""),
            last: None,
            restarts: 0,
            start_at: Instant::now(),
            ready: Watch::new(false),
            alive: Watch::new(true),
            stop: None,
            files,
            complained: None,
            conditions: Conditions::default(),
            reported: None,
            since: report::now(),
        }
    }

    /// Lives until the pod is gone.
    pub(super) async fn live(mut self) {
        let running = Arc::clone(&self.running);
        let (namespace, name, uid) = (running.namespace(), running.name(), running.uid());
        let mut step = every(STEP);
        while let Some(pod) = self.shared.stores.pod(namespace, name, uid) {
            if let Err(error) = self.step(&pod).await {
                // A conflict or a pod that has gone: the next look tells.
                eprintln!("kubelet: {namespace}/{name}: {error}");
            }
            step.tick().await;
        }
        self.running.end();
        self.shared.forget(&self.running);
        self.files.remove();
    }

    async fn step(&mut self, pod: &Pod) -> kube::Result<()> {
        let Some(spec) = &pod.spec else {
            return Ok(());
        };
        if let Some(ended) = self.running.reap() {
            self.ended(ended.code);
        }
        let deleted = pod.metadata.deletion_timestamp.is_some();
        let main = spec.containers.iter().find(|container| real(container));
        if let Some(main) = main {
            self.work(pod, spec, main, deleted).await;
        }
        self.report(pod, spec).await?;
        if deleted && (main.is_none() || self.running.pid().is_none()) {
            return self.finish().await;
        }
        Ok(())
    }

    /// Files, process and probes.
    async fn work(&mut self, pod: &Pod, spec: &PodSpec, main: &Container, deleted: bool) {
        let mounted = self.files.refresh(pod, spec);
        let grace = grace(pod, spec);
        if deleted {
            self.stop(grace);
        } else if self.running.pid().is_none() {
            match mounted {
                Ok(()) if self.start_at <= Instant::now() => self.start(pod, spec, main),
                Ok(()) => {}
                Err(missing) => self.complain(pod, missing).await,
            }
        }
        self.probe(main, grace).await;
    }

    fn start(&mut self, pod: &Pod, spec: &PodSpec, container: &Container) {
        let mounts = self.files.mounts(spec, container);
        let address = self.running.ip();
        let environment = arguments::environment(container, pod);
        let documents = files::document_folder(&mounts).unwrap_or(self.files.folder());
        let mut command = Command::new(executable(IMAGE));
        command
            .env_clear()
            .args(arguments::arguments(
                container,
                &environment,
                &mounts,
                address,
            ))
            .args(arguments::listeners(&files::document(documents), address))
            .envs(environment)
            .current_dir(self.files.folder());
        let lifeline = &self.shared.lifeline;
        self.running.start(command, documents, lifeline);
        self.restarts += i32::from(self.last.is_some());
        self.state = State::Running {
            since: report::now(),
        };
        self.ready = Watch::new(false);
        self.alive = Watch::new(true);
        self.stop = None;
    }

    fn ended(&mut self, code: i32) {
        let at = report::now();
        self.last = Some(State::Ended {
            code,
            at: at.clone(),
        });
        self.start_at = Instant::now() + if self.restarts == 0 { STEP } else { RESTART };
        self.state = State::Ended { code, at };
        self.ready = Watch::new(false);
    }

    /// SIGTERM once, SIGKILL when the grace period is over, which a second deletion may shorten.
    fn stop(&mut self, grace: Duration) {
        if self.running.pid().is_none() {
            return;
        }
        let running = &self.running;
        let stop = self.stop.get_or_insert_with(|| {
            running.signal(Signal::TERM);
            Stop {
                since: Instant::now(),
                killed: false,
            }
        });
        if stop.since.elapsed() >= grace && !stop.killed {
            stop.killed = true;
            running.signal(Signal::KILL);
        }
    }

    async fn probe(&mut self, container: &Container, grace: Duration) {
        if self.running.pid().is_none() {
            return;
        }
        let address = self.running.ip();
        let readiness = container.readiness_probe.as_ref();
        self.ready.ask(readiness, container, address).await;
        let liveness = container.liveness_probe.as_ref();
        let alive = self.alive.ask(liveness, container, address).await;
        if !alive || self.stop.is_some() {
            self.stop(grace);
        }
    }

    /// Says what keeps the pod from starting: once, as an event, and as its container's state.
    async fn complain(&mut self, pod: &Pod, missing: String) {
        if self.complained.as_ref() != Some(&missing) {
            self.shared.event(pod, "FailedMount", &missing).await;
            self.complained = Some(missing);
        }
    }

    async fn report(&mut self, pod: &Pod, spec: &PodSpec) -> kube::Result<()> {
        let mut containers = Vec::new();
        for container in &spec.containers {
            containers.push(self.container(container, pod));
        }
        let address = self.running.ip();
        let patch = report::status(pod, address, &containers, &mut self.conditions);
        if self.reported.as_ref() == Some(&patch) {
            return Ok(());
        }
        let api = self.api();
        let name = self.running.name();
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch))
            .await?;
        self.reported = Some(patch);
        Ok(())
    }

    fn container<'a>(&self, container: &'a Container, pod: &Pod) -> ContainerReport<'a> {
        if real(container) {
            let running = matches!(self.state, State::Running { .. });
            return ContainerReport {
                container,
                state: self.state.clone(),
                last: self.last.clone(),
                ready: running && (container.readiness_probe.is_none() || self.ready.holds()),
                restarts: self.restarts,
            };
        }
        ContainerReport {
            container,
            state: State::Running {
                since: self.since.clone(),
            },
            last: None,
            ready: pod.metadata.deletion_timestamp.is_none(),
            restarts: 0,
        }
    }

    /// The last act of a deletion: only now does the object go.
    async fn finish(&self) -> kube::Result<()> {
        let uid = Some(self.running.uid().to_owned());
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let deleted = self.api().delete(self.running.name(), &parameters).await;
        match deleted {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.shared.client.clone(), self.running.namespace())
    }
}

fn real(container: &Container) -> bool {
    let image = container.image.as_deref();
    image.is_some_and(|image| image.contains(IMAGE))
}

fn waiting(reason: &'static str, message: &str) -> State {
    State::Waiting {
        reason,
        message: message.to_owned(),
    }
}

/// The grace period of this deletion, else of the pod.
fn grace(pod: &Pod, spec: &PodSpec) -> Duration {
    let seconds = pod
        .metadata
        .deletion_grace_period_seconds
        .or(spec.termination_grace_period_seconds)
        .unwrap_or(30);
    Duration::from_secs(seconds.unsigned_abs())
}

/// The claims a pod waits for.
pub(super) fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
        .collect()
}

/// Whether a pod is of use to nobody any more.
pub(super) fn over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Namespace, name and uid of a pod.
pub(super) fn identity(pod: &Pod) -> Option<(String, String, String)> {
    Some((pod.namespace()?, pod.name_any(), pod.uid()?))
}
