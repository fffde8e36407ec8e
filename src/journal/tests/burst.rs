//! A burst of timers: who waits for them, and who goes past.

use super::*;

/// Work that begins with `free` does not depend on timers. Its timers are all due from the start, in pieces
/// that each take the time of a commit.
struct BurstStage {
    /// Opened by the test.
    gate: std_mpsc::Receiver<()>,
    pieces: usize,
    told: std_mpsc::Sender<String>,
}

const PIECES: usize = 5;

impl Stage for BurstStage {
    type Work = Bytes;

    fn apply(&mut self, _at: Timestamp, work: Bytes, _batch: &mut Batch) {
        self.told.send(String::from_utf8(work.to_vec()).unwrap()).ok();
    }

    fn is_timeless(&self, work: &Bytes) -> bool {
        work.starts_with(b"free")
    }

    fn advance(&mut self, _now: Timestamp, _batch: &mut Batch) -> Progress {
        if self.pieces == PIECES {
            self.gate.recv().unwrap();
        }
        // Nothing comes any more: it is the time that passes.
        self.gate.recv_timeout(limits::JOURNAL_TIMERS_TIME).ok();
        self.pieces -= 1;
        self.told.send("timers".to_owned()).ok();
        if self.pieces == 0 { Progress::Done } else { Progress::More }
    }

    fn leap(&mut self, _leap: Leap, _batch: &mut Batch) {}

    fn seal(&mut self, _batch: &mut Batch) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        (self.pieces > 0).then_some(Timestamp::EPOCH)
    }

    fn committed(&mut self, _batch: &Batch) {}
}

#[tokio::test]
async fn work_that_needs_no_timers_goes_past_what_waits_for_them_but_past_none_of_its_own_sender() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let (open, gate) = std_mpsc::channel();
    let (told, tellings) = std_mpsc::channel();
    let stage = BurstStage { gate, pieces: PIECES, told };
    let clock = Clock::start();
    let journal = Journal::start(&storage, stage, &JournalConfig::default(), clock).unwrap();
    let slots = [(); 3].map(|()| Arc::new(AckSlot::default()));
    let of = |place: usize, ticket| Some((Arc::clone(&slots[place]), ticket));
    for (data, ack) in [
        ("waits", of(0, 1)),
        ("free, behind it", of(0, 2)),
        ("free", of(1, 1)),
        ("waits, of nobody", None),
        ("free, behind that", of(2, 1)),
    ] {
        let work = Bytes::from_static(data.as_bytes());
        let submission = Submission { at: clock.now(), bytes: work.len(), work, ack };
        journal.submitter().submit(submission).await.unwrap();
    }
    open.send(()).unwrap();
    reached(&slots[1], 1).await;
    assert_eq!(slots[0].committed(), 0, "the timers are not done");
    reached(&slots[0], 2).await;
    reached(&slots[2], 1).await;
    let told: Vec<String> = tellings.try_iter().collect();
    let free = told.iter().position(|told| told == "free").unwrap();
    assert!((1..PIECES).contains(&free), "in the middle of the timers: {told:?}");
    let others: Vec<&String> = told.iter().filter(|told| *told != "free").collect();
    assert_eq!(others[..PIECES], ["timers"; PIECES]);
    assert_eq!(
        others[PIECES..],
        ["waits", "free, behind it", "waits, of nobody", "free, behind that"]
    );
    journal.shutdown().await.unwrap();
}
