//! TLS to one upstream: its roots, the name to verify, its configuration.
//!
//! A CA of its own replaces the system's roots. There is no way to skip verification, and an upstream whose CA cannot
//! be read is not tried with other roots. One configuration is kept as long as the upstream is, for session resumption.

use std::sync::{Arc, OnceLock};

use posthouse_config::{
    Snapshot,
    document::{SmtpTransport, UpstreamTlsMode},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::opening::OpenError;

/// The system's roots, read once, when the first upstream without a CA of its own needs them.
#[derive(Debug, Default)]
pub(crate) struct SystemRoots(OnceLock<Arc<RootCertStore>>);

impl SystemRoots {
    fn load(&self) -> Arc<RootCertStore> {
        Arc::clone(self.0.get_or_init(|| Arc::new(system_roots())))
    }
}

/// The certificates the system trusts, or Mozilla's where an image has none.
pub(crate) fn system_roots() -> RootCertStore {
    let native = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        tracing::info!(
            roots = roots.len(),
            "no system certificates found, using the built-in ones"
        );
    } else {
        tracing::info!(roots = added, ignored, "using the system's certificates");
    }
    roots
}

/// How TLS to one upstream is spoken.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// For an upstream; `None` if it is spoken to in clear.
    ///
    /// # Errors
    /// Its CA cannot be read, or its name cannot be verified.
    pub(crate) fn of(
        smtp: &SmtpTransport,
        snapshot: &Snapshot,
        system: &SystemRoots,
    ) -> Result<Option<Self>, OpenError> {
        if smtp.tls.mode == UpstreamTlsMode::None {
            return Ok(None);
        }
        let name = smtp.tls.server_name.as_deref().unwrap_or(&smtp.host);
        let name = ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|_| OpenError::ServerName(name.to_owned()))?;
        let roots = match &smtp.tls.ca {
            Some(path) => Arc::new(own_roots(path, snapshot)?),
            None => system.load(),
        };
        let config = client_config(roots).map_err(|error| OpenError::Roots(error.to_string()))?;
        Ok(Some(Self {
            connector: TlsConnector::from(config),
            name,
        }))
    }

    /// Makes the handshake.
    pub(crate) async fn connect<S>(&self, socket: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector.connect(self.name.clone(), socket).await
    }
}

/// A configuration that trusts these roots and nothing else.
pub(crate) fn client_config(roots: Arc<RootCertStore>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The roots of a PEM file, or what is wrong with it.
pub(crate) fn roots_of(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| format!("cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    Ok(roots)
}

fn own_roots(path: &str, snapshot: &Snapshot) -> Result<RootCertStore, OpenError> {
    let pem = snapshot
        .file(path)
        .ok_or_else(|| OpenError::Roots(format!("{path} is absent")))?;
    roots_of(pem).map_err(|problem| OpenError::Roots(format!("{path} {problem}")))
}
