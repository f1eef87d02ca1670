//! The ConfigMaps: the anchor, the document, the senders file, and the certificate of our own authority.
//!
//! Document and senders carry a number, the live one's and one more when anything else in them changes. The live
//! object's resourceVersion goes along as a precondition: of two writers who both saw number 7, one must not write
//! another 8.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use posthouse_api::MailRelay;
use posthouse_config::{
    document, senders,
    yaml::{self, YamlError},
};
use serde::Deserialize;
use serde_json::Value;

use super::{BuildError, Place, Request, Terms, gateway_config, owner, wants_issued};
use crate::{input::DEFAULT_NAMESPACE, labels, names};

/// What people who find the anchor are told.
const ABOUT: &str = "Owns the gateways of this MailRelay beside the MailRelay itself, so that their mail is relayed \
    before they go. Deleting this ConfigMap deletes the gateways once the MailRelay is gone.";

/// The anchor. It is applied before everything else, whose second owner it is, and has no owner itself.
pub fn anchor(relay: &MailRelay) -> ConfigMap {
    let metadata = &relay.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    let namespace = metadata.namespace.clone();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::anchor(&name)),
            namespace: Some(namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())),
            labels: Some(labels::of_child(&name, owner::uid(relay))),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("about".to_owned(), ABOUT.to_owned())])),
        ..ConfigMap::default()
    }
}

/// The document.
pub(super) fn config(request: &Request<'_>) -> Result<ConfigMap, BuildError> {
    let terms = |number| Terms {
        number,
        replicas: request.plan.document_replicas,
        gateways: request.plan.replicas,
        rotations: request.keys.accepted().collect(),
        issuers: request.issuers,
    };
    let document = |number| gateway_config(request.valid, &Place::Pod, &terms(number));
    // What the gateways would refuse must not be written: they go on with the document they have.
    let check = document(1).check();
    check.map_err(|error| BuildError::Refused(error.to_string()))?;
    let live = request.live.config.as_deref();
    let text = numbered(
        live.or(request.written.config.as_deref()),
        document::FILE_NAME,
        request.reported.document,
        |number| gateway_config::text(&document(number)),
    )?;
    let mut made = object(request, names::config(&request.valid.name), live);
    made.metadata.annotations = Some(BTreeMap::from([(
        labels::KEY_ROTATION_TIME.to_owned(),
        request.keys.since.to_string(),
    )]));
    made.data = Some(BTreeMap::from([(document::FILE_NAME.to_owned(), text)]));
    Ok(made)
}

/// The senders file, without spaces: a ConfigMap has room for 1 MiB.
pub(super) fn senders(request: &Request<'_>) -> Result<ConfigMap, BuildError> {
    let live = request.live.senders.as_deref();
    let mut file = gateway_config::senders(request.valid, request.senders.clone(), 1);
    let text = numbered(
        live.or(request.written.senders.as_deref()),
        senders::FILE_NAME,
        request.reported.senders,
        |number| {
            file.number = number;
            serde_json::to_string(&file).map_err(YamlError::NotJson)
        },
    )?;
    let mut made = object(request, names::senders(&request.valid.name), live);
    made.data = Some(BTreeMap::from([(senders::FILE_NAME.to_owned(), text)]));
    Ok(made)
}

/// The certificate of our own authority, where a listener has one of it.
pub(super) fn authority(request: &Request<'_>) -> Option<ConfigMap> {
    let certificate = request.authority.filter(|_| wants_issued(request.valid))?;
    let mut made = object(request, names::ca_config_map(&request.valid.name), None);
    made.data = Some(BTreeMap::from([(
        names::CA_KEY.to_owned(),
        certificate.to_owned(),
    )]));
    Some(made)
}

/// The live document with another `replicas` and the next number, for a relay that is being deleted: its spec may be
/// invalid by now. Members we do not know stay. `None` if the live object holds no document.
pub fn with_replicas(live: &ConfigMap, replicas: u32) -> Option<ConfigMap> {
    let text = live.data.as_ref()?.get(document::FILE_NAME)?;
    let mut value = yaml::documents(text).ok()?.into_iter().next()?;
    let number = value.get("number")?.as_u64()?;
    let members = value.as_object_mut()?;
    let before = members.insert("replicas".to_owned(), Value::from(replicas));
    let text = if before == Some(Value::from(replicas)) {
        text.clone()
    } else {
        members.insert("number".to_owned(), Value::from(number.saturating_add(1)));
        gateway_config::ordered(&value).ok()?
    };
    let is_anchor = |owner: &OwnerReference| owner.kind == "ConfigMap";
    Some(again(live, document::FILE_NAME, text, is_anchor))
}

