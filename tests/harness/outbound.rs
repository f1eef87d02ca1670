//! A relay named `outbound` and the sender `checkout`, in one namespace, whose mail arrives at a scripted provider: what
//! most promises of the operator are watched on.
//!
//! The sender logs in as an application does: over STARTTLS, with what its Secret holds at that moment. Services have
//! no addresses here, so the pod is dialled, by the name that the Secret gives.

use std::{net::SocketAddr, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use posthouse_api::MailRelay;
use rustls::ClientConfig;

use crate::{
    Client, Cluster, Namespace, Provider, Reply, Script, client::message, kubelet::Running, pki,
    wait,
};

/// The relay.
pub const RELAY: &str = "outbound";

/// The sender.
pub const SENDER: &str = "checkout";

/// The sender's Secret.
pub const SECRET: &str = "checkout-smtp";

/// Where the default listener is in a pod.
const PORT: u16 = 2587;

/// The relay, its sender, and who takes their mail.
pub struct Outbound {
    namespace: Namespace,
    provider: Provider,
}

/// What a sender's Secret holds.
#[derive(Clone)]
pub struct Binding {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    host: String,
    trust: Arc<ClientConfig>,
}

impl Outbound {
    /// Applies both; nothing is waited for.
    pub fn apply(cluster: &Arc<Cluster>) -> Self {
        Self::apply_in(cluster.namespace())
    }

    /// As [`Self::apply`], in a namespace at hand.
    pub fn apply_in(namespace: Namespace) -> Self {
        let outbound = Self {
            provider: Provider::start(Script::take()),
            namespace,
        };
        outbound.apply_relay();
        outbound.namespace.apply(&outbound.sender(SENDER));
        outbound
    }

    /// The relay as it is at first.
    pub fn apply_relay(&self) {
        let (namespace, port) = (self.namespace.name(), self.provider.port());
        self.namespace.apply(&format!(
            "apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: {{ name: {RELAY} }}
spec:
  replicas: 1
  hostname: mail.example.com
  retry: {{ initialSeconds: 1, maximumSeconds: 2 }}
  clients:
    grants: [{{ name: here, namespaces: {{ names: [{namespace}] }}, senderDomains: [shop.example.com] }}]
  upstreams:
    - {{ name: provider, provider: Custom, endpoint: {{ host: 127.0.0.1, port: {port}, tls: {{ mode: None }} }} }}
"
        ));
    }

    /// A sender of the relay, as YAML.
    pub fn sender(&self, name: &str) -> String {
        format!(
            "apiVersion: posthouse.dev/v1alpha1
kind: MailSender
metadata: {{ name: {name} }}
spec:
  relayRef: {{ name: {RELAY}, namespace: {} }}
  from: [shop.example.com]
",
            self.namespace.name()
        )
    }

    /// Where they are.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Who takes the mail.
    pub const fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The relay's only gateway, once it is ready.
    pub fn gateway(&self) -> Arc<Running> {
        self.namespace.wait_ready(&format!("{RELAY}-0"))
    }

    /// What the sender's Secret holds, once it is written.
    pub fn binding(&self) -> Binding {
        self.namespace.wait_longer_for::<Secret, _>(
            "the sender's Secret",
            SECRET,
            wait::SOON * 3,
            |secret| Binding::of(secret?),
        )
    }

    /// Sends a message with what the Secret holds and waits until the provider has it.
    pub fn send(&self, subject: &str) {
        let binding = self.binding();
        Self::submit(&self.gateway(), &binding, subject);
        wait::until_true("the provider has the message", || {
            self.provider.subjects().contains_key(subject)
        });
    }

    /// Hands a message to a gateway, which must accept it.
    pub fn submit(pod: &Running, binding: &Binding, subject: &str) {
        let from = "orders@shop.example.com";
        let mut client = binding.open(pod.port(PORT));
        let reply = client.auth(&binding.username, &binding.password);
        assert_eq!(reply.code, 235, "{}", reply.text());
        let reply = client.send(from, &["someone@customer.example"], &message(from, subject));
        assert_eq!(reply.code, 250, "{}", reply.text());
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

    /// Logs in at a pod; the server's answer.
    pub fn log_in(&self, pod: &Running) -> Reply {
        let mut client = self.open(pod.port(PORT));
        client.auth(&self.username, &self.password)
    }

    fn open(&self, address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        client.hello();
        client.start_tls(Arc::clone(&self.trust), &self.host);
        client
    }
}

/// Whether a relay has a condition with this reason, of its present generation.
pub fn has_reason(relay: &MailRelay, condition: &str, reason: &str) -> bool {
    let conditions = relay.status.iter().flat_map(|status| &status.conditions);
    let mut fitting = conditions.filter(|known| known.type_ == condition);
    fitting.any(|known| {
        known.reason == reason && known.observed_generation == relay.metadata.generation
    })
}
