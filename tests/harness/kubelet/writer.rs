//! Writes the files of a volume as the kubelet does: all of one change become visible at once.
//!
//! The files are in a folder with a name of its own; `..data` is a link to it, and each name at the top is a link through
//! `..data`. A change is a new folder and a rename of a new link over `..data` (`pkg/volume/util/atomic_writer.go`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use jiff::Timestamp;

/// A file's content and permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
}

/// Files by their paths below the volume.
pub(super) type Files = BTreeMap<String, File>;

/// Makes a volume hold these files and no others.
pub(super) fn write(volume: &Path, files: &Files) -> io::Result<()> {
    let data = volume.join("..data");
    let former = fs::read_link(&data).ok();
    let now = Timestamp::now().as_nanosecond();
    let folder = format!("..{now}");
    fs::create_dir_all(volume.join(&folder))?;
    for (path, file) in files {
        let path = volume.join(&folder).join(path);
        fs::create_dir_all(path.parent().unwrap_or(volume))?;
        fs::write(&path, &file.content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    let new = volume.join("..data_tmp");
    symlink(&folder, &new)?;
    fs::rename(&new, &data)?;
    link(volume, files)?;
    if let Some(former) = former {
        fs::remove_dir_all(volume.join(former))?;
    }
    Ok(())
}

/// One link per name at the top: the missing ones are made, the superfluous ones removed.
fn link(volume: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<_> = files
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    for entry in fs::read_dir(volume)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            fs::remove_file(volume.join(name))?;
        }
    }
    for name in wanted {
        let path = volume.join(name);
        if path.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |content: &str| File {
            content: content.as_bytes().to_vec(),
            mode: 0o440,
        };
        list.iter()
            .map(|&(path, content)| (path.to_owned(), file(content)))
            .collect()
    }

    #[test]
    fn a_change_shows_at_once_and_leaves_nothing_behind() {
        let volume = tempfile::tempdir().unwrap();
        let at = |path: &str| fs::read_to_string(volume.path().join(path));
        write(volume.path(), &files(&[("a", "1"), ("tls/x/k", "2")])).unwrap();
        assert_eq!(at("a").unwrap(), "1");
        assert_eq!(at("tls/x/k").unwrap(), "2");
        let held = fs::read_link(volume.path().join("..data")).unwrap();
        write(volume.path(), &files(&[("tls/x/k", "3"), ("b", "4")])).unwrap();
        assert_eq!(at("tls/x/k").unwrap(), "3");
        assert_eq!(at("b").unwrap(), "4");
        at("a").unwrap_err();
        assert!(!volume.path().join(held).exists());
        // Its own folder, `..data`, and two names.
        assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 4);
        let mode = fs::metadata(volume.path().join("b")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o440);
    }
}