/// The live senders file with the next number and without the rows of MailSenders that are gone, by uid, for a relay
/// whose spec may be invalid by now. Members we do not know stay. `None` if no row has to go, or none can be read.
pub fn without_senders(live: &ConfigMap, is_gone: impl Fn(&str) -> bool) -> Option<ConfigMap> {
    let text = live.data.as_ref()?.get(senders::FILE_NAME)?;
    let mut value: Value = serde_json::from_str(text).ok()?;
    let number = value.get("number")?.as_u64()?;
    let members = value.as_object_mut()?;
    let rows = members.get_mut("senders")?.as_array_mut()?;
    let before = rows.len();
    rows.retain(|row| !row.get("uid").and_then(Value::as_str).is_some_and(&is_gone));
    if rows.len() == before {
        return None;
    }
    members.insert("number".to_owned(), Value::from(number.saturating_add(1)));
    let is_ours = |owner: &OwnerReference| matches!(owner.kind.as_str(), "MailRelay" | "ConfigMap");
    Some(again(live, senders::FILE_NAME, value.to_string(), is_ours))
}

/// A live ConfigMap as we apply it, with another text and those of its owners that stay.
fn again(
    live: &ConfigMap,
    file: &str,
    text: String,
    stays: impl Fn(&OwnerReference) -> bool,
) -> ConfigMap {
    let metadata = &live.metadata;
    let owners = metadata.owner_references.iter().flatten();
    ConfigMap {
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            resource_version: metadata.resource_version.clone(),
            labels: Some(ours(metadata.labels.as_ref(), &labels::CHILD)),
            annotations: Some(ours(
                metadata.annotations.as_ref(),
                &[labels::KEY_ROTATION_TIME],
            )),
            owner_references: Some(owners.filter(|owner| stays(owner)).cloned().collect()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(file.to_owned(), text)])),
        ..ConfigMap::default()
    }
}

/// Those of some keys: what others added is not ours to apply.
fn ours(all: Option<&BTreeMap<String, String>>, keys: &[&str]) -> BTreeMap<String, String> {
    let all = all.into_iter().flatten();
    let wanted = all.filter(|(key, _)| keys.contains(&key.as_str()));
    wanted
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn object(request: &Request<'_>, name: String, live: Option<&ConfigMap>) -> ConfigMap {
    let mut metadata = owner::metadata(request, name);
    metadata.resource_version = live.and_then(|live| live.metadata.resource_version.clone());
    ConfigMap {
        metadata,
        ..ConfigMap::default()
    }
}

/// A file with the live one's number if it is otherwise the same, octet for octet, and with the next number if not: one
/// that neither the live file nor any gateway had.
fn numbered<E>(
    live: Option<&ConfigMap>,
    file: &str,
    reported: u64,
    mut write: impl FnMut(u64) -> Result<String, E>,
) -> Result<String, E> {
    let live = live.and_then(|live| live.data.as_ref()?.get(file));
    let Some((live, number)) = live.and_then(|live| Some((live, number(live)?))) else {
        return write(reported.saturating_add(1));
    };
    if number >= reported {
        let same = write(number)?;
        if same == *live {
            return Ok(same);
        }
    }
    write(number.max(reported).saturating_add(1))
}

/// The number of the document or the senders file in a ConfigMap; 0 if it holds none.
pub fn number_of(map: &ConfigMap) -> u64 {
    let mut files = map.data.iter().flatten().map(|(_, text)| text);
    files.find_map(|text| number(text)).unwrap_or_default()
}

/// The number in a file, whatever else is in it. The senders file is JSON and may be large; JSON is YAML, but many times
/// slower to read as such.
fn number(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        number: u64,
    }
    if text.starts_with('{')
        && let Ok(head) = serde_json::from_str::<Head>(text)
    {
        return Some(head.number);
    }
    let value = yaml::documents(text).ok()?.into_iter().next()?;
    value.get("number")?.as_u64()
}
