//! Who waits to have a password looked at.
//!
//! Comparing with an argon2 hash takes a core for milliseconds and megabytes of memory, so few are done at
//! once. The turns go round the addresses: one that floods waits behind itself, and a client of another
//! address waits for as many comparisons as there are addresses with somebody waiting. Both the whole
//! queue and an address's part of it are bounded; who finds it full is refused.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use crate::limits::LOGINS_WAITING_MAX;
use crate::limits::LOGINS_WAITING_PER_ADDRESS_MAX;

#[derive(Debug, Default)]
struct Waiting {
    running: usize,
    /// Addresses with somebody waiting, the next in front.
    round: VecDeque<IpAddr>,
    by_address: HashMap<IpAddr, VecDeque<oneshot::Sender<Turn>>, foldhash::fast::RandomState>,
    waiting: usize,
}

/// A bounded queue with turns. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LoginQueue {
    at_once: usize,
    waiting: Arc<Mutex<Waiting>>,
    /// Shows how many wait.
    gauge: Gauge,
}

/// The right to compare; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<LoginQueue>);

/// There is no room to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl LoginQueue {
    /// With so many turns at once.
    pub(super) fn new(at_once: usize, gauge: Gauge) -> LoginQueue {
        LoginQueue { at_once, waiting: Arc::default(), gauge }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self, address: IpAddr) -> Result<Turn, Full> {
        let given = {
            let mut waiting = self.waiting.lock();
            if waiting.running < self.at_once {
                waiting.running += 1;
                return Ok(Turn(Some(self.clone())));
            }
            let of_address = waiting.by_address.get(&address).map_or(0, VecDeque::len);
            if waiting.waiting >= LOGINS_WAITING_MAX || of_address >= LOGINS_WAITING_PER_ADDRESS_MAX
            {
                return Err(Full);
            }
            let (give, given) = oneshot::channel();
            waiting.waiting += 1;
            self.gauge.inc();
            if of_address == 0 {
                waiting.round.push_back(address);
            }
            waiting.by_address.entry(address).or_default().push_back(give);
            given
        };
        given.await.map_err(|_| Full)
    }

    /// Gives a turn to the next, or keeps it for whoever comes.
    fn pass_on(&self) {
        let mut waiting = self.waiting.lock();
        while let Some(next) = waiting.next() {
            self.gauge.dec();
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // The client went while it waited; its turn must not end as a turn, under our lock.
                Err(mut turn) => turn.0 = None,
            }
        }
        waiting.running -= 1;
    }
}

impl Waiting {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let address = self.round.pop_front()?;
        let line = self.by_address.get_mut(&address)?;
        let next = line.pop_front();
        match line.is_empty() {
            true => drop(self.by_address.remove(&address)),
            false => self.round.push_back(address),
        }
        self.waiting -= 1;
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;

    fn queue() -> LoginQueue {
        LoginQueue::new(1, Gauge::default())
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())
        })
        .await
    }

    #[tokio::test]
    async fn a_flood_waits_behind_itself_and_nobody_else_behind_it() {
        let queue = queue();
        let first = queue.turn(address(1)).await.unwrap();
        let (done, mut order) = tokio::sync::mpsc::channel(16);
        let wait = |last: u8| {
            let (queue, done) = (queue.clone(), done.clone());
            tokio::spawn(async move {
                let turn = queue.turn(address(last)).await.unwrap();
                done.send(last).await.unwrap();
                drop(turn);
            })
        };
        for expected in 1..=5 {
            wait(1);
            while queue.gauge.get() < expected {
                tokio::task::yield_now().await;
            }
        }
        wait(2);
        while queue.gauge.get() < 6 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(order.recv().await.unwrap());
        }
        assert_eq!(seen, [1, 2, 1, 1, 1, 1]);
        assert_eq!((queue.gauge.get(), queue.waiting.lock().running), (0, 0));
    }

    #[tokio::test]
    async fn an_address_has_its_bound_and_who_goes_leaves_no_hole() {
        let queue = queue();
        let first = queue.turn(address(1)).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..LOGINS_WAITING_PER_ADDRESS_MAX {
            let mut turn = Box::pin(queue.turn(address(1)));
            assert!(is_pending(&mut turn).await);
            waiting.push(turn);
        }
        assert_eq!(queue.turn(address(1)).await.unwrap_err(), Full);
        let mut other = Box::pin(queue.turn(address(2)));
        assert!(is_pending(&mut other).await);
        drop(waiting);
        drop(first);
        drop(other.await.unwrap());
        drop(queue.turn(address(1)).await.unwrap());
        assert_eq!((queue.gauge.get(), queue.waiting.lock().running), (0, 0));
        assert!(queue.waiting.lock().by_address.is_empty());
    }
}
