//! What is not printed: Secrets, and what only an installation has. Names alone tell what will be there.
//!
//! The names of keys come from the same drafts as in a cluster, made of nothing.

use posthouse_config::credential::Key;
use serde::Serialize;

use super::ManifestError;
use crate::{
    certificate::Certified,
    mail_relay::{
        build::{self, Request, wants_issued},
        validate::CertificateSource,
    },
    mail_sender::Admitted,
    names,
    secret::{SecretDraft, SecretType},
};

/// The keys of a sender's Secret, sorted; `certificates` is the first where its listener's is of our own authority.
const BINDING_KEYS: [&str; 9] = [
    "certificates",
    "host",
    "password",
    "port",
    "provider",
    "tls",
    "type",
    "uri",
    "username",
];

/// An object of which only the names are printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Withheld {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) secret_type: Option<&'static str>,
    pub(super) keys: Vec<String>,
}

/// Everything of a relay that is withheld.
pub(super) fn all<'a>(
    request: &Request<'_>,
    admitted: impl Iterator<Item = &'a Admitted>,
) -> Result<Vec<Withheld>, ManifestError> {
    let master = Key::try_from([0; 32].as_slice())?;
    let mut found = vec![of_draft(&build::keys_secret(request, &master))];
    if wants_issued(request.valid) {
        let nothing = Certified {
            certificate: String::new(),
            key: String::new(),
        };
        found.push(of_draft(&build::issued_secret(request, &nothing, "")));
        found.push(Withheld {
            kind: "ConfigMap",
            namespace: request.valid.namespace.clone(),
            name: names::ca_config_map(&request.valid.name),
            secret_type: None,
            keys: vec![names::CA_KEY.to_owned()],
        });
    }
    found.extend(admitted.filter_map(binding));
    Ok(found)
}

fn of_draft(draft: &SecretDraft) -> Withheld {
    Withheld {
        kind: "Secret",
        namespace: draft.namespace.clone(),
        name: draft.name.clone(),
        secret_type: Some(draft.secret_type.as_str()),
        keys: draft.data.keys().cloned().collect(),
    }
}

/// The Secret a sender gets, unless its pods' tokens are all it wants.
fn binding(admitted: &Admitted) -> Option<Withheld> {
    let credential = admitted.sender.credential.as_ref()?;
    let is_issued = admitted.listener.certificate == Some(CertificateSource::Issued);
    let keys = BINDING_KEYS.iter().skip(usize::from(!is_issued));
    Some(Withheld {
        kind: "Secret",
        namespace: admitted.sender.namespace.clone(),
        name: credential.secret_name.clone(),
        secret_type: Some(SecretType::Binding.as_str()),
        keys: keys.map(|key| (*key).to_owned()).collect(),
    })
}
