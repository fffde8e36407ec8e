//! Delivery: the three protocols of QoS, order, and how much may be under way (MQTT 5, chapter 4).

use super::wire::*;
use super::*;

/// A subscriber of `topic` with QoS 2, and a publisher.
fn couple(gateway: &Gateway, level: u8, topic: &str) -> (Client, Client) {
    let mut to = Client::connect(gateway, &Connect::new(level, &unique()));
    to.subscribe(topic, 2);
    (to, Client::connect(gateway, &Connect::new(level, &unique())))
}

/// MQTT 5: [MQTT-4.3.2-5].
/// MQTT 3.1.1: [MQTT-4.3.2-2].
#[test]
fn an_identifier_that_was_acknowledged_is_of_a_new_message() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let (mut to, mut from) = couple(&gateway, level, &topic);
        for payload in [b"1", b"2"] {
            from.publish(&Publish::new(&topic, 1, 9, payload));
            to.hears(&Publish::new(&topic, 1, 0, payload));
        }
        // Whatever its DUP flag says.
        from.publish(&Publish::new(&topic, 1, 9, b"3").again());
        to.hears(&Publish::new(&topic, 1, 0, b"3"));
    }
}

/// MQTT 5: [MQTT-4.3.3-10], [MQTT-4.3.3-12].
/// MQTT 3.1.1: [MQTT-4.3.3-2].
#[test]
fn a_repeated_qos_2_message_is_delivered_once_until_it_is_released() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let (mut to, mut from) = couple(&gateway, level, &topic);
        let message = Publish::new(&topic, 2, 9, b"once");
        for sent in [message.clone(), message.clone().again(), message.clone()] {
            from.send(&sent.bytes(level));
            from.expect_ack(PUBREC, 9);
        }
        to.hears(&message);
        from.send(&ack(PUBREL, 9));
        from.expect_ack(PUBCOMP, 9);
        // Released: the same identifier is another message.
        from.send(&Publish::new(&topic, 2, 9, b"twice").again().bytes(level));
        from.expect_ack(PUBREC, 9);
        to.hears(&Publish::new(&topic, 2, 0, b"twice"));
    }
}

/// MQTT 5: [MQTT-4.3.3-9].
#[test]
fn an_identifier_that_was_refused_is_of_a_new_message() {
    let gateway = gateway();
    let topic = unique();
    let (mut to, mut from) = couple(&gateway, V5, &topic);
    let bad = Publish::new(&topic, 2, 9, b"\xff").with(&[PAYLOAD_FORMAT, 1]);
    from.send(&bad.bytes(V5));
    assert_eq!(verdict(&from.recv()).1, 0x99);
    from.publish(&Publish::new(&topic, 2, 9, b"good"));
    to.hears(&Publish::new(&topic, 2, 0, b"good"));
}

/// MQTT 5: [MQTT-4.3.3-13].
#[test]
fn the_acknowledgements_of_qos_2_go_on_when_the_message_has_expired() {
    let gateway = gateway();
    let topic = unique();
    let mut from = Client::connect(&gateway, &Connect::new(V5, &unique()));
    let message = Publish::new(&topic, 2, 9, b"short").with(&four(MESSAGE_EXPIRY, 0));
    from.publish(&message);
    from.settle();
}

/// MQTT 5: [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-4.3.3-1], [MQTT-4.3.3-2], [MQTT-4.3.3-4], [MQTT-2.2.1-4].
/// MQTT 3.1.1: [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT-2.3.1-4].
#[test]
fn the_server_gives_each_message_an_identifier_that_is_free() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let (mut to, mut from) = couple(&gateway, level, &topic);
        let mut open: Vec<(u16, u8)> = Vec::new();
        for n in 0..200_u16 {
            let qos = if n % 3 == 0 { 2 } else { 1 };
            from.publish(&Publish::new(&topic, qos, n % 50 + 1, &n.to_be_bytes()));
            let found = to.hears(&Publish::new(&topic, qos, 0, &n.to_be_bytes()));
            assert!(open.iter().all(|(id, _)| *id != found.id), "{} is under way", found.id);
            open.push((found.id, qos));
            // Some are answered, out of order too; the others stay.
            if n % 4 == 1 {
                let (id, qos) = open.remove(open.len() / 2);
                if qos == 1 {
                    to.send(&ack(PUBACK, id));
                } else {
                    to.send(&ack(PUBREC, id));
                    to.expect_ack(PUBREL, id);
                    to.send(&ack(PUBCOMP, id));
                }
            }
        }
    }
}

