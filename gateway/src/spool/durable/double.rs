//! A disk in memory that loses what was not synced, fails, or is full: the double of the real file system.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use rustix::io::Errno;

use super::{Files, OpenFile, Space};

/// What the disk writes as one: a power loss tears writes at these boundaries.
const SECTOR: usize = 512;

/// The disk. Clones are the same disk; handles from before a crash are dead.
#[derive(Clone)]
pub(in crate::spool) struct Disk {
    state: Arc<Mutex<State>>,
    moved: Arc<Condvar>,
    boot: u64,
}

#[derive(Default)]
struct State {
    boot: u64,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    inodes: Vec<Inode>,
    capacity: Option<u64>,
    failing: Failing,
    locked: bool,
    stalled: bool,
    /// The thread whose next operation panics.
    panics: Option<&'static str>,
}

/// What fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::spool) enum Failing {
    #[default]
    Nothing,
    Writes,
    Syncs,
    /// No descriptor is left.
    Opens,
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    allocated: u64,
    dirty: BTreeSet<usize>,
}

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spool) enum Crash {
    /// The process alone: what was written stays.
    Kill,
    /// The node: each unsynced sector stays or goes, by this number.
    PowerLoss(u64),
}

impl Disk {
    pub(in crate::spool) fn new() -> Self {
        let mut state = State::default();
        state.folders.insert(PathBuf::from("/"));
        Self {
            state: Arc::new(Mutex::new(state)),
            moved: Arc::default(),
            boot: 0,
        }
    }

    /// From now on every handle fails; the disk after the next boot is returned.
    pub(in crate::spool) fn crash(&self, how: Crash) -> Self {
        let mut state = self.lock();
        state.boot += 1;
        state.locked = false;
        state.failing = Failing::Nothing;
        if let Crash::PowerLoss(seed) = how {
            state.lose_power(seed);
        }
        Self {
            state: Arc::clone(&self.state),
            moved: Arc::clone(&self.moved),
            boot: state.boot,
        }
    }

    pub(in crate::spool) fn fail(&self, failing: Failing) {
        self.lock().failing = failing;
    }

    /// Octets that fit from now on.
    pub(in crate::spool) fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = Some(capacity);
    }

    pub(in crate::spool) fn used(&self) -> u64 {
        self.lock().used()
    }

    /// From now on every sync waits until this is taken back.
    pub(in crate::spool) fn stall(&self, stalled: bool) {
        self.lock().stalled = stalled;
        self.moved.notify_all();
    }

    /// The next operation of the thread of this name panics.
    pub(in crate::spool) fn panic_in(&self, thread: &'static str) {
        self.lock().panics = Some(thread);
    }

    /// Changes the octets of a file behind everyone's back.
    pub(in crate::spool) fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let inode = state.names[path];
        change(&mut state.inodes[inode].now);
        state.inodes[inode].durable = state.inodes[inode].now.clone();
    }

    pub(in crate::spool) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        Some(state.inodes[*state.names.get(path)?].now.clone())
    }

    /// A disk of its own with the same content.
    pub(in crate::spool) fn copy(&self) -> Self {
        let state = self.lock();
        let copy = State {
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            folders: state.folders.clone(),
            inodes: state.inodes.clone(),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(copy)),
            moved: Arc::default(),
            boot: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless this handle is from before a crash.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.panics.is_some() && state.panics == std::thread::current().name() {
            state.panics = None;
            drop(state);
            panic!("as the test asked");
        }
        if state.boot == self.boot {
            Ok(state)
        } else {
            Err(Errno::IO.into())
        }
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names
            .values()
            .map(|&inode| &self.inodes[inode])
            .map(|inode| inode.allocated.max(inode.now.len() as u64))
            .sum()
    }

    fn lose_power(&mut self, seed: u64) {
        let mut random = seed | 1;
        let mut flip = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 32 & 1 == 0
        };
        if flip() {
            self.names = self.durable_names.clone();
        } else {
            self.durable_names = self.names.clone();
        }
        for inode in &mut self.inodes {
            for sector in std::mem::take(&mut inode.dirty) {
                if flip() {
                    let start = sector * SECTOR;
                    let end = (start + SECTOR).min(inode.now.len());
                    if inode.durable.len() < end {
                        inode.durable.resize(end, 0);
                    }
                    inode.durable[start..end].copy_from_slice(&inode.now[start..end]);
                }
            }
            inode.now = inode.durable.clone();
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn can_open(&self) -> io::Result<()> {
        match self.failing {
            Failing::Opens => Err(Errno::MFILE.into()),
            Failing::Nothing | Failing::Writes | Failing::Syncs => Ok(()),
        }
    }

    fn has_room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => Err(Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }
}

