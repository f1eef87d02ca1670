//! The bindings of a local run: a folder of files for each sender, and the same as objects.
//!
//! `bindings.yaml` holds what a cluster would hold: each sender's Secret, and the ConfigMap with the authority. Given
//! to another rendering with `-f`, it lets one gateway be the provider of another.

use std::collections::BTreeMap;

use posthouse_config::{credential::Key, yaml};
use serde::Serialize;
use serde_json::{Value, json};

use super::{LocalError, Request, authority_name, folder::Folder};
use crate::{
    certificate::Certified,
    mail_relay::{build::Place, validate::CertificateSource},
    mail_sender::{
        Admitted,
        build::{Server, binding},
        validate::ValidCredential,
    },
    names,
    secret::SecretType,
};

/// The file with all bindings as objects.
const OBJECTS: &str = "bindings.yaml";

/// A binding that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrittenBinding {
    /// Its folder.
    pub directory: String,
    /// The user name in it.
    pub username: String,
    /// The host in it.
    pub host: String,
    /// The port in it.
    pub port: String,
    /// `none`, `starttls` or `implicit`.
    pub tls: String,
}

pub(super) fn write(
    folder: &Folder,
    request: &Request<'_>,
    place: &Place,
    relay_key: &Key,
    authority: Option<&Certified>,
) -> Result<Vec<WrittenBinding>, LocalError> {
    let mut objects = Vec::new();
    let mut written = Vec::new();
    for admitted in request.admitted {
        let Some(credential) = &admitted.sender.credential else {
            continue;
        };
        let certificates = authority
            .filter(|_| admitted.listener.certificate == Some(CertificateSource::Issued))
            .map(|authority| authority.certificate.clone());
        let server = Server::at(place.address(&admitted.listener), certificates);
        let keys: BTreeMap<_, _> = binding(admitted, relay_key, credential.rotation, &server)
            .into_iter()
            .collect();
        let name = folder_name(request.admitted, admitted);
        for (key, value) in &keys {
            folder.write_below(&["bindings", &name, key], value.as_bytes())?;
        }
        objects.push(secret(&admitted.sender.namespace, credential, &keys));
        let value = |key| keys.get(key).cloned().unwrap_or_default();
        written.push(WrittenBinding {
            directory: folder.display(&format!("bindings/{name}")),
            username: value("username"),
            host: value("host"),
            port: value("port"),
            tls: value("tls"),
        });
    }
    objects.extend(authority.map(|authority| config_map(request, authority)));
    let texts = objects
        .iter()
        .map(yaml::to_string)
        .collect::<Result<Vec<_>, _>>()?;
    folder.write(OBJECTS, texts.join("---\n").as_bytes())?;
    Ok(written)
}

/// The sender's name; with its namespace where another namespace has the same name.
fn folder_name(all: &[Admitted], admitted: &Admitted) -> String {
    let name = &admitted.sender.name;
    let of_name = all
        .iter()
        .filter(|other| other.sender.name == *name)
        .count();
    if of_name > 1 {
        format!("{name}.{}", admitted.sender.namespace)
    } else {
        name.clone()
    }
}

fn secret(namespace: &str, credential: &ValidCredential, keys: &BTreeMap<&str, String>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": credential.secret_name,
            "namespace": namespace,
            "labels": credential.secret_template.labels,
            "annotations": credential.secret_template.annotations,
        },
        "type": SecretType::Binding.as_str(),
        "stringData": keys,
    })
}

fn config_map(request: &Request<'_>, authority: &Certified) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": authority_name(request.relay), "namespace": request.relay.namespace },
        "data": { names::CA_KEY: authority.certificate },
    })
}
