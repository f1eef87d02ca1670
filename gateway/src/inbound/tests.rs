//! Accepting as clients see it: dialogues over streams in memory, with a store that forgets and a clock that stands.

mod content;
mod limits;
mod listener;
mod session;
mod spool;
mod tls;
mod token;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use posthouse_config::{Document, Senders, Snapshot, credential::Key, document::Listener};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    clock::ManualClock,
    mail::{Content, Message, QueueId, redact::AddressStyle},
    shutdown::Stage,
};

pub(super) const SENDER_UID: &str = "6f1ed002-ab5c-4a5e-8b1a-000000000001";

/// A listener without TLS that takes passwords.
pub(super) const PLAIN: &str = "{ name: plain, protocol: Smtp, address: '127.0.0.1:0', tls: Disabled, plaintextAuthentication: Allow }";

pub(super) fn key() -> Key {
    Key::try_from([7; 32].as_slice()).unwrap()
}

/// A document with one listener and more members.
pub(super) fn document(listener: &str, more: &str) -> Document {
    let text = format!(
        "format: 1
number: 1
generation: 1
relay: {{ namespace: mail, name: out }}
hostname: mail.example.com
replicas: 1
keys: {{ relay: [{{ rotation: 1, path: keys/1 }}] }}
listeners: [{listener}]
upstreams: [{{ name: u, transport: {{ capture: {{}} }} }}]
routes: [{{ name: all, targets: [{{ upstream: u }}] }}]
reports: {{ to: Nobody }}
{more}
"
    );
    Document::parse(&text).unwrap()
}

fn senders() -> Senders {
    let text = format!(
        r#"{{"format":1,"number":1,"generation":1,"senders":[
            {{"name":"checkout","namespace":"shop","uid":"{SENDER_UID}","rotations":[1,2],
              "from":["shop.example","*.shop.example"],"limits":{{"queuedMessages":10}},"expirySeconds":3600}}]}}"#
    );
    Senders::parse(&text).unwrap()
}

fn snapshot_of(document: Document) -> Snapshot {
    let files: BTreeMap<String, Arc<[u8]>> =
        [("keys/1".to_owned(), Arc::from(key().as_bytes().as_slice()))].into();
    Snapshot::new(Arc::new(document), Arc::new(senders()), files)
}

pub(super) fn snapshot() -> Snapshot {
    snapshot_of(document(PLAIN, ""))
}

pub(super) fn snapshot_without_keys() -> Snapshot {
    let snapshot = snapshot();
    Snapshot::new(snapshot.document, snapshot.senders, BTreeMap::new())
}

/// What was committed, and what the store is to answer.
#[derive(Default)]
struct Memory {
    kept: Mutex<Vec<(Message, Vec<u8>)>>,
    sequence: AtomicU64,
    uploads: AtomicU64,
    is_full: AtomicBool,
    fails: AtomicBool,
}

#[derive(Clone, Default)]
struct MemoryStore(Arc<Memory>);

struct MemoryUpload(Vec<u8>);

impl Store for MemoryStore {
    type Upload = MemoryUpload;

    fn next_id(&self) -> QueueId {
        QueueId::new(1, self.0.sequence.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn has_room(&self) -> bool {
        !self.0.is_full.load(Ordering::Relaxed)
    }

    async fn upload(&self, _: QueueId) -> Result<MemoryUpload, StoreError> {
        self.0.uploads.fetch_add(1, Ordering::Relaxed);
        Ok(MemoryUpload(Vec::new()))
    }

    async fn commit(&self, message: Message, content: Content) -> Result<Queued, StoreError> {
        if self.0.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Failed);
        }
        let Content::Inline(octets) = &content else {
            panic!("files are given back as octets");
        };
        let kept = (message.clone(), octets.to_vec());
        self.0.kept.lock().unwrap().push(kept);
        Ok(Queued {
            message: Arc::new(message),
            content: Some(content),
            deaths: 0,
        })
    }
}

impl Upload for MemoryUpload {
    async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        self.0.extend_from_slice(octets);
        Ok(())
    }

    async fn finish(self) -> Result<Content, StoreError> {
        Ok(Content::Inline(self.0.into()))
    }
}

/// The queue: counts what it is told of.
#[derive(Default)]
struct Told {
    accepted: Mutex<Vec<QueueId>>,
    backlog: AtomicU64,
}

impl Intake for Told {
    fn accepted(&self, queued: Queued) {
        self.accepted.lock().unwrap().push(queued.message.id);
    }

