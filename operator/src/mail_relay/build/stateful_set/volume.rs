//! The files in the pod: one projected volume, so that one swap is one consistent set of files.
//!
//! What the operator writes is required: without it a gateway must not start. What users refer to is optional, since a
//! gateway without one provider's password still takes mail and says what it lacks. The Secret with keys is mounted
//! whole: a new rotation needs no new pod. Never `subPath`, which is never refreshed. The order of listeners and
//! upstreams means nothing, so sources go by name.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, KeyToPath, ProjectedVolumeSource, SecretProjection, Volume,
    VolumeProjection,
};
use posthouse_api::reference::CaKind;
use posthouse_config::{
    document::{self, Auth},
    senders,
};

use super::super::{Place, place, wants_issued};
use crate::{
    mail_relay::{
        ValidRelay,
        validate::{CertificateSource, ValidListener, ValidTransport, ValidUpstream},
    },
    names,
};

/// The volume's name.
pub const NAME: &str = "config";

/// For the gateway's group to read, and for nobody to write.
const MODE: i32 = 0o440;

/// The volume.
pub fn volume(relay: &ValidRelay) -> Volume {
    Volume {
        name: NAME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(MODE),
            sources: Some(sources(relay)),
        }),
        ..Volume::default()
    }
}

fn sources(relay: &ValidRelay) -> Vec<VolumeProjection> {
    let name = &relay.name;
    let mut sources = vec![
        config_map(
            &names::config(name),
            &[(document::FILE_NAME, document::FILE_NAME)],
            false,
        ),
        config_map(
            &names::senders(name),
            &[(senders::FILE_NAME, senders::FILE_NAME)],
            false,
        ),
        secret(&names::keys(name), &[], false),
    ];
    if wants_issued(relay) {
        let items = [
            (names::CERTIFICATE_KEY, place::ISSUED_CERTIFICATE),
            (names::PRIVATE_KEY_KEY, place::ISSUED_KEY),
            (names::CA_KEY, place::ISSUED_AUTHORITY),
        ];
        sources.push(secret(&names::issued(name), &items, false));
    }
    let mut listeners: Vec<_> = relay.listeners.iter().collect();
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    sources.extend(listeners.into_iter().filter_map(certificate));
    let mut upstreams: Vec<_> = relay.upstreams.iter().collect();
    upstreams.sort_by(|a, b| a.name.cmp(&b.name));
    sources.extend(upstreams.into_iter().flat_map(upstream));
    sources
}

/// The certificate a user gave a listener.
fn certificate(listener: &ValidListener) -> Option<VolumeProjection> {
    let Some(CertificateSource::Secret(name)) = &listener.certificate else {
        return None;
    };
    let files = Place::Pod.certificate(listener)?;
    let items = [
        (names::CERTIFICATE_KEY, files.chain.as_str()),
        (names::PRIVATE_KEY_KEY, files.key.as_str()),
    ];
    Some(secret(name, &items, true))
}

/// An upstream's authorities and its user name and password.
fn upstream(given: &ValidUpstream) -> Vec<VolumeProjection> {
    let ValidTransport::Smtp { ca, password, .. } = &given.transport else {
        return Vec::new();
    };
    let authority = ca.as_ref().map(|ca| {
        let path = Place::Pod.authority(&given.name, ca);
        let items = [(ca.key.as_str(), path.as_str())];
        match ca.kind {
            CaKind::ConfigMap => config_map(&ca.name, &items, true),
            CaKind::Secret => secret(&ca.name, &items, true),
        }
    });
    let account = password.as_ref().map(|reference| {
        let Auth::Password { username, password } =
            Place::Pod.password(&given.name, &reference.secret);
        let items = [
            (names::USERNAME_KEY, username.as_str()),
            (names::PASSWORD_KEY, password.as_str()),
        ];
        secret(&reference.secret, &items, true)
    });
    authority.into_iter().chain(account).collect()
}

fn secret(name: &str, items: &[(&str, &str)], is_optional: bool) -> VolumeProjection {
    VolumeProjection {
        secret: Some(SecretProjection {
            name: name.to_owned(),
            items: paths(items),
            optional: Some(is_optional),
        }),
        ..VolumeProjection::default()
    }
}

fn config_map(name: &str, items: &[(&str, &str)], is_optional: bool) -> VolumeProjection {
    VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: name.to_owned(),
            items: paths(items),
            optional: Some(is_optional),
        }),
        ..VolumeProjection::default()
    }
}

/// Keys and their files; none is every key, by its own name.
fn paths(items: &[(&str, &str)]) -> Option<Vec<KeyToPath>> {
    let item = |&(key, path): &(&str, &str)| KeyToPath {
        key: key.to_owned(),
        path: path.to_owned(),
        mode: None,
    };
    (!items.is_empty()).then(|| items.iter().map(item).collect())
}
