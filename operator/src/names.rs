//! The only place that spells the name of a child or of a file.
//!
//! Names are interface: they stand in documentation, in bindings and in other people's manifests.

/// The ConfigMap with the certificate of the authority that signs `selfSigned` listeners.
pub fn ca_config_map(relay: &str) -> String {
    format!("{relay}-ca")
}

/// The Secret a MailSender gets where it names none.
pub fn sender_secret(sender: &str) -> String {
    format!("{sender}-smtp")
}

/// The key of a certificate authority in ConfigMaps and Secrets.
pub const CA_KEY: &str = "ca.crt";

/// The key of a certificate chain in Secrets of type kubernetes.io/tls.
pub const CERTIFICATE_KEY: &str = "tls.crt";

/// The key of a private key in Secrets of type kubernetes.io/tls.
pub const PRIVATE_KEY_KEY: &str = "tls.key";

/// The keys of a password's Secret.
pub const USERNAME_KEY: &str = "username";

/// See [`USERNAME_KEY`].
pub const PASSWORD_KEY: &str = "password";
