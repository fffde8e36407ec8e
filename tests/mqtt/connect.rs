//! CONNECT and CONNACK (MQTT 5, sections 3.1 and 3.2).

use std::time::Duration;

use tidegate::clock::Clock;

use super::wire::*;
use super::*;
use crate::live::PATIENCE;

/// What a CONNECT that breaks its format is answered: 3.1.1 has no word for it.
fn malformed(level: u8) -> Option<u8> {
    (level == V5).then_some(0x81)
}

/// MQTT 5: [MQTT-3.1.0-1].
/// MQTT 3.1.1: [MQTT-3.1.0-1].
#[test]
fn a_connection_begins_with_connect() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut watcher = Client::connect(&gateway, &Connect::new(level, &topic));
        watcher.subscribe(&topic, 0);
        let firsts = [
            Publish::new(&topic, 0, 0, b"early").bytes(level),
            subscribe(level, 1, &[(&topic, 0)]),
            PINGREQ.to_vec(),
            DISCONNECT.to_vec(),
            frame(0xf0, &[]),
        ];
        for first in firsts {
            let mut client = Client::open(&gateway, level);
            client.try_send(&[first, Connect::new(level, &unique()).bytes()].concat());
            client.expect_end();
        }
        watcher.expect_nothing();
    }
}

/// MQTT 5: [MQTT-3.1.0-2].
/// MQTT 3.1.1: [MQTT-3.1.0-2].
#[test]
fn a_second_connect_ends_the_connection() {
    let gateway = gateway();
    for level in BOTH {
        let connect = Connect::new(level, &unique());
        let mut client = Client::connect(&gateway, &connect);
        client.send(&connect.bytes());
        client.expect_cut(0x82);
    }
}

