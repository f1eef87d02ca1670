//! A folder in which a gateway runs: its document, senders, secrets and spool. It outlives the process, so a test can
//! kill one gateway and start the next on what it left.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use posthouse_config::{
    Document, Senders,
    credential::Key,
    document,
    document::{
        Anonymous, Auth, BareNewlines, Keys, Limits, Listener, LongLines, PlaintextAuthentication,
        Protocol, Relay, RelayKey, ReportTo, Reports, Retry, Route, SmtpTransport, SpoolSettings,
        Stop, Target, TlsPolicy, Trace, Transport, Upstream, UpstreamLimits, UpstreamTls,
        UpstreamTlsMode, listener::Certificate,
    },
    senders,
    senders::Sender,
    yaml,
};
use tempfile::TempDir;

use crate::{Identity, gateway::Gateway};

/// The uid of every test sender.
const UID: &str = "6f1ed002-ab5c-4a5e-8b1a-000000000001";

/// A gateway's folder.
pub struct Site {
    root: TempDir,
    /// What `gateway.yaml` will hold after the next [`Site::write`].
    pub document: Document,
    /// What `senders.json` will hold after the next [`Site::write`].
    pub senders: Senders,
    key: Key,
}

impl Site {
    /// One anonymous `Smtp` listener named `plain` on loopback, small segments, quick retries; no upstream yet.
    pub fn new() -> Self {
        Self::inside(&std::env::temp_dir())
    }

    /// As `new`, in a folder below another: on the file system that one is on.
    pub fn inside(folder: &Path) -> Self {
        let senders = Senders {
            format: 1,
            ..Senders::default()
        };
        let site = Self {
            root: TempDir::with_prefix_in("posthouse-", folder).unwrap(),
            document: document(),
            senders,
            key: Key::try_from(&[7; 32][..]).unwrap(),
        };
        site.secret("keys/relay-1", site.key.as_bytes());
        site
    }

    /// With one clear-text upstream named `provider` at a port of loopback, and a route to it.
    pub fn relaying_to(port: u16) -> Self {
        let mut site = Self::new();
        site.upstream("provider", port);
        site
    }

    /// The document's folder.
    pub fn folder(&self) -> PathBuf {
        self.root.path().join("config")
    }

    /// The spool's folder.
    pub fn spool(&self) -> PathBuf {
        self.root.path().join("spool")
    }

    /// A path beside both, for a test's own files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Adds an upstream without TLS and without AUTH; the first one added gets the only route.
    pub fn upstream(&mut self, name: &str, port: u16) -> &mut SmtpTransport {
        self.document.upstreams.push(Upstream {
            name: name.to_owned(),
            senders: None,
            transport: Transport::Smtp(SmtpTransport {
                host: "127.0.0.1".to_owned(),
                port,
                tls: UpstreamTls {
                    mode: UpstreamTlsMode::None,
                    server_name: None,
                    ca: None,
                },
                auth: None,
                limits: UpstreamLimits::default(),
            }),
        });
        if self.document.routes.is_empty() {
            self.document.routes.push(route("default", name));
        }
        match self
            .document
            .upstreams
            .last_mut()
            .map(|last| &mut last.transport)
        {
            Some(Transport::Smtp(smtp)) => smtp,
            _ => unreachable!("an SMTP upstream was pushed"),
        }
    }

    /// The settings of an upstream.
    pub fn transport(&mut self, name: &str) -> &mut SmtpTransport {
        let mut upstreams = self.document.upstreams.iter_mut();
        let upstream = upstreams.find(|upstream| upstream.name == name).unwrap();
        match &mut upstream.transport {
            Transport::Smtp(smtp) => smtp,
            Transport::Capture(_) => panic!("{name} captures"),
        }
    }

    /// Gives an upstream TLS that trusts one authority.
    pub fn upstream_tls(&mut self, name: &str, mode: UpstreamTlsMode, authority: &str) {
        let file = format!("secrets/{name}/ca.crt");
        self.secret(&file, authority.as_bytes());
        self.transport(name).tls = UpstreamTls {
            mode,
            server_name: Some("provider.example".to_owned()),
            ca: Some(file),
        };
    }

    /// Gives an upstream a user name and a password.
    pub fn upstream_auth(&mut self, name: &str, username: &str, password: &str) {
        let file = |key: &str| format!("secrets/{name}/{key}");
        self.secret(&file("username"), username.as_bytes());
        self.secret(&file("password"), password.as_bytes());
        self.transport(name).auth = Some(Auth::Password {
            username: file("username"),
            password: file("password"),
        });
    }

