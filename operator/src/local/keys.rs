//! The keys of a local run: a master and a certificate authority, made once and kept.
//!
//! Whoever deletes them gets other passwords and another authority with the next rendering.

use aws_lc_rs::rand;
use jiff::Timestamp;
use posthouse_config::credential::Key;

use super::{LocalError, folder::Folder};
use crate::{
    certificate::{self, Certified},
    mail_relay::{ValidRelay, build::Place},
};

/// The master, from which every other key is derived.
const MASTER: &str = "keys/master";

/// The authority's certificate and key, in one file: two files could be of two authorities.
const AUTHORITY: &str = "keys/ca.pem";

/// The authority's certificate alone, for people and other programs.
const AUTHORITY_CERTIFICATE: &str = "keys/ca.crt";

/// The relay key of the current rotation; its file is written.
pub(super) fn relay_key(
    folder: &Folder,
    relay: &ValidRelay,
    place: &Place,
) -> Result<Key, LocalError> {
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_| LocalError::Random)?;
    let octets = folder.write_once(MASTER, &random)?;
    let master = Key::try_from(octets.as_slice()).map_err(|source| LocalError::Key {
        path: folder.display(MASTER),
        source,
    })?;
    let key = master.relay(&relay.namespace, &relay.name, relay.key_rotation);
    folder.write(&place.relay_key(relay.key_rotation), key.as_bytes())?;
    Ok(key)
}

/// The certificate authority.
pub(super) fn authority(folder: &Folder, now: Timestamp) -> Result<Certified, LocalError> {
    let text = if let Some(text) = folder.read_text(AUTHORITY)? {
        text
    } else {
        let made = certificate::make_authority(now)?;
        let both = format!("{}{}", made.certificate, made.key);
        let kept = folder.write_once(AUTHORITY, both.as_bytes())?;
        String::from_utf8_lossy(&kept).into_owned()
    };
    let authority = split(&text);
    folder.write(AUTHORITY_CERTIFICATE, authority.certificate.as_bytes())?;
    Ok(authority)
}

/// The certificate, and the private key behind it.
fn split(text: &str) -> Certified {
    let at = text
        .find("-----BEGIN PRIVATE KEY-----")
        .unwrap_or(text.len());
    let (certificate, key) = text.split_at(at);
    Certified {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    }
}