/// MQTT 5: [MQTT-3.1.2-1], [MQTT-3.1.2-2].
/// MQTT 3.1.1: [MQTT-3.1.2-1], [MQTT-3.1.2-2].
#[test]
fn another_protocol_name_or_version_is_not_let_in() {
    let gateway = gateway();
    for level in BOTH {
        let mut bytes = Connect::new(level, "x").bytes();
        bytes[4..8].copy_from_slice(b"MQTX");
        assert_eq!(refusal(&gateway, level, &bytes), None);
    }
    assert_eq!(refusal(&gateway, V4, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01x"), Some(1));
    for level in [0, 3] {
        let bytes = Connect::new(level, "x").bytes();
        assert_eq!(refusal(&gateway, V4, &bytes), Some(1), "level {level}");
    }
    for level in [6, 0x83, 0xff] {
        let bytes = Connect::new(level, "x").bytes();
        assert_eq!(refusal(&gateway, V5, &bytes), Some(0x84), "level {level}");
    }
}

/// MQTT 5: [MQTT-3.1.2-3].
/// MQTT 3.1.1: [MQTT-3.1.2-3], [MQTT-3.2.2-6].
#[test]
fn the_reserved_flag_of_connect_must_be_0() {
    let gateway = gateway();
    for level in BOTH {
        let connect = Connect::new(level, "reserved");
        let bytes = connect.bytes_with_flags(connect.flags() | 1);
        assert_eq!(refusal(&gateway, level, &bytes), malformed(level));
    }
}

/// MQTT 5: [MQTT-3.1.2-11], [MQTT-3.1.2-12], [MQTT-3.1.2-13].
/// MQTT 3.1.1: [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-14], [MQTT-3.1.2-15].
#[test]
fn will_qos_and_will_retain_need_a_will_and_will_qos_is_at_most_2() {
    let gateway = gateway();
    for level in BOTH {
        let connect = Connect::new(level, "will-flags");
        for flags in [0x08, 0x10, 0x18, 0x20] {
            let bytes = connect.bytes_with_flags(connect.flags() | flags);
            assert_eq!(refusal(&gateway, level, &bytes), malformed(level), "{flags:#x}");
        }
        let with_will = connect.will(Will::new("w"));
        let bytes = with_will.bytes_with_flags(with_will.flags() | 0x18);
        assert_eq!(refusal(&gateway, level, &bytes), malformed(level), "QoS 3");
        for qos in [0, 1, 2] {
            let will = Will { qos, ..Will::new("w") };
            Client::connect(&gateway, &Connect::new(level, &unique()).will(will)).leave();
        }
    }
}

/// MQTT 5: [MQTT-3.1.2-16], [MQTT-3.1.2-17], [MQTT-3.1.2-18], [MQTT-3.1.2-19].
/// MQTT 3.1.1: [MQTT-3.1.2-18], [MQTT-3.1.2-19], [MQTT-3.1.2-20], [MQTT-3.1.2-21], [MQTT-3.1.2-22].
#[test]
fn user_name_and_password_are_there_as_their_flags_say() {
    let gateway = gateway();
    let (user, password) = (Some(b"me".to_vec()), Some(vec![0xff, 0]));
    for level in BOTH {
        let plain = Connect::new(level, &unique());
        let named = Connect { user: user.clone(), ..plain.clone() };
        let both = Connect { password: password.clone(), ..named.clone() };
        for connect in [&plain, &named, &both] {
            Client::connect(&gateway, connect).leave();
        }
        for (connect, flags) in [(&plain, 0xc0), (&plain, 0x80), (&named, 0xc0)] {
            let bytes = connect.bytes_with_flags(connect.flags() | flags);
            assert_eq!(refusal(&gateway, level, &bytes), malformed(level), "a field is missing");
        }
        for (connect, flags) in [(&named, 0x80), (&both, 0xc0), (&both, 0x40)] {
            let bytes = connect.bytes_with_flags(connect.flags() & !flags);
            assert_eq!(refusal(&gateway, level, &bytes), malformed(level), "a field too many");
        }
    }
    let alone = Connect { password: password.clone(), ..Connect::new(V4, "alone") };
    assert_eq!(refusal(&gateway, V4, &alone.bytes()), None, "a password needs a user name");
    Client::connect(&gateway, &Connect { level: V5, ..alone }).leave();
}

/// MQTT 5: [MQTT-3.1.3-1].
/// MQTT 3.1.1: [MQTT-3.1.3-1].
#[test]
fn the_fields_of_the_payload_come_in_their_order() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut watcher = Client::connect(&gateway, &Connect::new(level, &unique()));
        watcher.subscribe(&topic, 0);
        let connect = Connect {
            user: Some(b"user".to_vec()),
            password: Some(b"password".to_vec()),
            ..Connect::new(level, &unique()).will(Will::new(&topic))
        };
        Client::connect(&gateway, &connect).vanish();
        watcher.hears(&Publish::new(&topic, 0, 0, b"gone"));
    }
}

/// MQTT 5: [MQTT-3.1.3-3], [MQTT-3.1.4-1].
/// MQTT 3.1.1: [MQTT-3.1.3-3], [MQTT-3.1.4-1].
#[test]
fn a_connect_that_does_not_match_its_format_is_not_let_in() {
    let gateway = gateway();
    for level in BOTH {
        let properties = if level == V5 { &[0][..] } else { &[] };
        let head = [&field(b"MQTT")[..], &[level, 2, 0, 0], properties].concat();
        assert_eq!(
            refusal(&gateway, level, &frame(0x10, &head)),
            malformed(level),
            "no identifier"
        );
        for cut in 1..head.len() {
            let answer = refusal(&gateway, level, &frame(0x10, &head[..cut]));
            assert!(answer.is_none() || answer == malformed(level), "{answer:?}");
        }
        let long = [&head[..], &field(b"x"), b"more"].concat();
        assert_eq!(refusal(&gateway, level, &frame(0x10, &long)), malformed(level), "too long");
        for flags in [1, 2, 4, 8] {
            let mut bytes = Connect::new(level, "x").bytes();
            bytes[0] |= flags;
            assert_eq!(refusal(&gateway, level, &bytes), None, "flags of the fixed header");
        }
    }
    for property in [two(RECEIVE_MAXIMUM, 0), four(MAXIMUM_PACKET_SIZE, 0), vec![0x17, 2]] {
        let connect = Connect::new(V5, "x").with(&property);
        assert_eq!(refusal(&gateway, V5, &connect.bytes()), Some(0x82), "{property:?}");
    }
}

