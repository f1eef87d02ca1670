//! The template of the spools' claims. The API server refuses every change of it, so a live one is copied as it is;
//! a larger `size` is a patch on each claim, which the plan makes.
//!
//! Velero must not back a spool up: a restored one would send everything again that was in it.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use posthouse_api::mail_relay::storage::AccessMode;

use super::super::{Request, owner::uid};
use crate::{labels, mail_relay::plan::DEFAULT_SIZE, names};

/// The live templates; for a StatefulSet that is not there yet, one as the MailRelay says.
pub fn templates(request: &Request<'_>) -> Vec<PersistentVolumeClaim> {
    let live = request.live.stateful_set.as_ref();
    let live = live.and_then(|live| live.spec.as_ref()?.volume_claim_templates.clone());
    live.filter(|templates| !templates.is_empty())
        .unwrap_or_else(|| vec![fresh(request)])
}

fn fresh(request: &Request<'_>) -> PersistentVolumeClaim {
    let storage = request.relay.spec.storage.as_ref();
    let claim = storage.and_then(|storage| storage.volume_claim.as_ref());
    let size = claim.map_or(DEFAULT_SIZE, |claim| claim.size.as_str());
    let mode = match claim.and_then(|claim| claim.access_mode) {
        Some(AccessMode::ReadWriteOncePod) => "ReadWriteOncePod",
        Some(AccessMode::ReadWriteOnce) | None => "ReadWriteOnce",
    };
    let mut labels = labels::of_child(&request.valid.name, uid(request.relay));
    labels.insert(labels::NO_BACKUP.to_owned(), "true".to_owned());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::SPOOL_VOLUME.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![mode.to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(size.to_owned()),
                )])),
                limits: None,
            }),
            storage_class_name: claim.and_then(|claim| claim.storage_class_name.clone()),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