/// MQTT 5: [MQTT-4.3.3-4], [MQTT-4.3.3-6], [MQTT-3.6.2-1].
/// MQTT 3.1.1: [MQTT-4.3.3-1].
#[test]
fn pubrec_is_answered_by_pubrel_each_time() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let (mut to, mut from) = couple(&gateway, level, &topic);
        from.publish(&Publish::new(&topic, 2, 1, b"x"));
        let id = to.hears(&Publish::new(&topic, 2, 0, b"x")).id;
        for _ in 0..2 {
            to.send(&ack(PUBREC, id));
            to.expect_ack(PUBREL, id);
        }
        to.send(&ack(PUBCOMP, id));
        to.expect_nothing();
        // Of one that is not known.
        to.send(&ack(PUBREC, 7777));
        let packet = to.recv();
        assert_eq!((packet[0], &packet[2..4]), (PUBREL, &7777_u16.to_be_bytes()[..]));
        assert_eq!(packet.get(4), (level == V5).then_some(&0x92));
    }
}

/// MQTT 5: [MQTT-4.3.3-3], [MQTT-4.3.3-5].
/// MQTT 3.1.1: [MQTT-4.3.3-1].
#[test]
fn an_acknowledgement_that_is_not_due_acknowledges_nothing() {
    let gateway = gateway();
    for level in BOTH {
        let (topic, name) = (unique(), unique());
        let mut from = Client::connect(&gateway, &Connect::new(level, &unique()));
        let lasting = Connect::lasting(level, &name);
        let mut to = Client::connect(&gateway, &lasting);
        to.subscribe(&topic, 2);
        for (qos, early) in [(2, PUBCOMP), (2, PUBACK), (1, PUBREC), (1, PUBCOMP)] {
            let message = Publish::new(&topic, qos, 1, &[qos, early]);
            from.publish(&message);
            let id = to.hears(&message).id;
            to.send(&ack(early, id));
            to.expect_cut(0x82);
            to = Client::connect(&gateway, &lasting);
            assert!(to.session_present);
            assert_eq!(to.hears(&message.again()).id, id, "it is still not acknowledged");
            if qos == 2 {
                to.send(&ack(PUBREC, id));
                to.expect_ack(PUBREL, id);
                // The release is not done with before its PUBCOMP.
                to.vanish();
                to = Client::connect(&gateway, &lasting);
                to.expect_ack(PUBREL, id);
                // The second one is of nothing.
                to.send(&[ack(PUBCOMP, id), ack(PUBCOMP, id)].concat());
            } else {
                to.send(&ack(PUBACK, id));
            }
            to.expect_nothing();
        }
        if level == V5 {
            let message = Publish::new(&topic, 1, 1, b"refused");
            from.publish(&message);
            let id = to.hears(&message).id;
            to.send(&ack_because(PUBREC, id, 0x80));
            to.expect_cut(0x82);
        }
    }
}

/// MQTT 5: [MQTT-4.5.0-1].
/// MQTT 3.1.1: [MQTT-4.5.0-1], [MQTT-3.1.2-5].
#[test]
fn a_message_is_added_to_every_session_that_subscribes() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let names = [unique(), unique(), unique()];
        for (name, qos) in names.iter().zip([0, 1, 2]) {
            let mut client = Client::connect(&gateway, &Connect::lasting(level, name));
            client.subscribe(&topic, qos);
            client.leave();
        }
        let (mut present, mut from) = couple(&gateway, level, &topic);
        for (qos, payload) in [(1, b"1"), (2, b"2")] {
            from.publish(&Publish::new(&topic, qos, 1, payload));
            present.hears(&Publish::new(&topic, qos, 0, payload));
        }
        for (name, granted) in names.iter().zip([0, 1, 2]) {
            let mut client = Client::connect(&gateway, &Connect::lasting(level, name));
            for (qos, payload) in [(1, b"1"), (2, b"2")] {
                if granted > 0 {
                    client.hears(&Publish::new(&topic, granted.min(qos), 0, payload));
                }
            }
            client.settle();
        }
    }
}

