//! Acknowledgements: after the commit, in order, once.

use super::*;

#[tokio::test]
async fn puback_comes_after_the_commit_and_not_before() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v4("a")).await;
    client.send(&publish(0b0010, "hold/x", 7, None, b"1")).await;
    gateway.desk.taken(1).await;
    client.expect_silence().await;
    gateway.desk.commit();
    client.expect(&[0x40, 2, 0, 7]).await;
}

#[tokio::test]
async fn a_settled_publish_waits_for_the_pending_one_before_it() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("a")).await;
    client.send(&publish(0b0010, "hold/x", 1, Some(&[]), b"1")).await;
    gateway.desk.taken(1).await;
    client.send(&publish(0b0010, "free/x", 2, Some(&[]), b"2")).await;
    gateway.desk.taken(2).await;
    client.expect_silence().await;
    gateway.desk.commit();
    client.expect(&[0x40, 2, 0, 1]).await;
    client.expect(&[0x40, 2, 0, 2]).await;
}

#[tokio::test]
async fn a_publish_carries_who_sent_it_and_how() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("dev-1")).await;
    let properties =
        b"\x01\x01\x02\0\0\0\x09\x03\0\x01j\x08\0\x01r\x09\0\x01\xff\x26\0\x01k\0\x01v";
    client.send(&publish(0b0011, "free/x", 1, Some(properties), b"{}")).await;
    let taken = gateway.desk.taken(1).await;
    assert_eq!((taken[0].topic.as_str(), &taken[0].payload[..]), ("free/x", &b"{}"[..]));
    assert!(taken[0].retain);
    assert_eq!(taken[0].origin.client_id.as_deref(), Some("dev-1"));
    assert!(taken[0].origin.source_ip.is_some_and(|ip| ip.is_loopback()));
    let found = taken[0].properties.as_deref().expect("properties");
    assert_eq!((found.payload_format, found.message_expiry), (Some(1), Some(9)));
    assert_eq!(found.user_properties, [("k".to_owned(), "v".to_owned())]);
    assert_eq!(found.correlation_data.as_deref(), Some(&[0xff][..]));
}

#[tokio::test]
async fn a_repeated_qos_2_publish_is_taken_once_also_by_the_next_connection() {
    let gateway = Gateway::start().await;
    let connect = Connect { clean: false, ..v4("a") };
    let mut client = gateway.client(connect).await;
    client.send(&publish(0b0100, "free/x", 5, None, b"1")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    client.send(&publish(0b1100, "free/x", 5, None, b"1")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    drop(client);
    let mut client = gateway.client(connect).await;
    assert!(client.session_present);
    client.send(&publish(0b1100, "free/x", 5, None, b"1")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(gateway.desk.taken(1).await.len(), 1);
    client.send(&[0x62, 2, 0, 5]).await;
    client.expect(&[0x70, 2, 0, 5]).await;
    // Released: the identifier is free again.
    client.send(&publish(0b0100, "free/x", 5, None, b"2")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(gateway.desk.taken(2).await.len(), 2);
}

#[tokio::test]
async fn a_repeat_on_a_new_connection_is_not_answered_before_the_first_is_committed() {
    let gateway = Gateway::start().await;
    let connect = Connect { clean: false, ..v4("a") };
    let mut client = gateway.client(connect).await;
    client.send(&publish(0b0100, "hold/x", 5, None, b"1")).await;
    gateway.desk.taken(1).await;
    // The successor's CONNACK itself waits: the first connection keeps the session until the commit.
    let mut next = gateway.socket().await;
    next.send(&connect.encode()).await;
    next.send(&publish(0b1100, "hold/x", 5, None, b"1")).await;
    let answer = tokio::time::timeout(Duration::from_millis(100), next.recv()).await;
    assert!(answer.is_err(), "an answer before the commit: {answer:?}");
    gateway.desk.commit();
    next.expect(&[0x20, 2, 1, 0]).await;
    next.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(gateway.desk.taken(1).await.len(), 1);
}

#[tokio::test]
async fn an_unknown_pubrel_is_answered_with_its_reason() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("a")).await;
    client.send(&[0x62, 2, 0, 9]).await;
    client.expect(&[0x70, 3, 0, 9, 0x92]).await;
    let mut client = gateway.client(v4("b")).await;
    client.send(&[0x62, 2, 0, 9]).await;
    client.expect(&[0x70, 2, 0, 9]).await;
}

#[tokio::test]
async fn a_payload_that_breaks_its_format_is_refused_by_its_ack() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("a")).await;
    client.send(&publish(0b0010, "free/x", 1, Some(&[1, 1]), b"\xff")).await;
    let puback = client.recv().await;
    assert_eq!((puback[0], puback[3], puback[4]), (0x40, 1, 0x99), "{puback:?}");
    client.send(&publish(0b0100, "free/x", 2, Some(&[1, 1]), b"\xff")).await;
    let pubrec = client.recv().await;
    assert_eq!((pubrec[0], pubrec[3], pubrec[4]), (0x50, 2, 0x99), "{pubrec:?}");
    client.send(&publish(0b0010, "free/x", 3, Some(&[1, 1]), "ä".as_bytes())).await;
    client.expect(&[0x40, 2, 0, 3]).await;
    assert_eq!(gateway.desk.taken(1).await.len(), 1);
}

