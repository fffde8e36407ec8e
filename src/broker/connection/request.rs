//! SUBSCRIBE, UNSUBSCRIBE, DISCONNECT.

use std::sync::Arc;

use super::Client;
use super::Close;
use super::outlet::Outlet;
use crate::broker::Change;
use crate::broker::packet::Kind;
use crate::broker::packet::Violation;
use crate::broker::packet::codec;
use crate::broker::packet::codec::Granted;
use crate::broker::packet::codec::Request;
use crate::broker::packet::codec::RetainHandling;
use crate::broker::packet::codec::Wanted;
use crate::broker::session::RetainedRun;
use crate::broker::session::SessionState;
use crate::broker::subscriptions::Subscription;
use crate::broker::subscriptions::SubscriptionFilter;

/// Does what the client asks for.
pub(super) fn handle(
    client: &Client,
    state: &mut SessionState,
    outlet: &mut Outlet,
    request: Request,
) -> Result<(), Close> {
    match request {
        Request::Subscribe { packet_id, subscription_id, wanted } => {
            let grant = |wanted| subscribe(client, state, wanted, subscription_id);
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
            let out = outlet.answer(Kind::SubAck);
            codec::write_suback(packet_id, &granted, client.version, out);
            Ok(())
        }
        Request::Unsubscribe { packet_id, filters } => {
            let found: Vec<bool> =
                filters.iter().map(|filter| unsubscribe(client, state, filter)).collect();
            if found.contains(&true) {
                let of_found = |(filter, found): (&String, &bool)| found.then(|| filter.clone());
                client.tell(|connection| Change::Unsubscribed {
                    connection,
                    topics: filters.iter().zip(&found).filter_map(of_found).collect(),
                });
            }
            let out = outlet.answer(Kind::UnsubAck);
            codec::write_unsuback(packet_id, &found, client.version, out);
            Ok(())
        }
        Request::Disconnect { with_will, session_expiry } => {
            if session_expiry.is_some_and(|s| s > 0) && client.session_expiry.is_zero() {
                let violation = Violation::Protocol("a session that was to end may not last");
                return Err(violation.into());
            }
            Err(Close::Client { with_will, session_expiry })
        }
    }
}

fn subscribe(
    client: &Client,
    state: &mut SessionState,
    wanted: &Wanted,
    id: Option<u32>,
) -> Granted {
    let exchange = &client.exchange;
    let Ok(filter) = SubscriptionFilter::parse(&wanted.filter) else {
        return Granted::InvalidFilter;
    };
    let is_new = !state.filters.contains_key(filter.text());
    if is_new && state.filters.len() >= exchange.config.subscriptions_max {
        tracing::warn!(
            client_id = %client.session.client_id,
            subscriptions_max = exchange.config.subscriptions_max,
            "subscription refused: the session has its maximum"
        );
        return Granted::Quota;
    }
    let retained_waiting: usize = state.retained.iter().map(|run| run.messages.len()).sum();
    if retained_waiting > exchange.config.retained_max {
        tracing::warn!(
            client_id = %client.session.client_id,
            retained_waiting,
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
    let sends_retained = match wanted.retain_handling {
        RetainHandling::Always => true,
        RetainHandling::IfNew => is_new,
        RetainHandling::Never => false,
    };
    // Shared subscriptions get none (MQTT 5, section 4.8.2).
    if sends_retained && !filter.is_shared() {
        let messages = exchange.retained.matching(filter.filter(), exchange.clock.now());
        if !messages.is_empty() {
            state.retained.push_back(RetainedRun {
                messages: messages.into_iter(),
                qos: wanted.qos,
                subscription_ids: id.map(|id| Arc::from([id].as_slice())),
            });
        }
    }
    if is_new {
        exchange.metrics.subscriptions.inc();
        client.session.traffic.filters.lock().insert(Arc::clone(filter.text()));
    }
    state.filters.insert(Arc::clone(filter.text()), filter);
    Granted::QoS(wanted.qos)
}

fn unsubscribe(client: &Client, state: &mut SessionState, text: &str) -> bool {
    let Some(filter) = state.filters.remove(text) else { return false };
    client.exchange.subscriptions.unsubscribe(&filter, client.session.key);
    client.exchange.metrics.subscriptions.dec();
    client.session.traffic.filters.lock().remove(text);
    true
}
