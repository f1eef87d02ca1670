//! The processes of a control plane: etcd, kube-apiserver, kube-controller-manager, all on loopback.
//!
//! As in a cluster: Node and RBAC authorization, the default admission plug-ins and controllers, ServiceAccount tokens of
//! the usual issuer. Not as in a cluster: no scheduler, no aggregation, no sync to disk in etcd, and nobody at the
//! addresses of Services (the API server refuses endpoints on loopback), so tests dial pods.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{credentials::Credentials, lifeline::Lifeline};
use crate::provider::Absent;

/// The one program that tests take away.
const SERVER: &str = "kube-apiserver";

/// What is audited: requests of ServiceAccounts, without their bodies.
const AUDIT: &str = r"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - { level: Metadata, userGroups: ['system:serviceaccounts:posthouse-system'] }
  - { level: None }
";

/// A control plane's programs, files and processes.
pub(super) struct ControlPlane {
    programs: PathBuf,
    state: PathBuf,
    credentials: Credentials,
    // Kept: nobody else is given these ports by the kernel, while servers, which reuse addresses, can bind them.
    store: Absent,
    api: Absent,
    audit: Option<PathBuf>,
    processes: Vec<(&'static str, Child)>,
}

impl ControlPlane {
    /// Makes keys and certificates and chooses ports.
    pub(super) fn new(programs: &Path, state: &Path) -> Self {
        fs::create_dir_all(state.join("log")).unwrap();
        Self {
            programs: programs.to_owned(),
            state: state.to_owned(),
            credentials: Credentials::write(state.join("credentials")),
            store: Absent::reserve(),
            api: Absent::reserve(),
            audit: None,
            processes: Vec::new(),
        }
    }

    /// Has every finished request of ServiceAccounts written to a file, a JSON object per line.
    pub(super) fn audit(&mut self) {
        fs::write(self.state.join("audit.yaml"), AUDIT).unwrap();
        self.audit = Some(self.state.join("log/audit.log"));
    }

    /// Starts the API server with its store; gives the kubeconfig of an administrator.
    pub(super) fn start_server(&mut self, lifeline: &Lifeline) -> PathBuf {
        let etcd = lifeline.spawn(&mut self.etcd());
        let server = lifeline.spawn(&mut self.api_server());
        self.processes.extend([("etcd", etcd), (SERVER, server)]);
        let masters = Some("system:masters");
        self.credentials
            .kubeconfig(&self.server(), "admin", masters)
    }

    /// Starts the controllers. They give up if the API server is not ready within ten seconds, so it must be.
    pub(super) fn start_controllers(&mut self, lifeline: &Lifeline) {
        let user = "system:kube-controller-manager";
        let kubeconfig = self.credentials.kubeconfig(&self.server(), user, None);
        let process = lifeline.spawn(&mut self.controllers(&kubeconfig));
        self.processes.push(("kube-controller-manager", process));
    }

    /// Sends the API server a signal.
    pub(super) fn signal_server(&self, signal: Signal) {
        let mut processes = self.processes.iter();
        let server = processes.find(|(name, _)| *name == SERVER);
        let pid = server.and_then(|(_, child)| Pid::from_raw(i32::try_from(child.id()).ok()?));
        // It is reaped only here, below, and then it is not in the list any more.
        kill_process(pid.expect("the API server runs"), signal).unwrap();
    }

    /// Ends the API server at once; what it stored stays.
    pub(super) fn kill_server(&mut self) {
        let server = self.processes.iter().position(|(name, _)| *name == SERVER);
        let (_, mut child) = self.processes.remove(server.expect("the API server runs"));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts an API server over what the former one stored, at the same address.
    pub(super) fn restart_server(&mut self, lifeline: &Lifeline) {
        let server = lifeline.spawn(&mut self.api_server());
        self.processes.push((SERVER, server));
    }

    /// The API server's address.
    pub(super) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.api.port())
    }

