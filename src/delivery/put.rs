//! Records from outside the rules, on their way into one delivery: through the journal's queue, so that one commit
//! carries those of every client.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::journal::Effect;

use super::Accounts;
use super::DeliveryFull;

/// Records for one delivery, in order. Shared by whoever waits for them and the journal's stage, which alone settles what
/// became of each; it is final when the submission that carries it is acknowledged.
#[derive(Debug)]
pub struct DeliveryPut {
    at: Timestamp,
    bytes: usize,
    /// Until the stage takes them.
    effects: Mutex<Vec<Effect>>,
    outcome: Mutex<Option<Vec<Result<(), DeliveryFull>>>>,
}

impl DeliveryPut {
    /// Records that have arrived at `at`, each in the buffer of its partition.
    pub fn new(
        accounts: &Accounts,
        delivery: &Arc<str>,
        at: Timestamp,
        records: Vec<Bytes>,
    ) -> DeliveryPut {
        let deliver =
            |data| Effect::Deliver { delivery: Arc::clone(delivery), data, at, sent_by: None };
        let mut effects: Vec<Effect> = records.into_iter().map(deliver).collect();
        accounts.route(&mut effects);
        let bytes = effects.iter().map(Effect::payload_bytes).sum();
        DeliveryPut { at, bytes, effects: Mutex::new(effects), outcome: Mutex::default() }
    }

    /// When they have arrived.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Bytes of all of them.
    pub fn payload_bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.effects.lock().len()
    }

    /// What is to be committed of them; the others are refused.
    pub fn admit(&self, accounts: &Accounts) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut *self.effects.lock());
        let mut outcome = Vec::with_capacity(effects.len());
        effects.retain_mut(|effect| {
            let Effect::Deliver { delivery, data, at, .. } = effect else { return false };
            let admitted = accounts.admit(delivery, data, *at);
            outcome.push(admitted);
            admitted.is_ok()
        });
        *self.outcome.lock() = Some(outcome);
        effects
    }

    /// What became of each record, in order; `None` before the stage has seen them.
    pub fn take_outcome(&self) -> Option<Vec<Result<(), DeliveryFull>>> {
        self.outcome.lock().take()
    }
}
