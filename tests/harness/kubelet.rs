//! A stand-in for the kubelet, the scheduler and the storage provisioner of one node: it runs the real gateway as plain
//! processes.
//!
//! As in a cluster: pods are bound through the API, files are swapped as a whole, a missing source keeps a pod from
//! starting, probes make it ready, a process that ends is started again, a deleted pod gets SIGTERM, its grace period, and
//! SIGKILL, and its object goes last. Not as in a cluster: no container, hence no limits, no user, no read-only root; one
//! process per pod, of the container whose image is the gateway's, while others are only said to run; addresses in
//! 127.0.0.0/8 (see `address`), arguments rewritten to fit (see `arguments`).

mod address;
mod arguments;
mod claims;
mod files;
mod life;
mod node;
mod probe;
mod report;
mod running;
mod stores;
mod volume;
mod writer;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, Client, ResourceExt, api::PostParams};
use serde_json::{Value, json};
use tokio::{
    runtime::Runtime,
    time::{Interval, MissedTickBehavior, interval},
};

pub use claims::Expansion;
pub use running::Running;

use crate::{cluster::Lifeline, gateway::executable};
use address::Addresses;
use life::Life;
use stores::Stores;

/// How often new pods are looked for.
const STEP: Duration = Duration::from_millis(100);

/// The node, as tests see it.
pub struct Kubelet {
    shared: Arc<Shared>,
}

/// What all pods share.
struct Shared {
    client: Client,
    folder: PathBuf,
    lifeline: Arc<Lifeline>,
    stores: Stores,
    addresses: Addresses,
    pods: Mutex<BTreeMap<String, Arc<Running>>>,
    expansions: Mutex<BTreeMap<String, Expansion>>,
}

impl Kubelet {
    /// Registers the node and runs what is bound to it, for as long as the runtime lives.
    pub(crate) fn start(
        runtime: &Runtime,
        client: Client,
        folder: &Path,
        lifeline: Arc<Lifeline>,
    ) -> Self {
        // Built before anything waits for it.
        executable("posthouse-gateway");
        let _runtime = runtime.enter();
        let shared = Arc::new(Shared {
            stores: Stores::watch(&client),
            client: client.clone(),
            folder: folder.to_owned(),
            lifeline,
            addresses: Addresses::claim(),
            pods: Mutex::default(),
            expansions: Mutex::default(),
        });
        runtime.spawn(node::keep(client));
        runtime.spawn(claims::keep(Arc::clone(&shared)));
        runtime.spawn(run(Arc::clone(&shared)));
        Self { shared }
    }

    /// A pod that it runs.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Running>> {
        let pods = self.pods(namespace);
        pods.into_iter().find(|pod| pod.name() == name)
    }

    /// All pods of a namespace that it runs, by name.
    pub fn pods(&self, namespace: &str) -> Vec<Arc<Running>> {
        let pods = self.shared.pods.lock().unwrap();
        let mut pods: Vec<_> = pods
            .values()
            .filter(|pod| pod.namespace() == namespace)
            .cloned()
            .collect();
        pods.sort_by(|one, other| one.name().cmp(other.name()));
        pods
    }

    /// What happens from now on to claims of a namespace that ask for more.
    pub fn expand(&self, namespace: &str, expansion: Expansion) {
        let mut expansions = self.shared.expansions.lock().unwrap();
        expansions.insert(namespace.to_owned(), expansion);
    }

    /// The folder of a volume, by its name.
    pub fn volume(&self, name: &str) -> PathBuf {
        claims::folder(&self.shared.folder, name)
    }
}

/// Binds pods that nobody bound, and begins the life of those that are bound.
async fn run(shared: Arc<Shared>) {
    let mut step = every(STEP);
    loop {
        step.tick().await;
        for pod in shared.stores.pods.state() {
            if life::over(&pod) {
                continue;
            }
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            match node {
                None => shared.bind(&pod).await,
                Some(node::NAME) => begin(&shared, &pod),
                Some(_) => {}
            }
        }
    }
}

/// Now, and then again each time so long after the last.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn begin(shared: &Arc<Shared>, pod: &Pod) {
    let Some((namespace, name, uid)) = life::identity(pod) else {
        return;
    };
    let mut pods = shared.pods.lock().unwrap();
    if pods.contains_key(&uid) {
        return;
    }
    let address = shared.addresses.take();
    let running = Arc::new(Running::new(&namespace, &name, &uid, address));
    pods.insert(uid, Arc::clone(&running));
    tokio::spawn(Life::new(Arc::clone(shared), running).live());
}

impl Shared {
    /// What the scheduler does, once the pod's claims are bound.
    async fn bind(&self, pod: &Pod) {
        let namespace = pod.namespace().unwrap_or_default();
        let claims = life::claims(pod);
        let bound = |claim: &String| self.stores.volume_of(&namespace, claim).is_some();
        if !claims.iter().all(bound) {
            return;
        }
        let name = pod.name_any();
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node::NAME},
        });
        let api = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        let parameters = PostParams::default();
        let bound = api.create_subresource("binding", &name, &parameters, &binding);
        match bound.await {
            // Bound before, which the store does not know yet, or gone.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => eprintln!("kubelet: bind {namespace}/{name}: {error}"),
            Ok(Value::Null | _) => {}
        }
    }

    /// Says something about a pod.
    async fn event(&self, pod: &Pod, reason: &str, message: &str) {
        let now = report::now();
        let event = json!({
            "metadata": {"generateName": format!("{}.", pod.name_any())},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": pod.namespace(),
                "name": pod.name_any(),
                "uid": pod.uid(),
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": "kubelet", "host": node::NAME},
        });
        let event: Event = serde_json::from_value(event).expect("an event");
        let namespace = pod.namespace().unwrap_or_default();
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            eprintln!("kubelet: event {reason}: {error}");
        }
    }

    fn expansion(&self, namespace: &str) -> Expansion {
        let expansions = self.expansions.lock().unwrap();
        expansions.get(namespace).copied().unwrap_or_default()
    }

    /// Its pod is gone: the address is free again.
    fn forget(&self, running: &Running) {
        self.pods.lock().unwrap().remove(running.uid());
        self.addresses.free(running.ip());
    }
}
