//! A Kubernetes API server with its controllers and one stand-in node, for tests of the operator.
//!
//! One per test binary, started when the first test asks and shared by all ([`Cluster::shared`]); each test works in a
//! namespace of its own. A test that stops what others need starts its own ([`Cluster::start`]: about four seconds).
//! It ends with the test's process, however that ends (see [`Lifeline`]). The API is blocking, as the whole harness; a
//! runtime of its own drives the client and the [`Kubelet`].

mod assets;
mod control_plane;
mod credentials;
mod lifeline;
mod namespace;
mod object;

use std::{
    ffi::OsStr,
    future::Future,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustix::process::Signal;
use tokio::runtime::Runtime;

pub(crate) use credentials::write_kubeconfig;
pub use lifeline::Lifeline;
pub use namespace::{Namespace, Refusal, ready};

use crate::{kubelet::Kubelet, peer, wait};
use control_plane::ControlPlane;

/// How long a control plane may take to start on a machine that builds something else at the same time.
const START: Duration = Duration::from_mins(2);

/// Whether requests are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audit {
    Off,
    On,
}

/// A running cluster.
pub struct Cluster {
    // In this order they are dropped: what asks before what answers, the folder last.
    kubelet: Kubelet,
    client: Client,
    runtime: Runtime,
    kubeconfig: PathBuf,
    plane: Mutex<ControlPlane>,
    programs: PathBuf,
    state: PathBuf,
    lifeline: Arc<Lifeline>,
}

impl Cluster {
    /// The cluster of this test binary, or `None` after saying that its tests are skipped.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        // Asked for by each test, so that each that is skipped is named.
        let programs = assets::folder()?;
        let shared = SHARED.get_or_init(|| Self::start_from(programs, Audit::Off));
        Some(Arc::clone(shared))
    }

    /// A cluster of a test's own, or `None` after saying that it is skipped.
    pub fn start() -> Option<Arc<Self>> {
        Some(Self::start_from(assets::folder()?, Audit::Off))
    }

    /// As [`Self::start`]; what the operator asks of the API server is written to [`Self::audit_log`].
    pub fn start_audited() -> Option<Arc<Self>> {
        Some(Self::start_from(assets::folder()?, Audit::On))
    }

    fn start_from(programs: PathBuf, audit: Audit) -> Arc<Self> {
        // Short: the path of the control socket in a pod's spool must fit into a socket's name.
        let state = tempfile::Builder::new().prefix("ph-").tempdir().unwrap();
        let state = state.keep();
        let lifeline = Arc::new(Lifeline::new(&state));
        let mut plane = ControlPlane::new(&programs, &state);
        if audit == Audit::On {
            plane.audit();
        }
        let kubeconfig = plane.start_server(&lifeline);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(client(&kubeconfig));
        wait_until_ready(&mut plane, &runtime, &client);
        plane.start_controllers(&lifeline);
        let kubelet = Kubelet::start(&runtime, client.clone(), &state, Arc::clone(&lifeline));
        Arc::new(Self {
            kubelet,
            client,
            runtime,
            kubeconfig,
            plane: Mutex::new(plane),
            programs,
            state,
            lifeline,
        })
    }

    /// A new namespace with a random name.
    pub fn namespace(self: &Arc<Self>) -> Namespace {
        Namespace::create(self, &format!("test-{}", random()))
    }

    /// A new namespace with a name that nobody else in the cluster uses.
    pub fn namespace_named(self: &Arc<Self>, name: &str) -> Namespace {
        Namespace::create(self, name)
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Waits for what a client does.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The node.
    pub const fn kubelet(&self) -> &Kubelet {
        &self.kubelet
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's address.
    pub fn server(&self) -> String {
        self.plane.lock().unwrap().server()
    }

    /// The file with the certificate that signed the API server's.
    pub fn authority(&self) -> PathBuf {
        self.plane.lock().unwrap().authority()
    }

    /// Stops the API server where it stands: connections stay open and nobody answers.
    pub fn freeze_server(&self) {
        self.plane.lock().unwrap().signal_server(Signal::STOP);
    }

    /// Lets a frozen API server go on.
    pub fn thaw_server(&self) {
        self.plane.lock().unwrap().signal_server(Signal::CONT);
    }

    /// Kills the API server: connections are refused from now on.
    pub fn kill_server(&self) {
        self.plane.lock().unwrap().kill_server();
    }

    /// Starts the API server again after it was killed, and waits until it is ready.
    pub fn restart_server(&self) {
        let mut plane = self.plane.lock().unwrap();
        plane.restart_server(&self.lifeline);
        wait_until_ready(&mut plane, &self.runtime, &self.client);
    }

    /// The requests of the operator that are finished, a JSON object per line (audit.k8s.io/v1).
    pub fn audit_log(&self) -> PathBuf {
        self.state.join("log/audit.log")
    }

    /// A folder that goes with the cluster.
    pub fn folder(&self) -> &Path {
        &self.state
    }

    /// What a process must be started into to end with the cluster.
    pub fn lifeline(&self) -> &Lifeline {
        &self.lifeline
    }

    /// A program beside the control plane's, or `None` after saying that it is not there: `helm`, `promtool`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let path = self.programs.join(name);
        if path.is_file() {
            Some(path)
        } else {
            peer::program(name)
        }
    }

    /// kubectl as an administrator.
    pub fn kubectl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(self.programs.join("kubectl"));
        command
            .env("KUBECONFIG", &self.kubeconfig)
            // Else it keeps what it discovered below the home folder.
            .arg("--cache-dir")
            .arg(self.state.join("kubectl"))
            .args(arguments);
        command
    }

    /// Fails the test if a process of the control plane has ended.
    pub fn check(&self) {
        self.plane.lock().unwrap().check();
    }
}

fn wait_until_ready(plane: &mut ControlPlane, runtime: &Runtime, client: &Client) {
    wait::until("the API server is ready", START, || {
        plane.check();
        let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
        runtime.block_on(client.request_text(request)).ok()
    });
}

/// Eight characters that nobody else has.
pub fn random() -> String {
    // Each state is seeded anew from the system's randomness.
    let number = RandomState::new().hash_one(0);
    format!("{:08x}", number & 0xffff_ffff)
}

async fn client(kubeconfig: &Path) -> Client {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.unwrap();
    // Else a refusal with 429, as of an eviction, is asked again for minutes before a test sees it.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}
