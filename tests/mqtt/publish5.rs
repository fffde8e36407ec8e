//! What only MQTT 5 has: properties of PUBLISH, retain handling, reasons (MQTT 5, sections 3.3 to 3.7).

use super::wire::*;
use super::*;

fn client(gateway: &Gateway) -> Client {
    Client::connect(gateway, &Connect::new(V5, &unique()))
}

/// MQTT 5: [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11], [MQTT-3.8.4-4].
#[test]
fn retain_handling_says_when_retained_messages_are_sent() {
    let gateway = gateway();
    let (mut client, topic) = (client(&gateway), unique());
    let kept = Publish::new(&topic, 0, 0, b"kept").retained();
    client.publish(&kept);
    for _ in 0..2 {
        client.subscribe(&topic, 0x00);
        client.hears(&kept);
    }
    client.subscribe(&topic, 0x10);
    client.expect_nothing();
    client.subscribe(&topic, 0x20);
    client.expect_nothing();
    client.send(&unsubscribe(V5, 1, &[&topic]));
    client.expect(&[0xb0, 4, 0, 1, 0, 0]);
    client.subscribe(&topic, 0x20);
    client.expect_nothing();
    client.send(&unsubscribe(V5, 1, &[&topic]));
    client.expect(&[0xb0, 4, 0, 1, 0, 0]);
    client.subscribe(&topic, 0x10);
    client.hears(&kept);
}

/// MQTT 5: [MQTT-3.3.1-12], [MQTT-3.3.1-13].
#[test]
fn retain_as_published_keeps_the_flag_as_it_was() {
    let gateway = gateway();
    let topic = unique();
    let (mut plain, mut keeping, mut from) = (client(&gateway), client(&gateway), client(&gateway));
    plain.subscribe(&topic, 0);
    keeping.subscribe(&topic, 0b1000);
    for message in [Publish::new(&topic, 0, 0, b"1").retained(), Publish::new(&topic, 0, 0, b"2")] {
        from.publish(&message);
        keeping.hears(&message);
        plain.hears(&Publish { retain: false, ..message });
    }
}

/// MQTT 5: [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18],
/// MQTT 5: [MQTT-3.3.2-20].
#[test]
fn properties_reach_every_subscriber_unaltered() {
    let gateway = gateway();
    let topic = unique();
    let mut to = client(&gateway);
    to.subscribe(&topic, 0);
    let mut message = Publish::new(&topic, 0, 0, "läuft".as_bytes())
        .with(&[PAYLOAD_FORMAT, 1])
        .with(&text(CONTENT_TYPE, "text/plain; ü".as_bytes()))
        .with(&text(RESPONSE_TOPIC, b"answers/7"))
        .with(&text(CORRELATION_DATA, &[0, 0xff, 0x80]));
    let names = [("z", "1"), ("a", ""), ("", "x"), ("z", "2"), ("z", "1")];
    for (name, value) in names {
        message = message.with(&pair(name, value));
    }
    let mut from = client(&gateway);
    from.publish(&message);
    let found = to.hears(&message);
    for id in [PAYLOAD_FORMAT, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA, USER_PROPERTY] {
        assert_eq!(found.all(id), message.all(id), "property {id:#x}");
    }
    // Nor is anything added; and it stays so when it is retained, and for those who come later.
    assert_eq!(found.properties.len(), message.properties.len());
    from.publish(&message.clone().retained());
    to.hears(&message);
    let mut late = client(&gateway);
    late.subscribe(&topic, 0);
    let found = late.hears(&message.clone().retained());
    assert_eq!(found.all(USER_PROPERTY), message.all(USER_PROPERTY));
    let unsaid = Publish::new(&topic, 0, 0, b"").with(&[PAYLOAD_FORMAT, 0]);
    from.publish(&unsaid);
    to.hears(&Publish::new(&topic, 0, 0, b""));
}

/// MQTT 5: [MQTT-3.3.2-14].
#[test]
fn a_response_topic_has_no_wildcards() {
    let gateway = gateway();
    for topic in ["#", "a/+", "a/#/b"] {
        let mut client = client(&gateway);
        let message = Publish::new("a", 0, 0, b"").with(&text(RESPONSE_TOPIC, topic.as_bytes()));
        client.send(&message.bytes(V5));
        client.expect_cut(0x82);
    }
}

