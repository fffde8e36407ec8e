//! Subscriptions: who gets what, with which flags.

use super::*;

#[tokio::test]
async fn delivery_has_the_smaller_qos_and_no_retain_flag() {
    let gateway = Gateway::start().await;
    let mut to = gateway.client(v4("to")).await;
    to.subscribe(None, "q/0", 0).await;
    to.subscribe(None, "q/1", 1).await;
    to.subscribe(None, "q/2", 2).await;
    let mut from = gateway.client(v4("from")).await;
    for topic in ["q/0", "q/1", "q/2"] {
        from.send(&publish(0b0101, topic, 1, None, b"m")).await;
        from.expect(&[0x50, 2, 0, 1]).await;
        from.send(&[0x62, 2, 0, 1]).await;
        from.expect(&[0x70, 2, 0, 1]).await;
    }
    to.expect(&publish(0, "q/0", 0, None, b"m")).await;
    to.expect(&publish(0b0010, "q/1", 1, None, b"m")).await;
    to.expect(&publish(0b0100, "q/2", 2, None, b"m")).await;
    to.send(&[0x50, 2, 0, 2]).await;
    to.expect(&[0x62, 2, 0, 2]).await;
    to.send(&[0x70, 2, 0, 2, 0x40, 2, 0, 1]).await;
    to.expect_silence().await;
}

#[tokio::test]
async fn overlapping_subscriptions_give_one_copy_with_all_identifiers() {
    let gateway = Gateway::start().await;
    let mut to = gateway.client(v5("to")).await;
    to.subscribe(Some(&[0x0b, 1]), "a/+", 0).await;
    to.subscribe(Some(&[0x0b, 0x82, 1]), "a/#", 1).await;
    to.send(&publish(0b0010, "a/b", 3, Some(&[]), b"m")).await;
    let mut expected = publish(0b0010, "a/b", 1, Some(&[0x0b, 1, 0x0b, 0x82, 1]), b"m");
    let mut got = [to.recv().await, to.recv().await];
    got.sort();
    assert_eq!(got[1], [0x40, 2, 0, 3]);
    if got[0] != expected {
        expected = publish(0b0010, "a/b", 1, Some(&[0x0b, 0x82, 1, 0x0b, 1]), b"m");
    }
    assert_eq!(got[0], expected);
    to.expect_silence().await;
}

#[tokio::test]
async fn no_local_spares_the_publisher_its_own_messages() {
    let gateway = Gateway::start().await;
    let mut one = gateway.client(v5("one")).await;
    one.subscribe(Some(&[]), "a", 0b100).await;
    one.send(&publish(0, "a", 0, Some(&[]), b"own")).await;
    gateway.desk.taken(1).await;
    let mut two = gateway.client(v5("two")).await;
    two.send(&publish(0, "a", 0, Some(&[]), b"other")).await;
    one.expect(&publish(0, "a", 0, Some(&[]), b"other")).await;
}

#[tokio::test]
async fn retained_messages_follow_the_subscription_options() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("a")).await;
    client.send(&publish(0b0001, "r/1", 0, Some(&[]), b"kept")).await;
    client.send(&publish(0b0001, "r/2", 0, Some(&[]), b"gone")).await;
    client.send(&publish(0b0001, "r/2", 0, Some(&[]), b"")).await;
    // At every SUBSCRIBE, with the flag.
    for _ in 0..2 {
        client.subscribe(Some(&[]), "r/+", 0).await;
        client.expect(&publish(0b0001, "r/1", 0, Some(&[]), b"kept")).await;
    }
    // Only if new; never.
    client.subscribe(Some(&[]), "r/+", 0x10).await;
    client.subscribe(Some(&[]), "r/#", 0x20).await;
    client.expect_silence().await;
    client.send(&[0xa2, 8, 0, 1, 0, 0, 3, b'r', b'/', b'+']).await;
    client.expect(&[0xb0, 4, 0, 1, 0, 0]).await;
    client.send(&[0xa2, 8, 0, 1, 0, 0, 3, b'r', b'/', b'+']).await;
    client.expect(&[0xb0, 4, 0, 1, 0, 0x11]).await;
    client.subscribe(Some(&[]), "r/+", 0x10).await;
    client.expect(&publish(0b0001, "r/1", 0, Some(&[]), b"kept")).await;
    assert_eq!(gateway.handle.retained_count(), 1);
}