/// MQTT 5: [MQTT-3.1.3-5].
/// MQTT 3.1.1: [MQTT-3.1.3-5].
#[test]
fn identifiers_of_1_to_23_letters_and_digits_are_accepted() {
    let gateway = gateway();
    for level in BOTH {
        for id in ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "7"] {
            Client::connect(&gateway, &Connect::new(level, id)).leave();
        }
    }
}

/// MQTT 5: [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16].
/// MQTT 3.1.1: [MQTT-3.1.3-6].
#[test]
fn a_client_without_an_identifier_is_given_one_of_its_own() {
    let gateway = gateway();
    let mut names = Vec::new();
    for clean in [true, false] {
        let lasting = Connect::new(V5, "").with(&four(SESSION_EXPIRY, 60));
        let client = Client::connect(&gateway, &Connect { clean, ..lasting });
        let assigned = client.told(ASSIGNED_CLIENT_ID).expect("an identifier")[2..].to_vec();
        let name = String::from_utf8(assigned).expect("text");
        assert!(!name.is_empty() && !client.session_present);
        client.leave();
        // The session is the name's.
        let back = Client::connect(&gateway, &Connect::lasting(V5, &name));
        assert!(back.session_present && back.told(ASSIGNED_CLIENT_ID).is_none());
        names.push(name);
    }
    assert_ne!(names[0], names[1]);
    let mut nobodies = [(); 2].map(|()| Client::connect(&gateway, &Connect::new(V4, "")));
    nobodies.iter_mut().for_each(Client::settle);
}

/// MQTT 5: [MQTT-3.1.3-8].
/// MQTT 3.1.1: [MQTT-3.1.3-7], [MQTT-3.1.3-8], [MQTT-3.1.3-9].
#[test]
fn an_identifier_that_cannot_be_is_refused() {
    let gateway = gateway();
    let nobody = Connect { clean: false, ..Connect::new(V4, "") };
    assert_eq!(refusal(&gateway, V4, &nobody.bytes()), Some(2), "nobody has no session");
    let long = "x".repeat(2000);
    assert_eq!(refusal(&gateway, V4, &Connect::new(V4, &long).bytes()), Some(2));
    assert_eq!(refusal(&gateway, V5, &Connect::new(V5, &long).bytes()), Some(0x85));
}

/// MQTT 5: [MQTT-3.1.4-2], [MQTT-4.12.0-1], [MQTT-4.12.0-4].
#[test]
fn an_authentication_method_is_refused() {
    let gateway = gateway();
    let connect = Connect::new(V5, "scram").with(&text(AUTHENTICATION_METHOD, b"SCRAM-SHA-1"));
    assert_eq!(refusal(&gateway, V5, &connect.bytes()), Some(0x8c));
    // Its data without the method is an error of its own.
    let connect = Connect::new(V5, "scram").with(&text(0x16, b"data"));
    assert_eq!(refusal(&gateway, V5, &connect.bytes()), Some(0x82));
}

/// MQTT 5: [MQTT-3.1.4-3].
/// MQTT 3.1.1: [MQTT-3.1.4-2].
#[test]
fn a_client_that_connects_again_cuts_its_older_connection() {
    let gateway = gateway();
    for (first, second) in [(V4, V4), (V5, V5), (V4, V5), (V5, V4)] {
        let name = unique();
        let mut old = Client::connect(&gateway, &Connect::new(first, &name));
        let mut new = Client::connect(&gateway, &Connect::new(second, &name));
        old.expect_cut(0x8e);
        new.settle();
    }
}

