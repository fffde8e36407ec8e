//! A panic in a connection's task, as no input is known to cause: the session and everybody else go on.

use super::*;

#[tokio::test]
async fn a_panic_costs_its_connection_and_neither_will_nor_session() {
    let gateway = Gateway::start().await;
    let mut heir = gateway.client(v4("heir")).await;
    heir.subscribe(None, "will", 1).await;
    let lasting = Connect {
        clean: false,
        properties: b"\x11\0\0\0\x3c",
        will: Some((&[], "will", b"gone")),
        ..v5("unlucky")
    };
    let mut client = gateway.client(lasting).await;
    client.subscribe(Some(&[]), "in", 1).await;
    // One read: what comes before the panic counts, the rest has not come.
    let one = publish(0b0100, "hold/one", 1, Some(&[]), b"1");
    let two = publish(0b0100, "panic/two", 2, Some(&[]), b"2");
    let three = publish(0b0100, "free/three", 3, Some(&[]), b"3");
    client.send(&[&one[..], &two, &three].concat()).await;
    let taken = gateway.desk.taken(1).await;
    assert_eq!(taken[0].topic.as_str(), "hold/one");
    gateway.desk.commit_next().await;
    client.expect_close().await;
    heir.expect(&publish(0, "will", 0, None, b"gone")).await;

    let mut sender = gateway.client(v4("sender")).await;
    sender.send(&publish(0b0010, "in", 1, None, b"while you were away")).await;
    sender.expect(&[0x40, 2, 0, 1]).await;
    let mut client = gateway.client(lasting).await;
    assert!(client.session_present);
    client.expect(&publish(0b0010, "in", 1, Some(&[]), b"while you were away")).await;
    client.send(&publish(0b1100, "hold/one", 1, Some(&[]), b"1")).await;
    client.expect(&[0x50, 2, 0, 1]).await;
    client.send(&publish(0b1100, "free/three", 3, Some(&[]), b"3")).await;
    client.expect(&[0x50, 2, 0, 3]).await;
    let topics: Vec<String> =
        gateway.desk.taken(4).await.iter().map(|taken| taken.topic.to_string()).collect();
    assert_eq!(topics, ["hold/one", "will", "in", "free/three"], "each once");
    let closed = "mqtt_connections_closed_total{reason=\"panicked\"} ";
    assert_eq!(gateway.metric(closed), 1);
    assert_eq!(gateway.metric("mqtt_connections "), 3);
    gateway.handle.shutdown();
    gateway.run.await.expect("the broker ends");
}

#[tokio::test]
async fn a_panic_while_a_session_is_taken_up_leaves_it_to_the_next() {
    let gateway = Gateway::start().await;
    let mut first = gateway.socket().await;
    first.send(&v4("stumbles").encode()).await;
    first.expect_close().await;
    let mut second = gateway.client(Connect { clean: false, ..v4("stumbles") }).await;
    assert!(!second.session_present);
    second.send(&publish(0b0010, "free/x", 1, None, b"1")).await;
    second.expect(&[0x40, 2, 0, 1]).await;
    gateway.handle.shutdown();
    gateway.run.await.expect("the broker ends");
}
