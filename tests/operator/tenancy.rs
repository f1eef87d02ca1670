//! A relay in one namespace and applications in others: what the promises about who may send are watched on.
//!
//! Applications connect as they would in a cluster, over STARTTLS and trusting the relay's authority alone; Services have
//! no addresses here, so the pod is dialled, by the Service's name.

use std::{net::SocketAddr, sync::Arc};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::ResourceExt;
use posthouse_api::MailSender;
use posthouse_config::{Senders, senders};
use posthouse_tests::{
    Client, Cluster, Namespace, Provider, Reply, Script, client::message, kubelet::Running, pki,
    wait,
};

/// The relay.
pub(crate) const RELAY: &str = "outbound";

/// Who gets all mail.
const TO: &str = "someone@customer.example";

/// Where the default listener is in a pod.
const PORT: u16 = 2587;

/// A relay in a namespace of its own.
pub(crate) struct Tenancy {
    pub(crate) namespace: Namespace,
    pub(crate) provider: Provider,
}

/// A user name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Tenancy {
    /// Applies a relay with these grants, as flow YAML; its pod may still be starting.
    pub(crate) fn apply(cluster: &Arc<Cluster>, grants: &str) -> Self {
        let tenancy = Self {
            namespace: cluster.namespace(),
            provider: Provider::start(Script::take()),
        };
        tenancy.grant(grants);
        tenancy
    }

    /// The relay with other grants.
    pub(crate) fn grant(&self, grants: &str) {
        let port = self.provider.port();
        self.namespace.apply(&format!(
            "apiVersion: posthouse.dev/v1alpha1
kind: MailRelay
metadata: {{ name: {RELAY} }}
spec:
  replicas: 1
  hostname: mail.example.com
  listeners:
    - {{ name: submission, protocol: Submission, port: 587, tls: {{ selfSigned: true }} }}
    - {{ name: clear, protocol: Submission, port: 2525, tls: {{ policy: Disabled }}, plaintextAuthentication: Allow }}
  retry: {{ initialSeconds: 1, maximumSeconds: 2, expirySeconds: 86400 }}
  clients: {{ grants: {grants} }}
  upstreams:
    - {{ name: provider, provider: Custom, endpoint: {{ host: 127.0.0.1, port: {port}, tls: {{ mode: None }} }} }}
"
        ));
    }

    /// Applies a sender of this relay in a namespace; `more` is the rest of its spec, as lines of YAML.
    pub(crate) fn sender(&self, namespace: &Namespace, name: &str, from: &str, more: &str) {
        let relay = self.namespace.name();
        namespace.apply(&format!(
            "apiVersion: posthouse.dev/v1alpha1
kind: MailSender
metadata: {{ name: {name} }}
spec:
  relayRef: {{ name: {RELAY}, namespace: {relay} }}
  from: [{from}]
{more}
"
        ));
    }

    /// The relay's only gateway, once it is ready.
    pub(crate) fn gateway(&self) -> Arc<Running> {
        self.namespace.wait_ready(&format!("{RELAY}-0"))
    }

    /// Where applications connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway().port(PORT)
    }

    /// A session with TLS, in which nobody has logged in.
    pub(crate) fn client(&self) -> Client {
        let authority: ConfigMap = self.namespace.get(&format!("{RELAY}-ca"));
        let trust = pki::trusting(&authority.data.unwrap()["ca.crt"]);
        let host = format!("{RELAY}.{}.svc", self.namespace.name());
        let mut client = Client::connect(self.address());
        client.hello();
        client.start_tls(trust, &host);
        client
    }

    /// The reply to a password.
    pub(crate) fn log_in(&self, login: &Login) -> Reply {
        self.client().auth(&login.username, &login.password)
    }

    /// A session of somebody who has logged in.
    pub(crate) fn session(&self, login: &Login) -> Client {
        let mut client = self.client();
        let reply = client.auth(&login.username, &login.password);
        assert_eq!(reply.code, 235, "{}", reply.text());
        client
    }

    /// Hands over a message and waits until the provider has it.
    pub(crate) fn send(&self, login: &Login, from: &str, subject: &str) {
        send(&mut self.session(login), from, subject);
        self.wait_relayed(subject);
    }

    /// Waits until the provider has a message.
    pub(crate) fn wait_relayed(&self, subject: &str) {
        wait::until_true("the provider has the message", || {
            self.provider.subjects().contains_key(subject)
        });
    }

    /// The senders file as it is.
    pub(crate) fn senders(&self) -> Senders {
        let file: ConfigMap = self.namespace.get(&format!("{RELAY}-senders"));
        Senders::parse(&file.data.unwrap()[senders::FILE_NAME]).unwrap()
    }

    /// Waits until the gateway takes a password no more.
    pub(crate) fn wait_refused(&self, login: &Login) {
        wait::until_true("the password is refused", || {
            match self.log_in(login).code {
                235 => false,
                code => {
                    assert_eq!(code, 535);
                    true
                }
            }
        });
    }
}

/// Hands over a message in a session, which must be accepted.
pub(crate) fn send(client: &mut Client, from: &str, subject: &str) {
    let reply = client.send(from, &[TO], &message(from, subject));
    assert_eq!(reply.code, 250, "{}", reply.text());
}

/// Waits until a condition of a sender has a reason and is about the sender as it is now.
pub(crate) fn told(namespace: &Namespace, name: &str, type_: &str, reason: &str) -> Condition {
    let what = format!("{type_} of {name} is {reason}");
    namespace.wait_longer_for::<MailSender, _>(&what, name, wait::SOON * 3, |sender| {
        let conditions = &sender?.status.as_ref()?.conditions;
        let condition = conditions
            .iter()
            .find(|condition| condition.type_ == type_)?;
        let is_now = condition.observed_generation == sender?.metadata.generation;
        (condition.reason == reason && is_now).then(|| condition.clone())
    })
}

/// Waits until a sender is ready; the Secret of its binding.
pub(crate) fn ready(namespace: &Namespace, name: &str) -> Secret {
    told(namespace, name, "Ready", "Ready");
    let sender: MailSender = namespace.get(name);
    let binding = sender.status.unwrap().binding.expect("a binding");
    namespace.get(&binding.name)
}

/// Waits until a sender is ready; what its Secret holds.
pub(crate) fn login(namespace: &Namespace, name: &str) -> Login {
    Login::of(&ready(namespace, name))
}

impl Login {
    /// What a Secret holds.
    pub(crate) fn of(secret: &Secret) -> Self {
        let data = secret.data.as_ref().unwrap();
        let text = |key: &str| {
            let value = data
                .get(key)
                .unwrap_or_else(|| panic!("{} has {key}", secret.name_any()));
            String::from_utf8(value.0.clone()).unwrap()
        };
        Self {
            username: text("username"),
            password: text("password"),
        }
    }
}