/// MQTT 5: [MQTT-3.1.4-5], [MQTT-3.2.0-1], [MQTT-3.2.0-2], [MQTT-3.2.2-1].
/// MQTT 3.1.1: [MQTT-3.1.4-4], [MQTT-3.2.0-1].
#[test]
fn connack_comes_first_and_once() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut client = Client::open(&gateway, level);
        client.id.clone_from(&topic);
        let all = [
            Connect::new(level, &topic).bytes(),
            Publish::new(&topic, 1, 1, b"").bytes(level),
            subscribe(level, 2, &[(&topic, 0)]),
            PINGREQ.to_vec(),
        ];
        client.send(&all.concat());
        client.welcomed();
        let mut kinds = [(); 3].map(|()| client.recv()[0]);
        kinds.sort_unstable();
        assert_eq!(kinds, [PUBACK, 0x90, 0xd0]);
        client.expect_nothing();
    }
}

/// MQTT 5: [MQTT-3.1.2-4], [MQTT-3.1.4-4], [MQTT-3.2.2-2].
/// MQTT 3.1.1: [MQTT-3.1.2-6], [MQTT-3.1.4-3], [MQTT-3.2.2-1].
#[test]
fn a_clean_start_ends_the_session_there_was() {
    let gateway = gateway();
    for level in BOTH {
        let (name, topic) = (unique(), unique());
        let mut from = Client::connect(&gateway, &Connect::new(level, &unique()));
        for leaves_queue in [true, false] {
            let mut client = Client::connect(&gateway, &Connect::lasting(level, &name));
            client.subscribe(&topic, 1);
            if leaves_queue {
                client.leave();
                from.publish(&Publish::new(&topic, 1, 1, b"queued"));
            }
            let clean = Connect { clean: true, ..Connect::lasting(level, &name) };
            let mut fresh = Client::connect(&gateway, &clean);
            assert!(!fresh.session_present);
            from.publish(&Publish::new(&topic, 1, 2, b"not subscribed any more"));
            fresh.expect_nothing();
            fresh.leave();
        }
    }
    // What a clean session of 3.1.1 had is not kept either.
    let (name, topic) = (unique(), unique());
    let mut client = Client::connect(&gateway, &Connect::new(V4, &name));
    client.subscribe(&topic, 1);
    client.leave();
    assert!(!Client::connect(&gateway, &Connect::lasting(V4, &name)).session_present);
}

/// MQTT 5: [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.2.2-3].
/// MQTT 3.1.1: [MQTT-3.1.2-4], [MQTT-3.2.2-2], [MQTT-3.2.2-3].
#[test]
fn a_session_is_gone_on_with_or_made() {
    let gateway = gateway();
    for level in BOTH {
        let (name, topic) = (unique(), unique());
        let mut from = Client::connect(&gateway, &Connect::new(level, &unique()));
        let mut client = Client::connect(&gateway, &Connect::lasting(level, &name));
        assert!(!client.session_present, "there was none");
        client.subscribe(&topic, 1);
        client.leave();
        let mut back = Client::connect(&gateway, &Connect::lasting(level, &name));
        assert!(back.session_present);
        from.publish(&Publish::new(&topic, 0, 0, b"still subscribed"));
        back.hears(&Publish::new(&topic, 0, 0, b"still subscribed"));
    }
}

/// MQTT 5: [MQTT-3.2.2-6], [MQTT-3.2.2-7], [MQTT-3.2.2-8], [MQTT-4.13.2-1].
/// MQTT 3.1.1: [MQTT-3.2.2-4], [MQTT-3.2.2-5].
#[test]
fn a_refusal_knows_no_session_and_closes() {
    let gateway = gateway();
    let name = unique();
    for level in BOTH {
        Client::connect(&gateway, &Connect::lasting(level, &name)).leave();
    }
    // `refusal` sees Session Present 0 and the end of the connection.
    let refused = Connect::lasting(V5, &name).with(&text(AUTHENTICATION_METHOD, b"m"));
    assert_eq!(refusal(&gateway, V5, &refused.bytes()), Some(0x8c));
    let mut bytes = Connect::lasting(V4, &name).bytes();
    bytes[8] = 3;
    assert_eq!(refusal(&gateway, V4, &bytes), Some(1));
    assert!(Client::connect(&gateway, &Connect::lasting(V5, &name)).session_present);
}

