//! What sessions that survive have for the journal beside the publishes: messages that subscribers are done with go
//! from disk a moment later, and those that absent clients leave too long. Beside them, retained messages that have expired.

use std::sync::Arc;

use crate::broker::BrokerHandle;
use crate::clock::Clock;
use crate::journal::JournalClosed;
use crate::journal::Submission;
use crate::journal::Submitter;
use crate::limits::SESSION_AGE_PERIOD;
use crate::limits::SESSION_REMOVAL_DELAY;
use crate::retained;
use crate::session::SessionError;
use crate::storage::ExecuteError;
use crate::storage::Executor;

use super::stage::Work;

/// Has the journal remove what subscribers are done with, when no other commit has done so in the meantime.
pub(super) async fn settle(broker: BrokerHandle, journal: Submitter<Work>, clock: Clock) {
    let ledger = Arc::clone(broker.ledger());
    loop {
        ledger.filled().await;
        tokio::time::sleep(SESSION_REMOVAL_DELAY).await;
        if !ledger.is_empty() && submit(&journal, clock).await.is_err() {
            return;
        }
    }
}

/// The same at the end, for what is left.
pub(super) async fn settle_last(broker: &BrokerHandle, journal: &Submitter<Work>, clock: Clock) {
    if !broker.ledger().is_empty() && submit(journal, clock).await.is_err() {
        tracing::debug!("messages that subscribers are done with are left on disk");
    }
}

async fn submit(journal: &Submitter<Work>, clock: Clock) -> Result<(), JournalClosed> {
    let submission = Submission { at: clock.now(), work: Work::Settle, bytes: 0, ack: None };
    journal.submit(submission).await
}

/// Removes messages that absent clients have left for longer than they may, and retained ones that have expired.
pub(super) async fn age(broker: BrokerHandle, executor: Executor, clock: Clock) {
    loop {
        broker.forget_expired();
        if let Err(error) = retained::remove_expired(&executor, clock.now()).await {
            tracing::error!(%error, "expired retained messages stay on disk for now");
        }
        tokio::time::sleep(SESSION_AGE_PERIOD).await;
        match broker.remove_old(&executor).await {
            Ok(()) => {}
            Err(SessionError::Remove(ExecuteError::Closed)) => return,
            Err(error) => tracing::error!(%error, "old messages of sessions were not removed"),
        }
    }
}
