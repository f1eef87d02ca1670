//! Damage of any one octet, or the loss of any end, takes no healthy neighbour along and invents nothing.

use std::collections::BTreeMap;

use super::*;
use crate::spool::durable::Files;

/// What recovery finds, by queue id; and whether it saw damage.
pub(super) fn recover(disk: &Disk) -> (BTreeMap<QueueId, Message>, u64) {
    let mut found = BTreeMap::new();
    let files: Arc<dyn Files> = Arc::new(disk.clone());
    let recovered = recovery::open(&files, Path::new("/spool"), SEGMENT, &mut |queued| {
        found.insert(queued.message.id, Message::clone(&queued.message));
    });
    (found, recovered.unwrap().damaged)
}

/// A spool with one segment of accepts, outcomes and a removal, as a kill or a clean stop leaves it; its path, the
/// octets in use, and what is in it.
async fn small_spool(clean: bool) -> (Disk, PathBuf, usize, BTreeMap<QueueId, Message>) {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let mut ids = Vec::new();
    for octets in [0, 40, 90, 5, 30] {
        ids.push(accept(&spool, 2, &vec![b'x'; octets]).await);
    }
    spool
        .settle(outcome(ids[1], 0, State::Deferred, 1))
        .await
        .unwrap();
    spool
        .settle(outcome(ids[2], 1, State::Relayed, 1))
        .await
        .unwrap();
    spool.settle(finished(ids[3])).await.unwrap();
    let segment = segment_of(&spool);
    let disk = if clean {
        spool.close().await;
        drop(spool);
        disk
    } else {
        crash(spool, &disk, Crash::Kill)
    };
    let (messages, damaged) = recover(&disk.copy());
    assert_eq!((messages.len(), damaged), (4, 0));
    let bytes = disk.content(&segment).unwrap();
    let used = bytes[..bytes.len() / 2]
        .iter()
        .rposition(|&b| b != 0)
        .unwrap()
        + 1;
    (disk, segment, used, messages)
}

/// At most one message is touched: gone, back, or in an older state.
fn check(found: &BTreeMap<QueueId, Message>, expected: &BTreeMap<QueueId, Message>, at: usize) {
    let missing = expected.keys().filter(|id| !found.contains_key(id)).count();
    let changed = expected
        .iter()
        .filter(|(id, m)| found.get(id).is_some_and(|f| f != *m))
        .count();
    // The one that was removed may be back if its removal is damaged.
    let back = found.keys().filter(|id| !expected.contains_key(id)).count();
    assert!(
        missing + changed + back <= 1,
        "octet {at}: {missing} missing, {changed} changed, {back} back"
    );
    for (id, message) in found {
        let sequences: Vec<_> = expected.keys().map(|id| id.sequence()).collect();
        assert!(
            (sequences[0]..=sequences[3]).contains(&id.sequence()),
            "octet {at}: invented {id}"
        );
        assert_eq!(message.recipients.len(), 2);
        assert_eq!(
            message.message_id,
            expected.values().next().unwrap().message_id
        );
    }
}

#[tokio::test]
async fn of_one_octet() {
    for clean in [false, true] {
        let (disk, segment, used, expected) = small_spool(clean).await;
        let length = disk.content(&segment).unwrap().len();
        // Headers, records, and the footer at the end.
        let places = (0..64)
            .chain(4096..4160)
            .chain(8192..used)
            .chain(length - 400..length);
        let mut seen = 0;
        for at in places {
            for bit in [1, 128] {
                let disk = disk.copy();
                disk.corrupt(&segment, |bytes| bytes[at] ^= bit);
                let (found, damaged) = recover(&disk);
                check(&found, &expected, at);
                seen += damaged;
            }
        }
        assert!(seen > 500, "damage is seen: {seen}");
    }
}

#[tokio::test]
async fn of_the_end() {
    let (disk, segment, used, expected) = small_spool(false).await;
    let mut previous = 0;
    for length in 8192..=used {
        let disk = disk.copy();
        disk.corrupt(&segment, |bytes| bytes.truncate(length));
        let (found, _) = recover(&disk);
        // What was whole before is whole now: accepts come first in this log.
        let whole = found.keys().filter(|id| expected.contains_key(id)).count();
        assert!(whole >= previous, "{whole} of {previous} at {length}");
        previous = whole;
        assert!(found.len() <= 5);
    }
    assert_eq!(previous, expected.len());
}

#[tokio::test]
async fn of_a_page() {
    // The page cache or the disk gives a page of zeroes: at least all records outside it are there.
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(accept(&spool, 1, &[b'x'; 700]).await);
    }
    let segment = segment_of(&spool);
    let disk = crash(spool, &disk, Crash::Kill);
    for page in 0..15 {
        let disk = disk.copy();
        disk.corrupt(&segment, |bytes| {
            bytes[page * 4096..(page + 1) * 4096].fill(0);
        });
        let (found, damaged) = recover(&disk);
        let lost = ids.iter().filter(|id| !found.contains_key(id)).count();
        // A page holds four whole records and two cut ones at most.
        assert!(lost <= 6, "{lost} lost to page {page}");
        // Without anything valid behind it, it looks like the unused rest of the file.
        let at_the_end = !found.contains_key(&ids[39]);
        assert!(
            lost == 0 || damaged > 0 || at_the_end,
            "{lost} lost to page {page}, unseen"
        );
        assert!(found.keys().all(|id| ids.contains(id)));
    }
}