#[tokio::test]
async fn more_retained_messages_than_the_window_all_arrive() {
    let gateway = Gateway::start().await;
    for n in 0..600 {
        gateway.republish(&format!("r/{n}"), b"x");
    }
    let mut client = gateway.client(v4("a")).await;
    client.subscribe(None, "r/#", 1).await;
    let mut topics = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let packet = client.recv().await;
        assert_eq!(packet[0], 0b0011_0011, "PUBLISH, QoS 1, retained");
        let text = usize::from(packet[3]) + 4;
        topics.insert(packet[4..text].to_vec());
        client.send(&[0x40, 2, packet[text], packet[text + 1]]).await;
    }
    assert_eq!(topics.len(), 600);
    client.expect_silence().await;
}

#[tokio::test]
async fn more_than_a_write_buffer_of_messages_arrives_without_further_wakes() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v4("a")).await;
    client.subscribe(None, "burst", 0).await;
    let payload = [b'x'; 1000];
    // All in one go: the client's task does not run meanwhile, and is woken once.
    for _ in 0..2000 {
        gateway.republish("burst", &payload);
    }
    for _ in 0..2000 {
        assert_eq!(client.recv().await.len(), 3 + 7 + 1000);
    }
    let mut late = gateway.client(v4("b")).await;
    for n in 0..200 {
        gateway.republish(&format!("kept/{n}"), &payload);
    }
    late.subscribe(None, "kept/#", 0).await;
    for _ in 0..200 {
        assert_eq!(late.recv().await[0], 0b0011_0001);
    }
}

#[tokio::test]
async fn retain_as_published_keeps_the_flag() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("a")).await;
    client.subscribe(Some(&[]), "a", 0b1000).await;
    client.send(&publish(0b0001, "a", 0, Some(&[]), b"1")).await;
    client.expect(&publish(0b0001, "a", 0, Some(&[]), b"1")).await;
    client.send(&publish(0, "a", 0, Some(&[]), b"2")).await;
    client.expect(&publish(0, "a", 0, Some(&[]), b"2")).await;
}

#[tokio::test]
async fn a_full_retained_store_delivers_but_does_not_promise_to_keep() {
    let gateway = Gateway::start_with(|config| config.retained_max = 1).await;
    let mut client = gateway.client(v4("a")).await;
    client.subscribe(None, "#", 0).await;
    client.send(&publish(0b0001, "r/1", 0, None, b"1")).await;
    client.send(&publish(0b0001, "r/2", 0, None, b"2")).await;
    client.expect(&publish(0, "r/1", 0, None, b"1")).await;
    client.expect(&publish(0, "r/2", 0, None, b"2")).await;
    let taken = gateway.desk.taken(2).await;
    assert_eq!((taken[0].retain, taken[1].retain), (true, false));
    assert_eq!(gateway.metric("mqtt_messages_dropped_total{reason=\"retained_full\"}"), 1);
}

#[tokio::test]
async fn a_shared_subscription_takes_turns_and_a_leaving_members_share_goes_on() {
    let gateway = Gateway::start().await;
    let mut members = Vec::new();
    for id in ["m1", "m2"] {
        let mut member = gateway.client(v5(id)).await;
        member.subscribe(Some(&[]), "$share/g/s/#", 1).await;
        members.push(member);
    }
    let mut from = gateway.client(v5("from")).await;
    for n in 0..4_u8 {
        from.send(&publish(0b0010, "s/x", 1, Some(&[]), &[n])).await;
        from.expect(&[0x40, 2, 0, 1]).await;
    }
    let mut seen = Vec::new();
    for member in &mut members {
        for _ in 0..2 {
            let packet = member.recv().await;
            seen.push(*packet.last().unwrap());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3], "each message went to one member, and each got two");
    // The first one leaves without having acknowledged: its two go to the other.
    drop(members.remove(0));
    let mut again = Vec::new();
    for _ in 0..2 {
        again.push(*members[0].recv().await.last().unwrap());
    }
    again.sort_unstable();
    assert!(again == [0, 2] || again == [1, 3], "{again:?}");
}

#[tokio::test]
async fn shared_and_plain_subscriptions_of_one_filter_are_two() {
    let gateway = Gateway::start().await;
    let mut to = gateway.client(v5("to")).await;
    to.subscribe(Some(&[]), "$share/g/s", 0).await;
    to.subscribe(Some(&[]), "s", 0).await;
    to.send(&publish(0, "s", 0, Some(&[]), b"m")).await;
    to.expect(&publish(0, "s", 0, Some(&[]), b"m")).await;
    to.expect(&publish(0, "s", 0, Some(&[]), b"m")).await;
    to.send(&frame(0xa2, b"\0\x01\0\0\x0a$share/g/s")).await;
    to.expect(&[0xb0, 4, 0, 1, 0, 0]).await;
    to.send(&publish(0, "s", 0, Some(&[]), b"m")).await;
    to.expect(&publish(0, "s", 0, Some(&[]), b"m")).await;
    to.expect_silence().await;
}

