//! Stands in for every gateway: answers `/status` at each pod's address, over the link, with what a healthy gateway says
//! that read its files at once.
//!
//! Which document and senders it goes by is read from the ConfigMaps the pod would have mounted, and the link's key from
//! its Secret. Nothing else of a gateway is there: no mail, no spool, no process per pod.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use posthouse_config::{
    Status,
    credential::Key,
    document, link,
    reason::UpstreamState,
    senders,
    status::{
        DocumentStatus, ListenerStatus, SendersStatus, SpoolState, SpoolStatus, UpstreamStatus,
    },
    yaml,
};
use posthouse_tests::Cluster;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

/// The labels of gateways' pods and files.
const GATEWAYS: &str = "app.kubernetes.io/name=posthouse-gateway";

/// The label that names the relay.
const RELAY: &str = "posthouse.dev/relay";

/// Where a gateway tells its status.
const PORT: u16 = 8443;

/// How soon a Secret is asked for again that is not there yet, as a kubelet that cannot mount it.
const AGAIN: Duration = Duration::from_secs(1);

/// All gateways.
pub(crate) struct Gateways {
    client: Client,
    files: Store<ConfigMap>,
    questions: AtomicU64,
}

/// One gateway.
struct Gateway {
    all: Arc<Gateways>,
    namespace: String,
    relay: String,
    uid: String,
    since: String,
    sequence: AtomicU64,
}

/// Answers for every pod there is and will be.
pub(crate) fn start(cluster: &Cluster) -> Arc<Gateways> {
    cluster.run(async {
        let client = cluster.client();
        let (files, writer) = reflector::store();
        let config = watcher::Config::default().labels(GATEWAYS);
        let maps = watcher(Api::<ConfigMap>::all(client.clone()), config.clone());
        let maps = reflector::reflector(writer, maps.default_backoff());
        tokio::spawn(maps.for_each(|_| std::future::ready(())));
        let gateways = Arc::new(Gateways {
            client: client.clone(),
            files,
            questions: AtomicU64::new(0),
        });
        let pods = watcher(Api::<Pod>::all(client), config).default_backoff();
        tokio::spawn(follow(pods.applied_objects(), Arc::clone(&gateways)));
        gateways
    })
}

async fn follow(pods: impl futures::Stream<Item = watcher::Result<Pod>>, gateways: Arc<Gateways>) {
    let mut pods = std::pin::pin!(pods);
    let mut known = HashSet::new();
    loop {
        // The watch begins again by itself.
        let Ok(Some(pod)) = pods.try_next().await else {
            continue;
        };
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let Some(address) = address else { continue };
        let uid = pod.uid().unwrap();
        if known.insert(uid.clone()) {
            let gateway = Gateway {
                all: Arc::clone(&gateways),
                namespace: pod.namespace().unwrap(),
                relay: pod.labels()[RELAY].clone(),
                uid,
                since: pod.creation_timestamp().unwrap().0.to_string(),
                sequence: AtomicU64::new(0),
            };
            let address = SocketAddr::new(address.parse().unwrap(), PORT);
            tokio::spawn(Arc::new(gateway).serve(address));
        }
    }
}

impl Gateways {
    /// How many were answered so far.
    pub(crate) fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }
}

impl Gateway {
    async fn serve(self: Arc<Self>, address: SocketAddr) {
        let acceptor = TlsAcceptor::from(link::server(&self.key().await).unwrap());
        let listener = TcpListener::bind(address).await.unwrap();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (gateway, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move {
                // Who asks may go away at any time, as when it is stopped.
                let _ = gateway.answer(acceptor, socket).await;
            });
        }
    }

    async fn key(&self) -> Key {
        let api = Api::<Secret>::namespaced(self.all.client.clone(), &self.namespace);
        loop {
            let secret = api.get_opt(&format!("{}-keys", self.relay)).await.unwrap();
            if let Some(data) = secret.and_then(|secret| secret.data) {
                return Key::try_from(data["link.key"].0.as_slice()).unwrap();
            }
            sleep(AGAIN).await;
        }
    }

    async fn answer(&self, acceptor: TlsAcceptor, socket: TcpStream) -> std::io::Result<()> {
        let mut stream = acceptor.accept(socket).await?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let body = serde_json::to_string(&self.status()).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        self.all.questions.fetch_add(1, Ordering::Relaxed);
        stream.shutdown().await
    }

    fn status(&self) -> Status {
        let document = self.file("config", document::FILE_NAME);
        let senders = self.file("senders", senders::FILE_NAME);
        Status {
            pod_uid: self.uid.clone(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            formats: vec![document::FORMAT],
            features: document::FEATURES.iter().map(ToString::to_string).collect(),
            document: DocumentStatus {
                number: document["number"].as_u64().unwrap_or_default(),
                generation: document["generation"].as_i64().unwrap_or_default(),
                ..DocumentStatus::default()
            },
            senders: SendersStatus {
                number: senders["number"].as_u64().unwrap_or_default(),
            },
            listeners: listeners(&document),
            spool: SpoolStatus {
                state: SpoolState::Ready,
                free_bytes: 1 << 30,
                ..SpoolStatus::default()
            },
            upstreams: vec![UpstreamStatus {
                name: "provider".to_owned(),
                state: UpstreamState::Ready,
                since: self.since.clone(),
                reply: None,
                remedy: None,
                last_relayed_time: None,
            }],
            ..Status::default()
        }
    }

    /// A file of the pod; null until it is there.
    fn file(&self, part: &str, key: &str) -> Value {
        let name = format!("{}-{part}", self.relay);
        let map = ObjectRef::new(&name).within(&self.namespace);
        let map = self.all.files.get(&map);
        let text = map.as_ref().and_then(|map| map.data.as_ref()?.get(key));
        let documents = text.map(|text| yaml::documents(text).unwrap());
        documents.and_then(|mut all| all.pop()).unwrap_or_default()
    }
}

/// What a gateway with this document has bound.
fn listeners(document: &Value) -> Vec<ListenerStatus> {
    let listeners = document["listeners"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    listeners
        .map(|listener| ListenerStatus {
            name: text(&listener["name"]),
            address: text(&listener["address"]),
        })
        .collect()
}
