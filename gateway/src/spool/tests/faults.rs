//! What a failing or full disk, another process and another format do to the spool.

use super::*;
use crate::spool::durable::double::Failing;

async fn try_accept(spool: &Spool, octets: usize) -> Result<QueueId, StoreError> {
    let id = spool.next_id();
    let content = Content::Inline(Bytes::from(vec![b'x'; octets]));
    spool.commit(message(id, 1), content).await.map(|_| id)
}

#[tokio::test]
async fn a_failed_write_or_sync_is_told_to_all_and_not_retried() {
    for failing in [Failing::Writes, Failing::Syncs] {
        let disk = Disk::new();
        let (spool, _) = boot(&disk);
        let kept = try_accept(&spool, 10).await.unwrap();
        spool.rest();
        disk.fail(failing);
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let spool = spool.clone();
                tokio::spawn(async move { try_accept(&spool, 10).await })
            })
            .collect();
        for task in waiting {
            assert_eq!(task.await.unwrap(), Err(StoreError::Failed));
        }
        disk.fail(Failing::Nothing);
        assert_eq!(try_accept(&spool, 10).await, Err(StoreError::Failed));
        let failure = spool.failed().await;
        assert!(failure.to_string().contains(".segment"), "{failure}");
        let status = spool.status();
        assert_eq!(status.state, SpoolState::Failed);
        assert_eq!(status.error, Some(failure.to_string()));
        let disk = crash(spool, &disk, Crash::PowerLoss(7));
        let (_, found) = boot(&disk);
        assert!(found.iter().any(|queued| queued.message.id == kept));
    }
}

#[tokio::test]
async fn a_full_disk_refuses_mail_but_takes_outcomes_and_recovers() {
    let disk = Disk::new();
    disk.set_capacity(12 * SEGMENT);
    let (spool, _) = boot(&disk);
    let mut accepted = Vec::new();
    let refused = loop {
        match try_accept(&spool, 3000).await {
            Ok(id) => accepted.push(id),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1000, "the disk cannot hold so many");
    };
    assert_eq!(refused, StoreError::Full);
    spool.rest();
    assert!(!spool.has_room());
    assert_eq!(spool.status().state, SpoolState::Full);
    // More outcomes than one segment holds.
    for round in 1..=20 {
        for &id in &accepted {
            spool
                .settle(outcome(id, 0, State::Deferred, round))
                .await
                .unwrap();
        }
    }
    for &id in &accepted {
        let stored = spool.read(id).await.unwrap();
        assert_eq!(stored.message.recipients[0].progress.attempts, 20);
        spool.settle(finished(id)).await.unwrap();
    }
    spool.rest_until(|| spool.has_room());
    try_accept(&spool, 3000).await.unwrap();
    assert_eq!(spool.status().state, SpoolState::Ready);
}

#[tokio::test]
async fn a_full_disk_under_large_content_removes_the_file_and_nothing_else() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    spool.rest();
    disk.set_capacity(disk.used() + 100_000);
    let id = spool.next_id();
    let mut upload = spool.upload(id).await.unwrap();
    let written = upload.write(&vec![b'x'; 1_000_000]).await;
    assert_eq!(written, Err(StoreError::Full));
    drop(upload);
    assert_eq!(
        disk.content(Path::new(&format!("/spool/content/{id}"))),
        None
    );
    disk.set_capacity(1 << 30);
    try_accept(&spool, 1_000_000).await.unwrap();
}

#[tokio::test]
async fn after_a_drain_the_spool_is_at_most_the_reserve() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    let mut accepted = Vec::new();
    for _ in 0..200 {
        accepted.push(try_accept(&spool, 5000).await.unwrap());
    }
    spool.rest();
    assert!(disk.used() > 15 * SEGMENT);
    // All but one in fifty, which have to be copied forward.
    for (i, &id) in accepted.iter().enumerate() {
        if i % 50 != 0 {
            spool.settle(finished(id)).await.unwrap();
        }
    }
    // The one being written, the next, and spares for a log that moves.
    spool.rest_until(|| disk.used() <= 9 * SEGMENT);
    for &id in accepted.iter().step_by(50) {
        assert_eq!(spool.read(id).await.unwrap().content.len(), 5000);
        spool.settle(finished(id)).await.unwrap();
    }
    spool.close().await;
    drop(spool);
    let (spool, found) = boot(&disk);
    assert!(found.is_empty());
    // Full segments: the active, the next, and spares until the log counts as idle.
    spool.rest_until(|| disk.used() <= 7 * SEGMENT);
}

#[tokio::test]
async fn many_commits_share_one_sync() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    spool.rest();
    let syncs = || spool.shared().metrics.spool_sync_seconds.get_sample_count();
    let before = syncs();
    disk.stall(true);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let spool = spool.clone();
            tokio::spawn(async move { try_accept(&spool, 10).await.unwrap() })
        })
        .collect();
    // On one thread, all tasks come as far as their commit before this one goes on.
    tokio::task::yield_now().await;
    disk.stall(false);
    for task in tasks {
        task.await.unwrap();
    }
    // What came before the first sync, all that came during it, and what the upkeep asked for.
    let syncs = syncs() - before;
    assert!((1..16).contains(&syncs), "{syncs} syncs");
}

