//! What may come into each delivery: its settings, which partition a record belongs to, and whether there is room.
//!
//! [`Accounts`] is asked by a connection's lane ([`Accounts::route`], and [`Accounts::room`], which waits) and by the
//! journal's stage ([`Accounts::admit`], which does not). The policy over a destination that takes
//! nothing: from three quarters of `backlog_bytes_max` on, senders of that delivery wait up to
//! [`limits::DELIVERY_ROOM_WAIT`] with each batch; from all of it on, its records are refused, which the rule's
//! ON ERROR is told. Commits under way may go over by what they carry. Other deliveries, and who does not
//! send to this one, notice nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::DeliveryConfig;
use crate::journal::Effect;
use crate::limits;

use super::buffer_name;
use super::failed_record;
use super::failed_record::Reason;
use super::fields::Fields;
use super::fields::scalar_text;
use super::layout::to_path_part;
use super::outbox::is_outbox;

/// The books of all deliveries.
#[derive(Debug, Default)]
pub struct Accounts {
    declared: BTreeSet<Arc<str>>,
    /// Of all: those of the configuration, those that programs have made, and those that only rules name. Read for
    /// each record, and copied when one is added.
    all: ArcSwap<BTreeMap<Arc<str>, Arc<Account>>>,
}

/// The books of one delivery.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Changed when a program says so.
    config: ArcSwap<DeliveryConfig>,
    /// Bytes of records that wait, of all its buffers.
    waiting: AtomicU64,
    /// Whether the delivery has been deleted: its buffers go when nothing waits in them.
    is_over: AtomicBool,
    /// Its partitions that there are, or will be with the commit being made.
    partitions: Mutex<HashSet<Arc<str>>>,
    /// Rung when a batch has left.
    released: Notify,
}

/// A record is refused: so many bytes of its delivery wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryFull {
    /// As many as may.
    pub bytes_max: usize,
}

impl Accounts {
    /// The books of `declared` deliveries; others have the defaults.
    pub fn new(declared: &BTreeMap<String, DeliveryConfig>) -> Accounts {
        let account = |(name, config): (&String, &DeliveryConfig)| {
            (Arc::from(name.as_str()), Arc::new(Account::new(config.clone())))
        };
        let all: BTreeMap<Arc<str>, Arc<Account>> = declared.iter().map(account).collect();
        Accounts { declared: all.keys().map(Arc::clone).collect(), all: ArcSwap::from_pointee(all) }
    }

    /// Whether the configuration names the delivery.
    pub fn is_declared(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    /// The names of the configuration.
    pub fn declared(&self) -> Vec<String> {
        self.declared.iter().map(|name| name.to_string()).collect()
    }

    /// The settings of a delivery; of one that nobody has said anything of, the defaults.
    pub fn settings(&self, name: &str) -> Arc<DeliveryConfig> {
        self.all.load().get(name).map(|account| account.config.load_full()).unwrap_or_default()
    }

    /// Gives a delivery other settings. What waits goes by them too, but for a batch that has begun.
    pub fn set(&self, name: &str, config: DeliveryConfig) {
        let account = self.account(name);
        account.is_over.store(false, Ordering::Relaxed);
        account.config.store(Arc::new(config));
    }

    /// A delivery is deleted: it has the defaults again, for who still names it, and goes with its last buffer, or at once
    /// when it has none.
    pub(super) fn end(&self, name: &str, has_buffers: bool) {
        let account = self.account(name);
        account.config.store(Arc::default());
        account.is_over.store(true, Ordering::Relaxed);
        if !has_buffers {
            self.forget(name);
        }
    }

    /// Whether a delivery has been deleted, or is not known any more.
    pub(super) fn is_over(&self, name: &str) -> bool {
        let all = self.all.load();
        all.get(name).is_none_or(|account| account.is_over.load(Ordering::Relaxed))
    }

    /// The buffer `name` has been taken away; `is_last`: it was the last one of its delivery.
    pub(super) fn close(&self, name: &str, is_last: bool) {
        let delivery = buffer_name::delivery_of(name);
        if let Some(account) = self.all.load().get(delivery) {
            account.close(name);
        }
        if is_last && self.is_over(delivery) {
            self.forget(delivery);
        }
    }

    fn forget(&self, name: &str) {
        self.all.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.remove(name);
            all
        });
    }

    /// Waits while there is little room in a delivery, but not for long.
    pub async fn room_of(&self, delivery: &str) {
        let account = self.account(delivery);
        let until = Instant::from_std(Clock::instant() + limits::DELIVERY_ROOM_WAIT);
        account.wait_for_room(until).await;
    }

    fn account(&self, name: &str) -> Arc<Account> {
        if let Some(account) = self.all.load().get(name) {
            return Arc::clone(account);
        }
        let name: Arc<str> = Arc::from(name);
        self.all.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.entry(Arc::clone(&name)).or_default();
            all
        });
        let all = self.all.load();
        // It is not there any more where a deletion came between: whoever asked for it gets one that is over.
        all.get(&name).map(Arc::clone).unwrap_or_default()
    }

    /// The account of the delivery that the buffer `name` belongs to. `None`: it is an outbox, whose owner
    /// bounds it.
    pub(super) fn of(&self, name: &str) -> Option<Arc<Account>> {
        let name = buffer_name::delivery_of(name);
        if is_outbox(name) {
            return None;
        }
        Some(self.account(name))
    }

    /// Puts each record of `effects` into the buffer of its partition. A record without one goes to
    /// the buffer of errors, with the reason. What has been put stays.
    pub fn route(&self, effects: &mut [Effect]) {
        let all = self.all.load();
        for effect in effects {
            let Effect::Deliver { delivery, data, at, .. } = effect else { continue };
            let Some(account) = all.get(&**delivery) else { continue };
            let config = account.config.load();
            if config.partition_keys.is_empty() {
                continue;
            }
            match partition(&config, delivery, data) {
                Ok(buffer) => *delivery = buffer,
                Err(message) => {
                    *data =
                        Bytes::from(failed_record::line(data, *at, Reason::NoPartition, &message));
                    *delivery = buffer_name::errors_of(delivery);
                }
            }
        }
    }

    /// Waits while there is little room for what `effects` deliver, but not for long.
    pub async fn room(&self, effects: &[Effect]) {
        let deliveries = effects.iter().filter_map(|effect| match effect {
            Effect::Deliver { delivery, .. } => Some(delivery),
            _ => None,
        });
        let mut until = None;
        let mut before: Option<&Arc<str>> = None;
        for delivery in deliveries {
            if before.is_some_and(|before| before == delivery) {
                continue;
            }
            before = Some(delivery);
            let Some(account) = self.of(delivery).filter(|account| account.is_short()) else {
                continue;
            };
            let until = *until.get_or_insert_with(|| {
                Instant::from_std(Clock::instant() + limits::DELIVERY_ROOM_WAIT)
            });
            account.wait_for_room(until).await;
        }
    }

    /// Takes a record of `bytes` bytes into `buffer`, or says that there is no room. One that would open a
    /// partition too many goes to the buffer of errors.
    ///
    /// # Errors
    /// As much waits as may.
    pub fn admit(
        &self,
        buffer: &mut Arc<str>,
        data: &mut Bytes,
        at: Timestamp,
    ) -> Result<(), DeliveryFull> {
        let Some(account) = self.of(buffer) else { return Ok(()) };
        let bytes_max = account.config.load().backlog_bytes_max;
        if account.waiting.load(Ordering::Relaxed) >= bytes_max as u64 {
            return Err(DeliveryFull { bytes_max });
        }
        if buffer_name::is_partition(buffer)
            && !buffer_name::is_errors(buffer)
            && let Err(message) = account.open(buffer)
        {
            let line = failed_record::line(data, at, Reason::PartitionsFull, &message);
            *data = Bytes::from(line);
            *buffer = buffer_name::errors_of(buffer_name::delivery_of(buffer));
        }
        Ok(())
    }
}

