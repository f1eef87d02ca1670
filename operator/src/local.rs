//! What `render --local` writes, and in which order.
//!
//! ```text
//! keys/master, keys/ca.*   made once and kept, so that rendering again changes no password
//! keys/relay, tls/issued, secrets, configmaps
//! bindings, bindings.yaml
//! senders.json
//! gateway.yaml             last: what it names is there
//! ```
//! Every file is replaced by rename and can be read by its owner only.

mod bindings;
mod folder;
mod keys;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, str::FromStr};

use jiff::Timestamp;
use posthouse_config::{Document, Senders, document, senders, yaml};
use serde::Serialize;

use crate::{
    certificate::{self, CertificateError, Certified},
    input::Input,
    mail_relay::{
        ValidRelay,
        build::{self, Place, Terms, place},
        dereference::ObjectKind,
        validate::{CertificateSource, ValidTransport},
    },
    mail_sender::Admitted,
    names,
};
pub use bindings::WrittenBinding;
use folder::Folder;
pub use folder::FolderError;

/// A listener and where it shall bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The listener's name.
    pub name: String,
    /// The address.
    pub address: SocketAddr,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text
            .split_once('=')
            .ok_or("must be NAME=ADDR, as in submission=127.0.0.1:2587")?;
        let address: SocketAddr = address.parse().map_err(|_| {
            format!("must have an address and a port, as in 127.0.0.1:2587, is {address:?}")
        })?;
        if address.port() == 0 {
            return Err(
                "must have a port, since it is written into bindings; `run --listen` takes port 0"
                    .to_owned(),
            );
        }
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// What shall be written.
pub struct Request<'a> {
    /// The relay.
    pub relay: &'a ValidRelay,
    /// The MailSenders it admits.
    pub admitted: &'a [Admitted],
    /// Every object that was given; what the relay refers to is among them.
    pub input: &'a Input,
    /// Addresses that were asked for, by the listener's name.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// Certificates are made from it.
    pub now: Timestamp,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The document's path.
    pub config: String,
    /// Its number.
    pub number: u64,
    /// Each sender's binding.
    pub bindings: Vec<WrittenBinding>,
}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file or folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The machine has no randomness.
    #[error("make a key: the system gave no random octets")]
    Random,
    /// A key file that is there and is none of ours.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: posthouse_config::credential::KeyLengthError,
    },
    /// A document that could not be written as YAML or JSON.
    #[error("write the document")]
    Encode(#[from] yaml::YamlError),
    /// A document the gateway would refuse: a mistake of ours, found before it does harm.
    #[error("the gateway would refuse this document: {0}")]
    Refused(String),
}

/// Writes everything below a folder.
pub fn write(request: &Request<'_>, directory: &Path) -> Result<Written, LocalError> {
    let folder = Folder::open(directory)?;
    let place = Place::Local(request.addresses.clone());
    let mut document =
        build::gateway_config(request.relay, &place, &Terms::alone(request.relay, 1));
    let check = document.check();
    check.map_err(|error| LocalError::Refused(error.to_string()))?;
    let relay_key = keys::relay_key(&folder, request.relay, &place)?;
    let authority = issued(&folder, request)?;
    referred(&folder, request)?;
    let written = bindings::write(&folder, request, &place, &relay_key, authority.as_ref())?;
    write_senders(&folder, request)?;
    document.number = number(&folder, &document)?;
    let config = folder.write(document::FILE_NAME, build::text(&document)?.as_bytes())?;
    Ok(Written {
        config,
        number: document.number,
        bindings: written,
    })
}

/// The authority and a current leaf, where a listener wants one.
fn issued(folder: &Folder, request: &Request<'_>) -> Result<Option<Certified>, LocalError> {
    let wants = |source: &Option<CertificateSource>| *source == Some(CertificateSource::Issued);
    if !request
        .relay
        .listeners
        .iter()
        .any(|listener| wants(&listener.certificate))
    {
        return Ok(None);
    }
    let authority = keys::authority(folder, request.now)?;
    let names = [&request.relay.hostname, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let leaf = folder
        .read_text(place::ISSUED_CERTIFICATE)?
        .unwrap_or_default();
    let has_key = folder.read_text(place::ISSUED_KEY)?.is_some();
    if !has_key || !certificate::is_current(&leaf, &authority.certificate, &names, request.now) {
        let leaf = certificate::issue(&authority, &names, request.now)?;
        folder.write(place::ISSUED_KEY, leaf.key.as_bytes())?;
        folder.write(place::ISSUED_CERTIFICATE, leaf.certificate.as_bytes())?;
    }
    Ok(Some(authority))
}

/// The Secrets and ConfigMaps the relay refers to, a file for each key.
fn referred(folder: &Folder, request: &Request<'_>) -> Result<(), LocalError> {
    for (kind, name) in referred_names(request.relay) {
        let Some(object) = request
            .input
            .find(kind.as_str(), &request.relay.namespace, name)
        else {
            continue;
        };
        let below = match kind {
            ObjectKind::Secret => "secrets",
            ObjectKind::ConfigMap => "configmaps",
        };
        for (key, content) in object.content() {
            folder.write_below(&[below, name, &key], &content)?;
        }
    }
    Ok(())
}

fn referred_names(relay: &ValidRelay) -> Vec<(ObjectKind, &str)> {
    let mut found = Vec::new();
    for listener in &relay.listeners {
        if let Some(CertificateSource::Secret(name)) = &listener.certificate {
            found.push((ObjectKind::Secret, name.as_str()));
        }
    }
    for upstream in &relay.upstreams {
        if let ValidTransport::Smtp { ca, password, .. } = &upstream.transport {
            found.extend(
                ca.iter()
                    .map(|ca| (ObjectKind::from(ca.kind), ca.name.as_str())),
            );
            found.extend(
                password
                    .iter()
                    .map(|password| (ObjectKind::Secret, password.secret.as_str())),
            );
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn write_senders(folder: &Folder, request: &Request<'_>) -> Result<(), LocalError> {
    let rows = request
        .admitted
        .iter()
        .map(crate::mail_sender::build::sender)
        .collect();
    let mut new = build::senders(request.relay, rows, 1);
    let old = folder
        .read_text(senders::FILE_NAME)?
        .and_then(|text| Senders::parse(&text).ok());
    if let Some(old) = old {
        new.number = old.number;
        if new != old {
            new.number = old.number.saturating_add(1);
        }
    }
    let text = serde_json::to_string_pretty(&new).map_err(yaml::YamlError::NotJson)?;
    folder.write(senders::FILE_NAME, text.as_bytes())?;
    Ok(())
}

/// The number of a document: the former one's, or one more if anything is different.
fn number(folder: &Folder, new: &Document) -> Result<u64, LocalError> {
    let former = folder
        .read_text(document::FILE_NAME)?
        .and_then(|text| Document::parse(&text).ok());
    Ok(former.map_or(1, |former| {
        let mut same = new.clone();
        same.number = former.number;
        if same == former {
            former.number
        } else {
            former.number.saturating_add(1)
        }
    }))
}

/// The name of the ConfigMap with the authority.
fn authority_name(relay: &ValidRelay) -> String {
    names::ca_config_map(&relay.name)
}
