//! Deliveries that programs make while the gateway runs, as Firehose's delivery streams.
//!
//! A row says what was asked for, in the words of the API; what it means is [`super::Accounts`]' to know, and given by whoever
//! reads those words. Changes are made one after the other, each in a transaction of its own, and only then known here.
//! A delivery that is deleted takes nothing more; its row stays until what waits has been delivered, over restarts too.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::RwLock;
use tokio::sync::RwLockReadGuard;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::DeliveryConfig;
use crate::limits;
use crate::retry::Backoff;
use crate::storage::ExecuteError;
use crate::storage::Executor;

use super::Accounts;
use super::Deliveries;
use super::FlushFailure;
use super::table;

const RETRY: Backoff =
    Backoff { first: limits::DELIVERY_RETRY_FIRST, max: limits::DELIVERY_RETRY_MAX };

/// A delivery as a program made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeDelivery {
    /// Its name.
    pub name: String,
    /// 1, and one more with each change of its destination.
    pub version: i64,
    /// Whether it is deleted, and what waits is still being delivered.
    pub is_ending: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its destination was changed.
    pub updated_at: Timestamp,
    /// What was asked for, as JSON.
    pub destination: String,
    /// By key.
    pub tags: BTreeMap<String, String>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// No delivery has this name, or not any more.
    #[error("there is no such delivery")]
    Unknown,
    /// One has it.
    #[error("there is a delivery of this name")]
    Exists,
    /// The configuration names it.
    #[error("the configuration names this delivery")]
    Declared,
    /// There would be more than [`limits::DELIVERIES_MADE_MAX`].
    #[error("there are {} deliveries, as many as may be made", limits::DELIVERIES_MADE_MAX)]
    TooMany,
    /// It has been changed since.
    #[error("the delivery has version {0}")]
    Changed(i64),
    /// There would be more than [`limits::STREAM_TAGS_MAX`].
    #[error("a delivery has at most {} tags", limits::STREAM_TAGS_MAX)]
    Tags,
    /// It could not be stored.
    #[error(transparent)]
    NotStored(#[from] ExecuteError),
}

/// Deliveries that programs have made.
#[derive(Debug)]
pub struct MadeDeliveries {
    executor: Executor,
    clock: Clock,
    accounts: Arc<Accounts>,
    deliveries: Arc<Deliveries>,
    /// Written behind the commit of a change, by the one that has the gate.
    known: Mutex<BTreeMap<String, MadeDelivery>>,
    /// Held for writing by changes, one at a time; for reading by who puts records, so that a delivery that is deleted
    /// takes none afterwards.
    gate: RwLock<()>,
}

impl MadeDeliveries {
    /// Goes on with what is stored; what was being deleted goes on to be.
    pub fn new(
        executor: Executor,
        clock: Clock,
        accounts: Arc<Accounts>,
        deliveries: Arc<Deliveries>,
        stored: Vec<MadeDelivery>,
    ) -> Arc<MadeDeliveries> {
        let ending: Vec<String> =
            stored.iter().filter(|made| made.is_ending).map(|made| made.name.clone()).collect();
        let known = stored.into_iter().map(|made| (made.name.clone(), made)).collect();
        let (known, gate) = (Mutex::new(known), RwLock::new(()));
        let this = Arc::new(MadeDeliveries { executor, clock, accounts, deliveries, known, gate });
        for name in ending {
            tokio::spawn(Arc::clone(&this).end(name));
        }
        this
    }

    /// The books of all deliveries.
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// All that were made, by name.
    pub fn list(&self) -> Vec<MadeDelivery> {
        self.known.lock().values().cloned().collect()
    }

    /// One of them.
    pub fn find(&self, name: &str) -> Option<MadeDelivery> {
        self.known.lock().get(name).cloned()
    }

