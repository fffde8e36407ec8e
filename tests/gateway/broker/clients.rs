//! rumqttc, both versions, against the broker.

use rumqttc::AsyncClient;
use rumqttc::Event;
use rumqttc::Incoming;
use rumqttc::MqttOptions;
use rumqttc::QoS;
use rumqttc::v5;

use super::*;

const COUNT: usize = 60;

#[tokio::test]
async fn rumqttc_speaks_3_1_1_at_every_qos() {
    let gateway = Gateway::start().await;
    let mut options = MqttOptions::new("v4", "127.0.0.1", gateway.address.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 200);
    client.subscribe("t/#", QoS::ExactlyOnce).await.unwrap();
    let mut got = Vec::new();
    while got.len() < COUNT {
        let event = tokio::time::timeout(PATIENCE, events.poll()).await.expect("in time");
        match event.expect("the connection holds") {
            Event::Incoming(Incoming::SubAck(_)) => {
                for n in 0..COUNT {
                    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
                    client.publish(format!("t/{n}"), qos, false, vec![b'x'; n]).await.unwrap();
                }
            }
            Event::Incoming(Incoming::Publish(publish)) => got.push(publish.payload.len()),
            _ => {}
        }
    }
    got.sort_unstable();
    assert_eq!(got, (0..COUNT).collect::<Vec<_>>(), "each exactly once");
}

#[tokio::test]
async fn rumqttc_speaks_5_with_properties() {
    let gateway = Gateway::start().await;
    let options = v5::MqttOptions::new("v5", "127.0.0.1", gateway.address.port());
    let (client, mut events) = v5::AsyncClient::new(options, 200);
    let qos = v5::mqttbytes::QoS::ExactlyOnce;
    client.subscribe("t/#", qos).await.unwrap();
    let properties = v5::mqttbytes::v5::PublishProperties {
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("answer".to_owned()),
        correlation_data: Some(bytes::Bytes::from_static(b"\x01\x02")),
        user_properties: vec![("unit".to_owned(), "°C".to_owned())],
        ..Default::default()
    };
    loop {
        let event = tokio::time::timeout(PATIENCE, events.poll()).await.expect("in time");
        match event.expect("the connection holds") {
            v5::Event::Incoming(v5::Incoming::SubAck(_)) => {
                let sent =
                    client.publish_with_properties("t/1", qos, false, "21", properties.clone());
                sent.await.unwrap();
            }
            v5::Event::Incoming(v5::Incoming::Publish(publish)) => {
                assert_eq!(publish.payload, "21");
                assert_eq!(publish.properties, Some(properties));
                break;
            }
            _ => {}
        }
    }
}