/// MQTT 5: [MQTT-3.1.4-6].
/// MQTT 3.1.1: [MQTT-3.1.4-5].
#[test]
fn what_follows_a_refused_connect_is_not_handled() {
    let gateway = gateway();
    for level in BOTH {
        let topic = unique();
        let mut watcher = Client::connect(&gateway, &Connect::new(level, &unique()));
        watcher.subscribe(&topic, 0);
        let refused = Connect::new(level, &"x".repeat(2000)).bytes();
        let all = [refused, Publish::new(&topic, 0, 0, b"sneaked in").bytes(level)].concat();
        assert!(refusal(&gateway, level, &all).is_some());
        watcher.expect_nothing();
    }
}

/// MQTT 5: [MQTT-3.1.2-22], [MQTT-3.2.2-22].
/// MQTT 3.1.1: [MQTT-3.1.2-24].
#[test]
fn a_client_that_falls_silent_is_cut_after_one_and_a_half_keep_alives() {
    let gateway = gateway();
    for level in BOTH {
        let connect = Connect { keep_alive: 1, ..Connect::new(level, &unique()) };
        let mut client = Client::connect(&gateway, &connect);
        assert_eq!(client.told(SERVER_KEEP_ALIVE), None, "it is its own keep-alive");
        // Before the gateway hears the last of it, so its silence is no longer than this.
        let before = Clock::instant();
        client.settle();
        client.expect_cut(0x8d);
        let silence = before.elapsed();
        // The gateway's clock has whole milliseconds, so it may be one or two early.
        assert!(silence >= Duration::from_millis(1490), "{silence:?}");
        assert!(silence < PATIENCE / 2, "{silence:?}");
    }
    // Longer than the maximum, or none: the server's.
    for (asked, told) in [(0, true), (31, true), (30, false), (20, false)] {
        let connect = Connect { keep_alive: asked, ..Connect::new(V5, &unique()) };
        let client = Client::connect(&gateway, &connect);
        let expected = told.then_some(&[0, 30][..]);
        assert_eq!(client.told(SERVER_KEEP_ALIVE), expected, "asked for {asked}");
    }
}

/// MQTT 5: [MQTT-3.2.2-9], [MQTT-3.2.2-10], [MQTT-3.2.2-12], [MQTT-3.2.2-13].
#[test]
fn every_qos_and_retained_messages_are_supported() {
    let gateway = gateway();
    let topic = unique();
    let will = Will { qos: 2, retain: true, ..Will::new(&topic) };
    let mut client = Client::connect(&gateway, &Connect::new(V5, &unique()).will(will));
    for absent in [0x24, 0x25, 0x28, 0x29, 0x2a] {
        assert_eq!(client.told(absent), None, "nothing is left out: {absent:#x}");
    }
    for qos in [0, 1, 2] {
        client.subscribe(&topic, qos);
        client.publish(&Publish::new(&unique(), qos, 1, b""));
    }
    client.leave();
}

/// MQTT 5: [MQTT-3.1.2-28].
#[test]
fn response_information_is_not_given_unasked() {
    let gateway = gateway();
    for asked in [&[][..], &[0x19, 0]] {
        let client = Client::connect(&gateway, &Connect::new(V5, &unique()).with(asked));
        assert_eq!(client.told(RESPONSE_INFORMATION), None);
    }
}

/// MQTT 5: [MQTT-3.2.2-19], [MQTT-3.2.2-20].
#[test]
fn connack_is_not_larger_than_the_client_takes() {
    let gateway = gateway();
    let with_max = |max| Connect::new(V5, &unique()).with(&four(MAXIMUM_PACKET_SIZE, max));
    let mut client = Client::open(&gateway, V5);
    client.send(&with_max(10).bytes());
    client.expect(&[0x20, 3, 0, 0x95, 0]);
    client.expect_end();
    assert_eq!(refusal(&gateway, V5, &with_max(4).bytes()), None, "there is no room for a word");
    let mut client = Client::open(&gateway, V5);
    let method = text(AUTHENTICATION_METHOD, b"m");
    client.send(&with_max(20).with(&method).bytes());
    client.expect(&[0x20, 3, 0, 0x8c, 0]);
}
