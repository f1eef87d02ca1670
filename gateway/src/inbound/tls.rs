//! Certificates of listeners: made from the snapshot's files, renewed when these change, kept when a change is bad.
//!
//! TLS 1.2 and 1.3 with forward secrecy and AEAD only: rustls has nothing else.

use std::sync::Arc;

use posthouse_config::{Snapshot, document::listener::Certificate, status::CertificateStatus};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

/// Why a certificate cannot be used. The text is shown in status; it holds no key material.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    /// A file could not be read.
    #[error("{0} is missing")]
    Missing(String),
    /// A file is not PEM, or has nothing of use.
    #[error("{0} holds no {1} in PEM form")]
    NotPem(String, &'static str),
    /// Chain and key are no pair, or of no supported kind.
    #[error("{path} cannot be used: {source}")]
    Unusable { path: String, source: rustls::Error },
}

/// One listener's certificate.
#[derive(Default)]
pub(super) struct ListenerTls {
    built: Option<Built>,
}

struct Built {
    files: Files,
    acceptor: TlsAcceptor,
    status: CertificateStatus,
    not_after: i64,
}

#[derive(Clone, PartialEq, Eq)]
struct Files {
    chain: Arc<[u8]>,
    key: Arc<[u8]>,
}

impl ListenerTls {
    /// Looks at the files again. What was in use stays in use if they are missing or bad.
    pub(super) fn refresh(
        &mut self,
        snapshot: &Snapshot,
        certificate: &Certificate,
    ) -> Result<(), CertificateError> {
        let file = |path: &String| {
            let file = snapshot.file(path).cloned();
            file.ok_or_else(|| CertificateError::Missing(path.clone()))
        };
        let files = Files {
            chain: file(&certificate.chain)?,
            key: file(&certificate.key)?,
        };
        if self.built.as_ref().is_none_or(|built| built.files != files) {
            self.built = Some(build(files, certificate)?);
        }
        Ok(())
    }

    /// What shakes hands now; absent until there is a certificate.
    pub(super) fn acceptor(&self) -> Option<&TlsAcceptor> {
        self.built.as_ref().map(|built| &built.acceptor)
    }

    /// What is in use, for status.
    pub(super) fn status(&self) -> Option<&CertificateStatus> {
        self.built.as_ref().map(|built| &built.status)
    }

    /// When it ends, in seconds since 1970.
    pub(super) fn not_after(&self) -> Option<i64> {
        self.built.as_ref().map(|built| built.not_after)
    }
}

fn build(files: Files, certificate: &Certificate) -> Result<Built, CertificateError> {
    let no_chain = || CertificateError::NotPem(certificate.chain.clone(), "certificate");
    let chain = CertificateDer::pem_slice_iter(&files.chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| no_chain())?;
    let leaf = chain.first().ok_or_else(no_chain)?.clone();
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|_| CertificateError::NotPem(certificate.key.clone(), "private key"))?;
    let unusable = |source| CertificateError::Unusable {
        path: certificate.chain.clone(),
        source,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(unusable)?;
    let (names, not_after) = facts(&leaf).ok_or_else(no_chain)?;
    Ok(Built {
        files,
        acceptor: TlsAcceptor::from(Arc::new(config)),
        status: CertificateStatus {
            path: certificate.chain.clone(),
            names,
            not_after: jiff::Timestamp::from_second(not_after)
                .map(|time| time.to_string())
                .unwrap_or_default(),
        },
        not_after,
    })
}

/// The names a certificate is for, and when it ends.
fn facts(leaf: &CertificateDer<'_>) -> Option<(Vec<String>, i64)> {
    let (_, certificate) = parse_x509_certificate(leaf).ok()?;
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    Some((names, certificate.validity().not_after.timestamp()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use posthouse_config::Senders;

    use super::*;
    use crate::inbound::tests::{PLAIN, document};

    fn snapshot(files: &[(&str, &str)]) -> Snapshot {
        let files: BTreeMap<String, Arc<[u8]>> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes())))
            .collect();
        Snapshot::new(
            Arc::new(document(PLAIN, "")),
            Arc::new(Senders::default()),
            files,
        )
    }

    #[test]
    fn a_bad_change_keeps_what_was_in_use() {
        let made = rcgen::generate_simple_self_signed(vec!["mail.example".into()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let other = rcgen::generate_simple_self_signed(vec!["other.example".into()]).unwrap();
        let certificate = Certificate {
            chain: "c".into(),
            key: "k".into(),
        };
        let mut tls = ListenerTls::default();
        let refresh = |tls: &mut ListenerTls, files: &[(&str, &str)]| {
            tls.refresh(&snapshot(files), &certificate)
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            refresh(&mut tls, &[("c", &chain)]),
            Err("k is missing".into())
        );
        assert!(tls.acceptor().is_none());
        refresh(&mut tls, &[("c", &chain), ("k", &key)]).unwrap();
        assert_eq!(tls.status().unwrap().names, ["mail.example"]);
        assert!(tls.not_after().unwrap() > 0);
        assert!(refresh(&mut tls, &[]).is_err());
        assert!(refresh(&mut tls, &[("c", "x"), ("k", &key)]).is_err());
        assert!(refresh(&mut tls, &[("c", &chain), ("k", "x")]).is_err());
        let mixed = other.signing_key.serialize_pem();
        let error = refresh(&mut tls, &[("c", &chain), ("k", &mixed)]).unwrap_err();
        assert!(error.starts_with("c cannot be used"), "{error}");
        assert_eq!(tls.status().unwrap().names, ["mail.example"]);
        refresh(&mut tls, &[("c", &other.cert.pem()), ("k", &mixed)]).unwrap();
        assert_eq!(tls.status().unwrap().names, ["other.example"]);
    }
}