impl Files for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        if !state.folders.contains(path.parent().unwrap()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.folders.insert(path.to_owned());
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        let mut state = self.alive()?;
        state.can_open()?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_owned(), inode);
        Ok(Arc::new(Handle {
            disk: self.clone(),
            inode,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        let state = self.alive()?;
        state.can_open()?;
        let inode = state.find(path)?;
        drop(state);
        Ok(Arc::new(Handle {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        let inode = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.find(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        if state.failing == Failing::Syncs {
            return Err(Errno::IO.into());
        }
        let mut durable = std::mem::take(&mut state.durable_names);
        durable.retain(|name, _| name.parent() != Some(path));
        let now = state.names.iter();
        durable.extend(
            now.filter(|(name, _)| name.parent() == Some(path))
                .map(|(name, inode)| (name.clone(), *inode)),
        );
        state.durable_names = durable;
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.alive()?;
        let names = state.names.keys().filter(|n| n.parent() == Some(path));
        Ok(names
            .map(|n| n.file_name().unwrap().to_str().unwrap().to_owned())
            .collect())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.alive()?;
        let total = state.capacity.unwrap_or(1 << 40);
        Ok(Space {
            free: total.saturating_sub(state.used()),
            total,
        })
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.alive()?;
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock(self.clone())))
    }
}

struct Lock(Disk);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.alive() {
            state.locked = false;
        }
    }
}

struct Handle {
    disk: Disk,
    inode: usize,
}

impl OpenFile for Handle {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        if state.failing == Failing::Writes {
            return Err(Errno::IO.into());
        }
        let start = usize::try_from(offset).unwrap();
        let end = start + bytes.len();
        let inode = &state.inodes[self.inode];
        let held = inode.allocated.max(inode.now.len() as u64);
        state.has_room((end as u64).saturating_sub(held))?;
        let inode = &mut state.inodes[self.inode];
        if inode.now.len() < end {
            inode.now.resize(end, 0);
        }
        inode.now[start..end].copy_from_slice(bytes);
        inode.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.alive()?;
        let now = &state.inodes[self.inode].now;
        let start = usize::try_from(offset).unwrap().min(now.len());
        let read = buffer.len().min(now.len() - start);
        buffer[..read].copy_from_slice(&now[start..start + read]);
        Ok(read)
    }

    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        if state.failing == Failing::Syncs {
            return Err(Errno::IO.into());
        }
        while state.stalled {
            state = self
                .disk
                .moved
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let inode = &mut state.inodes[self.inode];
        inode.dirty.clear();
        inode.durable = inode.now.clone();
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        let inode = &state.inodes[self.inode];
        let held = inode.allocated.max(inode.now.len() as u64);
        state.has_room(length.saturating_sub(held))?;
        let inode = &mut state.inodes[self.inode];
        inode.allocated = inode.allocated.max(length);
        // As the system call does: the file is so long from now on.
        if inode.now.len() < usize::try_from(length).unwrap() {
            inode.now.resize(usize::try_from(length).unwrap(), 0);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.alive()?;
        Ok(state.inodes[self.inode].now.len() as u64)
    }
}
