//! A pod's folders: the volumes that follow objects, those that are empty at first, and those of claims.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret, Volume};
use kube::runtime::reflector::ObjectRef;
use posthouse_config::document;
use tokio::time::Instant;

use super::{
    Running, Shared,
    arguments::Mount,
    claims,
    volume::{self, Objects},
    writer::{self, Files},
};

/// How often files follow their objects; the real kubelet takes up to two minutes.
const REFRESH: Duration = Duration::from_millis(500);

/// The folders of one pod.
pub(super) struct PodFiles {
    shared: Arc<Shared>,
    running: Arc<Running>,
    folder: PathBuf,
    /// What each volume holds now.
    written: Vec<(String, Files)>,
    refreshed: Option<Instant>,
}

impl PodFiles {
    pub(super) fn new(shared: Arc<Shared>, running: Arc<Running>) -> Self {
        let folder = shared.folder.join("pods").join(running.uid());
        fs::create_dir_all(&folder).unwrap();
        Self {
            shared,
            running,
            folder,
            written: Vec::new(),
            refreshed: None,
        }
    }

    /// The folder of everything that goes with the pod.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what goes with the pod.
    pub(super) fn remove(&self) {
        // The whole state goes later, if this does not.
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Brings the files up to date, where it is time.
    ///
    /// # Errors
    /// What is required and missing; what was written before stays.
    pub(super) fn refresh(&mut self, pod: &Pod, spec: &PodSpec) -> Result<(), String> {
        let due = self.refreshed.is_none_or(|last| last.elapsed() >= REFRESH);
        if !due || (self.running.files_rest() && !self.written.is_empty()) {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let objects = In(&shared, self.running.namespace());
        let mut changed = Vec::new();
        for volume in spec.volumes.iter().flatten() {
            if let Some(files) = volume::files(volume, pod, &objects)? {
                changed.push((volume, files));
            }
        }
        for (volume, files) in changed {
            self.write(volume, files)
                .map_err(|error| error.to_string())?;
        }
        self.refreshed = Some(Instant::now());
        Ok(())
    }

    /// Writes a volume's files, unless it holds the same already.
    fn write(&mut self, volume: &Volume, files: Files) -> std::io::Result<()> {
        let mut written = self.written.iter();
        if written.any(|(name, known)| *name == volume.name && *known == files) {
            return Ok(());
        }
        writer::write(&self.path(volume), &files)?;
        self.written.retain(|(name, _)| *name != volume.name);
        self.written.push((volume.name.clone(), files));
        Ok(())
    }

    /// Where a container's mounts really are; they exist.
    pub(super) fn mounts(&self, spec: &PodSpec, container: &Container) -> Vec<Mount> {
        let volume = |name: &str| {
            let mut volumes = spec.volumes.iter().flatten();
            volumes.find(|volume| volume.name == name)
        };
        let mounts = container.volume_mounts.iter().flatten();
        let mounts = mounts.filter_map(|mount| {
            let path = self.path(volume(&mount.name)?);
            fs::create_dir_all(&path).unwrap();
            Some((mount.mount_path.clone(), path))
        });
        mounts.collect()
    }

    /// Where a volume's files are: a claim's outlive the pod.
    fn path(&self, volume: &Volume) -> PathBuf {
        let claim = volume.persistent_volume_claim.as_ref();
        let bound = claim.and_then(|claim| {
            let namespace = self.running.namespace();
            self.shared.stores.volume_of(namespace, &claim.claim_name)
        });
        match bound {
            Some(bound) => claims::folder(&self.shared.folder, &bound),
            None => self.folder.join(&volume.name),
        }
    }
}

/// The mount with the gateway's document.
pub(super) fn document_folder(mounts: &[Mount]) -> Option<&Path> {
    let mut folders = mounts.iter().map(|(_, folder)| folder.as_path());
    folders.find(|folder| folder.join(document::FILE_NAME).is_file())
}

/// The gateway's document, as it is in a folder now; empty without one.
pub(super) fn document(folder: &Path) -> String {
    fs::read_to_string(folder.join(document::FILE_NAME)).unwrap_or_default()
}

/// The objects of one namespace.
struct In<'a>(&'a Shared, &'a str);

impl Objects for In<'_> {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
        let object = ObjectRef::new(name).within(self.1);
        self.0.stores.config_maps.get(&object)
    }

    fn secret(&self, name: &str) -> Option<Arc<Secret>> {
        let object = ObjectRef::new(name).within(self.1);
        self.0.stores.secrets.get(&object)
    }
}
