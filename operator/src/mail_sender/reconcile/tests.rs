//! The promise of make before break, against random histories: whatever happens, the password in the Secret is accepted
//! by every gateway that clients reach.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest;
use jiff::SignedDuration;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use posthouse_config::{
    Senders, Status, credential::Key, document, senders, status as gateway_status, yaml,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    grant::Namespace,
    labels,
    mail_relay::{
        self, Audience, ValidRelay,
        facts::{Facts, Heard, LiveChildren, Report},
        keys::{self, LiveDocument},
    },
    mail_sender::Admissions,
    settings::Capabilities,
};

const UID: &str = "00000000-0000-4000-8000-000000000001";
const GATEWAYS: usize = 3;

/// Random numbers that are the same in each run of a seed.
struct Dice {
    seed: u64,
    drawn: u64,
}

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.drawn += 1;
        let text = format!("{} {}", self.seed, self.drawn);
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let number = u64::from_be_bytes(digest.as_ref()[..8].try_into().unwrap());
        usize::try_from(number % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// The files a gateway has read.
#[derive(Clone)]
struct Files {
    senders: Senders,
    document: LiveDocument,
}

struct Running {
    files: Files,
    heard: Heard,
    created: Timestamp,
    is_ready: bool,
}

struct Board {
    admissions: Admissions,
    keys: KeyRotations,
}

struct World {
    dice: Dice,
    now: Timestamp,
    relay: (Arc<posthouse_api::MailRelay>, ValidRelay),
    sender: MailSender,
    key_rotation: u64,
    others: usize,
    document: Option<ConfigMap>,
    senders: Option<ConfigMap>,
    gateways: Vec<Running>,
    /// What the operator forgets when it starts again.
    ledger: Ledger,
    board: Option<Board>,
    secret: Option<String>,
    master: Key,
    history: Vec<String>,
    writes: usize,
}

fn relay() -> (Arc<posthouse_api::MailRelay>, ValidRelay) {
    let object: posthouse_api::MailRelay = yaml::from_str(
        "{ apiVersion: posthouse.dev/v1alpha1, kind: MailRelay, metadata: { name: outbound, namespace: mail }, spec: {
            hostname: mail.example.com, upstreams: [{ name: a, provider: Capture }],
            clients: { grants: [{ name: a, namespaces: { names: [shop] }, senderDomains: [shop.example] }] } } }",
    )
    .unwrap();
    let valid = mail_relay::validate(&object, Audience::Cluster).1.unwrap();
    (Arc::new(object), valid)
}

fn sender(name: &str, uid: &str) -> MailSender {
    let value: Value = json!({
        "apiVersion": "posthouse.dev/v1alpha1", "kind": "MailSender",
        "metadata": { "name": name, "namespace": "shop", "uid": uid, "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "relayRef": { "name": "outbound", "namespace": "mail" }, "from": ["shop.example"],
            "credential": { "rotation": 1 } },
    });
    yaml::from_value(value).unwrap()
}

