//! Where the programs of a control plane are: the folder `KUBEBUILDER_ASSETS` names, as in any test of an operator, else
//! the user's cache, which `tests/cluster/build.sh` fills.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::peer;

/// The one place that says which version is built.
const MODULES: &str = include_str!("../../cluster/kubernetes/go.mod");

/// What must be there; the others are asked for by the tests that need them.
const NEEDED: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kubectl",
];

/// The folder with the programs, or `None` after saying what is skipped for lack of it.
pub(super) fn folder() -> Option<PathBuf> {
    let named = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let folder = named.unwrap_or_else(cache);
    if NEEDED.iter().all(|name| folder.join(name).is_file()) {
        return Some(folder);
    }
    peer::missing(&format!(
        "a Kubernetes control plane (tests/cluster/build.sh; looked in {})",
        folder.display()
    ))
}

fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    cache.join(format!("posthouse/kubernetes-{}", version(MODULES)))
}

/// The version of Kubernetes that a `go.mod` requires.
fn version(modules: &str) -> &str {
    let line = modules
        .lines()
        .find_map(|line| line.strip_prefix("require k8s.io/kubernetes v"));
    line.expect("tests/cluster/kubernetes/go.mod requires k8s.io/kubernetes")
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_version_is_that_of_the_modules() {
        let text = "module cluster\n\nrequire k8s.io/kubernetes v1.34.1\n\nrequire (\n";
        assert_eq!(version(text), "1.34.1");
    }
}
