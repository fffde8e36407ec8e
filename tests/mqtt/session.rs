//! Sessions: kept, resumed, ended; what is sent again (MQTT 5, sections 4.1 and 4.4).

use super::wire::*;
use super::*;

fn client(gateway: &Gateway, level: u8) -> Client {
    Client::connect(gateway, &Connect::new(level, &unique()))
}

/// MQTT 5: [MQTT-3.1.2-23], [MQTT-4.1.0-1], [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.3.2-3], [MQTT-4.3.3-3],
/// MQTT 5: [MQTT-4.3.3-5], [MQTT-4.3.3-6].
/// MQTT 3.1.1: [MQTT-4.1.0-1], [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1].
#[test]
fn what_was_not_acknowledged_is_sent_again_and_nothing_else() {
    let gateway = gateway();
    for level in BOTH {
        let (name, topic) = (unique(), unique());
        let connect = Connect::lasting(level, &name);
        let mut to = Client::connect(&gateway, &connect);
        to.subscribe(&topic, 2);
        let mut from = client(&gateway, level);
        let message = |n: u16, qos| Publish::new(&topic, qos, n, &n.to_be_bytes());
        let sent = [message(1, 1), message(2, 2), message(3, 1), message(4, 2), message(5, 0)];
        sent.iter().for_each(|one| from.publish(one));
        let ids: Vec<u16> = sent.iter().map(|one| to.hears(one).id).collect();
        // 1 is acknowledged; 2 is received, not released; 3 and 4 are not; 5 needs nothing.
        to.send(&ack(PUBACK, ids[0]));
        to.send(&ack(PUBREC, ids[1]));
        to.expect_ack(PUBREL, ids[1]);
        // Nothing is sent again as long as the connection lasts.
        to.expect_nothing();
        to.vanish();
        for _ in 0..2 {
            let mut to = Client::connect(&gateway, &connect);
            assert!(to.session_present);
            to.expect_ack(PUBREL, ids[1]);
            for (place, n, qos) in [(2, 3, 1), (3, 4, 2)] {
                let found = to.hears(&message(n, qos).again());
                assert_eq!(found.id, ids[place], "by its first identifier");
            }
            to.expect_nothing();
            to.vanish();
        }
        let mut to = Client::connect(&gateway, &connect);
        to.expect_ack(PUBREL, ids[1]);
        to.hears(&message(3, 1).again());
        to.hears(&message(4, 2).again());
        let acks = [ack(PUBCOMP, ids[1]), ack(PUBACK, ids[2]), ack(PUBREC, ids[3])];
        to.send(&acks.concat());
        to.expect_ack(PUBREL, ids[3]);
        to.send(&ack(PUBCOMP, ids[3]));
        to.settle();
        to.vanish();
        let mut to = Client::connect(&gateway, &connect);
        to.expect_nothing();
    }
}

/// MQTT 5: [MQTT-4.1.0-1], [MQTT-4.3.3-10].
/// MQTT 3.1.1: [MQTT-4.1.0-1], [MQTT-4.1.0-2], [MQTT-4.3.3-2].
#[test]
fn a_qos_2_message_is_taken_once_over_any_number_of_connections() {
    let gateway = gateway();
    for level in BOTH {
        let (name, topic) = (unique(), unique());
        let connect = Connect::lasting(level, &name);
        let mut to = client(&gateway, level);
        to.subscribe(&topic, 2);
        let message = Publish::new(&topic, 2, 9, b"once");
        let mut from = Client::connect(&gateway, &connect);
        from.send(&message.bytes(level));
        from.expect_ack(PUBREC, 9);
        to.hears(&message);
        for _ in 0..2 {
            from.vanish();
            from = Client::connect(&gateway, &connect);
            assert!(from.session_present);
            from.send(&message.clone().again().bytes(level));
            from.expect_ack(PUBREC, 9);
        }
        from.send(&ack(PUBREL, 9));
        from.expect_ack(PUBCOMP, 9);
        from.vanish();
        // PUBCOMP was lost: the release is sent again, and is answered again.
        let mut from = Client::connect(&gateway, &connect);
        from.send(&ack(PUBREL, 9));
        let packet = from.recv();
        assert_eq!((packet[0], &packet[2..4]), (PUBCOMP, &[0, 9][..]));
        to.expect_nothing();
    }
}

