//! Deleting what has passed its stream's retention, a little at a time.

use std::time::Duration;

use crate::clock::Clock;
use crate::storage::ExecuteError;
use crate::storage::Executor;

use super::table;

/// How often streams are looked at: records outlive their retention by at most this.
const PERIOD: Duration = Duration::from_secs(60);

/// Trims all streams once a minute until the journal closes. Each deletion is a short job of its own,
/// so commits run between them however much has expired.
pub async fn retain(executor: Executor, clock: Clock) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match trim_all(&executor, &clock).await {
            Ok(()) => {}
            Err(ExecuteError::Closed) => return,
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(error = %error, source, "expired records could not be deleted");
            }
        }
    }
}

async fn trim_all(executor: &Executor, clock: &Clock) -> Result<(), ExecuteError> {
    loop {
        let now = clock.now();
        if !executor.execute(move |transaction| table::trim(transaction, now)).await? {
            return Ok(());
        }
    }
}
