//! What makes this installation itself: the master that every key and password is derived from, and its certificate
//! authority.
//!
//! They are in the one Secret the operator may read, made once and never changed ([`names::INSTALLATION`], type
//! `posthouse.dev/key`, immutable). Of two operators that start together one makes it and both read it. There is no
//! rotation: deleting the Secret renews everything, with every password and certificate.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Client, Resource, client::Body, core::Status};
use posthouse_config::credential::Key;

use crate::{
    call::{CallError, bounded},
    certificate::{self, CertificateError, Certified},
    labels, names,
    secret::{
        SecretDraft, SecretType,
        writer::{SecretError, SecretWriter},
    },
};

/// The key of the master in the Secret.
const MASTER_KEY: &str = "master";

/// The key of the authority's private key in the Secret.
const AUTHORITY_KEY: &str = "ca.key";

/// A Secret holds at most 1 MiB of values, which base64 makes a third more.
const LONGEST_ANSWER: usize = 2 * 1024 * 1024;

/// What makes an installation.
#[derive(Clone)]
pub struct Installation {
    /// Every relay's keys are derived from it.
    pub master: Key,
    /// Signs the certificates of `selfSigned` listeners.
    pub authority: Certified,
}

/// Why there is no installation.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// The Secret could not be read.
    #[error("read Secret {:?}", names::INSTALLATION)]
    Read(#[source] CallError),
    /// The Secret could not be made.
    #[error("make Secret {:?}", names::INSTALLATION)]
    Write(#[source] SecretError),
    /// The Secret lacks a key, or it holds something else than we wrote.
    #[error(
        "key {key:?} of Secret {:?} {problem}; restore the Secret from a backup, or delete it to renew every password and certificate",
        names::INSTALLATION
    )]
    Malformed {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no randomness.
    #[error("the system gives no random numbers")]
    Random,
    /// The authority could not be made.
    #[error("make the certificate authority")]
    Authority(#[source] CertificateError),
    /// It was there and then it was not.
    #[error("Secret {:?} was deleted while it was read", names::INSTALLATION)]
    Deleted,
}

impl Installation {
    /// Reads the installation's Secret in the operator's namespace, and makes it where there is none.
    ///
    /// # Errors
    /// [`InstallationError::Malformed`] needs a person; any other is worth another try.
    pub async fn load(
        client: &Client,
        namespace: &str,
        writer: &SecretWriter,
        now: Timestamp,
    ) -> Result<Self, InstallationError> {
        if let Some(secret) = read(client, namespace).await? {
            return Self::of(&secret, now);
        }
        let draft = Self::make(now)?.draft(namespace);
        // Whoever made it: what is stored counts.
        writer
            .create(&draft)
            .await
            .map_err(InstallationError::Write)?;
        match read(client, namespace).await? {
            Some(secret) => Self::of(&secret, now),
            None => Err(InstallationError::Deleted),
        }
    }

    fn make(now: Timestamp) -> Result<Self, InstallationError> {
        let mut octets = [0; 32];
        rand::fill(&mut octets).map_err(|_| InstallationError::Random)?;
        let authority = certificate::make_authority(now).map_err(InstallationError::Authority)?;
        Ok(Self {
            master: Key::try_from(octets.as_slice()).map_err(|_| InstallationError::Random)?,
            authority,
        })
    }

    /// It has no owner: nobody's end ends it, and admission keeps even the operator from changing or deleting it.
    fn draft(&self, namespace: &str) -> SecretDraft {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let Certified { certificate, key } = &self.authority;
        SecretDraft {
            namespace: namespace.to_owned(),
            name: names::INSTALLATION.to_owned(),
            secret_type: SecretType::Key,
            labels: BTreeMap::from([
                label(labels::APP_NAME, labels::OPERATOR),
                label(labels::MANAGED_BY, labels::MANAGER),
            ]),
            annotations: BTreeMap::new(),
            owners: Vec::new(),
            data: BTreeMap::from([
                (MASTER_KEY.to_owned(), self.master.as_bytes().to_vec()),
                (names::CA_KEY.to_owned(), certificate.clone().into_bytes()),
                (AUTHORITY_KEY.to_owned(), key.clone().into_bytes()),
            ]),
        }
    }

    fn of(secret: &Secret, now: Timestamp) -> Result<Self, InstallationError> {
        let malformed = |key, problem: String| InstallationError::Malformed { key, problem };
        let master = Key::try_from(value(secret, MASTER_KEY)?)
            .map_err(|error| malformed(MASTER_KEY, error.to_string()))?;
        let text = |key| {
            let text = std::str::from_utf8(value(secret, key)?);
            text.map(str::to_owned)
                .map_err(|_| malformed(key, "must be PEM text".into()))
        };
        let authority = Certified {
            certificate: text(names::CA_KEY)?,
            key: text(AUTHORITY_KEY)?,
        };
        if let Some(fault) = certificate::authority_fault(&authority, now) {
            let key = match fault.part {
                certificate::Part::Certificate => names::CA_KEY,
                certificate::Part::Key => AUTHORITY_KEY,
            };
            return Err(malformed(key, fault.problem.to_owned()));
        }
        Ok(Self { master, authority })
    }
}

fn value<'a>(secret: &'a Secret, key: &'static str) -> Result<&'a [u8], InstallationError> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    match value {
        Some(ByteString(value)) => Ok(value),
        None => Err(InstallationError::Malformed {
            key,
            problem: "is missing".into(),
        }),
    }
}

async fn read(client: &Client, namespace: &str) -> Result<Option<Secret>, InstallationError> {
    match bounded(request(client, namespace)).await {
        Ok(secret) => Ok(Some(secret)),
        Err(CallError::NotFound(_)) => Ok(None),
        Err(error) => Err(InstallationError::Read(error)),
    }
}

/// kube's typed calls log an answer they cannot parse, and this one holds keys: so it is parsed here, and an error says
/// no more than where.
async fn request(client: &Client, namespace: &str) -> Result<Secret, CallError> {
    let url = format!(
        "{}/{}",
        Secret::url_path(&(), Some(namespace)),
        names::INSTALLATION
    );
    let request = Request::get(url)
        .body(Body::empty())
        .map_err(kube::Error::HttpError)?;
    let response = client.send(request).await?;
    let code = response.status();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| CallError::Unreachable(kube::Error::Service(error)))?
        .to_bytes();
    if code == StatusCode::OK {
        let parsed = serde_json::from_slice(&body);
        return parsed.map_err(|error| {
            let place = serde::de::Error::custom(format_args!(
                "not a Secret, line {} column {}",
                error.line(),
                error.column()
            ));
            CallError::Malformed(kube::Error::SerdeError(place))
        });
    }
    let status = serde_json::from_slice(&body).unwrap_or_default();
    Err(Box::new(Status::with_code(status, code.as_u16())).into())
}

#[cfg(test)]
mod tests;