/// MQTT 5: [MQTT-3.3.2-5], [MQTT-3.3.2-6].
#[test]
fn a_message_that_waits_grows_old_and_dies() {
    let gateway = gateway();
    let (name, topic) = (unique(), unique());
    let mut to = Client::connect(&gateway, &Connect::lasting(V5, &name));
    to.subscribe(&topic, 1);
    let mut from = client(&gateway);
    let brief = Publish::new(&topic, 1, 1, b"brief").with(&four(MESSAGE_EXPIRY, 1));
    let long = Publish::new(&topic, 1, 2, b"long").with(&four(MESSAGE_EXPIRY, 1000));
    let left = |message: &Publish| {
        u32::from_be_bytes(message.all(MESSAGE_EXPIRY)[0].try_into().expect("four bytes"))
    };
    // At once: all of it is left, or almost.
    from.publish(&long);
    let found = to.hears(&long);
    assert!((970..=1000).contains(&left(&found)), "{}", left(&found));
    to.send(&ack(PUBACK, found.id));
    to.settle();
    to.leave();
    from.publish(&brief);
    from.publish(&long);
    from.publish(&brief.clone().retained());
    wait_for_a_second(&gateway, &topic);
    let mut to = Client::connect(&gateway, &Connect::lasting(V5, &name));
    let found = to.hears(&long);
    assert!((900..1000).contains(&left(&found)), "{}", left(&found));
    to.send(&ack(PUBACK, found.id));
    to.subscribe(&topic, 1);
    to.expect_nothing();
}

/// Waits until a message that lives a second has died: a session that gets it no more says so.
fn wait_for_a_second(gateway: &Gateway, topic: &str) {
    let kept =
        Publish::new(&format!("{topic}/clock"), 1, 1, b"tick").with(&four(MESSAGE_EXPIRY, 1));
    client(gateway).publish(&kept.clone().retained());
    crate::live::eventually("a retained message expires", || {
        client(gateway).retained(&format!("{topic}/clock")).is_empty().then_some(())
    });
}

/// MQTT 5: [MQTT-3.3.2-7], [MQTT-3.3.2-8], [MQTT-3.3.2-9], [MQTT-3.3.2-12].
#[test]
fn a_client_may_use_the_aliases_it_was_told_of() {
    let gateway = gateway();
    let name = unique();
    let mut watcher = client(&gateway);
    watcher.subscribe(&format!("{name}/#"), 0);
    let mut from = client(&gateway);
    let told = from.told(TOPIC_ALIAS_MAXIMUM).expect("a maximum");
    let max = u16::from_be_bytes(told.try_into().expect("two bytes"));
    assert!(max > 0);
    let by = |topic: &str, alias| Publish::new(topic, 0, 0, b"x").with(&two(TOPIC_ALIAS, alias));
    for alias in 1..=max {
        from.publish(&by(&format!("{name}/{alias}"), alias));
        watcher.hears(&Publish::new(&format!("{name}/{alias}"), 0, 0, b"x"));
    }
    for alias in (1..=max).rev() {
        from.publish(&by("", alias));
        let found = watcher.hears(&Publish::new(&format!("{name}/{alias}"), 0, 0, b"x"));
        assert!(found.properties.is_empty(), "a publisher's alias is not passed on: {found:?}");
    }
    // An alias may come to stand for another topic.
    from.publish(&by(&format!("{name}/other"), 1));
    from.publish(&by("", 1));
    for _ in 0..2 {
        watcher.hears(&Publish::new(&format!("{name}/other"), 0, 0, b"x"));
    }
    for alias in [0, max + 1, u16::MAX] {
        let mut client = client(&gateway);
        client.send(&by("a", alias).bytes(V5));
        client.expect_cut(0x94);
    }
    // Another connection begins without any.
    let lasting = Connect::lasting(V5, &unique());
    let mut client = Client::connect(&gateway, &lasting);
    client.publish(&by(&format!("{name}/mine"), 1));
    watcher.hears(&Publish::new(&format!("{name}/mine"), 0, 0, b"x"));
    client.vanish();
    let mut client = Client::connect(&gateway, &lasting);
    client.send(&by("", 1).bytes(V5));
    client.expect_cut(0x94);
}

/// Reads messages that may have aliases as a client does: each topic in full.
struct Named {
    aliases: std::collections::HashMap<u16, Vec<u8>>,
    max: u16,
}

