//! Durable file operations: the only place that creates, writes, syncs, renames and removes files of the spool.
//!
//! [`Files`] is the seam for tests: a disk that fails, is full, or forgets what was not synced. [`SystemFiles`] is the
//! real one. No operation here is retried, and a failed sync is never taken for a later success: the kernel may have
//! dropped the pages it could not write.

#[cfg(test)]
pub(super) mod double;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, FlockOperation},
    io::Errno,
};

/// A file system, as far as the spool needs one.
pub(super) trait Files: Send + Sync + 'static {
    /// Makes a folder that only we can read; fine if it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes an empty file that only we can read, in place of any that exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>>;
    /// Renames within the file system, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a folder.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Octets free for us, and octets in all.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Takes the exclusive lock of a file, making it if needed; `WouldBlock` if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. Positions are absolute, so that one handle serves all threads.
pub(super) trait OpenFile: Send + Sync {
    /// Writes all of it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads until the buffer is full or the file ends; how many octets.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As `read_at`, but only what needs no wait for the disk: `WouldBlock` otherwise.
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Returns when all that was written is on stable storage (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Takes space on the disk, so that later writes within `length` cannot find it full.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Octets.
    fn length(&self) -> io::Result<u64>;
}

/// The space of a file system in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// Free for a process without privileges.
    pub(super) free: u64,
    /// All.
    pub(super) total: u64,
}

/// Whether an error only says that there is no room: the disk is full, the quota used up, or no descriptor left to
/// open a file with. Nothing was done then, and later there may be.
pub(super) fn is_full(error: &io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Replaces a small file by another, durably: temporary name, sync, rename, folder sync.
pub(super) fn replace(files: &dyn Files, path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let file = files.create(&temporary)?;
    file.write_at(content, 0)?;
    file.sync()?;
    files.rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => files.sync_dir(folder),
        None => Ok(()),
    }
}

/// The whole of a file.
pub(super) fn read_all(file: &dyn OpenFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SystemFiles;

impl Files for SystemFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is its home")]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            // What is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        Ok(Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

impl OpenFile for fs::File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = buffer.len();
        let read = rustix::io::preadv2(
            self,
            &mut [io::IoSliceMut::new(buffer)],
            offset,
            rustix::io::ReadWriteFlags::NOWAIT,
        )?;
        if read == wanted {
            Ok(read)
        } else {
            // The rest is not in the page cache, or the file ends here; a blocking read tells.
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is its home")]
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, length) {
            // File systems without it: the zeroes written before use take the space.
            Err(Errno::OPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
