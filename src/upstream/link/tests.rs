//! What rumqttc does, where the link is as it is because of it. One that fails after an update of rumqttc
//! is a reason to look at the link again.

use rumqttc::v5::Event;
use rumqttc::v5::MqttState;
use rumqttc::v5::Request;
use rumqttc::v5::StateError;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::mqttbytes::v5::PubRel;
use rumqttc::v5::mqttbytes::v5::Publish;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

fn state() -> MqttState {
    MqttState::new(10, true)
}

fn publish(qos: QoS, packet_id: u16) -> Publish {
    let mut publish = Publish::new("t", qos, "x", None);
    publish.pkid = packet_id;
    publish
}

#[test]
fn a_release_after_a_reconnect_is_an_error() {
    let mut state = state();
    let received = Packet::Publish(publish(QoS::ExactlyOnce, 7));
    state.handle_incoming_packet(received).unwrap();
    state.clean();
    // The broker has our PUBREC and goes on, as it must.
    let released = state.handle_incoming_packet(Packet::PubRel(PubRel::new(7, None)));
    assert!(matches!(released, Err(StateError::Unsolicited(7))), "{released:?}");
}

#[test]
fn the_event_of_a_publish_with_an_alias_has_no_topic() {
    let mut state = state();
    let aliased = |topic: &str| {
        let properties = PublishProperties { topic_alias: Some(1), ..PublishProperties::default() };
        Packet::Publish(Publish::new(topic, QoS::AtMostOnce, "x", Some(properties)))
    };
    state.handle_incoming_packet(aliased("a/b")).unwrap();
    state.handle_incoming_packet(aliased("")).unwrap();
    let topics: Vec<_> = state
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Incoming(Packet::Publish(publish)) => Some(publish.topic.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(topics, ["a/b", ""]);
}

#[test]
fn what_was_not_acknowledged_is_kept_to_be_sent_again() {
    let mut state = state();
    for _ in 0..3 {
        let sent = Request::Publish(publish(QoS::AtLeastOnce, 0));
        state.handle_outgoing_packet(sent).unwrap();
    }
    assert_eq!(state.clean().len(), 3);
}
