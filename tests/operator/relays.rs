//! MailRelays at work in a namespace of their own: each with a sender, all relaying to one provider.
//!
//! The provider puts everything off until a test says otherwise, so mail stays in the gateways. Their one listener is in
//! clear, and clients authenticate with what the sender's Secret says.

use std::{io::Read, net::TcpStream, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Secret},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use posthouse_api::MailRelay;
use posthouse_tests::{
    Client, Cluster, Namespace, Provider, Script, Turn, admin, client::message, kubelet::Running,
    provider::Step, wait,
};
use serde_json::{Value, json};

/// What needs several looks of the operator at gateways on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// The port of the listener in the pods.
const PORT: u16 = 2587;

const FROM: &str = "orders@shop.example";
const TO: &str = "someone@customer.example";

/// A namespace with relays, and where their mail goes.
pub(crate) struct Relays {
    pub(crate) namespace: Namespace,
    pub(crate) provider: Provider,
}

impl Relays {
    /// None yet, and a provider that puts everything off.
    pub(crate) fn of(cluster: &Arc<Cluster>) -> Self {
        Self {
            namespace: cluster.namespace(),
            provider: Provider::start(Script::new(|exchange| match exchange.step {
                Step::Rcpt => Turn::reply("451 4.3.0 later"),
                _ => Turn::Usual,
            })),
        }
    }

    /// The provider takes everything from now on.
    pub(crate) fn mend(&self) {
        self.provider.follow(Script::take());
    }

    /// Applies a MailRelay with one gateway, but for what `spec` says, and its sender.
    pub(crate) fn apply(&self, name: &str, spec: &Value) {
        let namespace = self.namespace.name();
        let mut relay = json!({
            "apiVersion": "posthouse.dev/v1alpha1",
            "kind": "MailRelay",
            "metadata": {"name": name},
            "spec": {
                "replicas": 1,
                "hostname": "mail.example.com",
                "listeners": [listener("plain", 587)],
                "clients": {"grants": [{
                    "name": "shop",
                    "namespaces": {"names": [namespace]},
                    "senderDomains": ["shop.example"],
                }]},
                "upstreams": [{
                    "name": "isp",
                    "provider": "Custom",
                    "endpoint": {
                        "host": "127.0.0.1",
                        "port": self.provider.port(),
                        "tls": {"mode": "None"},
                    },
                }],
                "retry": {"initialSeconds": 1, "maximumSeconds": 1},
            },
        });
        for (field, value) in spec.as_object().unwrap() {
            relay["spec"][field] = value.clone();
        }
        let sender = json!({
            "apiVersion": "posthouse.dev/v1alpha1",
            "kind": "MailSender",
            "metadata": {"name": name},
            "spec": {
                "relayRef": {"name": name, "namespace": namespace, "listener": "plain"},
                "from": ["shop.example"],
            },
        });
        self.namespace.apply(&format!("{relay}\n---\n{sender}"));
    }

    /// Changes a relay's spec.
    pub(crate) fn change(&self, name: &str, spec: &Value) {
        let patch = json!({"spec": spec});
        self.namespace.merge::<MailRelay>(name, &patch).unwrap();
    }

    /// The process of a gateway, once it is ready.
    pub(crate) fn gateway(&self, relay: &str, ordinal: u32) -> Arc<Running> {
        self.namespace.wait_ready(&format!("{relay}-{ordinal}"))
    }

    /// The process of a gateway, ready or not.
    pub(crate) fn running(&self, relay: &str, ordinal: u32) -> Arc<Running> {
        self.namespace.running(&format!("{relay}-{ordinal}"))
    }

    /// A session with a gateway, authenticated as the relay's sender.
    pub(crate) fn session(&self, relay: &str, gateway: &Running) -> Client {
        let name = format!("{relay}-smtp");
        let what = "the sender has a Secret";
        let data = self
            .namespace
            .wait_longer_for::<Secret, _>(what, &name, LONG, |secret| secret?.data.clone());
        let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        let mut client = Client::connect(gateway.port(PORT));
        client.hello();
        let reply = client.auth(&text("username"), &text("password"));
        assert_eq!(reply.code, 235, "{}", reply.text());
        client
    }

    /// Hands messages to a gateway, with subjects `<relay>-<n>`, `n` from `numbers`.
    pub(crate) fn send(&self, relay: &str, gateway: &Running, numbers: std::ops::Range<usize>) {
        let mut client = self.session(relay, gateway);
        for number in numbers {
            let content = message(FROM, &format!("{relay}-{number}"));
            let reply = client.send(FROM, &[TO], &content);
            assert_eq!(reply.code, 250, "{}", reply.text());
        }
    }

