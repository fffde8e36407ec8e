//! Wills (MQTT 5, sections 3.1.2.5 and 3.1.3.2).

use super::wire::*;
use super::*;

/// A client that watches `topic` with QoS 2.
fn watch(gateway: &Gateway, level: u8, topic: &str) -> Client {
    let mut watcher = Client::connect(gateway, &Connect::new(level, &unique()));
    watcher.subscribe(topic, 2);
    watcher
}

/// Takes the next message with its acknowledgements.
fn take(watcher: &mut Client, expected: &Publish) -> Publish {
    let found = watcher.hears(expected);
    match found.qos {
        0 => {}
        1 => watcher.send(&ack(PUBACK, found.id)),
        _ => {
            watcher.send(&ack(PUBREC, found.id));
            watcher.expect_ack(PUBREL, found.id);
            watcher.send(&ack(PUBCOMP, found.id));
        }
    }
    found
}

/// MQTT 5: [MQTT-3.1.2-7], [MQTT-3.1.2-8], [MQTT-3.1.2-9].
/// MQTT 3.1.1: [MQTT-3.1.2-8], [MQTT-3.1.2-9].
#[test]
fn a_will_is_published_when_its_client_goes_without_a_word() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut watcher = watch(&gateway, level, &topic);
        for qos in [0, 1, 2] {
            let will = Will { qos, payload: vec![0, 0xff, qos], ..Will::new(&topic) };
            let connect = Connect::new(level, &unique()).will(will.clone());
            Client::connect(&gateway, &connect).vanish();
            take(&mut watcher, &Publish::new(&topic, qos, 0, &will.payload));
        }
        let connect = Connect::new(level, &unique()).will(Will::new(&topic));
        let gone = Publish::new(&topic, 0, 0, b"gone");
        // A violation, another connection, silence.
        let mut client = Client::connect(&gateway, &connect);
        client.send(&[0x00, 0x00]);
        watcher.hears(&gone);
        let mut first = Client::connect(&gateway, &connect);
        let second = Client::connect(&gateway, &Connect { will: None, ..connect.clone() });
        first.expect_cut(0x8e);
        watcher.hears(&gone);
        second.leave();
        let silent = Client::connect(&gateway, &Connect { keep_alive: 1, ..connect.clone() });
        watcher.hears(&gone);
        drop(silent);
        // The flag without the fields is no will.
        let none = Connect::new(level, "no-will-fields");
        let bytes = none.bytes_with_flags(none.flags() | 4);
        assert_eq!(refusal(&gateway, level, &bytes), (level == V5).then_some(0x81));
        let wild = none.will(Will::new("wild/#"));
        assert_eq!(refusal(&gateway, level, &wild.bytes()), (level == V5).then_some(0x90));
    }
}

/// MQTT 5: [MQTT-3.1.2-10], [MQTT-3.14.4-3].
/// MQTT 3.1.1: [MQTT-3.1.2-10], [MQTT-3.1.2-12], [MQTT-3.14.4-3].
#[test]
fn a_client_that_takes_leave_takes_its_will_back() {
    let gateway = gateway();
    for level in BOTH {
        let (name, topic) = (unique(), unique());
        let mut watcher = watch(&gateway, level, &topic);
        let mortal = Connect::lasting(level, &name).will(Will::new(&topic));
        Client::connect(&gateway, &mortal).leave();
        // The session that it left has none, and neither has a connection that names none.
        Client::connect(&gateway, &Connect::lasting(level, &name)).vanish();
        let mut back = Client::connect(&gateway, &Connect::lasting(level, &name));
        assert!(back.session_present);
        back.settle();
        watcher.expect_nothing();
        // Published once, it is not published again.
        Client::connect(&gateway, &mortal).vanish();
        watcher.hears(&Publish::new(&topic, 0, 0, b"gone"));
        Client::connect(&gateway, &Connect::lasting(level, &name)).vanish();
        Client::connect(&gateway, &Connect::lasting(level, &name)).settle();
        watcher.expect_nothing();
    }
}

/// MQTT 5: [MQTT-3.1.2-8], [MQTT-3.14.4-3].
#[test]
fn only_a_normal_disconnection_takes_a_will_back() {
    let gateway = gateway();
    let topic = unique();
    let mut watcher = watch(&gateway, V5, &topic);
    for reason in [0x04, 0x80, 0x81, 0x83, 0x97] {
        let connect = Connect::new(V5, &unique()).will(Will::new(&topic));
        let mut client = Client::connect(&gateway, &connect);
        client.send(&[0xe0, 1, reason]);
        client.expect_end();
        watcher.hears(&Publish::new(&topic, 0, 0, b"gone"));
    }
    let mut client =
        Client::connect(&gateway, &Connect::new(V5, &unique()).will(Will::new(&topic)));
    client.send(&[0xe0, 1, 0x00]);
    client.expect_end();
    watcher.expect_nothing();
}

