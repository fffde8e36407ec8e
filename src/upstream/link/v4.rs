//! MQTT 3.1.1.

use futures_util::StreamExt;
use futures_util::stream;
use rumqttc::AsyncClient;
use rumqttc::ConnectionError;
use rumqttc::Event;
use rumqttc::EventLoop;
use rumqttc::MqttOptions;
use rumqttc::Outgoing;
use rumqttc::Packet;
use rumqttc::Publish;
use rumqttc::StateError;
use rumqttc::SubscribeReasonCode;

use super::Ack;
use super::Asked;
use super::LinkError;
use super::Message;
use super::NETWORK_TIMEOUT_SECONDS;
use super::REQUESTS_MAX;
use super::Received;
use super::Requests;
use super::Signal;
use super::Signals;
use super::Subscription;
use super::Target;
use super::Verdict;
use super::Welcome;
use super::asked;
use crate::publish::PublishProperties;
use crate::publish::QoS;

pub(super) fn connect(target: &Target) -> (Requests, Signals) {
    let host = target.url.host.as_str();
    let mut options = MqttOptions::new(&target.client_id, host, target.url.port);
    options
        .set_clean_session(false)
        .set_keep_alive(target.keep_alive())
        .set_manual_acks(true)
        .set_inflight(target.inflight_limit())
        .set_max_packet_size(target.config.packet_bytes_max, usize::MAX)
        .set_transport(target.transport());
    if let Some(user) = &target.url.user {
        options.set_credentials(user, &target.password);
    }
    let (client, mut events) = AsyncClient::new(options, REQUESTS_MAX);
    let mut network = events.network_options();
    network.set_connection_timeout(NETWORK_TIMEOUT_SECONDS);
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    let signals = stream::unfold(events, |mut events: EventLoop| async move {
        let signal = events.poll().await.map(to_signal).map_err(|error| to_error(&error));
        Some((signal, events))
    });
    (Requests::V4(client), signals.boxed())
}

pub(super) fn publish(client: &AsyncClient, message: Message) -> Asked {
    let Message { topic, payload, qos, retain, properties: _ } = message;
    asked(client.try_publish(&*topic, to_qos(qos), retain, payload))
}

pub(super) fn acknowledge(client: &AsyncClient, packet_id: u16) -> Asked {
    let mut publish = Publish::new("", rumqttc::QoS::AtLeastOnce, Vec::new());
    publish.pkid = packet_id;
    asked(client.try_ack(&publish))
}

pub(super) fn subscribe(client: &AsyncClient, subscription: &Subscription) -> Asked {
    asked(client.try_subscribe(&subscription.filter, to_qos(subscription.qos)))
}

fn to_qos(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce | QoS::ExactlyOnce => rumqttc::QoS::AtLeastOnce,
    }
}

fn to_signal(event: Event) -> Signal {
    match event {
        Event::Incoming(Packet::ConnAck(connack)) => Signal::Welcome(Welcome {
            is_session_present: connack.session_present,
            ..Welcome::default()
        }),
        Event::Incoming(Packet::Publish(publish)) => Signal::Received(to_received(publish)),
        Event::Incoming(Packet::PubAck(ack)) => Signal::Answered(ack.pkid, Verdict::Taken),
        Event::Incoming(Packet::SubAck(ack)) => {
            let is_refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
            Signal::Subscribed(ack.pkid, is_refused.then_some("the broker refuses it"))
        }
        Event::Incoming(Packet::UnsubAck(ack)) => Signal::Unsubscribed(ack.pkid),
        Event::Outgoing(Outgoing::Publish(packet_id)) => {
            Signal::Sent(Some(packet_id).filter(|id| *id != 0))
        }
        Event::Outgoing(Outgoing::Subscribe(id) | Outgoing::Unsubscribe(id)) => Signal::Asked(id),
        Event::Outgoing(Outgoing::Disconnect) => Signal::Disconnected,
        Event::Incoming(_) | Event::Outgoing(_) => Signal::Quiet,
    }
}

fn to_received(publish: Publish) -> Received {
    let qos = match publish.qos {
        rumqttc::QoS::AtMostOnce => QoS::AtMostOnce,
        rumqttc::QoS::AtLeastOnce => QoS::AtLeastOnce,
        rumqttc::QoS::ExactlyOnce => QoS::ExactlyOnce,
    };
    Received {
        topic: publish.topic.into(),
        payload: publish.payload,
        qos,
        retain: publish.retain,
        ack: (qos != QoS::AtMostOnce).then_some(Ack(publish.pkid)),
        properties: PublishProperties::default(),
        subscription_ids: Vec::new(),
    }
}

/// The cause in words: rumqttc's own texts name its layers first.
fn to_error(error: &ConnectionError) -> LinkError {
    LinkError(match error {
        ConnectionError::NetworkTimeout => {
            format!("no answer in {NETWORK_TIMEOUT_SECONDS} s")
        }
        ConnectionError::FlushTimeout => {
            format!("the broker has not read for {NETWORK_TIMEOUT_SECONDS} s")
        }
        ConnectionError::ConnectionRefused(code) => format!("CONNECT is refused: {code:?}"),
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => "a ping was not answered".into(),
        ConnectionError::MqttState(error) => error.to_string(),
        other => other.to_string(),
    })
}
