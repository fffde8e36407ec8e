//! PUBLISH, as both versions have it (MQTT 5, section 3.3).

use super::wire::*;
use super::*;

/// MQTT 5: [MQTT-3.3.4-1], [MQTT-4.3.2-4], [MQTT-4.3.3-8], [MQTT-4.3.3-11].
/// MQTT 3.1.1: [MQTT-3.3.4-1], [MQTT-4.3.2-2], [MQTT-4.3.3-2].
#[test]
fn a_publish_is_answered_as_its_qos_says() {
    let gateway = gateway();
    for level in BOTH {
        // Where a rule wants it the answer waits for the commit; the answer is the same.
        for topic in [unique(), format!("ruled/{}", unique())] {
            let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
            client.publish(&Publish::new(&topic, 0, 0, b"{}"));
            client.publish(&Publish::new(&topic, 1, 1, b"{}"));
            client.publish(&Publish::new(&topic, 2, 2, b"{}"));
            client.settle();
        }
    }
}

/// MQTT 5: [MQTT-3.3.1-4].
/// MQTT 3.1.1: [MQTT-3.3.1-4].
#[test]
fn qos_3_ends_the_connection() {
    let gateway = gateway();
    for level in BOTH {
        let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
        client.send(&Publish::new("a", 3, 1, b"").bytes(level));
        client.expect_cut(0x81);
    }
}

/// MQTT 5: [MQTT-3.3.1-2], [MQTT-4.3.1-1].
/// MQTT 3.1.1: [MQTT-3.3.1-2], [MQTT-4.3.1-1].
#[test]
fn a_message_with_qos_0_is_never_a_duplicate() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut client = Client::connect(&gateway, &Connect::new(level, &topic));
        client.subscribe(&topic, 0);
        client.send(&Publish::new(&topic, 1, 1, b"x").again().bytes(level));
        let packets = [client.recv(), client.recv()];
        assert!(packets.contains(&Publish::new(&topic, 0, 0, b"x").bytes(level)), "{packets:02x?}");
        client.send(&Publish::new(&topic, 0, 0, b"x").again().bytes(level));
        client.expect_cut(0x81);
    }
}

/// MQTT 5: [MQTT-3.3.1-3].
/// MQTT 3.1.1: [MQTT-3.3.1-3].
#[test]
fn the_dup_flag_is_not_passed_on() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut to = Client::connect(&gateway, &Connect::new(level, &unique()));
        to.subscribe(&topic, 2);
        let mut from = Client::connect(&gateway, &Connect::new(level, &unique()));
        for qos in [1, 2] {
            from.publish(&Publish::new(&topic, qos, 1, b"x").again());
            to.hears(&Publish::new(&topic, qos, 0, b"x"));
        }
    }
}

/// MQTT 5: [MQTT-3.3.1-5], [MQTT-3.3.1-12].
/// MQTT 3.1.1: [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-7], [MQTT-3.3.1-8], [MQTT-3.3.1-9].
#[test]
fn the_last_retained_message_of_a_topic_goes_to_new_subscriptions() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut from = Client::connect(&gateway, &Connect::new(level, &unique()));
        let mut present = Client::connect(&gateway, &Connect::new(level, &unique()));
        present.subscribe(&topic, 2);
        for (id, qos, payload) in [(1, 2, "a"), (2, 1, "b"), (3, 0, "c"), (4, 2, "d")] {
            from.publish(&Publish::new(&topic, qos, id, payload.as_bytes()).retained());
            // Whoever subscribes already sees an ordinary message.
            let live = present.hears(&Publish::new(&topic, qos, 0, payload.as_bytes()));
            if qos == 1 {
                present.send(&ack(PUBACK, live.id));
            }
            let mut late = Client::connect(&gateway, &Connect::new(level, &unique()));
            for granted in [2, 1, 0] {
                late.subscribe(&topic, granted);
                let kept = Publish::new(&topic, qos.min(granted), 0, payload.as_bytes());
                late.hears(&kept.retained());
            }
        }
    }
}

/// MQTT 5: [MQTT-3.3.1-6], [MQTT-3.3.1-7].
/// MQTT 3.1.1: [MQTT-3.3.1-10], [MQTT-3.3.1-11].
#[test]
fn an_empty_retained_message_removes_the_one_there_was() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut present = Client::connect(&gateway, &Connect::new(level, &unique()));
        present.subscribe(&topic, 0);
        for payload in [&b"kept"[..], b""] {
            present.publish(&Publish::new(&topic, 0, 0, payload).retained());
            present.hears(&Publish::new(&topic, 0, 0, payload));
        }
        let mut late = Client::connect(&gateway, &Connect::new(level, &unique()));
        late.subscribe(&topic, 0);
        late.expect_nothing();
    }
}

