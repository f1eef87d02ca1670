//! The provisioner: a folder per claim, which outlives pods and goes when its claim does.
//!
//! Two storage classes: `standard`, the default, whose claims can grow, and `fixed`, whose claims the API server itself
//! refuses to grow. Binding is the persistent volume controller's, as with any external provisioner.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::{
        core::v1::{PersistentVolume, PersistentVolumeClaim},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{Shared, every};

/// The class of claims that name none.
const STANDARD: &str = "standard";

/// The class whose claims keep their size.
const FIXED: &str = "fixed";

const PROVISIONER: &str = "posthouse.dev/folder";

/// How often claims are looked at.
const STEP: Duration = Duration::from_millis(200);

/// What happens to a claim that asks for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expansion {
    /// It grows at once.
    #[default]
    Follow,
    /// Nothing, as with a driver that is not there.
    Ignore,
    /// The driver says that it cannot be done.
    Refuse,
}

/// The folder of a volume. Short: there is a socket in it, whose path may have 107 octets.
pub(super) fn folder(root: &Path, volume: &str) -> PathBuf {
    root.join("pv").join(volume)
}

/// Makes the storage classes, then provisions for ever.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut step = every(STEP);
    while let Err(error) = classes(&shared.client).await {
        eprintln!("kubelet: storage classes: {error}");
        step.tick().await;
    }
    loop {
        step.tick().await;
        for claim in shared.stores.claims.state() {
            if let Err(error) = look_at(&shared, &claim).await {
                eprintln!("kubelet: claim {}: {error}", claim.name_any());
            }
        }
        for volume in shared.stores.volumes.state() {
            if let Err(error) = reclaim(&shared, &volume).await {
                eprintln!("kubelet: volume {}: {error}", volume.name_any());
            }
        }
    }
}

async fn classes(client: &Client) -> kube::Result<()> {
    let api = Api::<StorageClass>::all(client.clone());
    for (name, expandable) in [(STANDARD, true), (FIXED, false)] {
        let default = (name == STANDARD).to_string();
        let class = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": name,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default},
            },
            "provisioner": PROVISIONER,
            "allowVolumeExpansion": expandable,
        });
        let parameters = PatchParams::apply("kubelet").force();
        api.patch(name, &parameters, &Patch::Apply(&class)).await?;
    }
    Ok(())
}

async fn look_at(shared: &Shared, claim: &PersistentVolumeClaim) -> kube::Result<()> {
    let Some(spec) = &claim.spec else {
        return Ok(());
    };
    let class = spec.storage_class_name.as_deref();
    if !matches!(class, Some(STANDARD | FIXED)) || claim.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let asked = storage(
        spec.resources
            .as_ref()
            .and_then(|given| given.requests.as_ref()),
    );
    match (&spec.volume_name, asked) {
        (None, Some(asked)) => provision(shared, claim, asked).await,
        (Some(volume), Some(asked)) => expand(shared, claim, volume, asked).await,
        (_, None) => Ok(()),
    }
}

/// A volume that only this claim can be bound to; the controller binds it.
async fn provision(
    shared: &Shared,
    claim: &PersistentVolumeClaim,
    size: &Quantity,
) -> kube::Result<()> {
    let uid = claim.uid().unwrap_or_default();
    let name = format!("pv-{}", uid.get(..8).unwrap_or_default());
    let path = folder(&shared.folder, &name);
    if path.is_dir() {
        return Ok(());
    }
    let spec = claim.spec.as_ref();
    let volume = json!({
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "accessModes": spec.and_then(|spec| spec.access_modes.as_ref()),
            "capacity": {"storage": size},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.namespace(),
                "name": claim.name_any(),
                "uid": uid,
            },
            "hostPath": {"path": path},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec.and_then(|spec| spec.storage_class_name.as_ref()),
        },
    });
    let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
    let api = Api::<PersistentVolume>::all(shared.client.clone());
    match api.create(&PostParams::default(), &volume).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other?),
    }
    fs::create_dir_all(&path).unwrap();
    Ok(())
}

async fn expand(
    shared: &Shared,
    claim: &PersistentVolumeClaim,
    volume: &str,
    asked: &Quantity,
) -> kube::Result<()> {
    let status = claim.status.as_ref();
    let has = storage(status.and_then(|status| status.capacity.as_ref()));
    if has.is_none_or(|has| has == asked) {
        return Ok(());
    }
    let namespace = claim.namespace().unwrap_or_default();
    let patch = match shared.expansion(&namespace) {
        Expansion::Ignore => return Ok(()),
        Expansion::Follow => {
            let api = Api::<PersistentVolume>::all(shared.client.clone());
            let patch = json!({"spec": {"capacity": {"storage": asked}}});
            merge(&api, volume, &patch).await?;
            json!({"status": {"capacity": {"storage": asked}}})
        }
        Expansion::Refuse => {
            if status.is_some_and(|status| status.allocated_resource_statuses.is_some()) {
                return Ok(());
            }
            // As external-resizer says it.
            json!({"status": {
                "allocatedResources": {"storage": asked},
                "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"},
            }})
        }
    };
    let api = Api::<PersistentVolumeClaim>::namespaced(shared.client.clone(), &namespace);
    let parameters = PatchParams::default();
    api.patch_status(&claim.name_any(), &parameters, &Patch::Merge(&patch))
        .await?;
    Ok(())
}

async fn merge(api: &Api<PersistentVolume>, name: &str, patch: &Value) -> kube::Result<()> {
    let parameters = PatchParams::default();
    api.patch(name, &parameters, &Patch::Merge(patch)).await?;
    Ok(())
}

/// Removes a volume whose claim is gone, with what is in it.
async fn reclaim(shared: &Shared, volume: &PersistentVolume) -> kube::Result<()> {
    let status = volume.status.as_ref();
    let released = status.and_then(|status| status.phase.as_deref()) == Some("Released");
    if !released || volume.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let name = volume.name_any();
    let api = Api::<PersistentVolume>::all(shared.client.clone());
    api.delete(&name, &DeleteParams::default()).await?;
    let _ = fs::remove_dir_all(folder(&shared.folder, &name));
    Ok(())
}

fn storage(quantities: Option<&BTreeMap<String, Quantity>>) -> Option<&Quantity> {
    quantities?.get("storage")
}