impl Named {
    fn new(max: u16) -> Named {
        Named { aliases: std::collections::HashMap::new(), max }
    }

    /// The topic of the next message, and how it was written: in full, with an alias, by the alias.
    fn next(&mut self, client: &mut Client) -> (String, &'static str) {
        let message = client.message();
        let alias = message.all(TOPIC_ALIAS).first().map(|value| {
            let alias = u16::from_be_bytes((*value).try_into().expect("two bytes"));
            assert!((1..=self.max).contains(&alias), "alias {alias}");
            alias
        });
        let (topic, how) = match alias {
            None => (message.topic, "in full"),
            Some(alias) if message.topic.is_empty() => {
                (self.aliases.get(&alias).expect("a known alias").clone(), "by alias")
            }
            Some(alias) => {
                self.aliases.insert(alias, message.topic.clone());
                (message.topic, "with an alias")
            }
        };
        (String::from_utf8(topic).expect("text"), how)
    }
}

/// MQTT 5: [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-7], [MQTT-3.3.2-11].
#[test]
fn a_client_that_takes_aliases_is_sent_them() {
    let gateway = gateway();
    let name = format!("a-long-topic-name/{}", unique());
    let mut from = client(&gateway);
    let topics: Vec<String> = (0..5).map(|n| format!("{name}/{n}")).collect();
    for max in [0_u16, 1, 2, 9] {
        let connect = Connect::lasting(V5, &unique());
        let connect = if max > 0 { connect.with(&two(TOPIC_ALIAS_MAXIMUM, max)) } else { connect };
        for _ in 0..2 {
            let mut to = Client::connect(&gateway, &connect);
            to.subscribe(&format!("{name}/+"), 0);
            let mut named = Named::new(max);
            for round in 0..3 {
                for topic in &topics {
                    from.publish(&Publish::new(topic, 0, 0, b"x"));
                    let (found, how) = named.next(&mut to);
                    assert_eq!(&found, topic);
                    let expected = match max {
                        0 => "in full",
                        9 if round == 0 => "with an alias",
                        9 => "by alias",
                        _ => how,
                    };
                    assert_eq!(how, expected, "maximum {max}, round {round}");
                }
            }
            to.vanish();
        }
    }
    // One topic among many that come once keeps its alias.
    let mut to =
        Client::connect(&gateway, &Connect::new(V5, &unique()).with(&two(TOPIC_ALIAS_MAXIMUM, 2)));
    to.subscribe(&format!("{name}/#"), 0);
    let (mut named, mut shortened) = (Named::new(2), 0);
    for n in 0..20 {
        for topic in [topics[0].clone(), format!("{name}/once/{n}")] {
            from.publish(&Publish::new(&topic, 0, 0, b"x"));
            let (found, how) = named.next(&mut to);
            assert_eq!(found, topic);
            shortened += u32::from(how == "by alias");
        }
    }
    assert_eq!(shortened, 19);
}

/// MQTT 5: [MQTT-3.3.4-3], [MQTT-3.3.4-4], [MQTT-3.3.4-5].
#[test]
fn the_identifiers_of_all_matching_subscriptions_are_sent() {
    let gateway = gateway();
    let name = unique();
    let mut to = client(&gateway);
    let id = |n: usize| [vec![SUBSCRIPTION_ID], varint(n)].concat();
    to.subscribe_with(&id(1), &format!("{name}/#"), 0);
    to.subscribe_with(&id(268_435_455), &format!("{name}/+"), 1);
    to.subscribe(&format!("{name}/a"), 0);
    let mut from = client(&gateway);
    let topic = format!("{name}/a");
    from.publish(&Publish::new(&topic, 0, 0, b"x"));
    let found = to.hears(&Publish::new(&topic, 0, 0, b"x"));
    let mut ids = found.all(SUBSCRIPTION_ID);
    ids.sort_unstable();
    assert_eq!(ids, [&varint(1)[..], &varint(268_435_455)]);
    // Another subscription with the same filter has another identifier, or none.
    to.subscribe_with(&id(7), &format!("{name}/#"), 0);
    to.subscribe(&format!("{name}/+"), 0);
    from.publish(&Publish::new(&topic, 0, 0, b"x"));
    assert_eq!(to.hears(&Publish::new(&topic, 0, 0, b"x")).all(SUBSCRIPTION_ID), [[7]]);
    // A shared one is a copy of its own, with its own.
    to.subscribe_with(&id(9), &format!("$share/g/{name}/+"), 0);
    from.publish(&Publish::new(&topic, 0, 0, b"x"));
    let copies = [(); 2].map(|()| to.hears(&Publish::new(&topic, 0, 0, b"x")));
    let mut ids = copies.iter().map(|copy| copy.all(SUBSCRIPTION_ID)[0][0]).collect::<Vec<u8>>();
    ids.sort_unstable();
    assert_eq!(ids, [7, 9]);
    to.expect_nothing();
    // Retained messages have the identifier of the subscription that asked for them.
    from.publish(&Publish::new(&format!("{name}/kept"), 0, 0, b"k").retained());
    to.hears(&Publish::new(&format!("{name}/kept"), 0, 0, b"k"));
    to.hears(&Publish::new(&format!("{name}/kept"), 0, 0, b"k"));
    to.subscribe_with(&id(3), &format!("{name}/kept"), 0);
    let found = to.hears(&Publish::new(&format!("{name}/kept"), 0, 0, b"k").retained());
    assert_eq!(found.all(SUBSCRIPTION_ID), [[3]]);
}

