//! Keys, certificates and kubeconfigs of one control plane, made anew for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{Authority, Identity, issuer};

/// Where everything is.
pub(super) struct Credentials {
    folder: PathBuf,
    authority: Authority,
}

impl Credentials {
    /// Writes what the processes need: the authorities, the servers' identities, the key of ServiceAccount tokens.
    pub(super) fn write(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let store = Authority::new();
        let credentials = Self {
            folder,
            authority: Authority::new(),
        };
        credentials.put("ca.crt", &credentials.authority.pem());
        let names = [
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        credentials.identity("apiserver", &credentials.authority.issue(&names));
        credentials.put("etcd-ca.crt", &store.pem());
        credentials.identity("etcd", &store.issue(&["127.0.0.1", "localhost"]));
        // As in most clusters: tokens are signed by RS256.
        credentials.put("tokens.key", &issuer::new_key());
        credentials
    }

    /// The path of a file.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a kubeconfig for a user with a certificate; its path.
    pub(super) fn kubeconfig(&self, server: &str, user: &str, group: Option<&str>) -> PathBuf {
        let name = user.replace(':', "-");
        self.identity(&name, &self.authority.issue_user(user, group));
        let user = json!({
            "client-certificate": self.file(&format!("{name}.crt")),
            "client-key": self.file(&format!("{name}.key")),
        });
        let path = self.file(&format!("{name}.kubeconfig"));
        write_kubeconfig(&path, server, &self.file("ca.crt"), &user);
        path
    }

    fn identity(&self, name: &str, identity: &Identity) {
        self.put(&format!("{name}.crt"), &identity.chain);
        self.put(&format!("{name}.key"), &identity.key);
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }
}

/// Writes a kubeconfig with one cluster, one user and one context; JSON is YAML.
pub(crate) fn write_kubeconfig(
    path: &Path,
    server: &str,
    authority: &Path,
    user: &serde_json::Value,
) {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "test", "user": user}],
    });
    fs::write(path, config.to_string()).unwrap();
}
