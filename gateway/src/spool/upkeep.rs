//! The upkeep of the log, on a thread of its own: whatever can be done before or after the writer needs it.
//!
//! It makes the next segment, writes footers of sealed ones, unlinks content files whose removal is synced, recycles
//! segments in which nothing is alive, copies mostly dead ones forward, and looks at the free space. Nothing here
//! decides about mail; a failure to make room is no failure of the spool, a failed sync is.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Shared, StoreError,
    compaction::Compaction,
    content_file, durable,
    segment::{Header, Segment},
    space::Store,
    writer::Sealed,
};
use crate::mail::QueueId;

/// How often free space is looked at, and how long it takes until an idle log gives spare files back.
const TICK: Duration = Duration::from_secs(1);
/// Ticks without a new segment after which the log counts as idle.
const IDLE_TICKS: u32 = 10;

/// The next segment.
enum Next {
    /// To be made, at least so long.
    Wanted(u32),
    Ready(Arc<Segment>),
    /// The disk was full when it was to be made, at least so long.
    NoRoom(u32),
}

/// What is to be done.
struct Chores {
    next: Next,
    sealed: Vec<Sealed>,
    unlink: Vec<QueueId>,
    /// Segments made and not used.
    unused: Vec<Arc<Segment>>,
    /// Something happened that may have freed a segment.
    stirred: bool,
    ending: bool,
    /// Rounds that found nothing left to do.
    #[cfg(test)]
    rested: u64,
}

/// What others ask of the upkeep.
pub(super) struct Upkeep {
    chores: Mutex<Chores>,
    /// For the thread.
    wake: Condvar,
    /// For the writer: the next segment's state changed.
    next: Condvar,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            chores: Mutex::new(Chores {
                next: Next::Wanted(0),
                sealed: Vec::new(),
                unlink: Vec::new(),
                unused: Vec::new(),
                stirred: true,
                ending: false,
                #[cfg(test)]
                rested: 0,
            }),
            wake: Condvar::new(),
            next: Condvar::new(),
        }
    }
}

