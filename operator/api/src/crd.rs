//! The CustomResourceDefinitions as they are printed.
//!
//! What the derive makes of the types is brought into the form we publish: nothing is nullable (a member without a
//! value is a mistake the API server should name), descriptions are one paragraph, and the parts taken from
//! Kubernetes' own types are cut to a sentence each and get the maxima they lack.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{MailRelay, MailSender};

/// Maxima of what comes from Kubernetes' own types, where it has none of its own.
const FOREIGN_ITEMS: i64 = 64;
const FOREIGN_LENGTH: i64 = 1024;
const FOREIGN_PROPERTIES: i64 = 32;

/// Both definitions, as `posthouse-operator crds` prints them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [MailRelay::crd(), MailSender::crd()]
        .into_iter()
        .map(published)
        .collect()
}

fn published(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(root) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            // `nullable` on the root's status is not ours to keep either.
            tidy(root);
        }
    }
    crd
}

/// Brings one schema and everything below it into the published form.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.title = None;
    schema.description = schema.description.take().map(|text| paragraph(&text));
    bound(schema);
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        tidy(property);
    }
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(several)) => several.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        tidy(values);
    }
}

/// The first paragraph as one line; of Kubernetes' own, often long, descriptions the first sentence.
fn paragraph(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or_default();
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= 320 {
        return line;
    }
    line.split_once(". ")
        .map_or(line.clone(), |(sentence, _)| format!("{sentence}."))
}

/// Gives a maximum to what has none.
fn bound(schema: &mut JSONSchemaProps) {
    match schema.type_.as_deref() {
        Some("array") => schema.max_items = schema.max_items.or(Some(FOREIGN_ITEMS)),
        Some("string") if schema.enum_.is_none() && schema.format.is_none() => {
            schema.max_length = schema.max_length.or(Some(FOREIGN_LENGTH));
        }
        Some("object") if schema.additional_properties.is_some() => {
            schema.max_properties = schema.max_properties.or(Some(FOREIGN_PROPERTIES));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
