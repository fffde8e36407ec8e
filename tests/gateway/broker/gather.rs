//! A flood of QoS 0 is read less often, and to its end.

use std::time::Duration;

use super::*;

/// Sends 1 KB of QoS 0 each millisecond, long enough to be taken for a flood; answers how many
/// publishes that were.
async fn flood(client: &mut Raw) -> usize {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for _ in 0..60 {
        ticks.tick().await;
        for _ in 0..4 {
            client.send(&publish(0, "flood", 0, None, &[b'x'; 250])).await;
        }
    }
    240
}

#[tokio::test]
async fn the_last_message_of_a_flood_is_read_although_nothing_follows() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v4("flooder")).await;
    let mut sent = 0;
    for _ in 0..3 {
        sent += flood(&mut client).await;
        client.send(&publish(0, "last", 0, None, b"alone")).await;
        sent += 1;
        let taken = gateway.desk.taken(sent).await;
        assert_eq!(taken.len(), sent);
        assert_eq!(taken[sent - 1].topic.as_str(), "last");
    }
}

#[tokio::test]
async fn what_wants_an_answer_after_a_flood_gets_it() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v4("flooder")).await;
    flood(&mut client).await;
    client.send(&publish(2, "a", 7, None, b"")).await;
    client.expect(&[0x40, 2, 0, 7]).await;
    flood(&mut client).await;
    client.send(&PINGREQ).await;
    client.expect(&PINGRESP).await;
}

#[tokio::test]
async fn a_flood_that_ends_with_its_connection_is_read_to_the_end() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(v4("flooder")).await;
    let sent = flood(&mut client).await;
    client.send(&publish(0, "last", 0, None, b"alone")).await;
    client.stream.shutdown().await.expect("the write side is closed");
    let taken = gateway.desk.taken(sent + 1).await;
    assert_eq!(taken[sent].topic.as_str(), "last");
    client.expect_close().await;
}
