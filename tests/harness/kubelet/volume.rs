//! What is in a pod's volumes: files of ConfigMaps, Secrets and the downward API.
//!
//! A required source that is missing keeps the pod from starting and keeps what a running pod has; an optional one is as
//! good as empty. The same holds for keys that `items` name (`pkg/volume/projected/projected.go`).

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Pod,
    Secret, SecretProjection, Volume, VolumeProjection,
};
use std::{collections::BTreeMap, sync::Arc};

use super::writer::{File, Files};

/// Kubernetes' own default.
const MODE: i32 = 0o644;

/// Where objects come from.
pub(super) trait Objects {
    /// A ConfigMap of the pod's namespace.
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>>;
    /// A Secret of the pod's namespace.
    fn secret(&self, name: &str) -> Option<Arc<Secret>>;
}

/// The files of a volume; `None` where the volume is not made of objects.
///
/// # Errors
/// What is required and missing.
pub(super) fn files(
    volume: &Volume,
    pod: &Pod,
    objects: &impl Objects,
) -> Result<Option<Files>, String> {
    let mut files = Files::new();
    if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(MODE);
        for source in projected.sources.iter().flatten() {
            files.extend(projection(source, mode, pod, objects)?);
        }
    } else if let Some(given) = &volume.config_map {
        let source = ConfigMapProjection {
            items: given.items.clone(),
            name: given.name.clone(),
            optional: given.optional,
        };
        let mode = given.default_mode.unwrap_or(MODE);
        files.extend(config_map(&source, mode, objects)?);
    } else if let Some(given) = &volume.secret {
        let source = SecretProjection {
            items: given.items.clone(),
            name: given.secret_name.clone().unwrap_or_default(),
            optional: given.optional,
        };
        let mode = given.default_mode.unwrap_or(MODE);
        files.extend(secret(&source, mode, objects)?);
    } else {
        return Ok(None);
    }
    Ok(Some(files))
}

fn projection(
    source: &VolumeProjection,
    mode: i32,
    pod: &Pod,
    objects: &impl Objects,
) -> Result<Files, String> {
    let mut files = Files::new();
    if let Some(source) = &source.config_map {
        files.extend(config_map(source, mode, objects)?);
    }
    if let Some(source) = &source.secret {
        files.extend(secret(source, mode, objects)?);
    }
    let downward = source.downward_api.as_ref();
    for item in downward
        .and_then(|downward| downward.items.as_ref())
        .into_iter()
        .flatten()
    {
        files.extend(downward_file(item, mode, pod));
    }
    Ok(files)
}

fn config_map(
    source: &ConfigMapProjection,
    mode: i32,
    objects: &impl Objects,
) -> Result<Files, String> {
    let optional = source.optional == Some(true);
    let Some(object) = objects.config_map(&source.name) else {
        return missing(
            optional,
            &format!("configmap \"{}\" not found", source.name),
        );
    };
    let texts = object.data.iter().flatten();
    let texts = texts.map(|(key, text)| (key.as_str(), text.as_bytes()));
    let bytes = object.binary_data.iter().flatten();
    let bytes = bytes.map(|(key, bytes)| (key.as_str(), bytes.0.as_slice()));
    let data = texts.chain(bytes).collect();
    choose(&data, source.items.as_deref(), mode, optional)
}

fn secret(source: &SecretProjection, mode: i32, objects: &impl Objects) -> Result<Files, String> {
    let optional = source.optional == Some(true);
    let Some(object) = objects.secret(&source.name) else {
        return missing(optional, &format!("secret \"{}\" not found", source.name));
    };
    let data = object.data.iter().flatten();
    let data = data
        .map(|(key, bytes)| (key.as_str(), bytes.0.as_slice()))
        .collect();
    choose(&data, source.items.as_deref(), mode, optional)
}

fn missing(optional: bool, what: &str) -> Result<Files, String> {
    if optional {
        Ok(Files::new())
    } else {
        Err(what.to_owned())
    }
}

/// All keys under their own names, or those that `items` name under the paths they give.
fn choose(
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<Files, String> {
    let file = |content: &[u8], mode: i32| File {
        content: content.to_vec(),
        mode: mode.unsigned_abs(),
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = data.iter();
        return Ok(all
            .map(|(&key, content)| (key.to_owned(), file(content, mode)))
            .collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(content) => {
                files.insert(item.path.clone(), file(content, item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(format!("references non-existent key: {}", item.key)),
        }
    }
    Ok(files)
}

fn downward_file(item: &DownwardAPIVolumeFile, mode: i32, pod: &Pod) -> Option<(String, File)> {
    let content = field(item.field_ref.as_ref()?, pod)?.into_bytes();
    let mode = item.mode.unwrap_or(mode).unsigned_abs();
    Some((item.path.clone(), File { content, mode }))
}

/// The value of a field of the pod, as `fieldRef` names it. Of a missing label it is empty.
pub(super) fn field(selector: &ObjectFieldSelector, pod: &Pod) -> Option<String> {
    let metadata = &pod.metadata;
    let quoted = |prefix: &str| {
        let rest = selector.field_path.strip_prefix(prefix)?;
        rest.strip_suffix("']")
    };
    let value = |map: &Option<BTreeMap<String, String>>, key: &str| {
        let value = map.as_ref().and_then(|map| map.get(key));
        value.cloned().unwrap_or_default()
    };
    if let Some(key) = quoted("metadata.labels['") {
        return Some(value(&metadata.labels, key));
    }
    if let Some(key) = quoted("metadata.annotations['") {
        return Some(value(&metadata.annotations, key));
    }
    match selector.field_path.as_str() {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => pod.spec.as_ref()?.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.as_ref()?.service_account_name.clone(),
        other => {
            eprintln!("kubelet: the stand-in does not know the field {other}");
            None
        }
    }
}

#[cfg(test)]
mod tests;
