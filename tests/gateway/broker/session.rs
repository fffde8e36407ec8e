//! Sessions: taken over, parked, resumed, ended; and wills.

use super::*;

/// Session Expiry Interval of a minute.
const MINUTE: &[u8] = &[0x11, 0, 0, 0, 60];

#[tokio::test]
async fn a_second_connection_takes_the_session_over() {
    let gateway = Gateway::start().await;
    let mut first = gateway.client(v5("same")).await;
    let second = gateway.client(v5("same")).await;
    assert!(!second.session_present);
    first.expect_disconnect(0x8e).await;
    first.expect_close().await;
    let mut third = gateway.client(v4("same")).await;
    third.expect_silence().await;
    assert_eq!(gateway.handle.session_count(), 1);
    let clients = gateway.handle.clients();
    assert_eq!((&*clients[0].client_id, clients[0].version.as_str()), ("same", "3.1.1"));
    assert!(clients[0].is_connected);
}

#[tokio::test]
async fn a_successor_does_not_wait_for_peers_that_are_not_there_any_more() {
    let gateway = Gateway::start().await;
    let began = Clock::instant();
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(gateway.client(v5("same")).await);
    }
    // Each had a second to take its DISCONNECT.
    assert!(Clock::instant().duration_since(began) < Duration::from_secs(5));
}

#[tokio::test]
async fn a_parked_session_keeps_qos_1_and_2_messages_and_drops_qos_0() {
    let gateway = Gateway::start().await;
    let connect = Connect { clean: false, ..v4("to") };
    let mut to = gateway.client(connect).await;
    assert!(!to.session_present);
    to.subscribe(None, "a", 2).await;
    to.send(&[0xe0, 0]).await;
    to.expect_close().await;
    let mut from = gateway.client(v4("from")).await;
    from.send(&publish(0, "a", 0, None, b"0")).await;
    from.send(&publish(0b0010, "a", 1, None, b"1")).await;
    from.send(&publish(0b0100, "a", 2, None, b"2")).await;
    from.expect(&[0x40, 2, 0, 1]).await;
    from.expect(&[0x50, 2, 0, 2]).await;
    let mut to = gateway.client(connect).await;
    assert!(to.session_present);
    to.expect(&publish(0b0010, "a", 1, None, b"1")).await;
    to.expect(&publish(0b0100, "a", 2, None, b"2")).await;
    to.send(&[0x50, 2, 0, 2]).await;
    to.expect(&[0x62, 2, 0, 2]).await;
    drop(to);
    // What was not done with comes again, releases first, messages marked, and before anything new.
    let mut to = gateway.client(connect).await;
    to.expect(&[0x62, 2, 0, 2]).await;
    to.expect(&publish(0b1010, "a", 1, None, b"1")).await;
    to.send(&[0x40, 2, 0, 1, 0x70, 2, 0, 2]).await;
    from.send(&publish(0b0010, "a", 3, None, b"3")).await;
    to.expect(&publish(0b0010, "a", 3, None, b"3")).await;
    // A clean start forgets it all.
    let mut to = gateway.client(v4("to")).await;
    assert!(!to.session_present);
    from.send(&publish(0b0010, "a", 4, None, b"4")).await;
    from.expect(&[0x40, 2, 0, 3]).await;
    from.expect(&[0x40, 2, 0, 4]).await;
    to.expect_silence().await;
}

#[tokio::test]
async fn a_session_without_expiry_ends_with_its_connection() {
    let gateway = Gateway::start().await;
    let connect = Connect { clean: false, ..v5("a") };
    let mut client = gateway.client(connect).await;
    client.subscribe(Some(&[]), "a", 1).await;
    client.send(&[0xe0, 0]).await;
    client.expect_close().await;
    let client = gateway.client(connect).await;
    assert!(!client.session_present);
    assert_eq!(gateway.metric("mqtt_subscriptions"), 0);
}

