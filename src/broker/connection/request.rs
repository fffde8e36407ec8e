//! SUBSCRIBE, UNSUBSCRIBE, DISCONNECT.

use std::sync::Arc;

use bytes::BytesMut;

use super::Client;
use super::Close;
use crate::access::Permissions;
use crate::broker::Change;
use crate::broker::exchange::Exchange;
use crate::broker::metrics::Dropped;
use crate::broker::packet::Kind;
use crate::broker::packet::Violation;
use crate::broker::packet::answer;
use crate::broker::packet::answer::Granted;
use crate::broker::packet::codec::Request;
use crate::broker::packet::codec::RetainHandling;
use crate::broker::packet::codec::Wanted;
use crate::broker::session::RetainedRun;
use crate::broker::session::Session;
use crate::broker::session::SessionState;
use crate::broker::subscriptions::Subscription;
use crate::broker::subscriptions::SubscriptionFilter;
use crate::session::Change as Stored;
use crate::session::SavedSubscription;
use crate::topic::Dialect;

/// What a client is answered.
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) packet: BytesMut,
    /// What is to be on disk before.
    pub(super) changes: Vec<Stored>,
}

/// Does what the client asks for.
pub(super) fn handle(
    client: &Client,
    state: &mut SessionState,
    request: Request,
    permissions: &Permissions,
) -> Result<Answer, Close> {
    let (mut packet, mut changes) = (BytesMut::new(), Vec::new());
    let session = client.session.key;
    match request {
        Request::Subscribe { packet_id, subscription_id, wanted } => {
            let grant = |wanted| subscribe(client, state, wanted, subscription_id, permissions);
            let granted: Vec<Granted> = wanted.iter().map(grant).collect();
            if granted.iter().any(|one| matches!(one, Granted::QoS(_))) {
                let of_granted = |(wanted, granted): (&Wanted, &Granted)| {
                    matches!(granted, Granted::QoS(_)).then(|| wanted.filter.clone())
                };
                client.tell(|connection| Change::Subscribed {
                    connection,
                    topics: wanted.iter().zip(&granted).filter_map(of_granted).collect(),
                });
            }
            if client.session.is_kept() {
                for (wanted, _) in
                    wanted.iter().zip(&granted).filter(|(_, granted)| is_granted(granted))
                {
                    let subscription = to_saved(wanted, subscription_id);
                    changes.push(Stored::Subscribed { session, subscription });
                }
            }
            answer::write_suback(packet_id, &granted, client.terms, &mut packet)?;
            Ok(Answer { kind: Kind::SubAck, packet, changes })
        }
        Request::Unsubscribe { packet_id, filters } => {
            let found: Vec<bool> = {
                let (exchange, session) = (&client.exchange, &client.session);
                filters.iter().map(|filter| unsubscribe(exchange, session, state, filter)).collect()
            };
            if found.contains(&true) {
                let of_found = |(filter, found): (&String, &bool)| found.then(|| filter.clone());
                client.tell(|connection| Change::Unsubscribed {
                    connection,
                    topics: filters.iter().zip(&found).filter_map(of_found).collect(),
                });
            }
            if client.session.is_kept() {
                let gone = filters.iter().zip(&found).filter(|(_, found)| **found);
                changes.extend(gone.map(|(filter, _)| Stored::Unsubscribed {
                    session,
                    filter: Arc::from(filter.as_str()),
                }));
            }
            answer::write_unsuback(packet_id, &found, client.terms, &mut packet)?;
            Ok(Answer { kind: Kind::UnsubAck, packet, changes })
        }
        Request::Disconnect { with_will, session_expiry } => {
            if session_expiry.is_some_and(|s| s > 0) && client.is_ephemeral {
                let violation = Violation::Protocol("a session that was to end may not last");
                return Err(violation.into());
            }
            Err(Close::Client { with_will, session_expiry })
        }
    }
}

fn is_granted(granted: &Granted) -> bool {
    matches!(granted, Granted::QoS(_))
}

fn to_saved(wanted: &Wanted, id: Option<u32>) -> SavedSubscription {
    SavedSubscription {
        filter: Arc::from(wanted.filter.as_str()),
        qos: wanted.qos,
        no_local: wanted.no_local,
        retain_as_published: wanted.retain_as_published,
        id,
    }
}