impl Upkeep {
    fn lock(&self) -> MutexGuard<'_, Chores> {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stir(&self, change: impl FnOnce(&mut Chores)) {
        let mut chores = self.lock();
        change(&mut chores);
        chores.stirred = true;
        drop(chores);
        self.wake.notify_one();
    }

    /// The next segment, of at least `length` octets; waits while it is being made. `None` if the disk is full.
    pub(super) fn take_next(&self, length: u32) -> Option<Arc<Segment>> {
        let mut chores = self.lock();
        loop {
            match std::mem::replace(&mut chores.next, Next::Wanted(0)) {
                Next::Ready(segment) if segment.length >= length => {
                    chores.stirred = true;
                    drop(chores);
                    self.wake.notify_one();
                    return Some(segment);
                }
                Next::Ready(segment) => {
                    chores.unused.push(segment);
                    chores.next = Next::Wanted(length);
                }
                Next::NoRoom(wanted) => {
                    chores.next = Next::NoRoom(wanted.max(length));
                    return None;
                }
                Next::Wanted(wanted) => chores.next = Next::Wanted(wanted.max(length)),
            }
            if chores.ending {
                return None;
            }
            chores.stirred = true;
            self.wake.notify_one();
            chores = self
                .next
                .wait(chores)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A segment is full: its footer is to be written.
    pub(super) fn sealed(&self, sealed: Sealed) {
        self.stir(|chores| chores.sealed.push(sealed));
    }

    /// Messages are removed, durably: their content files are to go, and their segments may be dead.
    pub(super) fn unlink(&self, removed: Vec<QueueId>) {
        self.stir(|chores| chores.unlink.extend(removed));
    }

    /// The segment made ahead is out of date.
    pub(super) fn renew(&self) {
        self.stir(|chores| {
            if let Next::Ready(segment) = std::mem::replace(&mut chores.next, Next::Wanted(0)) {
                chores.unused.push(segment);
            }
        });
    }

    /// Octets in the segment made ahead.
    pub(super) fn ready_bytes(&self) -> u64 {
        match &self.lock().next {
            Next::Ready(segment) => segment.length.into(),
            Next::Wanted(_) | Next::NoRoom(_) => 0,
        }
    }

    /// The writer has answered something that the upkeep asked.
    pub(super) fn answered(&self) {
        self.stir(|_| ());
    }

    /// Waits until the upkeep has found nothing left to do.
    #[cfg(test)]
    pub(super) fn rest(&self) {
        let mut chores = self.lock();
        let rested = chores.rested;
        chores.stirred = true;
        self.wake.notify_one();
        while chores.rested == rested && !chores.ending {
            chores = self
                .next
                .wait(chores)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the thread. Whoever waits for a segment gets none.
    pub(super) fn end(&self) {
        self.stir(|chores| chores.ending = true);
        self.next.notify_all();
    }
}

/// The thread.
pub(super) struct Worker {
    shared: Arc<Shared>,
    store: Store,
    /// Ticks since a segment was last taken.
    idle_ticks: u32,
    compaction: Compaction,
    /// Segments to be recycled when the writer has synced.
    condemned: Vec<u32>,
    barrier: Option<oneshot::Receiver<Result<bool, StoreError>>>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, store: Store) -> Self {
        Self {
            shared,
            store,
            idle_ticks: 0,
            compaction: Compaction::default(),
            condemned: Vec::new(),
            barrier: None,
        }
    }

    /// Works until told to end.
    pub(super) fn run(mut self) {
        while let Some(work) = self.wait() {
            if let Err(error) = self.round(work) {
                self.shared.fail(&self.shared.root, &error);
                self.shared.upkeep.end();
                break;
            }
        }
        self.give_back();
    }

    /// Waits for something to do, at most a tick.
    fn wait(&mut self) -> Option<Chores> {
        let upkeep = &self.shared.upkeep;
        let mut chores = upkeep.lock();
        if !chores.stirred && !chores.ending {
            #[cfg(test)]
            {
                chores.rested += 1;
                upkeep.next.notify_all();
            }
            let (woken, timeout) = upkeep
                .wake
                .wait_timeout(chores, TICK)
                .unwrap_or_else(PoisonError::into_inner);
            chores = woken;
            if timeout.timed_out() {
                self.idle_ticks = self.idle_ticks.saturating_add(1);
            }
        }
        if chores.ending {
            return None;
        }
        chores.stirred = false;
        let next = match &chores.next {
            Next::Wanted(length) | Next::NoRoom(length) => Next::Wanted(*length),
            // Stays where the writer finds it.
            Next::Ready(segment) => Next::Ready(Arc::clone(segment)),
        };
        Some(Chores {
            next,
            sealed: std::mem::take(&mut chores.sealed),
            unlink: std::mem::take(&mut chores.unlink),
            unused: std::mem::take(&mut chores.unused),
            stirred: false,
            ending: false,
            #[cfg(test)]
            rested: 0,
        })
    }

    fn round(&mut self, work: Chores) -> io::Result<()> {
        if let Next::Wanted(length) = work.next {
            self.make_next(length)?;
        }
        for sealed in work.sealed {
            // Not synced: without it the segment is scanned.
            sealed.footer.write(&sealed.segment)?;
        }
        for id in work.unlink {
            content_file::unlink(&*self.shared.files, &self.shared.root, id)?;
        }
        for segment in work.unused {
            self.store.recycle(&segment)?;
        }
        self.recycle_dead()?;
        let pressure = self.shared.pressure(self.store.spare_bytes());
        self.compaction.step(&self.shared, pressure)?;
        self.store.adjust(self.idle_ticks < IDLE_TICKS)?;
        let ready = self.shared.upkeep.ready_bytes();
        self.shared.look_at_space(self.store.spare_bytes(), ready)
    }

    fn make_next(&mut self, length: u32) -> io::Result<()> {
        self.idle_ticks = 0;
        let header = Header {
            uuid: self.shared.uuid,
            number: 0,
            run: self.shared.run,
            next_sequence: self.shared.sequence_limit(),
            marker: [0; 16],
        };
        let next = match self.store.next(length, header) {
            Ok(segment) => {
                // Before the writer has it: mail may begin it only if what then remains is enough.
                self.shared
                    .look_at_space(self.store.spare_bytes(), segment.length.into())?;
                Next::Ready(Arc::new(segment))
            }
            Err(error) if durable::is_full(&error) => Next::NoRoom(length),
            Err(error) => return Err(error),
        };
        let nudge = matches!(next, Next::Ready(_));
        let mut chores = self.shared.upkeep.lock();
        chores.next = next;
        drop(chores);
        self.shared.upkeep.next.notify_all();
        if nudge {
            self.shared.queue.nudge();
        }
        Ok(())
    }

    /// Recycles segments that nothing keeps. That nothing keeps them is so on the disk only after a sync, which the
    /// writer is asked for first.
    fn recycle_dead(&mut self) -> io::Result<()> {
        match self.barrier.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(Ok(_))) => {
                for number in std::mem::take(&mut self.condemned) {
                    // Not in the condition, which would hold the lock over the rename.
                    let segment = self.shared.index().segment(number);
                    if let Some(segment) = segment {
                        // Its file goes before the index forgets it: what it pins must not go first.
                        self.store.recycle(&segment)?;
                    }
                    self.shared.index().drop_segment(number);
                }
                // There is room now for a segment that had none, and others may be dead without these.
                self.shared.upkeep.answered();
            }
            // Not yet, or the writer has ended.
            Some(Err(_) | Ok(Err(_))) => return Ok(()),
            None => {}
        }
        self.barrier = None;
        self.condemned = self.shared.index().dead_segments();
        if !self.condemned.is_empty() {
            self.barrier = self.shared.barrier();
        }
        Ok(())
    }

    /// The segment made ahead and not used is no part of the log.
    fn give_back(&mut self) {
        let next = std::mem::replace(&mut self.shared.upkeep.lock().next, Next::NoRoom(0));
        if let Next::Ready(segment) = next {
            // Without this it is an empty segment, which the next start recycles.
            let _ = self.store.recycle(&segment);
        }
    }
}