#[test]
fn a_second_process_is_refused_and_the_lock_ends_with_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path());
    let error = try_open(dir.path()).unwrap_err();
    assert!(error.is_for_a_person());
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(spool);
    open(dir.path());
}

#[test]
fn what_a_person_must_change_is_told_apart_from_a_failing_disk() {
    let dir = tempfile::tempdir().unwrap();
    let error = try_open(&dir.path().join("no/such")).unwrap_err();
    assert!(error.is_for_a_person(), "{error}");
    let disk = Disk::new();
    disk.fail(Failing::Syncs);
    let error = try_boot(&disk).unwrap_err();
    assert!(!error.is_for_a_person(), "{error}");
    disk.fail(Failing::Nothing);
    disk.set_capacity(1000);
    let error = try_boot(&disk).unwrap_err();
    assert!(!error.is_for_a_person(), "{error}");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let version = dir.path().join("VERSION");
    let text = std::fs::read_to_string(&version).unwrap();
    std::fs::write(&version, text.replacen('1', "2", 1)).unwrap();
    let error = try_open(dir.path()).unwrap_err();
    assert!(error.is_for_a_person());
    assert!(
        error
            .to_string()
            .ends_with("is of format 2, and this release reads up to 1"),
        "{error}"
    );
    std::fs::write(&version, text).unwrap();
    open(dir.path());
}

#[tokio::test]
async fn an_unfinished_upload_and_a_file_without_accept_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let content = dir.path().join("content");
    let files = || std::fs::read_dir(&content).unwrap().count();
    let (spool, _) = open(dir.path());
    let kept = accept(&spool, 1, &vec![b'x'; INLINE_CONTENT + 1]).await;
    let mut unfinished = spool.upload(spool.next_id()).await.unwrap();
    unfinished.write(b"some").await.unwrap();
    assert_eq!(files(), 2);
    drop(unfinished);
    assert_eq!(files(), 1);
    let id = spool.next_id();
    let mut finished = spool.upload(id).await.unwrap();
    finished.write(b"some").await.unwrap();
    finished.finish().await.unwrap();
    drop(spool);
    assert_eq!(files(), 2);
    let (spool, _) = open(dir.path());
    assert_eq!(files(), 1);
    spool.read(kept).await.unwrap();
    spool.settle(super::finished(kept)).await.unwrap();
    // Takes the sync along that the removal needs.
    accept(&spool, 1, b"").await;
    spool.rest_until(|| files() == 0);
}

#[tokio::test]
async fn uploads_share_one_budget_and_do_not_wait_for_each_other_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = open(dir.path());
    // Half-full buffers of more uploads than the budget has room for.
    let mut uploads = Vec::new();
    let half = vec![b'x'; 200 * 1024];
    for _ in 0..200 {
        let mut upload = spool.upload(spool.next_id()).await.unwrap();
        upload.write(&half).await.unwrap();
        uploads.push(upload);
        if uploads.len() == 160 {
            break;
        }
    }
    for upload in uploads {
        assert_eq!(upload.finish().await.unwrap().len(), half.len() as u64);
    }
}

#[tokio::test]
async fn a_panic_of_either_thread_fails_the_spool() {
    for thread in ["spool-writer", "spool-upkeep"] {
        let disk = Disk::new();
        let (spool, _) = boot(&disk);
        spool.rest();
        disk.panic_in(thread);
        // The upkeep works when a segment is full.
        let mut accepted = 0;
        while try_accept(&spool, 10_000).await.is_ok() {
            accepted += 1;
            assert!(accepted < 1000, "{thread} never panicked");
        }
        let failure = tokio::time::timeout(std::time::Duration::from_secs(30), spool.failed());
        let failure = failure.await.unwrap();
        assert!(
            failure.to_string().contains("a thread panicked"),
            "{failure}"
        );
        assert_eq!(spool.status().state, SpoolState::Failed);
    }
}

#[tokio::test]
async fn without_descriptors_large_content_is_refused_and_nothing_fails() {
    let disk = Disk::new();
    let (spool, _) = boot(&disk);
    spool.rest();
    disk.fail(Failing::Opens);
    let refused = try_accept(&spool, INLINE_CONTENT + 1).await;
    assert_eq!(refused, Err(StoreError::Full));
    // Nor does the log fail that cannot make its next segment.
    while try_accept(&spool, 10_000).await.is_ok() {}
    spool.rest();
    disk.fail(Failing::Nothing);
    spool.rest_until(|| !matches!(spool.status().state, SpoolState::Full));
    try_accept(&spool, INLINE_CONTENT + 1).await.unwrap();
    assert_eq!(spool.status().state, SpoolState::Ready);
}
