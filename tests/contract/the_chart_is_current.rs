//! What the chart holds a copy of is the same as the original.

use std::fs;

use crate::repository;

/// The chart can only read files inside its own folder, so the definitions lie there a second time.
#[test]
fn its_definitions_are_those_of_crds() {
    let update = std::env::vars().any(|(name, _)| name == "UPDATE_GOLDEN");
    let folder = repository("charts/posthouse/files/crds");
    let mut names = Vec::new();
    for entry in fs::read_dir(repository("crds")).unwrap() {
        let original = entry.unwrap().path();
        let name = original.file_name().unwrap().to_owned();
        if update {
            fs::copy(&original, folder.join(&name)).unwrap();
        }
        assert!(
            fs::read(&original).unwrap() == fs::read(folder.join(&name)).unwrap_or_default(),
            "charts/posthouse/files/crds/{name:?} differs from {original:?}; UPDATE_GOLDEN=1 copies it"
        );
        names.push(name);
    }
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), names.len());
}
