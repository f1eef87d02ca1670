//! `posthouse-operator crds`: the CustomResourceDefinitions, one YAML document each.
//!
//! `crds/` holds the same text, a file per definition; a test keeps it current.

use posthouse_api::crds;
use posthouse_config::yaml::{self, YamlError};

/// Stands on top of each printed definition.
const HEADER: &str = "# Printed by `posthouse-operator crds`. Not edited by hand.\n";

/// Each definition: the name of its file in `crds/`, and its text.
pub fn files() -> Result<Vec<(String, String)>, YamlError> {
    crds()
        .into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.plural);
            Ok((name, format!("{HEADER}---\n{}", yaml::to_string(&crd)?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_files_in_crds_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        let update = std::env::vars().any(|(name, _)| name == "UPDATE_GOLDEN");
        for (name, text) in files().unwrap() {
            let path = folder.join(&name);
            if update {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &text).unwrap();
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == text,
                "crds/{name} is not what `crds` prints; UPDATE_GOLDEN=1 rewrites it"
            );
        }
    }
}
