//! MQTT 5.

use futures_util::StreamExt;
use futures_util::stream;
use rumqttc::Outgoing;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::ConnectionError;
use rumqttc::v5::Event;
use rumqttc::v5::EventLoop;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::StateError;
use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::ConnAck;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::v5::mqttbytes::v5::Filter;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use rumqttc::v5::mqttbytes::v5::Publish;
use rumqttc::v5::mqttbytes::v5::RetainForwardRule;
use rumqttc::v5::mqttbytes::v5::SubscribeProperties;
use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode;

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
    let properties = ConnectProperties {
        session_expiry_interval: Some(target.session_expiry_seconds()),
        receive_maximum: Some(target.config.receive_maximum),
        max_packet_size: Some(target.packet_bytes_max()),
        topic_alias_max: Some(0),
        ..ConnectProperties::new()
    };
    options
        .set_clean_start(false)
        .set_keep_alive(target.keep_alive())
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(target.inflight_limit())
        .set_connection_timeout(NETWORK_TIMEOUT_SECONDS)
        .set_connect_properties(properties)
        .set_transport(target.transport());
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(user) = &target.url.user {
        options.set_credentials(user, &target.password);
    }
    let (client, events) = AsyncClient::new(options, REQUESTS_MAX);
    let signals = stream::unfold(events, |mut events: EventLoop| async move {
        let signal = events.poll().await.map(to_signal).map_err(|error| to_error(&error));
        Some((signal, events))
    });
    (Requests::V5(client), signals.boxed())
}

pub(super) fn publish(client: &AsyncClient, message: Message) -> Asked {
    let Message { topic, payload, qos, retain, properties } = message;
    let properties = mqttbytes::v5::PublishProperties {
        payload_format_indicator: properties.payload_format,
        message_expiry_interval: properties.message_expiry,
        topic_alias: None,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
        user_properties: properties.user_properties,
        subscription_identifiers: Vec::new(),
        content_type: properties.content_type,
    };
    let qos = to_qos(qos);
    asked(client.try_publish_with_properties(&*topic, qos, retain, payload, properties))
}

pub(super) fn acknowledge(client: &AsyncClient, packet_id: u16) -> Asked {
    let mut publish = Publish::new("", mqttbytes::QoS::AtLeastOnce, Vec::new(), None);
    publish.pkid = packet_id;
    asked(client.try_ack(&publish))
}

pub(super) fn subscribe(client: &AsyncClient, subscription: &Subscription) -> Asked {
    let Subscription { filter, qos, id, is_no_local, wants_retained } = subscription;
    let rule = match wants_retained {
        true => RetainForwardRule::OnNewSubscribe,
        false => RetainForwardRule::Never,
    };
    let filter = Filter {
        path: filter.clone(),
        qos: to_qos(*qos),
        nolocal: *is_no_local,
        preserve_retain: *wants_retained,
        retain_forward_rule: rule,
    };
    let id = usize::try_from(*id).ok().filter(|id| *id != 0);
    let properties = SubscribeProperties { id, user_properties: Vec::new() };
    asked(client.try_subscribe_many_with_properties([filter], properties))
}

fn to_qos(qos: QoS) -> mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce | QoS::ExactlyOnce => mqttbytes::QoS::AtLeastOnce,
    }
}

fn to_signal(event: Event) -> Signal {
    match event {
        Event::Incoming(Packet::ConnAck(connack)) => Signal::Welcome(to_welcome(&connack)),
        Event::Incoming(Packet::Publish(publish)) => Signal::Received(to_received(publish)),
        Event::Incoming(Packet::PubAck(ack)) => Signal::Answered(ack.pkid, to_verdict(ack.reason)),
        Event::Incoming(Packet::SubAck(ack)) => {
            let refusal = ack.return_codes.into_iter().find_map(to_refusal);
            Signal::Subscribed(ack.pkid, refusal)
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

/// What is not said is available (MQTT 5, section 3.2.2.3).
fn to_welcome(connack: &ConnAck) -> Welcome {
    let mut welcome = Welcome {
        is_session_present: connack.session_present,
        has_subscription_ids: true,
        ..Welcome::default()
    };
    if let Some(properties) = &connack.properties {
        welcome.packet_bytes_max = properties.max_packet_size;
        welcome.receive_maximum = properties.receive_max;
        welcome.lacks_shared = properties.shared_subscription_available == Some(0);
        welcome.has_subscription_ids = properties.subscription_identifiers_available != Some(0);
        welcome.lacks_retain = properties.retain_available == Some(0);
    }
    welcome
}

fn to_received(publish: Publish) -> Received {
    let qos = match publish.qos {
        mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    };
    let mut subscription_ids = Vec::new();
    let properties = publish.properties.map(|properties| {
        let ids = properties.subscription_identifiers.into_iter();
        subscription_ids.extend(ids.filter_map(|id| u32::try_from(id).ok()));
        PublishProperties {
            payload_format: properties.payload_format_indicator,
            message_expiry: properties.message_expiry_interval,
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data,
            user_properties: properties.user_properties,
        }
    });
    Received {
        topic: publish.topic,
        payload: publish.payload,
        qos,
        retain: publish.retain,
        ack: (qos != QoS::AtMostOnce).then_some(Ack(publish.pkid)),
        properties: properties.unwrap_or_default(),
        subscription_ids,
    }
}

fn to_verdict(reason: PubAckReason) -> Verdict {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Verdict::Taken,
        PubAckReason::NotAuthorized => Verdict::Refused("not authorized"),
        PubAckReason::TopicNameInvalid => Verdict::Refused("topic name invalid"),
        PubAckReason::PayloadFormatInvalid => Verdict::Refused("payload format invalid"),
        PubAckReason::UnspecifiedError => Verdict::NotNow("unspecified error"),
        PubAckReason::ImplementationSpecificError => {
            Verdict::NotNow("implementation specific error")
        }
        PubAckReason::PacketIdentifierInUse => Verdict::NotNow("packet identifier in use"),
        PubAckReason::QuotaExceeded => Verdict::NotNow("quota exceeded"),
    }
}

fn to_refusal(code: SubscribeReasonCode) -> Option<&'static str> {
    Some(match code {
        SubscribeReasonCode::Success(_) => return None,
        SubscribeReasonCode::NotAuthorized => "not authorized",
        SubscribeReasonCode::TopicFilterInvalid => "topic filter invalid",
        SubscribeReasonCode::QuotaExceeded => "quota exceeded",
        SubscribeReasonCode::SharedSubscriptionsNotSupported => {
            "the broker has no shared subscriptions"
        }
        SubscribeReasonCode::SubscriptionIdNotSupported => {
            "the broker has no subscription identifiers"
        }
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => {
            "the broker has no subscriptions with wildcards"
        }
        SubscribeReasonCode::Failure
        | SubscribeReasonCode::Unspecified
        | SubscribeReasonCode::ImplementationSpecific
        | SubscribeReasonCode::PkidInUse => "the broker refuses it",
    })
}

/// The cause in words: rumqttc's own texts name its layers first.
fn to_error(error: &ConnectionError) -> LinkError {
    LinkError(match error {
        ConnectionError::Timeout(_) => format!("no answer in {NETWORK_TIMEOUT_SECONDS} s"),
        ConnectionError::ConnectionRefused(code) => format!("CONNECT is refused: {code:?}"),
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => "a ping was not answered".into(),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            format!("the broker ended the connection: {reason_code:?}")
        }
        ConnectionError::MqttState(error) => error.to_string(),
        other => other.to_string(),
    })
}
