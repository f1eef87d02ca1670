//! Objects of any kind, written as YAML.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use posthouse_config::yaml;

/// Who the tests are, as a field manager.
const MANAGER: &str = "posthouse-tests";

/// Applies every object of a YAML text on the server; the first refusal ends it. Those without a namespace go into
/// `namespace`, where their kind has one.
pub(super) async fn apply(client: &Client, namespace: &str, text: &str) -> kube::Result<()> {
    let documents = yaml::documents(text).expect("the objects are YAML");
    for document in documents.into_iter().filter(|value| !value.is_null()) {
        let object: DynamicObject = serde_json::from_value(document).expect("an object");
        apply_one(client, namespace, &object).await?;
    }
    Ok(())
}

async fn apply_one(client: &Client, namespace: &str, object: &DynamicObject) -> kube::Result<()> {
    let types = object.types.as_ref().expect("apiVersion and kind");
    let kind = GroupVersionKind::try_from(types).expect("apiVersion");
    let (resource, capabilities) = discovery::pinned_kind(client, &kind).await?;
    let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
    let scope = &capabilities.scope;
    let api = api(client, namespace, &resource, scope);
    let name = object.metadata.name.as_deref().expect("metadata.name");
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(object)).await?;
    Ok(())
}

fn api(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
    scope: &Scope,
) -> Api<DynamicObject> {
    match scope {
        Scope::Cluster => Api::all_with(client.clone(), resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, resource),
    }
}
