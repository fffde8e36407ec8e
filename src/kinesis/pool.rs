//! A few connections to read streams with: as many reads run at once, the others wait for their turn.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::fault::Fault;
use crate::stream::Reader;

/// See the module.
pub(super) struct Pool {
    free: Arc<Mutex<Vec<Reader>>>,
    turns: Arc<Semaphore>,
}

/// A connection that goes back when it is dropped, also by a panic.
struct Lent {
    reader: Option<Reader>,
    free: Arc<Mutex<Vec<Reader>>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.free.lock().extend(self.reader.take());
    }
}

impl Pool {
    pub(super) fn new(readers: Vec<Reader>) -> Pool {
        let turns = Arc::new(Semaphore::new(readers.len()));
        Pool { free: Arc::new(Mutex::new(readers)), turns }
    }

    /// Does `work` on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Fault::unavailable("the gateway is stopping"))?;
        let free = Arc::clone(&self.free);
        let done = tokio::task::spawn_blocking(move || {
            let reader = free.lock().pop();
            let lent = Lent { reader, free };
            let reader = lent.reader.as_ref().expect("there are as many turns as readers");
            let answer = work(reader);
            drop(lent);
            drop(turn);
            answer
        });
        match done.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Fault::unavailable("the gateway is stopping")),
        }
    }
}