fn subscribe(
    client: &Client,
    state: &mut SessionState,
    wanted: &Wanted,
    id: Option<u32>,
    permissions: &Permissions,
) -> Granted {
    let exchange = &client.exchange;
    let Ok(filter) = SubscriptionFilter::parse(&wanted.filter) else {
        return Granted::InvalidFilter;
    };
    if !permissions.may_subscribe(filter.filter().as_str()) {
        exchange.metrics.subscriptions_refused.inc();
        tracing::info!(
            client_id = %client.session.client_id,
            filter = %filter.text(),
            "subscription refused: the access rules do not allow it"
        );
        return Granted::NotAuthorized;
    }
    let is_new = !state.filters.contains_key(filter.text());
    if is_new && state.filters.len() >= exchange.config.subscriptions_max {
        tracing::warn!(
            client_id = %client.session.client_id,
            subscriptions_max = exchange.config.subscriptions_max,
            "subscription refused: the session has its maximum"
        );
        return Granted::Quota;
    }
    if state.retained.len() >= exchange.config.subscriptions_max {
        tracing::warn!(
            client_id = %client.session.client_id,
            waiting = state.retained.len(),
            "subscription refused: the client has not taken the retained messages of the last ones"
        );
        return Granted::Quota;
    }
    let subscription = Subscription {
        session: Arc::clone(&client.session),
        qos: wanted.qos,
        no_local: wanted.no_local,
        retain_as_published: wanted.retain_as_published,
        id,
    };
    exchange.subscriptions.subscribe(&filter, subscription);
    if is_new {
        // Before the statistics that it may be sent are made.
        exchange.metrics.subscriptions.inc();
    }
    let sends_retained = match wanted.retain_handling {
        RetainHandling::Always => true,
        RetainHandling::IfNew => is_new,
        RetainHandling::Never => false,
    };
    // Shared subscriptions get none (MQTT 5, section 4.8.2).
    if sends_retained && !filter.is_shared() {
        state.retained.push_back(RetainedRun {
            messages: exchange.statistics_matching(filter.filter()).into_iter(),
            walk: exchange.retained.walk(filter.filter()),
            no_local: wanted.no_local,
            qos: wanted.qos,
            subscription_ids: id.map(|id| Arc::from([id].as_slice())),
        });
    }
    if is_new {
        client.session.traffic.filters.lock().insert(Arc::clone(filter.text()));
    }
    state.filters.insert(Arc::clone(filter.text()), filter);
    Granted::QoS(wanted.qos)
}

fn unsubscribe(
    exchange: &Exchange,
    session: &Session,
    state: &mut SessionState,
    text: &str,
) -> bool {
    let Some(filter) = state.filters.remove(text) else { return false };
    exchange.subscriptions.unsubscribe(&filter, session.key);
    exchange.metrics.subscriptions.dec();
    session.traffic.filters.lock().remove(text);
    true
}

/// Takes away the subscriptions that the client may not have, and what waits for it on topics that
/// none of the others matches. Answers which they were.
pub(super) fn forget_forbidden(
    exchange: &Exchange,
    session: &Session,
    state: &mut SessionState,
    permissions: &Permissions,
) -> Vec<Arc<str>> {
    let is_forbidden =
        |filter: &SubscriptionFilter| !permissions.may_subscribe(filter.filter().as_str());
    let forbidden: Vec<Arc<str>> = state
        .filters
        .values()
        .filter(|filter| is_forbidden(filter))
        .map(|filter| Arc::clone(filter.text()))
        .collect();
    for text in &forbidden {
        unsubscribe(exchange, session, state, text);
        tracing::info!(
            client_id = %session.client_id,
            filter = %text,
            "subscription taken away: the access rules do not allow it"
        );
    }
    if !forbidden.is_empty() {
        let filters = &state.filters;
        let is_matched = |topic: &str| {
            filters.values().any(|filter| filter.filter().matches(topic, Dialect::Mqtt))
        };
        let (dropped, mut parcels) = session.retain_queued(is_matched);
        let mut removals = Vec::new();
        for parcel in parcels.drain(..) {
            exchange.finish(&parcel, &mut removals);
        }
        exchange.ledger.add(&mut removals);
        state.retained.retain(|run| permissions.may_subscribe(run.walk.filter().as_str()));
        exchange.metrics.queued.dec_by(i64::try_from(dropped).unwrap_or(i64::MAX));
        exchange.metrics.count_all_dropped(Dropped::NotAuthorized, dropped);
    }
    forbidden
}
