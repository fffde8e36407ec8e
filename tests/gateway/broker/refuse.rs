//! What is refused, and that it costs nobody else.

use super::*;

/// Sends bytes after CONNECT; the connection must end with the reason, and the broker live on.
async fn check(version: u8, bytes: &[u8], reason: u8) {
    let gateway = Gateway::start_with(|config| config.packet_bytes_max = 1024).await;
    let mut witness = gateway.client(v4("witness")).await;
    let mut client = gateway.client(Connect { level: version, ..v4("bad") }).await;
    client.send(bytes).await;
    if version == 5 {
        client.expect_disconnect(reason).await;
    }
    client.expect_close().await;
    witness.expect_silence().await;
    gateway.client(v4("next")).await.expect_silence().await;
    assert_eq!(gateway.metric("mqtt_connections_closed_total{reason=\"violation\"}"), 1);
}

#[tokio::test]
async fn malformed_packets_end_their_own_connection() {
    for version in [4, 5] {
        let properties = (version == 5).then_some(&[][..]);
        check(version, &[0x00, 0], 0x81).await;
        check(version, &publish(0b0110, "a", 1, properties, b""), 0x81).await;
        check(version, &publish(0b0010, "a", 0, properties, b""), 0x82).await;
        check(version, &publish(0, "a/+", 0, properties, b""), 0x90).await;
        check(version, &publish(0, "", 0, properties, b""), 0x82).await;
        check(version, &publish(0, "a\0b", 0, properties, b""), 0x81).await;
        check(version, &[0x30, 4, 0, 2, 0xc3, 0x28], 0x81).await;
        check(version, &[0x30, 3, 0, 9, b'a'], 0x81).await;
        check(version, &publish(0, "a", 0, properties, &[0; 2000]), 0x95).await;
        check(version, &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f], 0x81).await;
        check(version, &[0xc0, 1, 0], 0x81).await;
        check(version, &[0xf0, 0], 0x82).await;
        check(version, &[0x20, 2, 0, 0], 0x82).await;
        check(version, &v4("again").encode(), 0x82).await;
    }
}

#[tokio::test]
async fn what_came_before_a_violation_counts() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("a")).await;
    let mut script = publish(0b0010, "free/x", 1, Some(&[]), b"1");
    script.extend([0x00, 0x00]);
    client.send(&script).await;
    client.expect(&[0x40, 2, 0, 1]).await;
    client.expect_disconnect(0x81).await;
    assert_eq!(gateway.desk.taken(1).await.len(), 1);
}

#[tokio::test]
async fn a_packet_may_come_in_any_pieces() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v4("a")).await;
    let payload = vec![b'x'; 50_000];
    let bytes = publish(0b0010, "free/x", 1, None, &payload);
    for piece in [&bytes[..1], &bytes[1..2], &bytes[2..40_000], &bytes[40_000..]] {
        client.send(piece).await;
        client.stream.flush().await.unwrap();
    }
    client.expect(&[0x40, 2, 0, 1]).await;
    assert_eq!(gateway.desk.taken(1).await[0].payload.len(), 50_000);
}

#[tokio::test]
async fn connects_that_cannot_be_are_answered_in_their_version() {
    let gateway = Gateway::start().await;
    let answer = async |bytes: &[u8]| {
        let mut client = gateway.socket().await;
        client.send(bytes).await;
        let answer = client.recv().await;
        if !answer.is_empty() {
            client.expect_close().await;
        }
        answer
    };
    assert_eq!(answer(b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x3c\0\0").await, [0x20, 2, 0, 1]);
    let refused = async |bytes: &[u8]| answer(bytes).await[3];
    assert_eq!(refused(&Connect { level: 9, ..v4("a") }.encode()).await, 0x84);
    // Enhanced authentication; a will with a wildcard; a reserved flag.
    let authentication = Connect { properties: b"\x15\0\x01m", ..v5("a") };
    assert_eq!(refused(&authentication.encode()).await, 0x8c);
    let will = Connect { will: Some((&[], "a/#", b"")), ..v5("a") };
    assert_eq!(refused(&will.encode()).await, 0x90);
    assert_eq!(refused(b"\x10\x0e\0\x04MQTT\x05\x03\0\x3c\0\0\x01a").await, 0x81);
    // Nothing to say to what is no CONNECT, or a broken one of 3.1.1.
    assert_eq!(answer(&PINGREQ).await, [0_u8; 0]);
    assert_eq!(answer(b"GET / HTTP/1.1\r\n\r\n").await, [0_u8; 0]);
    assert_eq!(answer(b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01a").await, [0_u8; 0]);
    gateway.client(v4("a")).await.expect_silence().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_in_time() {
    let gateway = Gateway::start_with(|c| c.connect_timeout = Duration::from_millis(50)).await;
    let mut silent = gateway.socket().await;
    silent.send(&[0x10]).await;
    silent.expect_close().await;
    assert_eq!(gateway.metric("mqtt_connections_refused_total{reason=\"connect_timeout\"}"), 1);
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_with_the_reason() {
    let gateway = Gateway::start_with(|config| config.connections_max = 1).await;
    let first = gateway.client(v4("first")).await;
    let mut over = gateway.socket().await;
    over.send(&v5("over").encode()).await;
    over.expect_refusal(0x97).await;
    over.expect_close().await;
    let mut over = gateway.socket().await;
    over.send(&v4("over").encode()).await;
    over.expect(&[0x20, 2, 0, 3]).await;
    over.expect_close().await;
    drop(first);
    let closed = async {
        loop {
            let mut next = gateway.socket().await;
            next.send(&v4("next").encode()).await;
            if next.recv().await == [0x20, 2, 0, 0] {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the place is free again");
}

#[tokio::test]
async fn a_client_that_falls_silent_is_cut_after_one_and_a_half_keep_alives() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(Connect { keep_alive: 1, ..v5("a") }).await;
    client.expect_silence().await;
    client.expect_disconnect(0x8d).await;
    client.expect_close().await;
    let closed = "mqtt_connections_closed_total{reason=\"keep_alive\"}";
    assert_eq!(gateway.metric(closed), 1);
}