/// MQTT 5: [MQTT-3.3.1-8].
/// MQTT 3.1.1: [MQTT-3.3.1-12].
#[test]
fn a_message_that_is_not_retained_leaves_the_retained_one_alone() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
        client.publish(&Publish::new(&topic, 1, 1, b"kept").retained());
        client.publish(&Publish::new(&topic, 1, 2, b"passes"));
        client.publish(&Publish::new(&topic, 1, 3, b""));
        client.subscribe(&topic, 0);
        client.hears(&Publish::new(&topic, 0, 0, b"kept").retained());
        client.expect_nothing();
        let other = unique();
        client.publish(&Publish::new(&other, 1, 4, b"passes"));
        client.subscribe(&other, 0);
        client.expect_nothing();
    }
}

/// MQTT 3.1.1: [MQTT-3.1.2-7].
#[test]
fn retained_messages_outlive_the_session_that_published_them() {
    let gateway = gateway();
    for level in BOTH {
        let (name, topic) = (unique(), unique());
        let mut client = Client::connect(&gateway, &Connect::new(level, &name));
        client.publish(&Publish::new(&topic, 1, 1, b"kept").retained());
        client.leave();
        let mut client = Client::connect(&gateway, &Connect::new(level, &name));
        client.subscribe(&topic, 0);
        client.hears(&Publish::new(&topic, 0, 0, b"kept").retained());
    }
}

/// MQTT 5: [MQTT-3.3.2-2], [MQTT-4.7.0-1], [MQTT-4.7.3-1].
/// MQTT 3.1.1: [MQTT-3.3.2-2], [MQTT-4.7.1-1], [MQTT-4.7.3-1].
#[test]
fn a_topic_name_with_wildcards_or_without_a_character_ends_the_connection() {
    let gateway = gateway();
    for level in BOTH {
        let topics = [("a/+", 0x90), ("#", 0x90), ("a+b", 0x90), ("a/#/b", 0x90), ("", 0x82)];
        for (topic, reason) in topics {
            let mut client = Client::connect(&gateway, &Connect::new(level, &unique()));
            client.send(&Publish::new(topic, 0, 0, b"").bytes(level));
            client.expect_cut(reason);
        }
    }
}

/// MQTT 5: [MQTT-3.3.2-3].
/// MQTT 3.1.1: [MQTT-3.3.2-3].
#[test]
fn a_message_has_the_topic_it_was_published_to() {
    let gateway = gateway();
    for level in BOTH {
        let name = unique();
        let mut client = Client::connect(&gateway, &Connect::new(level, &name));
        client.subscribe(&format!("{name}/#"), 0);
        for topic in [name.clone(), format!("{name}/"), format!("{name}//a"), format!("{name}/a/b")]
        {
            let message = Publish::new(&topic, 0, 0, b"x");
            client.publish(&message);
            client.hears(&message);
        }
    }
}

/// MQTT 5: [MQTT-3.3.4-2].
/// MQTT 3.1.1: [MQTT-3.3.5-1].
#[test]
fn overlapping_subscriptions_deliver_with_the_highest_qos() {
    let gateway = gateway();
    for level in BOTH {
        let name = unique();
        let mut to = Client::connect(&gateway, &Connect::new(level, &name));
        to.subscribe(&format!("{name}/#"), 0);
        to.subscribe(&format!("{name}/+"), 2);
        to.subscribe(&format!("{name}/a"), 1);
        let mut from = Client::connect(&gateway, &Connect::new(level, &unique()));
        from.publish(&Publish::new(&format!("{name}/a"), 2, 1, b"x"));
        let found = to.hears(&Publish::new(&format!("{name}/a"), 2, 0, b"x"));
        to.send(&ack(PUBREC, found.id));
        to.expect_ack(PUBREL, found.id);
        to.send(&ack(PUBCOMP, found.id));
        to.expect_nothing();
    }
}

/// MQTT 3.1.1: [MQTT-3.3.5-2].
#[test]
fn a_publish_that_is_not_allowed_is_acknowledged_and_goes_nowhere() {
    let gateway = gateway();
    let mut watcher = Client::connect(&gateway, &Connect::new(V4, &unique()));
    watcher.subscribe("$events/client/+/forged", 0);
    let mut client = Client::connect(&gateway, &Connect::new(V4, &unique()));
    for qos in [0, 1, 2] {
        client.publish(&Publish::new("$events/client/x/forged", qos, 1, b"{}"));
    }
    client.settle();
    watcher.expect_nothing();
}
