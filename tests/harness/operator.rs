//! The operator as the chart installs it: its objects on a real API server, its process beside it.
//!
//! The chart is rendered by helm and applied by kubectl, so rights and the admission policy are the real ones. The process
//! has the ServiceAccount's rights by a token, and the very arguments of the chart's Deployment but for its port. The
//! Deployment itself has pods that are only said to run. The chart's names are fixed: one installation per cluster.

mod asking;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use k8s_openapi::api::apps::v1::Deployment;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

pub use asking::{DENIAL, ask, wait_for_fence};

use crate::{
    Cluster, Namespace, admin,
    cluster::write_kubeconfig,
    gateway::{Log, admin_in, executable},
    peer, wait,
};

/// The operator's namespace.
pub const NAMESPACE: &str = "posthouse-system";

/// The ServiceAccount and the Deployment of the chart.
const NAME: &str = "posthouse-operator";

/// How the API server says that rights are missing; a refusal by admission or quota reads otherwise.
const FORBIDDEN: &str = "is forbidden: User";

/// The chart's objects in a cluster, and what is needed to run operators.
pub struct Installation {
    namespace: Namespace,
    kubeconfig: PathBuf,
    arguments: Vec<String>,
}

/// A running operator; dropping it kills it.
pub struct Operator {
    child: Child,
    log: Log,
    admin: SocketAddr,
}

impl Installation {
    /// The shared cluster with one operator that serves every namespace, which no test may stop; `None` after saying
    /// that its tests are skipped.
    pub fn shared() -> Option<Arc<Cluster>> {
        static SHARED: OnceLock<Option<(Installation, Operator)>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let installation = Self::install(&Cluster::shared()?, &["relayNamespaces={*}"])?;
            let operator = installation.start();
            Some((installation, operator))
        });
        let (installation, operator) = shared.as_ref()?;
        operator.assert_allowed();
        Some(Arc::clone(installation.namespace.cluster()))
    }

    /// Applies the chart with values as `--set` takes them. No operator runs yet. `None` after saying that helm is not
    /// there.
    pub fn install(cluster: &Arc<Cluster>, values: &[&str]) -> Option<Self> {
        let helm = cluster.program("helm")?;
        let namespace = cluster.namespace_named(NAMESPACE);
        apply(&helm, &namespace, values);
        let established = [
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd",
            "--all",
        ];
        namespace.kubectl(&established, "");
        wait_for_rights(&namespace);
        wait_for_fence(cluster, true);
        let audience = "https://kubernetes.default.svc";
        let token = namespace.token_bound_to(NAME, audience, None);
        let kubeconfig = cluster.folder().join("operator.kubeconfig");
        let user = json!({"token": token});
        write_kubeconfig(&kubeconfig, &cluster.server(), &cluster.authority(), &user);
        Some(Self {
            arguments: arguments(&namespace.get(NAME)),
            namespace,
            kubeconfig,
        })
    }

    /// The operator's namespace.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Waits until the API server goes by the operator's roles: after a restart it refuses everybody for a moment.
    pub fn wait_for_rights(&self) {
        wait_for_rights(&self.namespace);
    }

    /// A kubeconfig with the operator's rights.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Applies the chart again, with other values; operators that are started from now on go by them.
    pub fn change(&mut self, values: &[&str]) {
        let helm = self.namespace.cluster().program("helm").unwrap();
        apply(&helm, &self.namespace, values);
        self.arguments = arguments(&self.namespace.get(NAME));
    }

    /// Starts an operator and waits until it serves its port; whether it leads is another matter.
    pub fn start(&self) -> Operator {
        self.start_with(&[])
    }

    /// As [`Self::start`], as a pod of this name.
    pub fn start_as(&self, pod: &str) -> Operator {
        self.start_with(&["--identity", pod])
    }

    fn start_with(&self, more: &[&str]) -> Operator {
        let mut command = Command::new(executable(NAME));
        command
            .args(&self.arguments)
            .args(more)
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.namespace.cluster().lifeline().spawn(&mut command);
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let log = Log::follow(out, err);
        let admin = wait::until("the log says where the admin port is", wait::SOON, || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", log.text());
            admin_in(&log.text())
        });
        Operator { child, log, admin }
    }
}

impl Operator {
    /// What it logged.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its admin port.
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Whether `/readyz` says so.
    pub fn ready(&self) -> bool {
        admin::get(self.admin, "/readyz").is_ok_and(|answer| answer.code == 200)
    }

    /// The sum of a metric's series; see [`admin::metric`].
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        admin::metric(self.admin, name, labels).unwrap()
    }

    /// SIGSTOP: it does nothing more, and its lease runs out.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it with SIGTERM, which must end it with success.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", self.log.text());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_longer(wait::SOON)
    }

    /// Waits for its end, up to a deadline.
    pub fn wait_longer(&mut self, deadline: Duration) -> ExitStatus {
        wait::until("the operator ends", deadline, || {
            self.child.try_wait().unwrap()
        })
    }

    /// Fails the test if the operator asked for something that it has no right to.
    pub fn assert_allowed(&self) {
        let forbidden = self.log.lines_with(FORBIDDEN);
        assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the operator:\n{}", self.log.tail(40));
        } else {
            self.assert_allowed();
        }
    }
}

/// `helm template | kubectl apply`.
fn apply(helm: &Path, namespace: &Namespace, values: &[&str]) {
    let objects = peer::run(&mut template(helm, namespace.cluster(), values), b"");
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    peer::run(&mut namespace.cluster().kubectl(&apply), objects.as_bytes());
}

/// The API server takes a moment to take up new roles; pods of a real Deployment take longer to start.
fn wait_for_rights(namespace: &Namespace) {
    let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
    for (verb, resource) in [("update", "leases"), ("list", "mailsenders")] {
        wait::until_true("the operator has its rights", || {
            let question = ["auth", "can-i", "--as", &account, verb, resource];
            let arguments = [&["--namespace", NAMESPACE], &question[..]].concat();
            let mut asked = namespace.cluster().kubectl(&arguments);
            peer::attempt(&mut asked, b"").0.status.success()
        });
    }
}

/// The command that renders the chart of the sources at hand.
fn template(helm: &Path, cluster: &Cluster, values: &[&str]) -> Command {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/posthouse");
    let home = cluster.folder().join("helm");
    let mut command = Command::new(helm);
    command
        .env("HELM_CACHE_HOME", &home)
        .env("HELM_CONFIG_HOME", &home)
        .env("HELM_DATA_HOME", &home)
        .args(["template", "posthouse"])
        .arg(chart)
        .args(["--namespace", NAMESPACE]);
    for value in values {
        command.arg("--set").arg(value);
    }
    command
}

/// The arguments of the chart's Deployment, with a free port of loopback.
fn arguments(deployment: &Deployment) -> Vec<String> {
    let pods = deployment.spec.as_ref().map(|spec| &spec.template);
    let container = pods.and_then(|pods| pods.spec.as_ref()?.containers.first());
    let arguments = container.and_then(|container| container.args.clone());
    let arguments = arguments.expect("the Deployment has arguments").into_iter();
    arguments
        .map(|argument| match argument.as_str() {
            admin if admin.starts_with("--admin=") => "--admin=127.0.0.1:0".to_owned(),
            // The one variable that the chart gives the container.
            other => other.replace("$(NAMESPACE)", NAMESPACE),
        })
        .collect()
}
