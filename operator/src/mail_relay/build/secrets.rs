//! The Secrets of a relay, as drafts: they are never read, so they are written whole.
//!
//! Keys are derived from the installation's master and can be written again at any time; the certificate is random and
//! is written when it is issued.

use std::collections::BTreeMap;

use posthouse_config::credential::Key;

use super::{Request, owner::uid};
use crate::{
    certificate::Certified,
    labels,
    mail_relay::ValidRelay,
    names,
    secret::{SecretDraft, SecretType},
    settings::Settings,
};

/// The relay keys that count, and the link key of the current rotation.
pub fn keys_secret(request: &Request<'_>, master: &Key) -> SecretDraft {
    let ValidRelay {
        namespace, name, ..
    } = request.valid;
    let relay_key = |rotation| master.relay(namespace, name, rotation).as_bytes().to_vec();
    let mut data: BTreeMap<_, _> = request
        .keys
        .accepted()
        .map(|rotation| (names::relay_key_file(rotation), relay_key(rotation)))
        .collect();
    let link = master.link(namespace, name, request.keys.current);
    data.insert(names::LINK_KEY.to_owned(), link.as_bytes().to_vec());
    draft(request, names::keys(name), data)
}

/// The certificate of `selfSigned` listeners, with that of the authority which issued it.
pub fn issued_secret(request: &Request<'_>, leaf: &Certified, authority: &str) -> SecretDraft {
    let data = [
        (names::CERTIFICATE_KEY, leaf.certificate.as_str()),
        (names::PRIVATE_KEY_KEY, leaf.key.as_str()),
        (names::CA_KEY, authority),
    ];
    let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    draft(request, names::issued(&request.valid.name), data.into())
}

/// The names of that certificate: by each of them applications reach the Service.
pub fn issued_names(relay: &ValidRelay, settings: &Settings) -> Vec<String> {
    let ValidRelay {
        namespace, name, ..
    } = relay;
    let service = names::workload(name);
    let host = names::service_host(name, namespace);
    vec![
        format!("{service}.{namespace}"),
        format!("{host}.{}", settings.cluster_domain),
        host,
    ]
}

fn draft(request: &Request<'_>, name: String, data: BTreeMap<String, Vec<u8>>) -> SecretDraft {
    SecretDraft {
        namespace: request.valid.namespace.clone(),
        name,
        secret_type: SecretType::Relay,
        labels: labels::of_child(&request.valid.name, uid(request.relay)),
        annotations: BTreeMap::new(),
        owners: request.owners.references(),
        data,
    }
}
