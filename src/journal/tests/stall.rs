//! A disk that is full for a while.

use super::*;

/// A storage whose database may not grow, with a table of this test that can make room in it.
fn full_storage(folder: &Path) -> Storage {
    let storage = Storage::open(folder).unwrap();
    storage.with_writer(|writer| {
        writer
            .execute_batch(
                "CREATE TABLE filler (x BLOB);
                 INSERT INTO filler VALUES (zeroblob(4000000));",
            )
            .unwrap();
        let pages: i64 = writer.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        writer.pragma_update(None, "max_page_count", pages).unwrap();
    });
    storage
}

#[tokio::test]
async fn a_full_disk_is_waited_out_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let storage = full_storage(folder.path());
    let running = start_on(&storage, None);
    let slot = Arc::new(AckSlot::default());
    let record = |n: u64| format!("{n}:{}", "x".repeat(50_000));
    let mut health = running.journal.health();
    for ticket in 1..=20 {
        running.submit(&record(ticket), Some((&slot, ticket))).await;
    }
    let job = tokio::spawn({
        let executor = running.executor.clone();
        async move {
            let count = "SELECT count(*) FROM stream_block";
            executor.execute(move |tx| tx.query_row(count, [], |row| row.get::<_, i64>(0))).await
        }
    });
    health.changed().await;
    let stall = health.stall().expect("a stall has begun");
    assert_eq!(stall.reason, "database or disk is full");
    let stalled_at = slot.committed();
    assert!(stalled_at < 20);
    assert!(running.journal.metrics().failures.get() > 0);
    assert_eq!(running.journal.metrics().stalled.get(), 1);

    let other = rusqlite::Connection::open(folder.path().join("tidegate.db")).unwrap();
    other.execute("DELETE FROM filler", []).unwrap();
    reached(&slot, 20).await;
    assert!(job.await.unwrap().unwrap() > 0);
    assert_eq!(health.stall(), None);
    assert_eq!(running.journal.metrics().stalled.get(), 0);
    let expected: Vec<String> = (1..=20).map(record).collect();
    assert_eq!(stored(folder.path()), expected);
    running.journal.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_disk_that_stays_full() {
    let folder = tempfile::tempdir().unwrap();
    let storage = full_storage(folder.path());
    let running = start_on(&storage, None);
    let slot = Arc::new(AckSlot::default());
    let mut health = running.journal.health();
    let large = "x".repeat(500_000);
    for ticket in 1..=3 {
        running.submit(&large, Some((&slot, ticket))).await;
    }
    health.changed().await;
    let error = running.journal.shutdown().await.unwrap_err();
    let JournalError::Unwritten { submissions, reason } = error else { panic!("{error}") };
    assert_eq!(submissions as u64, 3 - slot.committed());
    assert_eq!(reason, "database or disk is full");
}