#[tokio::test]
async fn more_than_receive_maximum_unacknowledged_ends_an_mqtt_5_connection() {
    let gateway = Gateway::start_with(|config| config.receive_maximum = 2).await;
    let mut client = gateway.client(v5("a")).await;
    for id in 1..=3 {
        client.send(&publish(0b0010, "hold/x", id, Some(&[]), b"1")).await;
    }
    client.expect_disconnect(0x93).await;
    client.expect_close().await;
    assert_eq!(gateway.desk.taken(2).await.len(), 2);
    assert_eq!(gateway.metric("mqtt_protocol_violations_total{reason=\"receive_maximum\"}"), 1);
}

#[tokio::test]
async fn a_3_1_1_client_over_receive_maximum_is_read_no_further_until_acks_are_out() {
    let gateway = Gateway::start_with(|config| config.receive_maximum = 2).await;
    let mut client = gateway.client(v4("a")).await;
    let mut script = Vec::new();
    for id in 1..=3 {
        script.extend(publish(0b0010, "hold/x", id, None, b"1"));
    }
    client.send(&script).await;
    assert_eq!(gateway.desk.taken(2).await.len(), 2);
    gateway.desk.commit();
    client.expect(&[0x40, 2, 0, 1]).await;
    client.expect(&[0x40, 2, 0, 2]).await;
    assert_eq!(gateway.desk.taken(3).await.len(), 3);
    gateway.desk.commit();
    client.expect(&[0x40, 2, 0, 3]).await;
}

#[tokio::test]
async fn a_full_journal_stops_the_reading_but_not_what_goes_out() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(Connect { keep_alive: 1, ..v4("a") }).await;
    client.subscribe(None, "out", 0).await;
    let room = gateway.desk.room.available_permits();
    gateway.desk.room.forget_permits(room);
    client.send(&publish(0b0010, "free/x", 1, None, b"1")).await;
    gateway.desk.taken(1).await;
    client.send(&PINGREQ).await;
    for n in 0..3_u8 {
        gateway.handle.publish(&republished("out", &[n]));
        client.expect(&publish(0, "out", 0, None, &[n])).await;
    }
    // Its keep-alive of 1.5 s passes meanwhile: it does not run while the gateway does not read.
    tokio::time::sleep(Duration::from_millis(1700)).await;
    gateway.desk.room.add_permits(1);
    client.expect(&[0x40, 2, 0, 1]).await;
    client.expect(&PINGRESP).await;
}

#[tokio::test]
async fn shutdown_waits_for_pending_acks_and_says_goodbye() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v5("a")).await;
    client.send(&publish(0b0010, "hold/x", 1, Some(&[]), b"1")).await;
    gateway.desk.taken(1).await;
    client.expect_silence().await;
    gateway.handle.shutdown();
    gateway.desk.commit();
    client.expect(&[0x40, 2, 0, 1]).await;
    client.expect_disconnect(0x8b).await;
    client.expect_close().await;
    drop(client);
    tokio::time::timeout(PATIENCE, gateway.run).await.expect("in time").expect("no panic");
    assert!(TcpStream::connect(gateway.address).await.is_err(), "nobody listens any more");
}