    /// The certificate that signed the API server's.
    pub(super) fn authority(&self) -> PathBuf {
        self.credentials.file("ca.crt")
    }

    /// Fails the test if a process has ended, with the end of what it said.
    pub(super) fn check(&mut self) {
        for (name, process) in &mut self.processes {
            if let Some(status) = process.try_wait().unwrap() {
                let log = self.state.join(format!("log/{name}.log"));
                let text = fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<_> = text.lines().rev().take(15).collect();
                panic!("{name} ended: {status}\n{}", lines.join("\n"));
            }
        }
    }

    fn etcd(&self) -> Command {
        let url = self.store_url();
        let mut command = self.command("etcd");
        command
            .arg("--unsafe-no-fsync")
            .flag("data-dir", self.state.join("etcd"))
            .flag("listen-client-urls", &url)
            .flag("advertise-client-urls", &url)
            .flag("listen-peer-urls", "http://127.0.0.1:0")
            .flag("cert-file", self.credentials.file("etcd.crt"))
            .flag("key-file", self.credentials.file("etcd.key"))
            .flag("trusted-ca-file", self.credentials.file("etcd-ca.crt"))
            .arg("--client-cert-auth");
        command
    }

    fn api_server(&self) -> Command {
        let file = |name: &str| self.credentials.file(name);
        let mut command = self.command(SERVER);
        command
            .flag("bind-address", "127.0.0.1")
            .flag("secure-port", self.api.port().to_string())
            // Nobody goes by it; a machine without a default route has none to guess.
            .flag("advertise-address", "192.0.2.1")
            .flag("endpoint-reconciler-type", "none")
            .flag("service-cluster-ip-range", "10.96.0.0/16")
            .flag("etcd-servers", self.store_url())
            .flag("etcd-cafile", file("etcd-ca.crt"))
            .flag("etcd-certfile", file("etcd.crt"))
            .flag("etcd-keyfile", file("etcd.key"))
            .flag("tls-cert-file", file("apiserver.crt"))
            .flag("tls-private-key-file", file("apiserver.key"))
            .flag("client-ca-file", file("ca.crt"))
            .flag("authorization-mode", "Node,RBAC")
            .flag("enable-admission-plugins", "NodeRestriction")
            .flag("service-account-issuer", "https://kubernetes.default.svc")
            .flag("service-account-signing-key-file", file("tokens.key"))
            .flag("service-account-key-file", file("tokens.key"));
        if let Some(log) = &self.audit {
            command
                .flag("audit-policy-file", self.state.join("audit.yaml"))
                .flag("audit-log-path", log);
        }
        command
    }

    fn controllers(&self, kubeconfig: &Path) -> Command {
        let mut command = self.command("kube-controller-manager");
        command
            .flag("kubeconfig", kubeconfig)
            .flag("secure-port", "0")
            .flag("leader-elect", "false")
            // Else hundreds of pods take minutes: the default spares API servers that others share.
            .flag("kube-api-qps", "200")
            .flag("kube-api-burst", "400")
            .arg("--use-service-account-credentials")
            .flag("root-ca-file", self.credentials.file("ca.crt"))
            .flag(
                "service-account-private-key-file",
                self.credentials.file("tokens.key"),
            )
            // Else it makes a folder below /usr.
            .flag("flex-volume-plugin-dir", self.state.join("plugins"));
        command
    }

    fn store_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.store.port())
    }

    /// A program whose output goes into a file of its name.
    fn command(&self, name: &str) -> Command {
        let log = File::create(self.state.join(format!("log/{name}.log"))).unwrap();
        let mut command = Command::new(self.programs.join(name));
        command
            .current_dir(&self.state)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }
}

/// `--name=value`.
trait Flag {
    fn flag(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> &mut Self;
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for (_, process) in &mut self.processes {
            // It may have ended before.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Flag for Command {
    fn flag(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> &mut Self {
        let mut argument = std::ffi::OsString::from(format!("--{name}="));
        argument.push(value);
        self.arg(argument)
    }
}
