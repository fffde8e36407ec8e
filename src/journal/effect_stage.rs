//! A stage without rules, for tests of targets: its work is the effects themselves.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::JournalConfig;
use crate::engine::Leap;
use crate::engine::hold::Progress;
use crate::storage::Storage;

use super::AckSlot;
use super::Batch;
use super::Effect;
use super::Journal;
use super::Stage;
use super::Submission;

struct EffectStage;

impl Stage for EffectStage {
    type Work = Vec<Effect>;

    fn apply(&mut self, _at: Timestamp, work: Vec<Effect>, batch: &mut Batch) {
        batch.effects.extend(work);
    }

    fn is_timeless(&self, _work: &Vec<Effect>) -> bool {
        true
    }

    fn advance(&mut self, _now: Timestamp, _batch: &mut Batch) -> Progress {
        Progress::Done
    }

    fn leap(&mut self, _leap: Leap, _batch: &mut Batch) {}

    fn seal(&mut self, _batch: &mut Batch) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn committed(&mut self, _batch: &Batch) {}
}

/// A journal on a data folder.
pub(crate) struct EffectJournal {
    pub(crate) storage: Storage,
    pub(crate) journal: Journal<Vec<Effect>>,
    pub(crate) clock: Clock,
    slot: Arc<AckSlot>,
    ticket: u64,
}

impl EffectJournal {
    pub(crate) fn open(folder: &Path) -> Self {
        let storage = Storage::open(folder).unwrap();
        let clock = Clock::start();
        let journal =
            Journal::start(&storage, EffectStage, &JournalConfig::default(), clock).unwrap();
        EffectJournal { storage, journal, clock, slot: Arc::default(), ticket: 0 }
    }

    /// Commits `effects` in one transaction, and waits for it.
    pub(crate) async fn commit(&mut self, effects: Vec<Effect>) {
        self.ticket += 1;
        let ack = Some((Arc::clone(&self.slot), self.ticket));
        let bytes = effects.iter().map(Effect::payload_bytes).sum();
        let submission = Submission { at: self.clock.now(), work: effects, bytes, ack };
        self.journal.submitter().submit(submission).await.unwrap();
        while self.slot.committed() < self.ticket {
            self.slot.changed().await;
        }
    }

    /// Closes the journal and gives the folder back.
    pub(crate) async fn close(self) {
        self.journal.shutdown().await.unwrap();
    }
}
