//! What is written as one is there as one, wherever a power loss tears the write.

use super::{damage::recover, *};

/// A report of a message, and the end that is stored with it.
async fn settle_with_report(spool: Spool, id: QueueId, end: Settlement, octets: usize) {
    let mut report = message(id.report(1), 1);
    report.kind = Kind::Report;
    let content = Content::Inline(Bytes::from(vec![b'x'; octets]));
    let report = Some((report, content));
    // The machine dies meanwhile.
    let _ = spool.settle(Settlement { report, ..end }).await;
}

#[tokio::test]
async fn a_report_and_its_originals_end_are_stored_together_or_not_at_all() {
    let mut seen = [false; 2];
    // Wherever in its sector the second record begins.
    for (outcome_only, octets) in (0..512).step_by(36).flat_map(|n| [(true, n), (false, n)]) {
        let disk = Disk::new();
        let (spool, _) = boot(&disk);
        let id = accept(&spool, 1, b"content").await;
        spool.rest();
        disk.stall(true);
        let end = if outcome_only {
            outcome(id, 0, State::Relayed, 1)
        } else {
            finished(id)
        };
        let task = tokio::spawn(settle_with_report(spool.clone(), id, end, octets));
        while !spool.shared().index().contains(id.report(1)) {
            tokio::task::yield_now().await;
        }
        let torn = disk.copy();
        // Before anything is judged: a stalled thread could not be joined.
        disk.stall(false);
        task.await.unwrap();
        for seed in 0..24 {
            let disk = torn.copy().crash(Crash::PowerLoss(seed * 7919 + 1));
            let (found, _) = recover(&disk);
            let has_ended = found
                .get(&id)
                .is_none_or(|original| original.recipients[0].progress.state == State::Relayed);
            let is_reported = found.contains_key(&id.report(1));
            assert_eq!(is_reported, has_ended, "seed {seed}");
            seen[usize::from(is_reported)] = true;
        }
    }
    assert_eq!(seen, [true, true]);
}

#[tokio::test]
async fn a_report_whose_original_is_gone_outlives_damage_to_its_neighbour() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let id = accept(&spool, 1, b"content").await;
    settle_with_report(spool.clone(), id, finished(id), 300).await;
    let neighbour = accept(&spool, 1, b"neighbour").await;
    let path = segment_of(&spool);
    let disk = crash(spool, &disk, Crash::Kill);
    disk.corrupt(&path, |bytes| {
        // Its `Accept`, and then its `Remove`: an empty record right before the neighbour's.
        let at = bytes.windows(7).position(|w| w == b"content").unwrap();
        bytes[at] ^= 1;
        let id = neighbour.to_bytes();
        let at = bytes.windows(16).position(|w| w == id).unwrap();
        bytes[at - 24 - 5] ^= 1;
    });
    let (_spool, found) = boot(&disk);
    let ids: Vec<_> = found.iter().map(|queued| queued.message.id).collect();
    assert_eq!(ids, [id.report(1), neighbour]);
}
