//! One message for one session on its way to disk, and from there.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::publish::Publish;
use crate::publish::QoS;

/// Submitted or about to be, not looked at by the writer.
const NEW: u8 = 0;
/// In a transaction that is being made.
const WRITING: u8 = 1;
/// On disk.
const STORED: u8 = 2;
/// Nobody wants it any more; it is on disk only if its removal is in the ledger.
const DONE: u8 = 3;
/// The same, found out while it was being written: the writer sees to its removal.
const DONE_WRITING: u8 = 4;

/// Who waits for a parcel to be on disk.
pub trait Owner: Debug + Send + Sync {
    /// One more parcel is. Called by the journal's writer: must not block.
    fn stored(&self);
}

/// The content of a message, shared by the parcels for all the sessions that get it.
#[derive(Debug)]
pub struct Body {
    /// The message.
    pub publish: Publish,
    /// Parcels made of it.
    parcels: AtomicU32,
    /// Its row, once several parcels have been written; 0 before. Written by the journal's writer only.
    pub(super) row: AtomicI64,
    /// The writer's attempt that wrote the row last.
    pub(super) attempt: AtomicU64,
}

impl Body {
    /// Of a message.
    pub fn new(publish: Publish) -> Arc<Body> {
        Arc::new(Body {
            publish,
            parcels: AtomicU32::new(0),
            row: AtomicI64::new(0),
            attempt: AtomicU64::new(0),
        })
    }

    /// Whether several sessions get it.
    pub(super) fn is_shared(&self) -> bool {
        self.parcels.load(Ordering::Relaxed) > 1
    }
}

/// How a session gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// With which quality of service: 1 or 2.
    pub qos: QoS,
    /// Its RETAIN flag.
    pub retain: bool,
    /// Identifiers of the subscriptions that matched.
    pub subscription_ids: Option<Arc<[u32]>>,
    /// The shared subscription it came by, as subscribed.
    pub share: Option<Arc<str>>,
}

/// One message for one session.
#[derive(Debug)]
pub struct Parcel {
    /// The session's number.
    pub session: u64,
    /// The message's number in the session: grows, with gaps.
    pub number: u64,
    /// What it counts against bounds.
    pub bytes: usize,
    /// How the session gets it.
    pub terms: Terms,
    /// `None` of one that was read from disk.
    pub(super) body: Option<Arc<Body>>,
    /// The row of its body; 0 while its own row has the content.
    pub(super) body_row: AtomicI64,
    owner: Arc<dyn Owner>,
    state: AtomicU8,
}

/// A row that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The session's number.
    pub session: u64,
    /// The message's.
    pub number: u64,
    /// The row of its body, or 0.
    pub(super) body_row: i64,
}

impl Parcel {
    /// A message to be stored.
    pub fn new(
        owner: Arc<dyn Owner>,
        session: u64,
        number: u64,
        bytes: usize,
        terms: Terms,
        body: Arc<Body>,
    ) -> Arc<Parcel> {
        body.parcels.fetch_add(1, Ordering::Relaxed);
        Arc::new(Parcel {
            session,
            number,
            bytes,
            terms,
            body: Some(body),
            body_row: AtomicI64::new(0),
            owner,
            state: AtomicU8::new(NEW),
        })
    }

    /// One that is on disk.
    pub(super) fn stored(
        owner: Arc<dyn Owner>,
        removal: Removal,
        bytes: usize,
        terms: Terms,
    ) -> Arc<Parcel> {
        Arc::new(Parcel {
            session: removal.session,
            number: removal.number,
            bytes,
            terms,
            body: None,
            body_row: AtomicI64::new(removal.body_row),
            owner,
            state: AtomicU8::new(STORED),
        })
    }

    /// Whether it is on disk, and wanted.
    pub fn is_stored(&self) -> bool {
        self.state.load(Ordering::Acquire) == STORED
    }

    /// Whether nobody wants it any more.
    pub fn is_done(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), DONE | DONE_WRITING)
    }

    /// The subscriber is done with it. Answers the row that is to go, if there is one.
    pub fn finish(&self) -> Option<Removal> {
        let next = |state| match state {
            NEW | STORED => Some(DONE),
            WRITING => Some(DONE_WRITING),
            _ => None,
        };
        let before = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        (before == Ok(STORED)).then(|| self.removal())
    }

    /// What removes it.
    pub fn removal(&self) -> Removal {
        let body_row = self.body_row.load(Ordering::Relaxed);
        Removal { session: self.session, number: self.number, body_row }
    }

    /// Whether the writer is to write it now.
    pub(super) fn begin_writing(&self) -> bool {
        let next = |state| matches!(state, NEW | WRITING).then_some(WRITING);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// The transaction that it was part of is on disk. Answers the row that is to go after all.
    pub fn end_writing(&self) -> Option<Removal> {
        let next = |state| match state {
            WRITING => Some(STORED),
            DONE_WRITING => Some(DONE),
            _ => None,
        };
        match self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(WRITING) => {
                self.owner.stored();
                None
            }
            Ok(_) => Some(self.removal()),
            Err(_) => None,
        }
    }
}
