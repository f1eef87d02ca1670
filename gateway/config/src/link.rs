//! The link between the operator and a relay's gateways: mutual TLS 1.3 with one raw public key (RFC 7250).
//!
//! Both sides derive the same Ed25519 key pair (RFC 8032) from the link key of the relay, show its public key and accept
//! no other. There is no certificate, so there is no name, no authority and nothing that ends; a key that is renewed is
//! renewed by new settings. Sessions are not resumed: a resumed one would not show its key again.
//!
//! No sockets here: the settings are for whoever has one.

use std::{net::Ipv4Addr, sync::Arc};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    signature::Ed25519KeyPair,
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs as primitives,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use crate::credential::Key;

/// Why there are no settings for a key.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The key pair cannot be made from the seed.
    #[error("cannot make the key pair of the link")]
    KeyPair,
    /// The TLS library refuses what it is given.
    #[error("cannot set up tls for the link: {0}")]
    Tls(#[from] Error),
}

/// The gateway's side: shows the public key of `key` and lets in only who shows the same.
///
/// # Errors
/// None that a caller can do anything about: any 32 octets are a seed.
pub fn server(key: &Key) -> Result<Arc<ServerConfig>, LinkError> {
    let (provider, pair) = (provider(), Pair::derive(key)?);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(pair.only(&provider))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(pair.shown)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The operator's side: shows the public key of `key` and talks only to who shows the same.
///
/// # Errors
/// None that a caller can do anything about: any 32 octets are a seed.
pub fn client(key: &Key) -> Result<Arc<ClientConfig>, LinkError> {
    let (provider, pair) = (provider(), Pair::derive(key)?);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pair.only(&provider))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(pair.shown)));
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// What a client asks TLS to verify: the far side has a key and no name, and none is sent.
pub fn server_name() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Named, and not the process's: what is accepted here must not depend on who was installed first.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(primitives::default_provider())
}

/// The key pair, as TLS wants it.
struct Pair {
    shown: Arc<CertifiedKey>,
    /// `SubjectPublicKeyInfo` (RFC 7250 §3).
    public: SubjectPublicKeyInfoDer<'static>,
}

impl Pair {
    fn derive(key: &Key) -> Result<Self, LinkError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(key.as_bytes()).map_err(|_| LinkError::KeyPair)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| LinkError::KeyPair)?;
        let signing =
            primitives::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(private.as_ref()))?;
        let public = signing.public_key().ok_or(LinkError::KeyPair)?.into_owned();
        let shown = CertificateDer::from(public.as_ref().to_vec());
        Ok(Self {
            shown: Arc::new(CertifiedKey::new(vec![shown], signing)),
            public,
        })
    }

    fn only(&self, provider: &CryptoProvider) -> Arc<Only> {
        Arc::new(Only {
            public: self.public.clone(),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

/// Accepts one public key, whoever shows it, and nothing else.
#[derive(Debug)]
struct Only {
    public: SubjectPublicKeyInfoDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Only {
    /// RFC 7250 §3: the key takes the place of the certificate, and nothing comes after it.
    fn accept(&self, shown: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
        if rest.is_empty() && shown.as_ref() == self.public.as_ref() {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn accept_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let public = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &public, signature, &self.algorithms)
    }
}

/// TLS 1.2 is neither offered nor accepted; its signatures are never asked about.
fn never_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.accept(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.accept_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.accept(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.accept_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
