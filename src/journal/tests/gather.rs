//! Commits that nobody waits for gather; what somebody waits for ends it.

use std::time::Duration;

use super::*;

/// Longer than any test may take: whoever waits for it hangs.
const GATHER: Duration = Duration::from_secs(600);

fn start_gathering(storage: &Storage, deadline: Option<Timestamp>) -> Running {
    start_with(storage, deadline, &JournalConfig { gather: GATHER, ..JournalConfig::default() })
}

/// Makes a commit with several submissions that nobody waits for: they come while a job holds the
/// writer up.
async fn crowd(running: &Running) {
    let (begin, begun) = std_mpsc::channel();
    let (go_on, held) = std_mpsc::channel::<()>();
    let executor = running.executor.clone();
    let job = tokio::spawn(async move {
        let hold_up = move |_: &rusqlite::Transaction<'_>| {
            begin.send(()).ok();
            held.recv().ok();
            Ok(())
        };
        executor.execute(hold_up).await
    });
    tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
    for n in 0..limits::JOURNAL_GATHER_MIN {
        running.submit(&format!("crowd {n}"), None).await;
    }
    go_on.send(()).unwrap();
    job.await.unwrap().unwrap();
    let next = || running.committed.recv_timeout(GATHER).unwrap();
    let batch = std::iter::repeat_with(next).find(|batch| !batch.is_empty()).unwrap();
    assert_eq!(batch.len(), limits::JOURNAL_GATHER_MIN);
}

/// Submissions that would land in several commits if each were as early as it can be.
async fn submit_many(running: &Running) -> Vec<Bytes> {
    let mut submitted = Vec::new();
    for n in 0..500 {
        running.submit(&n.to_string(), None).await;
        submitted.push(Bytes::from(n.to_string()));
        tokio::task::yield_now().await;
    }
    submitted
}

#[tokio::test]
async fn what_somebody_waits_for_takes_all_that_gathered_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let running = start_gathering(&storage, None);
    crowd(&running).await;
    let mut expected = submit_many(&running).await;
    let slot = Arc::new(AckSlot::default());
    running.submit("awaited", Some((&slot, 1))).await;
    reached(&slot, 1).await;
    expected.push(Bytes::from_static(b"awaited"));
    assert_eq!(running.committed.recv().unwrap(), expected);
}

#[tokio::test]
async fn few_submissions_are_committed_at_once_although_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let running = start_gathering(&storage, None);
    for n in 0..20 {
        let data = n.to_string();
        running.submit(&data, None).await;
        assert_eq!(running.committed.recv_timeout(GATHER).unwrap(), [Bytes::from(data)]);
    }
}

#[tokio::test]
async fn a_job_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let running = start_gathering(&storage, None);
    crowd(&running).await;
    let gathered = submit_many(&running).await;
    running.executor.execute(|_| Ok(())).await.unwrap();
    assert_eq!(running.committed.recv().unwrap(), gathered);
}

#[tokio::test]
async fn a_shutdown_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let running = start_gathering(&storage, None);
    crowd(&running).await;
    let gathered = submit_many(&running).await;
    running.journal.shutdown().await.unwrap();
    assert_eq!(running.committed.into_iter().flatten().collect::<Vec<_>>(), gathered);
}

/// While a deadline is near or far, the writer wakes up for it or for its sign of life.
#[tokio::test]
async fn it_holds_up_no_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let far = Clock::start().now() + Duration::from_secs(3600);
    let running = start_gathering(&storage, Some(far));
    crowd(&running).await;
    running.submit("late", None).await;
    assert_eq!(running.committed.recv_timeout(GATHER).unwrap(), [Bytes::from_static(b"late")]);
}