/// MQTT 5: [MQTT-4.6.0-5], [MQTT-4.6.0-6].
/// MQTT 3.1.1: [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-4.6.0-4], [MQTT-4.6.0-5], [MQTT-4.6.0-6].
#[test]
fn messages_and_acknowledgements_keep_their_order() {
    let gateway = gateway();
    for level in BOTH {
        for prefix in ["", "ruled/"] {
            let topic = format!("{prefix}{}", unique());
            let (mut to, mut from) = couple(&gateway, level, &topic);
            for qos in [0, 1, 2] {
                let all: Vec<Publish> =
                    (1..=10).map(|n| Publish::new(&topic, qos, n, &n.to_be_bytes())).collect();
                from.send(&all.iter().flat_map(|one| one.bytes(level)).collect::<Vec<u8>>());
                for message in &all {
                    match qos {
                        0 => {}
                        1 => from.expect_ack(PUBACK, message.id),
                        _ => from.expect_ack(PUBREC, message.id),
                    }
                }
                if qos == 2 {
                    // Released in another order than published.
                    for id in (1..=10).rev() {
                        from.send(&ack(PUBREL, id));
                    }
                    (1..=10).rev().for_each(|id| from.expect_ack(PUBCOMP, id));
                }
                let ids: Vec<u16> = all.iter().map(|one| to.hears(one).id).collect();
                match qos {
                    0 => {}
                    1 => ids.iter().for_each(|id| to.send(&ack(PUBACK, *id))),
                    _ => {
                        ids.iter().rev().for_each(|id| to.send(&ack(PUBREC, *id)));
                        ids.iter().rev().for_each(|id| to.expect_ack(PUBREL, *id));
                        ids.iter().for_each(|id| to.send(&ack(PUBCOMP, *id)));
                    }
                }
            }
        }
    }
}

/// MQTT 5: [MQTT-3.3.4-9], [MQTT-3.3.4-10], [MQTT-4.9.0-1], [MQTT-4.9.0-2], [MQTT-4.9.0-3].
#[test]
fn no_more_is_under_way_than_the_client_takes() {
    let gateway = gateway();
    let topic = unique();
    let connect = Connect::lasting(V5, &unique()).with(&two(RECEIVE_MAXIMUM, 2));
    let mut to = Client::connect(&gateway, &connect);
    to.subscribe(&topic, 2);
    let mut from = Client::connect(&gateway, &Connect::new(V5, &unique()));
    let message = |n: u16| {
        let qos = if n.is_multiple_of(2) { 2 } else { 1 };
        Publish::new(&topic, qos, n, &n.to_be_bytes())
    };
    (1..=6).for_each(|n| from.publish(&message(n)));
    let first = to.hears(&message(1)).id;
    let second = to.hears(&message(2)).id;
    // Everything else goes on: pings, subscriptions, publishes of its own, releases.
    to.settle();
    to.subscribe(&unique(), 0);
    to.publish(&Publish::new(&unique(), 2, 1, b""));
    to.send(&ack(PUBREC, second));
    to.expect_ack(PUBREL, second);
    to.settle();
    // Only PUBACK, PUBCOMP and a PUBREC that refuses make room.
    to.send(&ack(PUBACK, first));
    let third = to.hears(&message(3)).id;
    to.settle();
    to.send(&ack(PUBCOMP, second));
    let fourth = to.hears(&message(4)).id;
    to.settle();
    to.send(&ack_because(PUBREC, fourth, 0x80));
    to.hears(&message(5));
    to.settle();
    to.send(&ack_because(PUBACK, third, 0x97));
    let sixth = to.hears(&message(6)).id;
    // A release of the last connection is not held back by its messages.
    to.send(&ack(PUBREC, sixth));
    to.expect_ack(PUBREL, sixth);
    to.vanish();
    let again = Connect { properties: four(SESSION_EXPIRY, 60), ..connect };
    let mut to = Client::connect(&gateway, &again.with(&two(RECEIVE_MAXIMUM, 1)));
    to.expect_ack(PUBREL, sixth);
    to.send(&ack(PUBCOMP, sixth));
    to.hears(&message(5).again());
}