#[tokio::test]
async fn seen_while_reading_is_quarantined_and_counted() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let id = accept(&spool, 1, b"some content").await;
    let neighbour = accept(&spool, 1, b"other content").await;
    let segment = segment_of(&spool);
    disk.corrupt(&segment, |bytes| {
        let at = bytes.windows(4).position(|w| w == b"some").unwrap();
        bytes[at] = b'S';
    });
    let Err(ReadError::Damaged(kept)) = spool.read(id).await else {
        panic!("damage must be seen");
    };
    let kept = disk.content(&kept).unwrap();
    assert!(kept.windows(12).any(|w| w == b"Some content"));
    assert_eq!(spool.status().damaged_records, 1);
    spool.read(neighbour).await.unwrap();
}

#[tokio::test]
async fn of_a_content_file_is_quarantined_and_counted_once() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let stored = vec![b'x'; INLINE_CONTENT + 1];
    let id = accept(&spool, 1, &stored).await;
    let Content::File { path, crc, .. } = spool.read(id).await.unwrap().content else {
        panic!("large content has a file");
    };
    assert_eq!(crc, crc32c::crc32c(&stored));
    disk.corrupt(&path, |bytes| bytes[7] = b'y');
    for _ in 0..2 {
        spool.quarantine(id).await;
        assert_eq!(spool.status().damaged_records, 1);
    }
    let kept = disk.content(Path::new(&format!("/spool/quarantine/{id}.damaged")));
    assert_eq!(kept, disk.content(&path));
    spool.quarantine(spool.next_id()).await;
    assert_eq!(spool.status().damaged_records, 1);
}

#[tokio::test]
async fn of_an_outcome_leaves_the_message_in_an_older_state() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let id = accept(&spool, 2, b"some content").await;
    spool
        .settle(outcome(id, 0, State::Deferred, 3))
        .await
        .unwrap();
    spool
        .settle(outcome(id, 1, State::Deferred, 5))
        .await
        .unwrap();
    disk.corrupt(&segment_of(&spool), |bytes| {
        let at = bytes.iter().rposition(|&b| b != 0).unwrap();
        bytes[at] ^= 1;
    });
    for _ in 0..2 {
        let message = spool.read(id).await.unwrap().message;
        assert_eq!(message.recipients[0].progress.attempts, 3);
        assert_eq!(message.recipients[1].progress.attempts, 0);
        assert_eq!(spool.status().damaged_records, 1);
    }
    let files: Arc<dyn Files> = Arc::new(disk.clone());
    assert_eq!(files.list(Path::new("/spool/quarantine")).unwrap().len(), 1);
}

#[tokio::test]
async fn of_a_content_file_keeps_the_envelope_and_counts_once() {
    for missing in [true, false] {
        let disk = Disk::new();
        let (spool, _) = boot(&disk);
        let id = accept(&spool, 1, &vec![b'x'; INLINE_CONTENT + 1]).await;
        let path = PathBuf::from(format!("/spool/content/{id}"));
        if missing {
            disk.remove(&path).unwrap();
        } else {
            disk.corrupt(&path, |bytes| bytes.truncate(100));
        }
        for _ in 0..2 {
            let Err(ReadError::Damaged(kept)) = spool.read(id).await else {
                panic!("damage must be seen");
            };
            let kept = disk.content(&kept).unwrap();
            assert!(kept.windows(14).any(|w| w == b"r0@example.com"));
            assert_eq!(spool.status().damaged_records, 1);
        }
    }
}

#[tokio::test]
async fn at_the_end_of_a_segment_before_the_last_is_seen() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let first = segment_of(&spool);
    let mut in_file = Vec::new();
    while spool.shared().index().segments().len() < 2 {
        let id = accept(&spool, 1, &vec![b'x'; INLINE_CONTENT + 1]).await;
        in_file.push(id);
    }
    let after = in_file.pop().unwrap();
    let last = in_file.pop().unwrap();
    spool.rest();
    let disk = crash(spool, &disk, Crash::Kill);
    disk.corrupt(&first, |bytes| {
        // No footer, and the last record broken in its queue id.
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        let footer = bytes.windows(8).position(|w| w == b"PHFOOTER").unwrap();
        bytes[footer] ^= 1;
        let id = last.to_bytes();
        let at = bytes.windows(16).position(|w| w == id).unwrap();
        bytes[at] ^= 1;
    });
    let (found, damaged) = recover(&disk);
    assert!(found.contains_key(&after) && !found.contains_key(&last));
    assert_eq!(damaged, 1);
    let kept = PathBuf::from(format!("/spool/quarantine/{last}"));
    assert_eq!(disk.content(&kept).unwrap().len(), INLINE_CONTENT + 1);
}

#[tokio::test]
async fn stays_where_it_is_while_there_is_no_room_for_a_copy() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let segment = segment_of(&spool);
    accept(&spool, 1, b"some content").await;
    accept(&spool, 1, b"other content").await;
    spool.rest();
    let disk = crash(spool, &disk, Crash::Kill);
    disk.corrupt(&segment, |bytes| {
        let at = bytes.windows(4).position(|w| w == b"some").unwrap();
        bytes[at] = b'S';
    });
    // Enough for a start, and not for a copy.
    disk.set_capacity(disk.used() + 100);
    let (found, damaged) = recover(&disk);
    assert_eq!((found.len(), damaged), (1, 1));
    let files: Arc<dyn Files> = Arc::new(disk.clone());
    let quarantined = || files.list(Path::new("/spool/quarantine")).unwrap();
    assert!(quarantined().is_empty());
    let bytes = disk.content(&segment).unwrap();
    assert!(bytes.windows(12).any(|w| w == b"Some content"));
    disk.set_capacity(1 << 30);
    let (found, _) = recover(&disk);
    assert_eq!((found.len(), quarantined().len()), (1, 1));
}
