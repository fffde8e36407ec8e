//! Sessions of an earlier run, and what is read of them later.

use std::sync::Arc;
use std::time::Duration;

use super::exchange::Exchange;
use super::message::Delivery;
use super::message::Message;
use super::message::Waiting;
use super::metrics::Dropped;
use super::packet::Version;
use super::session::Contact;
use super::session::Control;
use super::session::Session;
use super::session::SessionState;
use super::subscriptions::Subscription;
use super::subscriptions::SubscriptionFilter;
use super::will::Will;
use crate::clock::Timestamp;
use crate::session;
use crate::session::Fetched;
use crate::session::Owner;
use crate::session::Page;
use crate::session::Reader;
use crate::session::Saved;
use crate::session::SavedSubscription;
use crate::session::SessionError;
use crate::storage::Executor;
use crate::topic::Dialect;

/// The messages of absent clients.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    reader: Arc<Reader>,
}

impl Store {
    pub(crate) fn new(reader: Reader) -> Store {
        Store { reader: Arc::new(reader) }
    }

    /// Reads messages of a session, off the runtime's threads.
    pub(crate) async fn page(
        &self,
        session: &Arc<Session>,
        from: u64,
        until: u64,
    ) -> Result<Page, SessionError> {
        let (reader, owner) = (Arc::clone(&self.reader), Arc::clone(session));
        let key = session.key;
        let read = move || reader.page(&(owner as Arc<dyn Owner>), key, from, until);
        let read = tokio::task::spawn_blocking(read).await;
        // The task is not cancelled; a panic in it is told where it happens.
        read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// A session that was read at the start, until its caretaker is.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) session: Arc<Session>,
    pub(crate) control: Arc<Control>,
    /// What is left of it.
    pub(crate) expiry: Duration,
    pub(crate) will: Option<Will>,
}

/// What a session subscribes to: while its queue was on disk it may have lost some.
fn subscribed(session: &Session) -> Vec<SubscriptionFilter> {
    let filters = session.traffic.filters.lock();
    filters.iter().filter_map(|text| SubscriptionFilter::parse(text).ok()).collect()
}

impl Exchange {
    /// Puts a session of an earlier run in its place. Its time without a connection goes on: from the end of
    /// its last connection, or from `now` when that ended with the gateway, at a time that nobody knows.
    pub(crate) fn restore(self: &Arc<Self>, saved: Saved, now: Timestamp) -> Restored {
        let Saved { facts, parked_at, sent_until, subscriptions, received, backlog } = saved;
        let (session, control) = self.sessions.restore(facts.session, &facts.client_id);
        let version = if facts.level == 5 { Version::V5 } else { Version::V311 };
        let contact = Contact::bare(facts.address, version, facts.connected_at);
        let is_kept = !facts.expiry.is_zero();
        session.restore(contact, |state| {
            state.id = Some(facts.session_id);
            state.resumable = is_kept;
            state.is_on_disk = true;
            state.unreleased.extend(received);
            for subscription in subscriptions {
                self.subscribe_again(&session, state, subscription);
            }
        });
        session.keep(is_kept);
        let sent_until = parked_at.map_or(backlog.until, |_| sent_until);
        session.restore_backlog(backlog, sent_until);
        self.ledger.note_kept(backlog.bytes);
        self.metrics.queued.inc_by(i64::try_from(backlog.messages).unwrap_or(i64::MAX));
        let away = now.since(parked_at.unwrap_or(now));
        let expiry = facts.expiry.saturating_sub(away);
        let will = facts.will.map(|will| {
            let delay = will.delay.min(facts.expiry).saturating_sub(away);
            Will::restored(will.publish, delay)
        });
        Restored { session, control, expiry, will }
    }

    fn subscribe_again(
        &self,
        session: &Arc<Session>,
        state: &mut SessionState,
        saved: SavedSubscription,
    ) {
        let SavedSubscription { filter, qos, no_local, retain_as_published, id } = saved;
        let filter = match SubscriptionFilter::parse(&filter) {
            Ok(filter) => filter,
            Err(error) => {
                tracing::error!(client_id = %session.client_id, %filter, %error, "a saved subscription is lost");
                return;
            }
        };
        let session_of = Arc::clone(session);
        let subscription =
            Subscription { session: session_of, qos, no_local, retain_as_published, id };
        self.subscriptions.subscribe(&filter, subscription);
        self.metrics.subscriptions.inc();
        session.traffic.filters.lock().insert(Arc::clone(filter.text()));
        state.filters.insert(Arc::clone(filter.text()), filter);
    }

    /// Puts a page of messages that were read into the session's queue.
    pub(crate) fn refill(&self, session: &Session, page: Page) {
        let sent_until = session.sent_until();
        let filters = subscribed(session);
        let mut unwanted = Vec::new();
        let mut bytes = 0;
        let mut waiting = Vec::with_capacity(page.messages.len());
        for Fetched { parcel, message } in page.messages {
            bytes += parcel.bytes;
            let Some(publish) = message else {
                waiting.push(Waiting::Release(parcel));
                continue;
            };
            let topic = publish.topic.as_str();
            let is_wanted = filters.iter().any(|f| f.filter().matches(topic, Dialect::Mqtt));
            if !is_wanted && parcel.number >= sent_until {
                unwanted.push(parcel);
                continue;
            }
            let terms = &parcel.terms;
            let group = terms.share.as_ref().and_then(|share| self.subscriptions.group(share));
            waiting.push(Waiting::Message(Delivery {
                message: Message::new(&publish),
                qos: terms.qos,
                retain: terms.retain,
                subscription_ids: terms.subscription_ids.clone(),
                group,
                accounted: true,
                is_held: false,
                maybe_sent: parcel.number < sent_until,
                parcel: Some(parcel),
            }));
        }
        let expected = session.backlog().messages;
        let read = waiting.len() + unwanted.len();
        let is_last = page.next.is_none();
        let lost = session.refill(waiting, read, bytes, page.next);
        self.metrics.queued.dec_by(i64::try_from(unwanted.len()).unwrap_or(i64::MAX));
        self.ledger.note_gone(lost);
        let mut removals = page.damaged;
        for parcel in &unwanted {
            self.finish(parcel, &mut removals);
        }
        session.note_taken_back(unwanted.iter().map(|parcel| parcel.bytes).sum());
        self.metrics.count_all_dropped(Dropped::Unsubscribed, unwanted.len());
        if is_last && read < expected {
            let missing = i64::try_from(expected - read).unwrap_or(i64::MAX);
            self.metrics.queued.dec_by(missing);
        }
        self.ledger.add(&mut removals);
    }

    /// Removes messages that absent clients have left for longer than they may.
    pub(crate) async fn remove_old(&self, executor: &Executor) -> Result<(), SessionError> {
        let age_max = self.config.session_message_age_max;
        let before = self.clock.now() - age_max;
        for session in self.sessions.all() {
            let backlog = session.backlog();
            if backlog.messages == 0 {
                continue;
            }
            // Its connection looks at their age as it sends them.
            let Some(_state) = session.try_state() else { continue };
            let removed = session::remove_old(executor, session.key, backlog.until, before).await?;
            let (messages, bytes) = removed;
            session.note_removed(messages, bytes);
            self.ledger.note_gone(bytes);
            self.metrics.queued.dec_by(i64::try_from(messages).unwrap_or(i64::MAX));
            self.metrics.count_all_dropped(Dropped::TooOld, messages);
            self.relieve(&session);
        }
        self.relieve_store();
        Ok(())
    }
}
