//! A relay from end to end: its provider with TLS and a password, the objects that a user writes, and the application
//! whose mail it takes, all in one namespace.
//!
//! The relay's spec is kept as a value: a test edits it and the whole object is applied again, as people do. The
//! application logs in over STARTTLS with what its Secret holds. Services have no addresses here, so a pod is dialled, by
//! the name that the Secret gives.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Pod, Secret},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::ResourceExt;
use posthouse_api::{MailRelay, MailSender};
use posthouse_config::Document;
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::{
    Authority, Client, Cluster, Namespace, Provider, Reply, Script,
    client::message,
    kubelet::Running,
    pki,
    provider::{ProviderTls, Step, Turn},
    wait,
};

/// The relay.
pub const RELAY: &str = "outbound";

/// The application.
pub const SENDER: &str = "checkout";

/// The application's Secret.
pub const BINDING: &str = "checkout-smtp";

/// The Secret with the account at the provider.
pub const ACCOUNT: &str = "account";

/// The account's name.
pub const USER: &str = "relay@provider.example";

/// The account's password.
pub const PASSWORD: &str = "correct horse";

/// Whom the application sends as.
pub const FROM: &str = "orders@shop.example";

/// Whom it sends to.
pub const TO: &str = "someone@customer.example";

/// Where the listener `submission` is in a pod.
const PORT: u16 = 2587;

/// The name in the provider's certificate.
const HOST: &str = "smtp.provider.example";

/// How long a relay may take to begin, on a machine that builds something else at the same time.
pub const START: Duration = Duration::from_secs(90);

/// A relay, its provider, its application.
pub struct Relay {
    namespace: Namespace,
    provider: Provider,
    authority: Authority,
    tls: ProviderTls,
    spec: Mutex<Value>,
}

/// What the application's Secret holds.
#[derive(Clone)]
pub struct Binding {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The name of the relay's Service.
    pub host: String,
    trust: Arc<ClientConfig>,
}

impl Relay {
    /// A provider with an account, and the objects of one relay for it that are not applied yet.
    pub fn prepare(cluster: &Arc<Cluster>) -> Self {
        let namespace = cluster.namespace();
        let authority = Authority::new();
        let tls = ProviderTls::StartTls(authority.issue(&[HOST]));
        let script = Script::take().tls(tls.clone()).user(USER, PASSWORD);
        let provider = Provider::start(script);
        let spec = spec(namespace.name(), provider.port());
        Self {
            namespace,
            provider,
            authority,
            tls,
            spec: Mutex::new(spec),
        }
    }

    /// All of it applied, and waited for until the provider takes mail and the application can send.
    pub fn start(cluster: &Arc<Cluster>) -> Self {
        Self::start_with(cluster, |_| ())
    }

    /// As `start`, with another spec.
    pub fn start_with(cluster: &Arc<Cluster>, change: impl FnOnce(&mut Value)) -> Self {
        let relay = Self::prepare(cluster);
        change(&mut relay.spec.lock().unwrap());
        relay.apply_account(PASSWORD);
        relay.apply_authority();
        relay.apply();
        relay.apply_sender(SENDER);
        relay.wait("it is ready", |relay| {
            is(relay, "Ready", "True") && is(relay, "UpstreamsHealthy", "True")
        });
        relay.binding();
        relay
    }

    /// Where it is.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Who takes its mail.
    pub const fn provider(&self) -> &Provider {
        &self.provider
    }

    /// From now on the provider wants another password: sessions that were open end, logins are refused.
    pub fn provider_wants(&self, password: &str) {
        let before = self.provider.connections();
        let script = Script::new(move |exchange| match exchange.step {
            Step::Mail if exchange.connection < before => {
                Turn::ReplyAndClose("421 4.7.0 This session is over".to_owned())
            }
            _ => Turn::Usual,
        });
        let script = script.tls(self.tls.clone());
        self.provider.follow(script.user(USER, password));
    }

    /// Applies the relay as it is now.
    pub fn apply(&self) {
        let relay = self.object();
        self.namespace.apply(&relay.to_string());
    }

    /// The MailRelay as it is applied.
    pub fn object(&self) -> Value {
        json!({
            "apiVersion": "posthouse.dev/v1alpha1",
            "kind": "MailRelay",
            "metadata": {"name": RELAY},
            "spec": &*self.spec.lock().unwrap(),
        })
    }