    /// Adds a listener with a certificate.
    pub fn listener(
        &mut self,
        name: &str,
        protocol: Protocol,
        tls: TlsPolicy,
        identity: &Identity,
    ) {
        let file = |key: &str| format!("secrets/{name}/{key}");
        self.certificate(name, identity);
        self.document.listeners.push(Listener {
            certificate: Some(Certificate {
                chain: file("tls.crt"),
                key: file("tls.key"),
            }),
            ..listener(name, protocol, tls)
        });
    }

    /// Replaces the certificate of a listener.
    pub fn certificate(&self, name: &str, identity: &Identity) {
        self.secret(&format!("secrets/{name}/tls.key"), identity.key.as_bytes());
        self.secret(
            &format!("secrets/{name}/tls.crt"),
            identity.chain.as_bytes(),
        );
    }

    /// Adds a sender of namespace `shop` that may send as everybody at `domain`; gives its user name and password.
    pub fn sender(&mut self, name: &str, domain: &str) -> (String, String) {
        self.senders.number += 1;
        self.senders.senders.push(Sender {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            uid: UID.to_owned(),
            rotations: vec![1],
            service_accounts: Vec::new(),
            from: vec![domain.parse().unwrap()],
            class: senders::Class::default(),
            limits: senders::SenderLimits::default(),
            expiry_seconds: None,
            reports: None,
        });
        (format!("{name}.shop"), self.key.password(UID, 1))
    }

    /// Writes a secret file, replacing it by rename.
    pub fn secret(&self, file: &str, content: &[u8]) {
        replace(&self.folder().join(file), content);
    }

    /// Writes the documents, each with a greater number; `gateway.yaml` last.
    pub fn write(&mut self) {
        self.document.number += 1;
        self.document.generation += 1;
        let folder = self.folder();
        let senders = serde_json::to_vec_pretty(&self.senders).unwrap();
        replace(&folder.join(senders::FILE_NAME), &senders);
        let text = yaml::to_string(&self.document).unwrap();
        replace(&folder.join(document::FILE_NAME), text.as_bytes());
    }

    /// Writes the documents and runs a gateway on them, ready to take mail.
    pub fn start(&mut self) -> Gateway {
        self.write();
        Gateway::start(&self.folder(), &self.spool())
    }

    /// Runs a gateway on what is there, ready to take mail.
    pub fn restart(&self) -> Gateway {
        Gateway::start(&self.folder(), &self.spool())
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// A route of everything to one upstream.
pub fn route(name: &str, upstream: &str) -> Route {
    Route {
        name: name.to_owned(),
        targets: vec![Target {
            upstream: upstream.to_owned(),
            priority: 0,
            weight: 1,
        }],
        spill_seconds: 900,
        ..Route::default()
    }
}

fn listener(name: &str, protocol: Protocol, tls: TlsPolicy) -> Listener {
    Listener {
        name: name.to_owned(),
        protocol,
        address: ([127, 0, 0, 1], 0).into(),
        tls,
        certificate: None,
        plaintext_authentication: PlaintextAuthentication::Refuse,
        bare_newlines: BareNewlines::Repair,
        long_lines: LongLines::Fold,
    }
}

fn document() -> Document {
    Document {
        format: document::FORMAT,
        needs: Vec::new(),
        number: 0,
        generation: 0,
        relay: Relay {
            namespace: "mail-system".to_owned(),
            name: "outbound".to_owned(),
        },
        hostname: "mail.example.com".to_owned(),
        replicas: 1,
        gateways: None,
        loopback_is_trusted: true,
        keys: Keys {
            relay: vec![RelayKey {
                rotation: 1,
                path: "keys/relay-1".to_owned(),
            }],
            link: None,
        },
        tokens: None,
        listeners: vec![listener("plain", Protocol::Smtp, TlsPolicy::Disabled)],
        anonymous: Some(Anonymous {
            networks: vec!["127.0.0.0/8".parse().unwrap()],
            sender_domains: vec!["*".parse().unwrap()],
        }),
        upstreams: Vec::new(),
        routes: Vec::new(),
        retry: Retry {
            initial_seconds: 1,
            maximum_seconds: 2,
            ..Retry::default()
        },
        reports: Reports {
            to: ReportTo::ReversePath,
            sender: Some("postmaster@mail.example.com".to_owned()),
            address: None,
        },
        limits: Limits::default(),
        spool: SpoolSettings {
            segment_bytes: 1 << 20,
        },
        stop: Stop {
            lag_seconds: 0,
            grace_seconds: 10,
        },
        trace: Trace::Minimal,
    }
}

/// Writes a file whole or not at all: readers never see half of it.
fn replace(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&new).unwrap().write_all(content).unwrap();
    fs::rename(&new, path).unwrap();
}
