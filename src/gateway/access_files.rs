//! Keeps users, access rules and keys in step with their files.
//!
//! Looks at the files every second; a change counts once two looks in a row agree, so that a file that is
//! being written is not taken for a whole one. What is right takes over at once, for live connections too;
//! what is wrong changes nothing, and is said on the log and in `tidegate_access_stale`.

use std::sync::Arc;

use tokio::time::sleep;

use crate::access::Access;
use crate::broker::BrokerHandle;
use crate::limits::RULES_LOOK_PERIOD;
use crate::limits::RULES_SETTLE_PERIOD;
use crate::retry::describe;

/// Who may come in, and the broker that has to be told when that changes. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct AccessFiles {
    access: Arc<Access>,
    broker: BrokerHandle,
}

impl AccessFiles {
    pub(super) fn new(access: Arc<Access>, broker: BrokerHandle) -> AccessFiles {
        AccessFiles { access, broker }
    }

    /// Takes over what the files say.
    ///
    /// # Errors
    /// What is wrong with them, in words; nothing has changed then.
    pub(super) async fn refresh(&self) -> Result<(), String> {
        if !self.access.has_files() {
            return Ok(());
        }
        let access = Arc::clone(&self.access);
        let read = tokio::task::spawn_blocking(move || access.reload());
        let read = read.await.map_err(|error| describe(&error))?;
        match read {
            Ok(()) => {
                self.broker.recheck();
                tracing::info!("users and access rules were taken over from their files");
                Ok(())
            }
            Err(error) => {
                let reason = describe(&error);
                tracing::error!(%reason, "users and access rules stay as they were");
                Err(reason)
            }
        }
    }

    /// Follows the files until it is dropped.
    pub(super) async fn watch(self) {
        if !self.access.has_files() {
            return;
        }
        loop {
            sleep(RULES_LOOK_PERIOD).await;
            let mut looked = self.look().await;
            while looked.is_some() {
                sleep(RULES_SETTLE_PERIOD).await;
                let again = self.look().await;
                if again == looked {
                    // What went wrong is on the log.
                    drop(self.refresh().await);
                    break;
                }
                looked = again;
            }
        }
    }

    async fn look(&self) -> Option<crate::access::Looks> {
        let access = Arc::clone(&self.access);
        tokio::task::spawn_blocking(move || access.changed_look()).await.ok().flatten()
    }
}