#[tokio::test]
async fn bad_filters_fail_alone() {
    let gateway = Gateway::start_with(|config| config.subscriptions_max = 1).await;
    let mut client = gateway.client(v5("a")).await;
    client.send(&frame(0x82, b"\0\x01\0\0\x03a/#\x01\0\x03b#c\0\0\x07$share/\0\0\x01c\0")).await;
    let suback = client.recv().await;
    assert!(suback.ends_with(&[1, 0x8f, 0x8f, 0x97]), "{suback:02x?}");
    let mut client = gateway.client(v4("b")).await;
    client.send(&frame(0x82, b"\0\x01\0\x03a+b\x02")).await;
    client.expect(&[0x90, 3, 0, 1, 0x80]).await;
}

#[tokio::test]
async fn a_client_gets_no_more_than_its_receive_maximum_and_no_larger_packet() {
    let gateway = Gateway::start().await;
    // Receive Maximum 2, Maximum Packet Size 40.
    let properties = [0x21, 0, 2, 0x27, 0, 0, 0, 40];
    let mut to = gateway.client(Connect { properties: &properties, ..v5("to") }).await;
    to.subscribe(Some(&[]), "a", 1).await;
    let mut from = gateway.client(v5("from")).await;
    let payloads: [&[u8]; 4] = [b"1", &[b'x'; 64], b"2", b"3"];
    for payload in payloads {
        from.send(&publish(0b0010, "a", 1, Some(&[]), payload)).await;
        from.expect(&[0x40, 2, 0, 1]).await;
    }
    to.expect(&publish(0b0010, "a", 1, Some(&[]), b"1")).await;
    to.expect(&publish(0b0010, "a", 2, Some(&[]), b"2")).await;
    to.expect_silence().await;
    to.send(&[0x40, 2, 0, 1]).await;
    to.expect(&publish(0b0010, "a", 3, Some(&[]), b"3")).await;
    assert_eq!(gateway.metric("mqtt_messages_dropped_total{reason=\"too_large\"}"), 1);
}

#[tokio::test]
async fn topic_aliases_stand_for_their_topic() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("a")).await;
    client.send(&publish(0, "t/1", 0, Some(&[0x23, 0, 1]), b"1")).await;
    client.send(&publish(0, "", 0, Some(&[0x23, 0, 1]), b"2")).await;
    client.send(&publish(0, "t/2", 0, Some(&[0x23, 0, 1]), b"3")).await;
    client.send(&publish(0, "", 0, Some(&[0x23, 0, 1]), b"4")).await;
    let taken = gateway.desk.taken(4).await;
    let topics: Vec<&str> = taken.iter().map(|p| p.topic.as_str()).collect();
    assert_eq!(topics, ["t/1", "t/1", "t/2", "t/2"]);
    assert!(taken.iter().all(|p| p.properties.is_none()));
    client.send(&publish(0, "", 0, Some(&[0x23, 0, 2]), b"5")).await;
    client.expect_disconnect(0x94).await;
}

#[tokio::test]
async fn a_republished_message_reaches_subscribers_and_is_retained() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v4("a")).await;
    client.subscribe(None, "out/#", 1).await;
    gateway.republish("out/x", b"hit");
    client.expect(&publish(0b0010, "out/x", 1, None, b"hit")).await;
    assert_eq!(gateway.handle.retained_count(), 1);
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody_and_its_queue_is_bounded() {
    let gateway = Gateway::start_with(|config| {
        config.session_queue_max = 50;
        config.session_queue_bytes_max = 4 * 1024 * 1024;
    })
    .await;
    let mut slow = gateway.client(v4("slow")).await;
    slow.subscribe(None, "flood", 0).await;
    let mut quick = gateway.client(v4("quick")).await;
    quick.subscribe(None, "flood", 0).await;
    let mut from = gateway.client(v4("from")).await;
    let payload = vec![b'x'; 100_000];
    for id in 1..=300 {
        from.send(&publish(0b0010, "flood", id, None, &payload)).await;
        let [high, low] = id.to_be_bytes();
        from.expect(&[0x40, 2, high, low]).await;
        assert_eq!(quick.recv().await.len(), 100_000 + 11);
    }
    assert!(gateway.metric("mqtt_messages_dropped_total{reason=\"queue_full\"}") > 0);
    // It still lives, and gets what its queue kept.
    assert_eq!(slow.recv().await.len(), 100_000 + 11);
}