#[tokio::test]
async fn a_session_expires_and_disconnect_may_change_when() {
    let gateway = Gateway::start_with(|c| c.session_expiry_max = Duration::from_secs(90)).await;
    let connect = Connect { clean: false, properties: MINUTE, ..v5("a") };
    let mut client = gateway.client(connect).await;
    client.subscribe(Some(&[]), "a", 1).await;
    // DISCONNECT with an expiry of one second.
    client.send(&frame(0xe0, b"\0\x05\x11\0\0\0\x01")).await;
    client.expect_close().await;
    assert_eq!(gateway.handle.session_count(), 1);
    let ended = async {
        while gateway.handle.session_count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the session expires");
    assert_eq!(gateway.metric("mqtt_subscriptions"), 0);
    // More than the maximum is cut to it, and said so.
    let forever = Connect { properties: &[0x11, 0xff, 0xff, 0xff, 0xff], ..connect };
    let mut client = gateway.socket().await;
    client.send(&forever.encode()).await;
    let connack = client.recv().await;
    assert!(connack.windows(5).any(|w| w == [0x11, 0, 0, 0, 90]), "{connack:?}");
    // A session that was to end at once may not be prolonged.
    let mut client = gateway.client(v5("b")).await;
    client.send(&frame(0xe0, b"\0\x05\x11\0\0\0\x01")).await;
    client.expect_disconnect(0x82).await;
}

#[tokio::test]
async fn a_will_is_published_when_the_client_goes_without_a_word() {
    let gateway = Gateway::start().await;
    let mut watcher = gateway.client(v4("watcher")).await;
    watcher.subscribe(None, "will/#", 0).await;
    let will = Connect { will: Some((&[], "will/a", b"gone")), ..v4("a") };
    drop(gateway.client(will).await);
    watcher.expect(&publish(0, "will/a", 0, None, b"gone")).await;
    let taken = gateway.desk.taken(1).await;
    assert_eq!(taken[0].origin.client_id.as_deref(), Some("a"), "rules see it as its client's");
    // DISCONNECT takes it back, unless MQTT 5's reason asks for it.
    let mut client = gateway.client(will).await;
    client.send(&[0xe0, 0]).await;
    client.expect_close().await;
    let mut client = gateway.client(Connect { level: 5, ..will }).await;
    client.send(&[0xe0, 1, 0x04]).await;
    client.expect_close().await;
    watcher.expect(&publish(0, "will/a", 0, None, b"gone")).await;
    watcher.expect_silence().await;
}

#[tokio::test]
async fn a_delayed_will_waits_for_the_client_to_come_back() {
    let gateway = Gateway::start().await;
    let mut watcher = gateway.client(v4("watcher")).await;
    watcher.subscribe(None, "will/#", 0).await;
    let delayed = |delay: &'static [u8]| Connect {
        clean: false,
        properties: MINUTE,
        will: Some((delay, "will/a", b"gone")),
        ..v5("a")
    };
    let minute = delayed(&[0x18, 0, 0, 0, 60]);
    drop(gateway.client(minute).await);
    let back = gateway.client(minute).await;
    assert!(back.session_present);
    watcher.expect_silence().await;
    // A clean start ends the session, and with it the delay.
    drop(back);
    let mut back = gateway.client(Connect { clean: true, ..v5("a") }).await;
    watcher.expect(&publish(0, "will/a", 0, None, b"gone")).await;
    back.send(&[0xe0, 0]).await;
    drop(gateway.client(delayed(&[0x18, 0, 0, 0, 1])).await);
    watcher.expect(&publish(0, "will/a", 0, None, b"gone")).await;
    assert_eq!(gateway.handle.session_count(), 2, "the session outlives the will");
}

#[tokio::test]
async fn messages_expire_while_they_wait() {
    let gateway = Gateway::start().await;
    let connect = Connect { clean: false, properties: MINUTE, ..v5("to") };
    let mut to = gateway.client(connect).await;
    to.subscribe(Some(&[]), "a", 1).await;
    to.send(&[0xe0, 0]).await;
    to.expect_close().await;
    let mut from = gateway.client(v5("from")).await;
    let at = std::time::Duration::from_millis(1100);
    from.send(&publish(0b0010, "a", 1, Some(&[2, 0, 0, 0, 1]), b"short")).await;
    from.send(&publish(0b0010, "a", 2, Some(&[2, 0, 0, 0, 60]), b"long")).await;
    gateway.desk.taken(2).await;
    // Time itself is what is tested here.
    tokio::time::sleep(at).await;
    let mut to = gateway.client(connect).await;
    let got = to.recv().await;
    assert!(got.ends_with(b"long"), "{got:?}");
    let left = got.windows(5).find(|w| w[..4] == [2, 0, 0, 0]).map(|w| w[4]);
    assert!(matches!(left, Some(57..=59)), "{left:?}");
    assert_eq!(gateway.metric("mqtt_messages_dropped_total{reason=\"expired\"}"), 1);
}

#[tokio::test]
async fn clients_without_an_identifier_are_given_one() {
    let gateway = Gateway::start().await;
    let mut client = gateway.socket().await;
    client.send(&v5("").encode()).await;
    let connack = client.recv().await;
    let at = connack.iter().position(|b| *b == 0x12).expect("an assigned identifier");
    assert!(connack[at + 3..].starts_with(b"auto-"), "{connack:?}");
    gateway.client(v4("")).await.expect_silence().await;
    let mut refused = gateway.socket().await;
    refused.send(&Connect { clean: false, ..v4("") }.encode()).await;
    refused.expect(&[0x20, 2, 0, 2]).await;
    refused.expect_close().await;
}