/// MQTT 5: [MQTT-3.1.2-14], [MQTT-3.1.2-15].
/// MQTT 3.1.1: [MQTT-3.1.2-16], [MQTT-3.1.2-17].
#[test]
fn a_will_is_retained_if_it_says_so() {
    let gateway = gateway();
    for level in BOTH {
        for retain in [false, true] {
            let topic = unique();
            let mut watcher = watch(&gateway, level, &topic);
            let will = Will { retain, qos: 1, ..Will::new(&topic) };
            Client::connect(&gateway, &Connect::new(level, &unique()).will(will)).vanish();
            take(&mut watcher, &Publish::new(&topic, 1, 0, b"gone"));
            let mut late = watch(&gateway, level, &topic);
            if retain {
                late.hears(&Publish::new(&topic, 1, 0, b"gone").retained());
                watcher.publish(&Publish::new(&topic, 0, 0, b"").retained());
            } else {
                late.expect_nothing();
            }
        }
    }
}

/// MQTT 5: [MQTT-3.1.3-9], [MQTT-3.1.2-8].
#[test]
fn a_delayed_will_waits_for_its_client_or_the_end_of_its_session() {
    const DELAY: u8 = 0x18;
    /// Seconds that a client has to come back, however busy the machine is.
    const IN_TIME: u32 = 4;
    let gateway = gateway();
    let topic = unique();
    let gone = Publish::new(&topic, 0, 0, b"gone");
    let mut watcher = watch(&gateway, V5, &topic);
    let delayed = |name: &str, delay, expiry| {
        let will = Will { properties: four(DELAY, delay), ..Will::new(&topic) };
        let connect = Connect { clean: false, ..Connect::new(V5, name) };
        connect.with(&four(SESSION_EXPIRY, expiry)).will(will)
    };
    // It comes back in time: after its connection was lost, or by a second connection.
    let name = unique();
    Client::connect(&gateway, &delayed(&name, IN_TIME, 60)).vanish();
    let mut first = Client::connect(&gateway, &delayed(&name, IN_TIME, 60));
    assert!(first.session_present);
    let mut second = Client::connect(&gateway, &Connect::lasting(V5, &name));
    first.expect_cut(0x8e);
    second.settle();
    // Two others that do not: one whose delay ends, and one whose session ends before its delay.
    Client::connect(&gateway, &delayed(&unique(), IN_TIME, 60)).vanish();
    watcher.hears(&gone);
    Client::connect(&gateway, &delayed(&unique(), 60, 1)).vanish();
    watcher.hears(&gone);
    // A session that is not kept ends with its connection, and one that is made anew with that.
    Client::connect(&gateway, &delayed(&unique(), 60, 0)).vanish();
    watcher.hears(&gone);
    let name = unique();
    Client::connect(&gateway, &delayed(&name, 60, 60)).vanish();
    Client::connect(&gateway, &Connect::new(V5, &name)).settle();
    watcher.hears(&gone);
    watcher.expect_nothing();
}

/// MQTT 5: [MQTT-3.1.3-10].
#[test]
fn the_properties_of_a_will_arrive_in_their_order() {
    let gateway = gateway();
    let topic = unique();
    let mut watcher = watch(&gateway, V5, &topic);
    let single = [
        vec![PAYLOAD_FORMAT, 1],
        text(CONTENT_TYPE, b"text/plain"),
        text(RESPONSE_TOPIC, b"answers"),
        text(CORRELATION_DATA, &[0, 0xff]),
    ];
    let pairs = [pair("b", "1"), pair("a", "2"), pair("b", ""), pair("a", "2")];
    let will = Will { properties: [single.concat(), pairs.concat()].concat(), ..Will::new(&topic) };
    Client::connect(&gateway, &Connect::new(V5, &unique()).will(will)).vanish();
    let found = watcher.hears(&Publish::new(&topic, 0, 0, b"gone"));
    for property in &single {
        assert_eq!(found.all(property[0]), [&property[1..]]);
    }
    let sent: Vec<&[u8]> = pairs.iter().map(|pair| &pair[1..]).collect();
    assert_eq!(found.all(USER_PROPERTY), sent);
}