/// MQTT 5: [MQTT-4.1.0-2].
#[test]
fn a_session_ends_when_its_expiry_interval_is_over() {
    let gateway = gateway();
    let connect = |name: &str, seconds| {
        let connect = Connect { clean: false, ..Connect::new(V5, name) };
        connect.with(&four(SESSION_EXPIRY, seconds))
    };
    // None: it ends with the connection.
    for properties in [four(SESSION_EXPIRY, 0), Vec::new()] {
        let name = unique();
        let ephemeral = Connect { clean: false, ..Connect::new(V5, &name) }.with(&properties);
        Client::connect(&gateway, &ephemeral).leave();
        assert!(!Client::connect(&gateway, &ephemeral).session_present);
    }
    // A second, and one that DISCONNECT shortens to a second.
    for shortened in [false, true] {
        let name = unique();
        let first = connect(&name, if shortened { 60 } else { 1 });
        let mut watcher = client(&gateway, V5);
        watcher.subscribe(&format!("$events/session/{name}/lost"), 0);
        let mut client = Client::connect(&gateway, &first);
        client.subscribe(&unique(), 1);
        if shortened {
            client.send(&[0xe0, 7, 0, 5, SESSION_EXPIRY, 0, 0, 0, 1]);
            client.expect_end();
        } else {
            client.leave();
        }
        let lost = watcher.message();
        let document = String::from_utf8(lost.payload).expect("JSON");
        assert!(document.contains(&name) && document.contains("expired"), "{document}");
        assert!(!Client::connect(&gateway, &first).session_present);
    }
    // One that was to end with the connection cannot be prolonged.
    let mut client = client(&gateway, V5);
    client.send(&[0xe0, 7, 0, 5, SESSION_EXPIRY, 0, 0, 0, 1]);
    client.expect_cut(0x82);
}

/// MQTT 5: [MQTT-4.3.3-7].
#[test]
fn a_message_that_was_sent_does_not_expire() {
    let gateway = gateway();
    let (name, topic) = (unique(), unique());
    let mut to = Client::connect(&gateway, &Connect::lasting(V5, &name));
    to.subscribe(&topic, 2);
    let mut from = client(&gateway, V5);
    // Long enough to be sent in time by a gateway that is busy.
    let brief = Publish::new(&topic, 2, 1, b"brief").with(&four(MESSAGE_EXPIRY, 3));
    from.publish(&brief);
    let id = to.hears(&brief).id;
    to.vanish();
    // Published later, retained: when that has died, so has the message.
    let clock = format!("{topic}/clock");
    from.publish(&Publish::new(&clock, 1, 2, b"x").with(&four(MESSAGE_EXPIRY, 3)).retained());
    crate::live::eventually("the message's time is over", || {
        client(&gateway, V5).retained(&clock).is_empty().then_some(())
    });
    let mut to = Client::connect(&gateway, &Connect::lasting(V5, &name));
    assert_eq!(to.hears(&brief.again()).id, id);
    to.send(&ack(PUBREC, id));
    to.expect_ack(PUBREL, id);
}

/// MQTT 5: [MQTT-4.4.0-2].
#[test]
fn a_message_that_the_client_refused_is_not_sent_again() {
    let gateway = gateway();
    let (name, topic) = (unique(), unique());
    let mut to = Client::connect(&gateway, &Connect::lasting(V5, &name));
    to.subscribe(&topic, 2);
    let mut from = client(&gateway, V5);
    for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
        from.publish(&Publish::new(&topic, qos, 1, b"no"));
        let id = to.hears(&Publish::new(&topic, qos, 0, b"no")).id;
        to.send(&ack_because(first, id, 0x83));
    }
    to.expect_nothing();
    to.vanish();
    let mut to = Client::connect(&gateway, &Connect::lasting(V5, &name));
    assert!(to.session_present);
    to.expect_nothing();
}

/// MQTT 5: [MQTT-3.1.3-2].
/// MQTT 3.1.1: [MQTT-3.1.3-2].
#[test]
fn a_session_is_its_identifiers_alone() {
    let gateway = gateway();
    for level in BOTH {
        let (name, topic) = (unique(), unique());
        let mut client = Client::connect(&gateway, &Connect::lasting(level, &name));
        client.subscribe(&topic, 1);
        client.leave();
        for other in [name.to_uppercase(), format!("{name} "), format!("{name}/")] {
            let mut stranger = Client::connect(&gateway, &Connect::lasting(level, &other));
            assert!(!stranger.session_present, "{other:?}");
            stranger.publish(&Publish::new(&topic, 1, 1, b"x"));
            stranger.expect_nothing();
        }
        let mut back = Client::connect(&gateway, &Connect::lasting(level, &name));
        (0..3).for_each(|_| drop(back.hears(&Publish::new(&topic, 1, 0, b"x"))));
    }
}