/// MQTT 5: [MQTT-3.3.4-6].
#[test]
fn a_client_does_not_send_subscription_identifiers() {
    let gateway = gateway();
    let mut from = client(&gateway);
    from.send(&Publish::new("a", 0, 0, b"").with(&[SUBSCRIPTION_ID, 1]).bytes(V5));
    from.expect_cut(0x81);
    let mut to = client(&gateway);
    to.send(&subscribe_with(V5, 1, &[SUBSCRIPTION_ID, 0], &[("a", 0)]));
    to.expect_cut(0x82);
}

/// MQTT 5: [MQTT-3.3.4-7].
#[test]
fn a_client_that_sends_more_than_the_server_takes_is_cut() {
    let gateway = gateway();
    let mut client = client(&gateway);
    assert_eq!(client.told(RECEIVE_MAXIMUM), Some(&[0, 10][..]));
    let topic = unique();
    for id in 1..=10 {
        client.send(&Publish::new(&topic, 2, id, b"").bytes(V5));
        client.expect_ack(PUBREC, id);
    }
    // A repeat of one that is under way is no further one.
    client.send(&Publish::new(&topic, 2, 3, b"").again().bytes(V5));
    client.expect_ack(PUBREC, 3);
    client.publish(&Publish::new(&topic, 0, 0, b""));
    client.settle();
    client.send(&ack(PUBREL, 3));
    client.expect_ack(PUBCOMP, 3);
    client.publish(&Publish::new(&topic, 1, 11, b""));
    client.send(&Publish::new(&topic, 2, 12, b"").bytes(V5));
    client.expect_ack(PUBREC, 12);
    client.send(&Publish::new(&topic, 1, 13, b"").bytes(V5));
    client.expect_cut(0x93);
}

/// MQTT 5: [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.7.2-1], [MQTT-3.6.2-1].
#[test]
fn acknowledgements_have_reasons_of_their_own() {
    let gateway = gateway();
    let mut from = client(&gateway);
    let refused = [
        (Publish::new("$events/client/x/forged", 1, 1, b""), 0x87),
        (Publish::new("$SYS/broker/version", 1, 1, b""), 0x87),
        (Publish::new("$aws/rules/nobody/x", 1, 1, b""), 0x90),
        (Publish::new("a", 1, 1, b"\xff").with(&[PAYLOAD_FORMAT, 1]), 0x99),
    ];
    for (message, reason) in refused {
        for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
            from.send(&Publish { qos, ..message.clone() }.bytes(V5));
            let packet = from.recv();
            let (id, code, properties) = verdict(&packet);
            assert_eq!((packet[0], id, code), (first, 1, reason));
            assert!(matches!(properties.as_slice(), [(REASON_STRING, _)]), "{properties:?}");
        }
    }
    from.send(&ack(PUBREL, 99));
    let packet = from.recv();
    assert_eq!((packet[0], verdict(&packet).1), (PUBCOMP, 0x92), "no such identifier");
    // A client may give no others.
    for (first, reason) in [(PUBACK, 0x92), (PUBREC, 0x01), (PUBREL, 0x10), (PUBCOMP, 0x80)] {
        let mut client = client(&gateway);
        client.send(&ack_because(first, 1, reason));
        client.expect_cut(0x81);
    }
}

