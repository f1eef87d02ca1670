//! Taking possession of the folder: the lock, the version, and a probe of the disk.
//!
//! A second process is refused by `flock`, which ends with the process. `VERSION` names the format and the spool's UUID.
//! The probe does once what the spool will rely on, as the user that runs: create, write, sync, rename, unlink.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    OpenError,
    durable::{self, Files},
    segment::{self, FORMAT},
};

/// Folders of a spool.
const FOLDERS: [&str; 4] = ["content", "captured", "state", "quarantine"];

/// The lock, held as long as this lives.
pub(super) type Lock = Box<dyn Send + Sync>;

/// Makes the folder if its parent is there, locks it, probes it, and makes what belongs into it.
pub(super) fn take(files: &dyn Files, spool: &Path) -> Result<Lock, OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::io(path, source)
    };
    files.create_dir(spool).map_err(at(spool))?;
    let path = spool.join("lock");
    let lock = files.lock(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked(spool.to_owned())
        } else {
            OpenError::io(path.clone(), error)
        }
    })?;
    check_format(files, spool)?;
    for name in FOLDERS {
        let folder = spool.join(name);
        files.create_dir(&folder).map_err(at(&folder))?;
    }
    probe(files, spool)?;
    Ok(lock)
}

fn probe(files: &dyn Files, spool: &Path) -> Result<(), OpenError> {
    let (first, second) = (spool.join("probe.new"), spool.join("probe-renamed.new"));
    let tried = files.create(&first).and_then(|file| {
        file.write_at(b"probe", 0)?;
        file.sync()?;
        files.rename(&first, &second)?;
        files.remove(&second)?;
        files.sync_dir(spool)
    });
    tried.map_err(|error| OpenError::io(first, error))
}

fn version_path(spool: &Path) -> PathBuf {
    spool.join("VERSION")
}

fn check_format(files: &dyn Files, spool: &Path) -> Result<(), OpenError> {
    match version(files, spool)? {
        Some(version) if version.format > FORMAT => Err(OpenError::Newer {
            path: version_path(spool),
            format: version.format,
        }),
        _ => Ok(()),
    }
}

/// What the version file says.
struct Version {
    format: u32,
    uuid: Option<[u8; 16]>,
}

/// Format and UUID, if the file is there and whole.
fn version(files: &dyn Files, spool: &Path) -> Result<Option<Version>, OpenError> {
    let path = version_path(spool);
    let bytes = match files.open(&path).and_then(|file| durable::read_all(&*file)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(path, error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split_whitespace();
    let format = words.next().and_then(|word| word.parse().ok());
    let uuid = words
        .next()
        .and_then(|word| u128::from_str_radix(word, 16).ok())
        .map(u128::to_be_bytes);
    Ok(format.map(|format| Version { format, uuid }))
}

/// The spool's UUID: that of its segments, else of its version file, else a new one; the file is made to agree.
pub(super) fn uuid(
    files: &dyn Files,
    spool: &Path,
    of_segments: Option<[u8; 16]>,
) -> Result<[u8; 16], OpenError> {
    let stored = version(files, spool)?.and_then(|version| version.uuid);
    let path = version_path(spool);
    let uuid = match of_segments.or(stored) {
        Some(uuid) => uuid,
        None => segment::random().map_err(|error| OpenError::io(path.clone(), error))?,
    };
    if stored != Some(uuid) {
        let text = format!("{FORMAT} {:032x}\n", u128::from_be_bytes(uuid));
        durable::replace(files, &path, text.as_bytes())
            .map_err(|error| OpenError::io(path, error))?;
    }
    Ok(uuid)
}
