//! `kill -9` in the middle of commits: what was acknowledged is there.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;

use super::*;

/// Set in the child process only.
const FOLDER: &str = "TIDEGATE_TEST_CRASH_FOLDER";
const CHILD: &str = "journal::tests::crash::child_commits_until_it_is_killed";

/// The child: this test binary again, with [`FOLDER`] set. Without it there is nothing to do.
#[tokio::test]
async fn child_commits_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let (_storage, running) = start(folder, None);
    let slot = Arc::new(AckSlot::default());
    // The first run has no stream yet.
    let mut next = if running.is_first(folder) { 0 } else { stored(folder).len() as u64 };
    loop {
        // Several at once, so that commits carry more than one.
        for _ in 0..7 {
            next += 1;
            running.submit(&next.to_string(), Some((&slot, next))).await;
        }
        reached(&slot, next).await;
        println!("acknowledged {next}");
    }
}

impl Running {
    fn is_first(&self, folder: &Path) -> bool {
        Reader::new(Storage::peek(folder).unwrap()).streams().unwrap().is_empty()
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        let mut acknowledged = 0;
        for line in lines {
            // The test harness prints the test's name on the first line.
            let line = line.unwrap();
            let Some((_, number)) = line.split_once("acknowledged ") else { continue };
            acknowledged = number.parse::<usize>().unwrap();
            seen += 1;
            if seen == 20 + round * 7 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        // Opening as the gateway does recovers the log; reading checks each block's checksum.
        drop(Storage::open(folder.path()).unwrap());
        let all = stored(folder.path());
        assert!(all.len() >= acknowledged, "{} of {acknowledged}", all.len());
        let expected: Vec<String> = (1..=all.len()).map(|n| n.to_string()).collect();
        assert_eq!(all, expected, "nothing is missing, doubled or out of order");
        let check: String = rusqlite::Connection::open(folder.path().join("tidegate.db"))
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
    }
}