/// Packets with a reason string, of a client with these properties: PUBACK, PUBREC, SUBACK, DISCONNECT.
fn told(gateway: &Gateway, properties: &[u8]) -> [Vec<u8>; 4] {
    let mut from = Client::connect(gateway, &Connect::new(V5, &unique()).with(properties));
    from.send(&Publish::new("$events/client/x/y", 1, 1, b"").bytes(V5));
    let puback = from.recv();
    from.send(&Publish::new("$events/client/x/y", 2, 1, b"").bytes(V5));
    let pubrec = from.recv();
    from.send(&subscribe(V5, 1, &[("a#", 0)]));
    let suback = from.recv();
    from.send(&ack(PUBREC, 5));
    assert_eq!(from.recv(), ack_because(PUBREL, 5, 0x92));
    from.send(&ack(PUBREL, 5));
    assert_eq!(from.recv(), ack_because(PUBCOMP, 5, 0x92));
    from.send(&unsubscribe(V5, 1, &["never"]));
    from.expect(&[0xb0, 4, 0, 1, 0, 0x11]);
    from.send(&[0x00, 0]);
    let disconnect = from.recv();
    [puback, pubrec, suback, disconnect]
}

/// MQTT 5: [MQTT-3.4.2-2], [MQTT-3.4.2-3], [MQTT-3.5.2-2], [MQTT-3.5.2-3], [MQTT-3.6.2-2], [MQTT-3.6.2-3],
/// MQTT 5: [MQTT-3.7.2-2], [MQTT-3.7.2-3], [MQTT-3.9.2-1], [MQTT-3.9.2-2], [MQTT-3.11.2-1],
/// MQTT 5: [MQTT-3.11.2-2], [MQTT-3.14.2-3], [MQTT-3.14.2-4], [MQTT-3.1.2-29].
#[test]
fn reasons_are_given_where_they_fit_and_are_wanted() {
    let gateway = gateway();
    let bare = [
        ack_because(PUBACK, 1, 0x87),
        ack_because(PUBREC, 1, 0x87),
        vec![0x90, 4, 0, 1, 0, 0x8f],
        vec![0xe0, 1, 0x81],
    ];
    let full = told(&gateway, &[]);
    for (with, without) in full.iter().zip(&bare) {
        assert!(with.len() > without.len() + 10, "{with:02x?}");
    }
    let small = told(&gateway, &four(MAXIMUM_PACKET_SIZE, 24));
    assert_eq!(small, bare, "they do not fit");
    for packet in told(&gateway, &four(MAXIMUM_PACKET_SIZE, 45)) {
        assert!(packet.len() <= 45, "{packet:02x?}");
    }
    // Not wanted: DISCONNECT may have one all the same.
    let unwanted = told(&gateway, &[0x17, 0]);
    assert_eq!(unwanted[..3], bare[..3]);
    assert_eq!(unwanted[3], full[3]);
}

/// MQTT 5: [MQTT-3.1.2-24], [MQTT-3.1.2-25].
#[test]
fn no_packet_is_larger_than_the_client_takes() {
    let gateway = gateway();
    let topic = unique();
    let connect = Connect::new(V5, &unique()).with(&four(MAXIMUM_PACKET_SIZE, 50));
    let mut to = Client::connect(&gateway, &connect.with(&two(RECEIVE_MAXIMUM, 1)));
    to.subscribe(&topic, 2);
    let mut from = client(&gateway);
    // Fixed header, topic, identifier, the length of no properties.
    let room = 50 - 2 - 2 - topic.len() - 2 - 1;
    for qos in [1, 2] {
        from.publish(&Publish::new(&topic, qos, 1, &vec![b'x'; room + 1]));
        from.publish(&Publish::new(&topic, qos, 1, &vec![b'x'; room]));
        let found = to.hears(&Publish::new(&topic, qos, 0, &vec![b'x'; room]));
        if qos == 1 {
            to.send(&ack(PUBACK, found.id));
        }
    }
    // An answer that cannot be made smaller ends the connection.
    let filters: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let filters: Vec<(&str, u8)> = filters.iter().map(|f| (f.as_str(), 0)).collect();
    to.send(&subscribe(V5, 1, &filters));
    to.expect_cut(0x95);
}