fn config_map(key: &str, text: String, annotations: BTreeMap<String, String>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(key.to_owned(), text)])),
        ..ConfigMap::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut world = Self {
            dice: Dice { seed, drawn: 0 },
            now,
            relay: relay(),
            sender: sender("s", UID),
            key_rotation: 1,
            others: 0,
            document: None,
            senders: None,
            gateways: Vec::new(),
            ledger: Ledger::default(),
            board: None,
            secret: None,
            master: Key::try_from([7; 32].as_slice()).unwrap(),
            history: Vec::new(),
            writes: 0,
        };
        world.reconcile_relay();
        for _ in 0..GATEWAYS {
            let pod = world.started();
            world.gateways.push(pod);
        }
        world
    }

    fn files(&self) -> Files {
        let parsed = self.senders.as_ref().and_then(admission::live_senders);
        let document = self.document.as_ref().and_then(LiveDocument::read);
        Files {
            senders: parsed.unwrap_or_default(),
            document: document.unwrap(),
        }
    }

    /// A gateway that has just started: it read what is there, and nobody has asked it yet.
    fn started(&self) -> Running {
        Running {
            files: self.files(),
            heard: Heard::Nothing { since: self.now },
            created: self.now,
            is_ready: false,
        }
    }

    fn facts(&self) -> Facts {
        let mut senders = vec![Arc::new(self.sender.clone())];
        for i in 0..self.others {
            let uid = format!("00000000-0000-4000-8001-{i:012}");
            senders.push(Arc::new(sender(&format!("other{i}"), &uid)));
        }
        Facts {
            relay: Arc::clone(&self.relay.0),
            now: self.now,
            capabilities: Capabilities::default(),
            is_served: true,
            namespace_is_terminating: false,
            relay_uids: std::collections::BTreeSet::new(),
            senders,
            namespaces: [("shop".to_owned(), Namespace::named("shop"))].into(),
            service_accounts: BTreeMap::new(),
            issuers: Vec::new(),
            children: LiveChildren::default(),
            gateways: BTreeMap::new(),
        }
    }

    /// What the relay's reconcile does about senders: judge, write the files where they changed, publish.
    fn reconcile_relay(&mut self) {
        let live = self.senders.as_ref().and_then(admission::live_senders);
        let former = self.document.as_ref().and_then(LiveDocument::read);
        self.ledger.observe(live.as_ref(), former.as_ref());
        let keys = keys::rotations(self.key_rotation, self.document.as_ref(), self.now);
        let rotations: Vec<_> = keys.accepted().collect();
        if former
            .as_ref()
            .is_none_or(|former| former.rotations != rotations)
        {
            let number = former.map_or(0, |former| former.number) + 1;
            let rows: Vec<_> = rotations.iter().map(|k| json!({ "rotation": k })).collect();
            let text = json!({ "number": number, "keys": { "relay": rows } }).to_string();
            let since = [(labels::KEY_ROTATION_TIME.to_owned(), keys.since.to_string())];
            self.document = Some(config_map(document::FILE_NAME, text, since.into()));
        }
        let admissions = admission::admissions(&self.facts(), &self.relay.1, live.as_ref());
        if live
            .as_ref()
            .is_none_or(|live| live.senders != admissions.rows)
        {
            let new = Senders {
                format: 1,
                number: live.map_or(0, |live| live.number) + 1,
                generation: 1,
                senders: admissions.rows.clone(),
            };
            let text = serde_json::to_string(&new).unwrap();
            self.senders = Some(config_map(senders::FILE_NAME, text, BTreeMap::new()));
        }
        self.board = Some(Board { admissions, keys });
    }

    /// One reconcile of the sender; `is_lost` loses the status on its way.
    async fn reconcile_sender(&mut self, is_lost: bool) {
        let Some(board) = &self.board else { return };
        let key = ("shop".to_owned(), "s".to_owned());
        let (pods, heard) = self.pods();
        let gateways = Gateway::of(&pods, &heard, self.now);
        let case = Case {
            sender: &self.sender,
            relay: Some(Relay {
                verdict: &board.admissions.verdicts[&key],
                keys: &board.keys,
                ledger: &self.ledger,
                gateways: &gateways,
                master: &self.master,
                authority: "PEM",
            }),
            last_written: Timestamp::UNIX_EPOCH,
            now: self.now,
        };
        let (mut written, mut status) = (None, None);
        let keep = async |draft: SecretDraft| {
            written = Some(String::from_utf8(draft.data["password"].clone()).unwrap());
            Ok(())
        };
        let publish = async |new| {
            status = Some(new);
            if is_lost { Err(()) } else { Ok(()) }
        };
        let _ = reconcile(&case, keep, publish).await;
        if written.is_some() && written != self.secret {
            self.writes += 1;
            self.secret = written;
        }
        if let Some(status) = status.filter(|_| !is_lost) {
            self.sender.status = Some(status);
        }
    }

    fn pods(&self) -> (BTreeMap<String, Arc<Pod>>, BTreeMap<String, Heard>) {
        let (mut pods, mut heard) = (BTreeMap::new(), BTreeMap::new());
        for (i, gateway) in self.gateways.iter().enumerate() {
            let name = format!("outbound-{i}");
            let ready = if gateway.is_ready { "True" } else { "False" };
            let mut pod: Pod = yaml::from_value(
                json!({ "metadata": {}, "status": { "conditions": [{ "type": "Ready", "status": ready }] } }),
            )
            .unwrap();
            pod.metadata.creation_timestamp = Some(Time(gateway.created));
            pods.insert(name.clone(), Arc::new(pod));
            heard.insert(name, gateway.heard.clone());
        }
        (pods, heard)
    }

    fn load(&mut self, i: usize) {
        self.gateways[i].files = self.files();
    }

    fn report(&mut self, i: usize) {
        let files = self.gateways[i].files.clone();
        let status = Status {
            senders: gateway_status::SendersStatus {
                number: files.senders.number,
            },
            document: gateway_status::DocumentStatus {
                number: files.document.number,
                ..gateway_status::DocumentStatus::default()
            },
            listeners: vec![gateway_status::ListenerStatus {
                name: "submission".to_owned(),
                address: "[::]:2587".to_owned(),
            }],
            ..Status::default()
        };
        let report = Report {
            status,
            received: self.now,
        };
        self.gateways[i].heard = Heard::Report(Arc::new(report));
    }

    fn silence(&mut self, i: usize) {
        let since = self.now;
        if let Heard::Report(last) = self.gateways[i].heard.clone() {
            self.gateways[i].heard = Heard::Silent { since, last };
        }
    }

    fn change_spec(
        &mut self,
        change: impl FnOnce(&mut posthouse_api::mail_sender::MailSenderSpec),
    ) {
        change(&mut self.sender.spec);
        let generation = self.sender.metadata.generation.unwrap_or_default();
        self.sender.metadata.generation = Some(generation + 1);
    }

    /// Everything goes well for a while.
    async fn settle(&mut self) {
        self.change_spec(|spec| spec.from = vec!["shop.example".to_owned()]);
        let least = self
            .sender
            .status
            .as_ref()
            .and_then(|status| status.credential.as_ref());
        let least = least.map_or(0, |credential| credential.rotation);
        let live = self.files().senders.senders;
        let own = live.iter().find(|row| row.uid == UID);
        let newest = own.and_then(|row| row.rotations.iter().max()).copied();
        let newest = i64::try_from(newest.unwrap_or_default()).unwrap();
        self.change_spec(|spec| {
            let credential = spec.credential.as_mut().unwrap();
            credential.rotation = credential.rotation.max(least).max(newest);
        });
        for _ in 0..3 {
            self.reconcile_relay();
            self.check("settle: relay");
            for i in 0..GATEWAYS {
                self.load(i);
                self.report(i);
                self.gateways[i].is_ready = true;
            }
            self.check("settle: gateways");
            self.reconcile_relay();
            self.reconcile_sender(false).await;
            self.check("settle: sender");
        }
    }

    /// The key the Secret was made with is not the current one.
    fn is_key_outstanding(&self) -> bool {
        let Some(secret) = &self.secret else {
            return false;
        };
        let current = keys::rotations(self.key_rotation, self.document.as_ref(), self.now).current;
        let key = self.master.relay("mail", "outbound", current);
        !(0..200).any(|rotation| key.password(UID, rotation) == *secret)
    }

    fn is_remembered(&self) -> bool {
        let status = self.sender.status.as_ref();
        let credential = status.and_then(|status| status.credential.as_ref());
        let wanted = self.sender.spec.credential.as_ref().unwrap().rotation;
        credential.is_some_and(|credential| credential.rotation <= wanted)
            && self.sender.spec.from != ["@"]
    }

    async fn advance(&mut self) {
        // Keys are kept for a day and raised at most every ten minutes; whoever is away for longer is not promised.
        if self.is_key_outstanding() {
            self.settle().await;
        }
        let seconds = [1, 30, 90, 400, 4000, 50_000][self.dice.below(6)];
        self.now += SignedDuration::from_secs(seconds);
        for i in 0..GATEWAYS {
            // One that was not heard for so long is started again.
            if matches!(self.gateways[i].heard, Heard::Nothing { .. }) && seconds >= 90 {
                self.gateways[i] = self.started();
            }
        }
    }

    /// Most gateways keep up.
    fn sweep(&mut self) {
        for i in 0..GATEWAYS {
            match self.dice.below(6) {
                0 => {}
                1 => self.load(i),
                2 => self.report(i),
                _ => {
                    self.load(i);
                    self.report(i);
                    self.gateways[i].is_ready = true;
                }
            }
        }
    }

    async fn step(&mut self) {
        let i = self.dice.below(GATEWAYS);
        let what = self.dice.below(60);
        self.history.push(format!("{what}/{i}"));
        match what {
            0..=1 => {
                let by = 1 + i64::try_from(self.dice.below(3)).unwrap();
                self.change_spec(|spec| spec.credential.as_mut().unwrap().rotation += by);
            }
            2 => self.key_rotation += 1,
            3 if self.dice.below(3) == 0 => self.change_spec(|spec| {
                let credential = spec.credential.as_mut().unwrap();
                credential.rotation = (credential.rotation - 1).max(1);
            }),
            4 if self.dice.below(3) == 0 => {
                self.change_spec(|spec| spec.from = vec!["@".to_owned()]);
            }
            5 => self.change_spec(|spec| spec.from = vec!["shop.example".to_owned()]),
            6 => self.sender.status = None,
            7 => (self.ledger, self.board) = (Ledger::default(), None),
            8 => self.others = self.dice.below(5),
            9 => self.gateways[i] = self.started(),
            10..=11 => self.silence(i),
            12 => self.reconcile_sender(true).await,
            // Without a status, or a spec that can be honoured, the file is the only memory there is.
            13 if self.is_remembered() && self.dice.below(4) == 0 => self.senders = None,
            13..=15 => self.advance().await,
            16..=19 => {
                if matches!(self.gateways[i].heard, Heard::Report(_)) {
                    self.gateways[i].is_ready = true;
                }
            }
            20..=25 => self.load(i),
            26..=30 => self.report(i),
            31..=37 => self.reconcile_relay(),
            38..=47 => self.sweep(),
            _ => self.reconcile_sender(false).await,
        }
        // A file that was deleted is put back by the reconcile that its deletion starts.
        if self.senders.is_none() {
            self.reconcile_relay();
        }
        self.check("step");
    }

    fn check(&self, when: &str) {
        let Some(secret) = &self.secret else { return };
        for (i, gateway) in self.gateways.iter().enumerate() {
            if !gateway.is_ready {
                continue;
            }
            let rows = &gateway.files.senders.senders;
            let row = rows.iter().find(|row| row.uid == UID);
            let rotations = row.map(|row| row.rotations.clone()).unwrap_or_default();
            let accepts = gateway.files.document.rotations.iter().any(|key| {
                let key = self.master.relay("mail", "outbound", *key);
                rotations
                    .iter()
                    .any(|rotation| key.is_password(UID, *rotation, secret.as_bytes()))
            });
            assert!(
                accepts,
                "seed {}: {when}: gateway {i} with {rotations:?} and keys {:?} refuses the Secret's password after {}",
                self.dice.seed,
                gateway.files.document.rotations,
                self.history.join(" ")
            );
        }
    }
}