    /// The code with which a gateway greets a client: 220, or 421 where it takes no mail.
    pub(crate) fn greeting(gateway: &Running) -> Option<u16> {
        let socket = TcpStream::connect(gateway.port(PORT)).ok()?;
        socket.set_read_timeout(Some(wait::SOON)).ok()?;
        let mut code = [0; 3];
        (&socket).read_exact(&mut code).ok()?;
        String::from_utf8_lossy(&code).parse().ok()
    }

    /// Waits until a gateway greets so.
    pub(crate) fn wait_greeting(gateway: &Running, code: u16) {
        wait::until(&format!("the gateway greets with {code}"), LONG, || {
            (Self::greeting(gateway) == Some(code)).then_some(())
        });
    }

    /// What a gateway says to another transaction.
    pub(crate) fn offer(client: &mut Client) -> u16 {
        client.command(&format!("MAIL FROM:<{FROM}>")).code
    }

    /// How many messages a gateway has; nothing before it answers.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    pub(crate) fn messages(gateway: &Running) -> Option<usize> {
        let count = admin::metric(gateway.admin(), "posthouse_queue_messages", &[]);
        Some(count.ok()? as usize)
    }

    /// Waits until the relay's status has what `look` looks for.
    pub(crate) fn wait_status<T>(
        &self,
        what: &str,
        relay: &str,
        look: impl Fn(&MailRelay) -> Option<T>,
    ) -> T {
        self.namespace
            .wait_longer_for::<MailRelay, _>(what, relay, LONG, |relay| look(relay?))
    }

    /// Waits for a condition; its message.
    pub(crate) fn wait_condition(
        &self,
        relay: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> String {
        let what = format!("{type_} is {status}: {reason}");
        self.wait_status(&what, relay, |relay| {
            let condition = condition(relay, type_)?;
            let fits = condition.status == status && condition.reason == reason;
            fits.then(|| condition.message.clone())
        })
    }

    /// Waits until a MailRelay is gone, and everything but claims that was its own.
    pub(crate) fn wait_gone(&self, relay: &str) {
        let what = "the MailRelay is gone";
        self.namespace
            .wait_longer_for::<MailRelay, _>(what, relay, LONG, |it| it.is_none().then_some(()));
        self.wait_childless(relay);
    }

    /// Waits until nothing is left of a relay's children.
    pub(crate) fn wait_childless(&self, relay: &str) {
        let selector = format!("posthouse.dev/relay={relay}");
        wait::until("no child is left", LONG, || {
            let kinds = "statefulsets,pods,services,configmaps,secrets,serviceaccounts,\
                         networkpolicies,poddisruptionbudgets";
            let get = ["get", kinds, "--selector", &selector, "--output", "name"];
            self.namespace
                .kubectl(&get, "")
                .trim()
                .is_empty()
                .then_some(())
        });
    }

    /// The messages of Events about a MailRelay with a reason, once there are any.
    pub(crate) fn wait_events(&self, relay: &str, reason: &str) -> Vec<String> {
        wait::until(&format!("an Event {reason} about {relay}"), LONG, || {
            let notes = self.events(relay, reason);
            (!notes.is_empty()).then_some(notes)
        })
    }

    /// The messages of Events about a MailRelay with a reason.
    pub(crate) fn events(&self, relay: &str, reason: &str) -> Vec<String> {
        let events = self.namespace.list::<Event>("").into_iter();
        events
            .filter(|event| event.reason.as_deref() == Some(reason))
            .filter(|event| {
                let about = event.regarding.as_ref();
                about.and_then(|about| about.name.as_deref()) == Some(relay)
            })
            .filter_map(|event| event.note)
            .collect()
    }

    /// The replicas a relay's StatefulSet is to have.
    pub(crate) fn replicas(&self, relay: &str) -> Option<i32> {
        self.namespace
            .get::<StatefulSet>(relay)
            .spec
            .unwrap()
            .replicas
    }

    /// The document as it lives.
    pub(crate) fn document(&self, relay: &str) -> String {
        let config = self.namespace.get::<ConfigMap>(&format!("{relay}-config"));
        config.data.unwrap()["gateway.yaml"].clone()
    }
}

/// A listener in clear that takes passwords.
pub(crate) fn listener(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "protocol": "Submission",
        "port": port,
        "tls": {"policy": "Disabled"},
        "plaintextAuthentication": "Allow",
    })
}

/// A condition of a relay's status.
fn condition<'a>(relay: &'a MailRelay, type_: &str) -> Option<&'a Condition> {
    let conditions = &relay.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == type_)
}
