//! The only place that spells the name of a child or of a file.
//!
//! Names are interface: they stand in documentation, in bindings and in other people's manifests.

/// The StatefulSet, Service, PodDisruptionBudget, NetworkPolicy, ServiceMonitor and PrometheusRule have the relay's name.
pub fn workload(relay: &str) -> String {
    relay.to_owned()
}

/// The headless Service that gives each gateway a name.
pub fn headless_service(relay: &str) -> String {
    format!("{relay}-pods")
}

/// The gateways' ServiceAccount.
pub fn service_account(relay: &str) -> String {
    format!("{relay}-gateway")
}

/// The ConfigMap with the document.
pub fn config(relay: &str) -> String {
    format!("{relay}-config")
}

/// The ConfigMap with the senders file.
pub fn senders(relay: &str) -> String {
    format!("{relay}-senders")
}

/// The ConfigMap that keeps children alive while a MailRelay is deleted in the foreground.
pub fn anchor(relay: &str) -> String {
    format!("{relay}-anchor")
}

/// The Secret with relay keys and the link key.
pub fn keys(relay: &str) -> String {
    format!("{relay}-keys")
}

/// The Secret with the certificate of `selfSigned` listeners.
pub fn issued(relay: &str) -> String {
    format!("{relay}-tls")
}

/// A gateway's pod.
pub fn pod(relay: &str, ordinal: u32) -> String {
    format!("{relay}-{ordinal}")
}

/// The name of the spool's volume in a pod.
pub const SPOOL_VOLUME: &str = "spool";

/// A gateway's claim.
pub fn claim(relay: &str, ordinal: u32) -> String {
    format!("{SPOOL_VOLUME}-{relay}-{ordinal}")
}

/// The Secret with the installation's own keys, in the operator's namespace.
pub const INSTALLATION: &str = "posthouse-keys";

/// The admission policy that keeps the operator from Secrets that are not its own.
pub const FENCE: &str = "posthouse-secret-fence";

/// The Lease of the operators, in their namespace.
pub const LEASE: &str = "posthouse-operator";

/// The key of the relay key of a rotation in the Secret [`keys`], and its file: whole Secrets are mounted, so that a new
/// rotation needs no new pod.
pub fn relay_key_file(rotation: u64) -> String {
    format!("relay-{rotation}.key")
}

/// The key of the link key in the Secret [`keys`], and its file.
pub const LINK_KEY: &str = "link.key";

/// The Service's name inside the cluster, without the cluster's domain.
pub fn service_host(relay: &str, namespace: &str) -> String {
    format!("{}.{namespace}.svc", workload(relay))
}

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
