//! Who is subscribed to which shard now: one subscription for each consumer and shard.
//!
//! A subscription has a [`Claim`] on its shard for as long as it lives. Another one of the same consumer is refused
//! for [`KINESIS_TAKE_OVER_MIN`], and takes it over after that: the earlier one is told to end. So a client that
//! has vanished without a word is in nobody's way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::limits::KINESIS_TAKE_OVER_MIN;
use crate::stream::ShardId;

/// What there is one subscription of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seat {
    pub(super) stream: String,
    pub(super) consumer: String,
    pub(super) shard: ShardId,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    since: Instant,
    /// Turns true when another one takes over.
    lost: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    taken: HashMap<Seat, Taken, foldhash::fast::RandomState>,
    claimed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Written when a subscription begins or ends.
    state: Arc<Mutex<State>>,
}

impl Subscriptions {
    /// Takes a seat at `now`; `None` when another one has taken it just before.
    pub(super) fn claim(&self, seat: Seat, now: Instant) -> Option<Claim> {
        let mut state = self.state.lock();
        state.claimed += 1;
        let number = state.claimed;
        let (lost, heard) = watch::channel(false);
        let taken = Taken { number, since: now, lost };
        match state.taken.entry(seat.clone()) {
            Entry::Occupied(mut entry) => {
                let held: Duration = now.saturating_duration_since(entry.get().since);
                if held < KINESIS_TAKE_OVER_MIN {
                    return None;
                }
                entry.insert(taken).lost.send_replace(true);
            }
            Entry::Vacant(entry) => {
                entry.insert(taken);
            }
        }
        Some(Claim { state: Arc::clone(&self.state), seat, number, heard })
    }

    /// How many there are.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.state.lock().taken.len()
    }
}

/// A seat that is taken until this is dropped, or lost to another.
#[derive(Debug)]
pub(super) struct Claim {
    state: Arc<Mutex<State>>,
    seat: Seat,
    number: u64,
    heard: watch::Receiver<bool>,
}

impl Claim {
    /// Waits until another one has taken the seat over.
    pub(super) async fn lost(&mut self) {
        // The sender is gone only with the claim.
        drop(self.heard.wait_for(|lost| *lost).await);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let is_mine = state.taken.get(&self.seat).is_some_and(|taken| taken.number == self.number);
        if is_mine {
            state.taken.remove(&self.seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;

    use super::*;

    fn seat(shard: u32) -> Seat {
        let shard = ShardId(shard);
        Seat { stream: "s".to_owned(), consumer: "c".to_owned(), shard }
    }

    #[tokio::test]
    async fn a_seat_is_taken_over_after_five_seconds_and_free_at_the_end() {
        let subscriptions = Subscriptions::default();
        let now = Clock::instant();
        let mut first = subscriptions.claim(seat(0), now).unwrap();
        let other = subscriptions.claim(seat(1), now).unwrap();
        assert!(subscriptions.claim(seat(0), now + Duration::from_millis(4999)).is_none());
        let second = subscriptions.claim(seat(0), now + KINESIS_TAKE_OVER_MIN).unwrap();
        first.lost().await;
        drop(first);
        // It is the second's, and counts from its beginning.
        assert!(subscriptions.claim(seat(0), now + Duration::from_secs(6)).is_none());
        drop(second);
        assert!(subscriptions.claim(seat(0), now + Duration::from_secs(6)).is_some());
        drop(other);
        assert_eq!(subscriptions.count(), 0);
    }
}