#[tokio::test]
async fn the_password_in_the_secret_is_always_accepted() {
    let mut writes = 0;
    for seed in 0..30 {
        let mut world = World::new(seed);
        for _ in 0..250 {
            world.step().await;
        }
        // However it went, it ends well.
        world.settle().await;
        let credential = world.sender.spec.credential.as_ref().unwrap();
        let rotation = u64::try_from(credential.rotation).unwrap();
        let newest = keys::rotations(world.key_rotation, world.document.as_ref(), world.now);
        let key = world.master.relay("mail", "outbound", newest.current);
        assert_eq!(
            world.secret,
            Some(key.password(UID, rotation)),
            "seed {seed}: {}",
            world.history.join(" ")
        );
        writes += world.writes;
    }
    // Else nothing was tried.
    assert!(writes > 100, "{writes}");
}

#[tokio::test]
async fn a_verdict_about_another_state_of_the_sender_is_not_acted_on() {
    let mut world = World::new(0);
    world.settle().await;
    let (secret, status) = (world.secret.clone(), world.sender.status.clone());
    world.change_spec(|spec| spec.credential.as_mut().unwrap().rotation = 2);
    world.reconcile_sender(false).await;
    assert_eq!((&world.secret, &world.sender.status), (&secret, &status));
    world.reconcile_relay();
    world.reconcile_sender(false).await;
    let status = world.sender.status.unwrap();
    assert_eq!(status.observed_generation, world.sender.metadata.generation);
}