    fn backlog(&self, _: &SenderIdentity) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }
}

/// A gateway's accepting half with everything around it in memory.
struct House {
    inbound: Arc<Inbound<MemoryStore>>,
    store: MemoryStore,
    told: Arc<Told>,
    clock: Arc<ManualClock>,
    stage: watch::Sender<Stage>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    acceptor: Option<TlsAcceptor>,
    client: IpAddr,
}

impl House {
    fn new(listener: &str, more: &str) -> Self {
        Self::of(snapshot_of(document(listener, more)))
    }

    fn of(snapshot: Snapshot) -> Self {
        let (snapshot, snapshots) = watch::channel(Arc::new(snapshot));
        let (stage, shutdown) = Shutdown::channel();
        let (store, told) = (MemoryStore::default(), Arc::<Told>::default());
        let clock = Arc::new(ManualClock::new());
        let inbound = Inbound::new(Parts {
            store: store.clone(),
            intake: told.clone(),
            snapshot: snapshots,
            clock: clock.clone(),
            metrics: Metrics::new("0").unwrap(),
            redactor: Arc::new(Redactor::new(AddressStyle::Redacted)),
            shutdown,
            ordinal: 0,
        });
        Self {
            inbound,
            store,
            told,
            clock,
            stage,
            snapshot,
            acceptor: None,
            client: [192, 0, 2, 7].into(),
        }
    }

    fn listener(&self) -> Arc<Listener> {
        Arc::new(self.snapshot.borrow().document.listeners[0].clone())
    }

    /// A client that has connected.
    async fn connect(&self) -> Client {
        let (near, far) = tokio::io::duplex(1 << 20);
        let place = self.inbound.sessions.enter(|| usize::MAX).await;
        let session = Arc::clone(&self.inbound).session(
            far,
            self.listener(),
            self.client,
            place,
            self.acceptor.clone(),
        );
        Client {
            stream: near,
            session: tokio::spawn(session),
        }
    }

    /// Sends octets in pieces and gives back everything that was said, the greeting included, up to the close.
    async fn play<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut client = self.connect().await;
        for piece in pieces {
            client.stream.write_all(piece).await.unwrap();
            // So that the session sees each piece by itself.
            tokio::task::yield_now().await;
        }
        client.stream.shutdown().await.unwrap();
        client.rest().await
    }

    fn kept(&self) -> Vec<(Message, Vec<u8>)> {
        self.store.0.kept.lock().unwrap().clone()
    }

    fn rejected(&self, reason: &str) -> u64 {
        let name = &self.listener().name;
        let rejected = &self.inbound.parts.metrics.messages_rejected;
        rejected.with_label_values(&[name.as_str(), reason]).get()
    }

    fn ended(&self, result: &str) -> u64 {
        let name = &self.listener().name;
        let total = &self.inbound.parts.metrics.sessions_total;
        total.with_label_values(&[name.as_str(), result]).get()
    }
}

/// A client's side of a session.
struct Client {
    stream: DuplexStream,
    session: JoinHandle<()>,
}

impl Client {
    async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
    }

    /// The next reply, all its lines.
    async fn reply(&mut self) -> String {
        let mut said = Vec::new();
        loop {
            said.push(self.stream.read_u8().await.unwrap());
            let is_whole = said.ends_with(b"\r\n")
                && said[..said.len() - 2]
                    .rsplit(|&b| b == b'\n')
                    .next()
                    .is_some_and(|line| line.get(3) == Some(&b' '));
            if is_whole {
                return String::from_utf8(said).unwrap();
            }
        }
    }

    /// Sends a line and reads the reply to it.
    async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.reply().await
    }

    /// Everything that is said up to the close.
    async fn rest(mut self) -> String {
        let mut said = String::new();
        self.stream.read_to_string(&mut said).await.unwrap();
        self.session.await.unwrap();
        said
    }
}

/// `AUTH PLAIN` with the right password.
fn login() -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let response = format!("\0checkout.shop\0{}", key().password(SENDER_UID, 1));
    format!("AUTH PLAIN {}", BASE64_STANDARD.encode(response))
}

/// A transaction of the fixture's sender up to DATA.
fn envelope() -> String {
    format!(
        "EHLO me\r\n{}\r\nMAIL FROM:<a@shop.example>\r\nRCPT TO:<b@else.example>\r\nDATA\r\n",
        login()
    )
}
