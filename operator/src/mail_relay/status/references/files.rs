//! Which file in a pod stands for which key of which object.
//!
//! Paths are those the document names ([`Place::Pod`]); fields are those of [`references`]. Files of our own Secrets are
//! not here.

use posthouse_api::MailRelay;
use posthouse_config::document::Auth;

use crate::{
    mail_relay::{
        ValidRelay,
        build::Place,
        dereference::{ObjectKind, references},
        validate::{CertificateSource, ValidListener, ValidTransport, ValidUpstream},
    },
    names,
};

/// A file in the pods and what it comes from.
pub(super) struct File {
    /// Relative to the document's folder.
    pub(super) path: String,
    /// The field that refers, as in `spec.upstreams[0].auth.password.secretRef`.
    pub(super) field: String,
    pub(super) kind: ObjectKind,
    pub(super) object: String,
    pub(super) key: String,
    pub(super) is_certificate: bool,
}

/// The files that one field is the cause of.
struct Source {
    field: String,
    /// Paths, and the keys they come from.
    paths: Vec<(String, String)>,
    is_certificate: bool,
}

/// Every file that comes from an object of the user.
pub(super) fn of_user(relay: &MailRelay, valid: &ValidRelay) -> Vec<File> {
    let references = references(relay);
    let listeners = valid.listeners.iter().enumerate().filter_map(certificate);
    let upstreams = valid.upstreams.iter().enumerate();
    let upstreams = upstreams.flat_map(|(i, upstream)| {
        let sources = [authority(i, upstream), password(i, upstream)];
        sources.into_iter().flatten()
    });
    listeners
        .chain(upstreams)
        .filter_map(|source| {
            let reference = references
                .iter()
                .find(|reference| reference.path == source.field)?;
            Some((source, reference))
        })
        .flat_map(|(source, reference)| {
            source.paths.into_iter().map(move |(path, key)| File {
                path,
                field: source.field.clone(),
                kind: reference.kind,
                object: reference.name.clone(),
                key,
                is_certificate: source.is_certificate,
            })
        })
        .collect()
}

fn certificate((i, listener): (usize, &ValidListener)) -> Option<Source> {
    let Some(CertificateSource::Secret(_)) = &listener.certificate else {
        return None;
    };
    let certificate = Place::Pod.certificate(listener)?;
    Some(Source {
        field: format!("spec.listeners[{i}].tls.secretRef"),
        paths: vec![
            (certificate.chain, names::CERTIFICATE_KEY.to_owned()),
            (certificate.key, names::PRIVATE_KEY_KEY.to_owned()),
        ],
        is_certificate: true,
    })
}

fn authority(i: usize, upstream: &ValidUpstream) -> Option<Source> {
    let ValidTransport::Smtp { ca: Some(ca), .. } = &upstream.transport else {
        return None;
    };
    let path = Place::Pod.authority(&upstream.name, ca);
    Some(Source {
        field: format!("spec.upstreams[{i}].endpoint.tls.caRef"),
        paths: vec![(path, ca.key.clone())],
        is_certificate: true,
    })
}

fn password(i: usize, upstream: &ValidUpstream) -> Option<Source> {
    let ValidTransport::Smtp {
        password: Some(given),
        ..
    } = &upstream.transport
    else {
        return None;
    };
    let Auth::Password { username, password } = Place::Pod.password(&upstream.name, &given.secret);
    Some(Source {
        field: format!("spec.upstreams[{i}].auth.password.secretRef"),
        paths: vec![
            (username, names::USERNAME_KEY.to_owned()),
            (password, names::PASSWORD_KEY.to_owned()),
        ],
        is_certificate: false,
    })
}
