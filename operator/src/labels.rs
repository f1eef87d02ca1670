//! The only place that spells a label or an annotation.
//!
//! Labels tell what is ours; none of them is one that deploy tools track objects by, and
//! nothing is copied from a MailRelay's metadata, else those tools would adopt and prune our children.

use std::collections::BTreeMap;

/// What an object belongs to, in the words of Kubernetes.
pub const APP_NAME: &str = "app.kubernetes.io/name";

/// Who keeps an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The MailRelay's name.
pub const RELAY: &str = "posthouse.dev/relay";

/// The MailSender's name, on its Secret.
pub const SENDER: &str = "posthouse.dev/sender";

/// The uid of the MailRelay or MailSender that an object is for.
pub const OWNER: &str = "posthouse.dev/owner";

/// The value of [`APP_NAME`] on everything of a relay.
pub const GATEWAY: &str = "posthouse-gateway";

/// The value of [`APP_NAME`] on the operator's own pods.
pub const OPERATOR: &str = "posthouse-operator";

/// The value of [`MANAGED_BY`], and the field manager of every apply, for ever: a second name would leave fields behind.
pub const MANAGER: &str = "posthouse-operator";

/// On a MailRelay: ends any step of a drain; what is left stays on its volume.
pub const SKIP_DRAIN: &str = "posthouse.dev/skip-drain";

/// On the ConfigMap with the document: since when the current `clients.keyRotation` is in it.
pub const KEY_ROTATION_TIME: &str = "posthouse.dev/key-rotation-time";

/// On the Service without an address, so that a ServiceMonitor can tell it from the other one.
pub const HEADLESS: &str = "posthouse.dev/headless";

/// On pods: a digest of the ServiceAccount's annotations, which count when a pod is made.
pub const SERVICE_ACCOUNT_DIGEST: &str = "posthouse.dev/service-account-digest";

/// On pods: a digest of what the operator alone decides of their template. Where it changes an upgrade is rolled out, and
/// no edit of the MailRelay.
pub const UPGRADE_DIGEST: &str = "posthouse.dev/upgrade-digest";

/// Linkerd's annotation for ports in which it must not look for a protocol.
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";

/// Velero's label for objects it leaves out.
pub const NO_BACKUP: &str = "velero.io/exclude-from-backup";

/// Velero's annotation for volumes of a pod whose files it leaves out.
pub const NO_VOLUME_BACKUP: &str = "backup.velero.io/backup-volumes-excludes";

/// kubectl's annotation for the container that `exec` and `logs` mean, beside the sidecars of a mesh.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The labels of every child of a relay.
pub const CHILD: [&str; 4] = [APP_NAME, MANAGED_BY, RELAY, OWNER];

/// On a MailRelay: its children are drained before it goes.
pub const FINALIZER: &str = "posthouse.dev/drain";

/// The labels of a relay's child.
pub fn of_child(relay: &str, owner: &str) -> BTreeMap<String, String> {
    let mut labels = selector(relay);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels.insert(OWNER.to_owned(), owner.to_owned());
    labels
}

/// What selects a relay's gateways. It never changes: a StatefulSet's selector cannot.
pub fn selector(relay: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (APP_NAME.to_owned(), GATEWAY.to_owned()),
        (RELAY.to_owned(), relay.to_owned()),
    ])
}

/// Labels as a selector in text, as in `a=b,c=d`.
pub fn text(labels: &BTreeMap<String, String>) -> String {
    let terms: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    terms.join(",")
}