#[tokio::test]
async fn without_a_relay_nothing_is_written_but_the_refusal() {
    let sender = sender("s", UID);
    let case = Case {
        sender: &sender,
        relay: None,
        last_written: Timestamp::UNIX_EPOCH,
        now: Timestamp::UNIX_EPOCH,
    };
    let mut told = None;
    let keep = async |_| panic!("no Secret is due");
    let publish = async |status| {
        told = Some(status);
        Ok::<_, ()>(())
    };
    assert_eq!(reconcile(&case, keep, publish).await, Ok(RESTING));
    let status: MailSenderStatus = told.unwrap();
    assert_eq!(status.conditions[0].reason, "NotGranted");
    assert_eq!((status.binding, status.credential), (None, None));
}

#[tokio::test]
async fn a_secret_that_cannot_be_written_is_told_and_tried_again_soon() {
    let mut world = World::new(0);
    world.settle().await;
    let (pods, heard) = world.pods();
    let gateways = Gateway::of(&pods, &heard, world.now);
    let board = world.board.as_ref().unwrap();
    let key = ("shop".to_owned(), "s".to_owned());
    let case = Case {
        sender: &world.sender,
        relay: Some(Relay {
            verdict: &board.admissions.verdicts[&key],
            keys: &board.keys,
            ledger: &world.ledger,
            gateways: &gateways,
            master: &world.master,
            authority: "PEM",
        }),
        last_written: world.now,
        now: world.now,
    };
    let mut told = None;
    let mut kept = None;
    let keep = async |draft| {
        kept = Some(draft);
        Err(WriteFailure::Conflict)
    };
    let publish = async |status| {
        told = Some(status);
        Ok::<_, ()>(())
    };
    assert_eq!(reconcile(&case, keep, publish).await, Ok(WAITING));
    let status: MailSenderStatus = told.unwrap();
    assert_eq!(status.conditions[1].reason, "SecretConflict");
    // What was promised before stays promised.
    assert_eq!(status.credential, world.sender.status.unwrap().credential);
    let draft: SecretDraft = kept.unwrap();
    let keys: Vec<_> = draft.data.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "certificates",
            "host",
            "password",
            "port",
            "provider",
            "tls",
            "type",
            "uri",
            "username"
        ]
    );
    let text = |key: &str| String::from_utf8(draft.data[key].clone()).unwrap();
    assert_eq!(text("host"), "outbound.mail.svc");
    assert_eq!(text("port"), "587");
    assert_eq!(text("tls"), "starttls");
    assert_eq!(text("certificates"), "PEM");
    let uri = format!("smtp://s.shop:{}@outbound.mail.svc:587", text("password"));
    assert_eq!(text("uri"), uri);
    assert_eq!(draft.secret_type.as_str(), "servicebinding.io/smtp");
    assert_eq!(draft.labels[labels::OWNER], UID);
    assert_eq!(draft.labels[labels::SENDER], "s");
    assert_eq!(draft.owners.len(), 1);
    assert_eq!(
        (&*draft.owners[0].kind, &*draft.owners[0].uid),
        ("MailSender", UID)
    );
}
