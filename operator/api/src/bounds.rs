//! Schemas that recur: names, hosts, addresses, patterns and maps, each with its maximum.
//!
//! Every list, string and map of the API has a maximum, since the API server estimates what a CEL rule may cost from
//! them, and since an object has to fit into etcd. Functions here are named in `schemars(schema_with = …)`.

use schemars::{Schema, SchemaGenerator, json_schema};

/// What names in lists must match: a label of RFC 1123, since most of them become part of a path, a port's name or a
/// metric's label.
pub const NAME_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// The name of a listener, grant, upstream or route.
pub fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 40, "pattern": NAME_PATTERN })
}

/// The name of an object or namespace elsewhere.
pub fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "pattern": "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    })
}

/// What keys of Secrets and ConfigMaps match: they become names of files, so none is, or begins with, "..".
const KEY_PATTERN: &str = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$";

/// A key of a Secret or ConfigMap.
pub fn key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "pattern": KEY_PATTERN })
}

/// A host or domain name.
pub fn host(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253 })
}

/// A mail address.
pub fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 3, "maxLength": 320 })
}

/// A mail address, or nothing.
pub fn optional_address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 320 })
}

/// Text for which there is no closer bound.
pub fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 253 })
}

/// A provider's reply, or a sentence for people.
pub fn sentence(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 1024 })
}

/// A set of address patterns: `user@x`, `x`, `*.x`, `*`.
pub fn patterns(_: &mut SchemaGenerator) -> Schema {
    set(64, 320)
}

/// A set of 1–64 address patterns.
pub fn some_patterns(_: &mut SchemaGenerator) -> Schema {
    at_least_one(set(64, 320))
}

/// A set of 1–16 address patterns.
pub fn sender_patterns(_: &mut SchemaGenerator) -> Schema {
    at_least_one(set(16, 320))
}

/// A set of names of objects or namespaces.
pub fn object_names(_: &mut SchemaGenerator) -> Schema {
    set(64, 63)
}

/// A set of at most eight names of ServiceAccounts.
pub fn service_accounts(_: &mut SchemaGenerator) -> Schema {
    set(8, 63)
}

/// A set of names of header fields.
pub fn field_names(_: &mut SchemaGenerator) -> Schema {
    set(64, 63)
}

/// A set of networks in CIDR notation.
pub fn networks(_: &mut SchemaGenerator) -> Schema {
    set(64, 43)
}

/// A set of 1–64 networks in CIDR notation.
pub fn some_networks(_: &mut SchemaGenerator) -> Schema {
    at_least_one(set(64, 43))
}

/// Labels, or what selects by them.
pub fn labels(_: &mut SchemaGenerator) -> Schema {
    map(63)
}

/// Annotations.
pub fn annotations(_: &mut SchemaGenerator) -> Schema {
    map(4096)
}

/// Takes away an enumeration's own description: it would hide that of the field, which says what absent means.
pub fn undescribed(schema: &mut Schema) {
    schema.remove("description");
}

fn set(items: u32, length: u32) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": items,
        "x-kubernetes-list-type": "set",
        "items": { "type": "string", "minLength": 1, "maxLength": length },
    })
}

fn at_least_one(mut schema: Schema) -> Schema {
    schema.insert("minItems".into(), 1.into());
    schema
}

fn map(length: u32) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": length },
    })
}
