//! Bounds on how fast clients connect and publish.

use std::time::Duration;

use tidegate::clock::Clock;

use super::SEEN;
use super::Staying;
use crate::broker::publish;
use crate::broker::v4;
use crate::broker::v5;
use crate::hardship::Device;
use crate::hardship::metric;
use crate::hardship::puback;
use crate::live::Site;
use crate::live::eventually;

fn site(rate: &str) -> Site {
    let site = Site::with_rules(SEEN);
    site.write("tidegate.toml", &format!("[rate]\n{rate}"));
    site
}

#[test]
fn a_client_that_is_too_fast_is_held_back_and_loses_nothing() {
    let site = site("publishes_max = 20");
    let gateway = site.start();
    let mut fast = Device::connect(&gateway, v4("fast"));
    let began = Clock::instant();
    let count = 50_u16;
    for id in 1..=count {
        fast.send(&publish(0b0010, "a", id, None, b"{}"));
    }
    for id in 1..=count {
        assert_eq!(fast.recv(), puback(id));
    }
    let took = began.elapsed();
    // A second's worth at once, and the other thirty at twenty a second.
    assert!(took >= Duration::from_millis(1400), "{took:?}");
    assert_eq!(site.stream_data("seen").len(), usize::from(count));
    let limited = metric(&gateway, r#"tidegate_mqtt_rate_limited_total{by="publishes"}"#);
    assert!(limited >= 1.0, "{limited}");
    let (_, log) = gateway.terminate();
    assert_eq!(log.matches("faster than it may").count(), 1, "named once: {log}");
}

#[test]
fn bytes_are_bounded_too_and_a_client_may_be_cut_for_it() {
    let site = site("bytes_max = 1000\nover = \"disconnect\"");
    let gateway = site.start();
    let mut greedy = Device::connect(&gateway, v5("greedy"));
    greedy.send(&publish(0b0010, "a", 1, Some(b""), &[b' '; 2000]));
    assert_eq!(greedy.recv()[2], 0x96, "message rate too high");
    let closed = metric(&gateway, r#"tidegate_mqtt_connections_closed_total{reason="too_fast"}"#);
    assert!((closed - 1.0).abs() < 0.1);
}

#[test]
fn connections_of_an_address_are_bounded() {
    let site = site("connects_per_address_max = 2");
    let gateway = site.start();
    let (_one, told) = Staying::start(&gateway, &["--client-id", "one"]);
    assert_eq!(told["connack"], 0);
    let refused = || {
        metric(
            &gateway,
            r#"tidegate_mqtt_connections_refused_total{reason="connect_rate_of_address"}"#,
        )
    };
    eventually("some are refused", || {
        drop(std::net::TcpStream::connect(gateway.mqtt));
        (refused() >= 1.0).then_some(())
    });
    assert_eq!(answers_when_let_in(&gateway), 0);
}

/// The CONNACK of a client that tries until it is not shut out.
fn answers_when_let_in(gateway: &crate::live::Gateway) -> serde_json::Value {
    eventually("one is let in", || {
        let output = super::access_client(gateway, &["--client-id", "x"]).output().ok()?;
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        told["connack"].is_number().then(|| told["connack"].clone())
    })
}