    /// Changes the spec and applies it; the new generation.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> i64 {
        change(&mut self.spec.lock().unwrap());
        self.apply();
        let relay = self.namespace.get::<MailRelay>(RELAY);
        relay.metadata.generation.unwrap()
    }

    /// Applies the account at the provider.
    pub fn apply_account(&self, password: &str) {
        self.namespace.apply(
            &json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": ACCOUNT},
                "stringData": {"username": USER, "password": password},
            })
            .to_string(),
        );
    }

    /// Applies the authority that signed the provider's certificate.
    pub fn apply_authority(&self) {
        self.namespace.apply(
            &json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "provider-ca"},
                "data": {"ca.crt": self.authority.pem()},
            })
            .to_string(),
        );
    }

    /// Applies an application.
    pub fn apply_sender(&self, name: &str) {
        let sender = json!({
            "apiVersion": "posthouse.dev/v1alpha1",
            "kind": "MailSender",
            "metadata": {"name": name},
            "spec": {
                "relayRef": {"name": RELAY, "namespace": self.namespace.name()},
                "from": ["shop.example"],
            },
        });
        self.namespace.apply(&sender.to_string());
    }

    /// Waits until the MailRelay is so.
    pub fn wait(&self, what: &str, mut so: impl FnMut(&MailRelay) -> bool) -> MailRelay {
        self.namespace
            .wait_longer_for::<MailRelay, _>(what, RELAY, START, |relay| {
                relay.filter(|relay| so(relay)).cloned()
            })
    }

    /// Waits until a condition has a reason; its message.
    pub fn wait_reason(&self, type_: &str, reason: &str) -> String {
        let what = format!("{type_} has the reason {reason}");
        let relay = self.wait(&what, |relay| {
            condition(relay, type_).is_some_and(|condition| condition.reason == reason)
        });
        condition(&relay, type_).unwrap().message.clone()
    }

    /// Waits until the MailSender is so.
    pub fn wait_sender(&self, what: &str, mut so: impl FnMut(&MailSender) -> bool) -> MailSender {
        self.namespace
            .wait_longer_for::<MailSender, _>(what, SENDER, START, |sender| {
                sender.filter(|sender| so(sender)).cloned()
            })
    }

    /// A gateway, once its pod is ready.
    pub fn gateway(&self, ordinal: u32) -> Arc<Running> {
        self.namespace.wait_ready(&format!("{RELAY}-{ordinal}"))
    }

    /// The document that lives.
    pub fn document(&self) -> Document {
        let config = self.namespace.get::<ConfigMap>(&format!("{RELAY}-config"));
        let text = &config.data.unwrap()["gateway.yaml"];
        Document::parse(text).expect("a document")
    }

    /// Name, uid and restarts of each pod: what stays where nothing restarts.
    pub fn pods(&self) -> Vec<(String, String, i32)> {
        let pods = self.namespace.list::<Pod>("");
        let pods = pods.iter().map(|pod| {
            let statuses = pod.status.as_ref().and_then(|status| {
                let statuses = status.container_statuses.as_ref()?;
                statuses.first()
            });
            let restarts = statuses.map_or(0, |status| status.restart_count);
            (pod.name_any(), pod.uid().unwrap_or_default(), restarts)
        });
        pods.collect()
    }

    /// What the application's Secret holds, once it is written.
    pub fn binding(&self) -> Binding {
        let what = "the application's Secret";
        self.namespace
            .wait_longer_for::<Secret, _>(what, BINDING, START, |secret| Binding::of(secret?))
    }

    /// Hands a message to a gateway, which must accept it.
    pub fn submit(&self, ordinal: u32, subject: &str) {
        let reply = self.binding().send(&self.gateway(ordinal), subject);
        assert_eq!(reply.code, 250, "{}", reply.text());
    }

    /// Hands a message to a gateway and waits until the provider has it.
    pub fn relay(&self, ordinal: u32, subject: &str) {
        self.submit(ordinal, subject);
        self.wait_relayed(subject);
    }

    /// Waits until the provider has a message, once.
    pub fn wait_relayed(&self, subject: &str) {
        let what = format!("the provider has {subject:?}");
        wait::until(&what, START, || {
            self.provider.subjects().get(subject).copied()
        });
    }
}

impl Binding {
    /// What a Secret holds, once all of it is there.
    pub fn of(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Some(Self {
            username: text("username")?,
            password: text("password")?,
            host: text("host")?,
            trust: pki::trusting(&text("certificates")?),
        })
    }

    /// A session with a gateway over STARTTLS, verified and logged in.
    pub fn log_in(&self, gateway: &Running) -> Client {
        let mut client = Client::connect(gateway.port(PORT));
        client.hello();
        client.start_tls(Arc::clone(&self.trust), &self.host);
        let reply = client.auth(&self.username, &self.password);
        assert_eq!(reply.code, 235, "{}", reply.text());
        client
    }

    /// Hands over a message; the reply to its content.
    pub fn send(&self, gateway: &Running, subject: &str) -> Reply {
        let mut client = self.log_in(gateway);
        client.send(FROM, &[TO], &message(FROM, subject))
    }

    /// As `send`, at a gateway that may be stopped meanwhile; whether it took the message.
    pub fn try_send(&self, gateway: &Running, subject: &str) -> io::Result<bool> {
        let mut client = Client::try_connect(gateway.port(PORT))?;
        let tls = (Arc::clone(&self.trust), self.host.as_str());
        let account = (self.username.as_str(), self.password.as_str());
        let reply = client.try_send(tls, account, FROM, TO, &message(FROM, subject))?;
        Ok(reply.code == 250)
    }
}

/// A condition of a relay.
pub fn condition<'a>(relay: &'a MailRelay, type_: &str) -> Option<&'a Condition> {
    let mut conditions = relay.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|condition| condition.type_ == type_)
}

/// Whether a condition has a status, and is about the relay as it is now.
pub fn is(relay: &MailRelay, type_: &str, status: &str) -> bool {
    condition(relay, type_).is_some_and(|condition| {
        condition.status == status && condition.observed_generation == relay.metadata.generation
    })
}

fn spec(namespace: &str, port: u16) -> Value {
    json!({
        "replicas": 2,
        "hostname": "mail.shop.example",
        "clients": {"grants": [{
            "name": "here",
            "namespaces": {"names": [namespace]},
            "senderDomains": ["shop.example"],
        }]},
        "upstreams": [{
            "name": "provider",
            "provider": "Custom",
            "endpoint": {
                "host": "127.0.0.1",
                "port": port,
                "tls": {
                    "mode": "StartTls",
                    "serverName": HOST,
                    "caRef": {"kind": "ConfigMap", "name": "provider-ca", "key": "ca.crt"},
                },
            },
            "auth": {"password": {"secretRef": {"name": ACCOUNT}}},
        }],
        "retry": {"initialSeconds": 1, "maximumSeconds": 2},
    })
}
