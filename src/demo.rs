//! `--demo`: one real device, this machine itself.
//!
//! Every second [`Host`] reads the machine's own CPU, memory, load, disk, network and temperature,
//! and [`run`] publishes the reading with QoS 1 over a real MQTT connection, as any device would:
//! nothing here knows that the broker is in the same process. What the machine cannot tell (it
//! has no sensor, say) is left out of the reading. While the broker is away,
//! readings are dropped and not queued: an old one is of no use.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use rumqttc::AsyncClient;
use rumqttc::Event;
use rumqttc::EventLoop;
use rumqttc::MqttOptions;
use rumqttc::Outgoing;
use rumqttc::Packet;
use rumqttc::QoS;
use serde::Serialize;
use sysinfo::Components;
use sysinfo::Disks;
use sysinfo::Networks;
use sysinfo::System;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::retry::Backoff;

const TOPIC: &str = "demo/host/telemetry";
const CLIENT_ID: &str = "demo-host";
const EVERY: Duration = Duration::from_secs(1);
/// Readings handed to the connection and not yet written.
const QUEUE_MAX: usize = 4;
/// Pauses before connecting again, at their ceiling: one device crowds nobody.
const RETRY: Backoff = Backoff { first: Duration::from_millis(250), max: Duration::from_secs(10) };
/// For the DISCONNECT at the end.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Publishes this machine's readings to the broker at `address` until `shutdown` completes.
pub async fn run(address: SocketAddr, shutdown: impl Future<Output = ()>) {
    let host = reachable(address.ip());
    let mut options = MqttOptions::new(CLIENT_ID, host.to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, QUEUE_MAX);
    tokio::select! {
        () = shutdown => {}
        () = publish_readings(&client) => {}
        () = keep_connected(&mut events) => {}
    }
    // A device that leaves in order says so; otherwise its will would be published.
    if events.network.is_some() && client.try_disconnect().is_ok() {
        let farewell = async {
            while let Ok(event) = events.poll().await {
                if event == Event::Outgoing(Outgoing::Disconnect) {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(FAREWELL_MAX, farewell).await);
    }
}

/// A listener on all addresses is reached over loopback.
fn reachable(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Ends only when this machine can be read no more.
async fn publish_readings(client: &AsyncClient) {
    let Ok(Some(mut host)) = tokio::task::spawn_blocking(Host::open).await else {
        tracing::warn!("this machine tells nothing about itself; the demo device stays silent");
        return std::future::pending().await;
    };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // CPU and network are differences between two readings; this one is the first.
    tick.tick().await;
    loop {
        tick.tick().await;
        // Reading /proc and disks blocks, on a sick disk for long.
        let read = tokio::task::spawn_blocking(move || {
            let reading = host.read();
            (host, reading)
        });
        let Ok((returned, reading)) = read.await else {
            tracing::warn!("reading this machine failed; the demo device stays silent");
            return std::future::pending().await;
        };
        host = returned;
        let payload = serde_json::to_vec(&reading).expect("a reading is a map of plain values");
        if client.try_publish(TOPIC, QoS::AtLeastOnce, false, payload).is_err() {
            tracing::debug!("the demo device is not connected; its reading is dropped");
        }
    }
}

/// Polls the connection for ever; opens it again, ever less often, while the broker is away.
async fn keep_connected(events: &mut EventLoop) {
    let mut failures = 0_u32;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                tracing::info!(
                    client_id = CLIENT_ID,
                    topic = TOPIC,
                    "the demo device is connected"
                );
                failures = 0;
            }
            Ok(_) => {}
            Err(error) => {
                failures = failures.saturating_add(1);
                let pause = RETRY.ceiling(failures);
                tracing::warn!(%error, retry_in = ?pause, "the demo device is not connected");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// What is published: percentages with one decimal, degrees Celsius, bytes a second.
#[derive(Debug, PartialEq, Serialize)]
struct Reading {
    host: String,
    cpu: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<f64>,
    swap: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    load1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_used: Option<f64>,
    rx_bytes_per_s: u64,
    tx_bytes_per_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_s: Option<u64>,
}

/// Reads this machine. Every call may block.
struct Host {
    name: String,
    system: System,
    networks: Networks,
    disks: Option<Disks>,
    sensors: Option<Components>,
    read_at: Instant,
}

impl Host {
    /// `None` on a platform that tells neither CPU nor network.
    fn open() -> Option<Host> {
        let mut system = System::new().ok()?;
        system.refresh_cpu_usage();
        Some(Host {
            name: System::host_name().unwrap_or_else(|_| "host".to_owned()),
            system,
            networks: Networks::new_with_refreshed_list().ok()?,
            disks: Disks::new_with_refreshed_list().ok(),
            sensors: Components::new_with_refreshed_list().ok(),
            read_at: Clock::instant(),
        })
    }

    fn read(&mut self) -> Reading {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.networks.refresh(true);
        let now = Clock::instant();
        let elapsed = now.duration_since(self.read_at);
        self.read_at = now;
        let wires = self.networks.iter().filter(|(name, _)| *name != "lo");
        let (received, transmitted) = wires.fold((0u64, 0u64), |(received, sent), (_, wire)| {
            (received.saturating_add(wire.received()), sent.saturating_add(wire.transmitted()))
        });
        Reading {
            host: self.name.clone(),
            cpu: one_decimal(self.system.global_cpu_usage().into()).unwrap_or(0.0),
            memory: percent(self.system.used_memory(), self.system.total_memory()),
            // A machine without swap uses none of it.
            swap: percent(self.system.used_swap(), self.system.total_swap()).unwrap_or(0.0),
            load1: System::load_average().ok().and_then(|load| two_decimals(load.one)),
            disk_used: self.disks.as_mut().and_then(disk_used),
            rx_bytes_per_s: per_second(received, elapsed),
            tx_bytes_per_s: per_second(transmitted, elapsed),
            temperature: self.sensors.as_mut().and_then(hottest),
            uptime_s: System::uptime().ok(),
        }
    }
}

/// Of the root file system, or of the largest where there is none.
fn disk_used(disks: &mut Disks) -> Option<f64> {
    disks.refresh(true);
    let root = disks.iter().find(|disk| disk.mount_point() == Path::new("/"));
    let disk = root.or_else(|| disks.iter().max_by_key(|disk| disk.total_space()))?;
    let used = disk.total_space().saturating_sub(disk.available_space());
    percent(used, disk.total_space())
}

fn hottest(sensors: &mut Components) -> Option<f64> {
    sensors.refresh(true);
    let degrees = sensors.iter().filter_map(|sensor| sensor.temperature());
    one_decimal(degrees.filter(|degrees| degrees.is_finite()).max_by(f32::total_cmp)?.into())
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    // Nothing of nothing has no share. Sizes above 2^53 lose a part that one decimal cannot show.
    if whole == 0 { None } else { one_decimal(part as f64 * 100.0 / whole as f64) }
}

fn one_decimal(value: f64) -> Option<f64> {
    value.is_finite().then(|| (value * 10.0).round() / 10.0)
}

fn two_decimals(value: f64) -> Option<f64> {
    value.is_finite().then(|| (value * 100.0).round() / 100.0)
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let millis = elapsed.as_millis().max(1);
    u64::try_from(u128::from(count) * 1000 / millis).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_reading_of_this_machine_has_its_shape() {
        let mut host = Host::open().unwrap();
        let json = serde_json::to_value(host.read()).unwrap();
        let reading = json.as_object().unwrap();
        let known = [
            "host",
            "cpu",
            "memory",
            "swap",
            "load1",
            "disk_used",
            "rx_bytes_per_s",
            "tx_bytes_per_s",
            "temperature",
            "uptime_s",
        ];
        assert!(reading.keys().all(|key| known.contains(&key.as_str())), "{json}");
        assert!(!reading.values().any(Value::is_null), "what is not known is left out: {json}");
        for key in ["cpu", "memory"] {
            let percentage = reading[key].as_f64().unwrap();
            assert!((0.0..=100.0).contains(&percentage), "{json}");
            assert!((percentage * 10.0).fract().abs() < 1e-9, "one decimal: {json}");
        }
        assert!(reading["host"].is_string() && reading["rx_bytes_per_s"].is_u64(), "{json}");
    }

    #[tokio::test]
    async fn the_device_comes_back_after_its_connection_is_lost_and_ends_on_shutdown() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let device = tokio::spawn(run(address, async { drop(stopped.await) }));
        let (first, _) = listener.accept().await.unwrap();
        drop(first);
        let (_second, _) = listener.accept().await.unwrap();
        stop.send(()).unwrap();
        device.await.unwrap();
    }

    #[test]
    fn shares_and_rates_are_safe_at_the_edges() {
        assert_eq!(percent(1, 3), Some(33.3));
        assert_eq!(percent(0, 0), None);
        assert_eq!(one_decimal(f64::NAN), None);
        assert_eq!(per_second(3000, Duration::from_millis(1500)), 2000);
        assert_eq!(per_second(5, Duration::ZERO), 5000);
        assert_eq!(per_second(u64::MAX, Duration::ZERO), u64::MAX);
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_over_loopback() {
        let host = |text: &str| reachable(text.parse().unwrap());
        assert_eq!(host("0.0.0.0"), "127.0.0.1");
        assert_eq!(host("::"), "[::1]");
        assert_eq!(host("10.1.2.3"), "10.1.2.3");
        assert_eq!(host("fe80::1"), "[fe80::1]");
    }
}
