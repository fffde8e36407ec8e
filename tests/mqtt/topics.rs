//! Topic names and filters (MQTT 5, section 4.7).

use super::wire::*;
use super::*;

fn client(gateway: &Gateway, level: u8) -> Client {
    Client::connect(gateway, &Connect::new(level, &unique()))
}

/// MQTT 5: [MQTT-4.7.1-1], [MQTT-4.7.1-2].
/// MQTT 3.1.1: [MQTT-4.7.1-2], [MQTT-4.7.1-3].
#[test]
fn a_wildcard_fills_a_level_and_the_hash_is_the_last() {
    let gateway = gateway();
    for level in BOTH {
        let mut client = client(&gateway, level);
        for filter in ["a#", "a/#/b", "#/a", "a/b#", "##", "a+", "+a", "a/+b/c", "a/b+", "++", "#+"]
        {
            client.send(&subscribe(level, 1, &[(filter, 0)]));
            let suback = client.recv();
            let failed = if level == V5 { 0x8f } else { 0x80 };
            assert_eq!(suback.last(), Some(&failed), "{filter}");
        }
        for filter in ["#", "+", "a/#", "/#", "+/a/#", "/+", "+/+", "a/+/b/+/#", "//"] {
            client.send(&subscribe(level, 1, &[(&format!("x/{filter}"), 0)]));
            assert_eq!(client.recv().last(), Some(&0), "{filter}");
        }
    }
}

/// What the specification says of each filter (MQTT 5, section 4.7.1), below a prefix of the test's own.
const MATCHES: &[(&str, &[&str], &[&str])] = &[
    ("/a/#", &["/a", "/a/", "/a/b", "/a/b/c"], &["/A", "/ab", "", "/b/a"]),
    ("/a/+", &["/a/b", "/a/"], &["/a", "/a/b/c"]),
    ("/+", &["/a", "/"], &["", "/a/b"]),
    ("/+/b", &["/a/b", "//b"], &["/b", "/a/b/c", "/a/c"]),
    ("/+/+", &["//", "/a/b"], &["/a", "/a/b/c"]),
    ("/a//b", &["/a//b"], &["/a/b", "/a/x/b"]),
    ("/", &["/"], &["", "//"]),
    ("/a b/ü", &["/a b/ü"], &["/a b/u", "/A b/ü", "/a%20b/ü"]),
];

/// MQTT 5: [MQTT-3.3.2-3], [MQTT-4.7.3-4].
/// MQTT 3.1.1: [MQTT-3.3.2-3], [MQTT-4.7.3-4].
#[test]
fn filters_match_as_the_specification_says() {
    let gateway = gateway();
    for level in BOTH {
        for (filter, yes, no) in MATCHES {
            let prefix = unique();
            let mut client = client(&gateway, level);
            client.subscribe(&format!("{prefix}{filter}"), 0);
            for topic in no.iter().chain(*yes) {
                client.publish(&Publish::new(&format!("{prefix}{topic}"), 0, 0, b"x"));
            }
            for topic in *yes {
                client.hears(&Publish::new(&format!("{prefix}{topic}"), 0, 0, b"x"));
            }
            client.expect_nothing();
        }
    }
}

/// MQTT 5: [MQTT-4.7.2-1].
/// MQTT 3.1.1: [MQTT-4.7.2-1].
#[test]
fn no_wildcard_at_the_start_of_a_filter_matches_a_dollar() {
    let gateway = gateway();
    for level in BOTH {
        let name = unique();
        let (own, plain) = (format!("${name}/a"), format!("{name}/a"));
        let mut from = client(&gateway, level);
        let mut to = client(&gateway, level);
        to.send(&subscribe(level, 1, &[("#", 0), ("+/a", 0), ("+/#", 0)]));
        assert!(to.recv().ends_with(&[0, 0, 0]));
        for topic in [&own, &plain] {
            from.publish(&Publish::new(topic, 0, 0, b"x").retained());
        }
        // Others are about too; of these two topics the plain one is the only one heard.
        let next = |to: &mut Client| loop {
            let message = to.message();
            if message.topic == own.as_bytes() || message.topic == plain.as_bytes() {
                return message.topic;
            }
        };
        assert_eq!(next(&mut to), plain.as_bytes());
        // Not among the retained ones either, and by its name it is found.
        let mut late = client(&gateway, level);
        late.subscribe("+/a", 0);
        assert_eq!(next(&mut late), plain.as_bytes());
        let mut late = client(&gateway, level);
        late.subscribe(&format!("${name}/#"), 0);
        late.hears(&Publish::new(&own, 0, 0, b"x").retained());
        from.publish(&Publish::new(&own, 0, 0, b"").retained());
        from.publish(&Publish::new(&plain, 0, 0, b"").retained());
        late.hears(&Publish::new(&own, 0, 0, b""));
        assert_eq!(next(&mut to), plain.as_bytes());
    }
}

/// MQTT 5: [MQTT-4.7.3-1], [MQTT-4.7.3-2].
/// MQTT 3.1.1: [MQTT-4.7.3-1], [MQTT-4.7.3-2].
#[test]
fn a_filter_has_a_character_and_no_nul() {
    let gateway = gateway();
    for level in BOTH {
        let mut client = client(&gateway, level);
        client.send(&subscribe(level, 1, &[("", 0)]));
        let failed = if level == V5 { 0x8f } else { 0x80 };
        assert_eq!(client.recv().last(), Some(&failed));
        client.send(&subscribe(level, 1, &[("a\0", 0)]));
        client.expect_cut(0x81);
    }
}

/// MQTT 5: [MQTT-4.7.3-3].
/// MQTT 3.1.1: [MQTT-4.7.3-3].
#[test]
fn a_topic_may_have_65535_bytes() {
    let gateway = gateway();
    for level in BOTH {
        let name = unique();
        let topic = format!("{name}/{}", "ü".repeat((65_534 - name.len()) / 2));
        let topic = format!("{topic}{}", "x".repeat(65_535 - topic.len()));
        let mut client = client(&gateway, level);
        client.subscribe(&topic, 0);
        client.publish(&Publish::new(&topic, 0, 0, b"x"));
        client.hears(&Publish::new(&topic, 0, 0, b"x"));
        client.subscribe(&format!("{name}/+"), 0);
        client.publish(&Publish::new(&topic, 0, 0, b"y").retained());
        client.hears(&Publish::new(&topic, 0, 0, b"y"));
        client.publish(&Publish::new(&topic, 0, 0, b"").retained());
        client.hears(&Publish::new(&topic, 0, 0, b""));
    }
}