impl Account {
    fn new(config: DeliveryConfig) -> Account {
        Account { config: ArcSwap::from_pointee(config), ..Account::default() }
    }

    /// A batch has left.
    pub(super) fn release(&self, bytes: u64) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.released.notify_waiters();
    }

    /// Records are on disk.
    pub(super) fn charge(&self, bytes: u64) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The partition `buffer` is there.
    pub(super) fn know(&self, buffer: &Arc<str>) {
        if buffer_name::is_partition(buffer) && !buffer_name::is_errors(buffer) {
            self.partitions.lock().insert(Arc::clone(buffer));
        }
    }

    /// The partition `buffer` is gone.
    pub(super) fn close(&self, buffer: &str) {
        self.partitions.lock().remove(buffer);
    }

    fn open(&self, buffer: &Arc<str>) -> Result<(), String> {
        let (mut partitions, most) = (self.partitions.lock(), self.config.load().partitions_max);
        if partitions.contains(buffer) {
            return Ok(());
        }
        if partitions.len() >= most {
            return Err(format!("the delivery has {most} partitions, as many as it may"));
        }
        partitions.insert(Arc::clone(buffer));
        Ok(())
    }

    /// Whether senders are to be slowed.
    fn is_short(&self) -> bool {
        let slow_from = self.config.load().backlog_bytes_max as u64 / 4 * 3;
        self.waiting.load(Ordering::Relaxed) >= slow_from
    }

    async fn wait_for_room(&self, until: Instant) {
        loop {
            let released = self.released.notified();
            if !self.is_short() || timeout_at(until, released).await.is_err() {
                return;
            }
        }
    }
}

/// The buffer of the record's partition.
fn partition(config: &DeliveryConfig, delivery: &str, data: &[u8]) -> Result<Arc<str>, String> {
    let fields = Fields::of(data).ok_or("the record is not a JSON object")?;
    let mut values = Vec::with_capacity(config.partition_keys.len());
    for (key, path) in &config.partition_keys {
        let value = fields.find(path).and_then(scalar_text);
        let value = value.ok_or_else(|| format!("the record has no partition key '{key}'"))?;
        let is_short = to_path_part(&value).len() <= limits::DELIVERY_KEY_BYTES_MAX;
        if value.is_empty() || !is_short || value.contains(buffer_name::SEPARATOR) {
            return Err(format!("the value of partition key '{key}' is empty or too long"));
        }
        values.push((key.as_str(), value));
    }
    let values = values.iter().map(|(key, value)| (*key, &**value));
    Ok(buffer_name::partition_of(delivery, values))
}