    /// While this is held, a delivery that is found takes records.
    pub async fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// Makes a delivery.
    ///
    /// # Errors
    /// See [`NotMade`].
    pub async fn create(
        &self,
        name: String,
        destination: String,
        tags: BTreeMap<String, String>,
        config: DeliveryConfig,
    ) -> Result<(), NotMade> {
        let _turn = self.gate.write().await;
        if self.accounts.is_declared(&name) {
            return Err(NotMade::Declared);
        }
        {
            let known = self.known.lock();
            if known.contains_key(&name) {
                return Err(NotMade::Exists);
            }
            if known.len() >= limits::DELIVERIES_MADE_MAX {
                return Err(NotMade::TooMany);
            }
        }
        let now = self.clock.now();
        let made = MadeDelivery {
            name,
            version: 1,
            is_ending: false,
            created_at: now,
            updated_at: now,
            destination,
            tags,
        };
        self.store(made.clone()).await?;
        self.accounts.set(&made.name, config);
        self.deliveries.settings_changed(&made.name);
        Ok(())
    }

    /// Gives a delivery of version `version` another destination.
    ///
    /// # Errors
    /// See [`NotMade`].
    pub async fn update(
        &self,
        name: &str,
        version: i64,
        destination: String,
        config: DeliveryConfig,
    ) -> Result<(), NotMade> {
        let _turn = self.gate.write().await;
        let made = self.live(name)?;
        if made.version != version {
            return Err(NotMade::Changed(made.version));
        }
        let updated_at = self.clock.now();
        let changed = MadeDelivery { version: version + 1, updated_at, destination, ..made };
        self.store(changed).await?;
        self.accounts.set(name, config);
        self.deliveries.settings_changed(name);
        Ok(())
    }

    /// Changes the tags of a delivery.
    ///
    /// # Errors
    /// See [`NotMade`].
    pub async fn tag(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<(), NotMade> {
        let _turn = self.gate.write().await;
        let mut made = self.live(name)?;
        change(&mut made.tags);
        match made.tags.len() <= limits::STREAM_TAGS_MAX {
            true => Ok(self.store(made).await?),
            false => Err(NotMade::Tags),
        }
    }

    /// Ends a delivery: it takes nothing more, and is gone when what waits has been delivered.
    ///
    /// # Errors
    /// See [`NotMade`].
    pub async fn delete(self: &Arc<Self>, name: &str) -> Result<(), NotMade> {
        let _turn = self.gate.write().await;
        let made = self.live(name)?;
        self.store(MadeDelivery { is_ending: true, ..made }).await?;
        tokio::spawn(Arc::clone(self).end(name.to_owned()));
        Ok(())
    }

    fn live(&self, name: &str) -> Result<MadeDelivery, NotMade> {
        if self.accounts.is_declared(name) {
            return Err(NotMade::Declared);
        }
        self.find(name).filter(|made| !made.is_ending).ok_or(NotMade::Unknown)
    }

    async fn store(&self, made: MadeDelivery) -> Result<(), ExecuteError> {
        let row = made.clone();
        self.executor.execute(move |transaction| table::store_made(transaction, &row)).await?;
        self.known.lock().insert(made.name.clone(), made);
        Ok(())
    }

    /// Delivers what waits, however long that takes, and forgets the delivery.
    async fn end(self: Arc<Self>, name: String) {
        let mut failures = 0;
        while let Err(failure) = self.deliveries.flush(&name).await {
            if failure == FlushFailure::Unknown {
                break;
            }
            failures += 1;
            sleep(RETRY.wait(failures)).await;
        }
        let _turn = self.gate.write().await;
        let row = name.clone();
        let deleted = self.executor.execute(move |tx| table::delete_made(tx, &row));
        match deleted.await {
            Ok(()) => {
                self.known.lock().remove(&name);
                self.deliveries.end(&name);
            }
            // It is ended again after the next start.
            Err(error) => tracing::warn!(delivery = %name, %error, "a delivery is not gone yet"),
        }
    }
}
