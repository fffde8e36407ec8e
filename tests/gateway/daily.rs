//! The daily path of a device with clients that we did not write, in both versions of MQTT: each QoS both
//! ways, retained messages, wills, shared subscriptions, a session that is resumed, request and response.

use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::TlsConfiguration;
use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::Packet as Packet5;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rustls::ClientConfig;

use crate::clients::python;
use crate::hardship::metric;
use crate::live::Gateway;
use crate::live::PATIENCE;
use crate::live::Site;
use crate::live::eventually;
use crate::transport;

/// A listener for each transport but plain TCP, which is `mqtt.listen`.
const LISTENERS: &str = r#"
[listener.tls]
protocol = "mqtts"
listen = "127.0.0.1:0"
certificate = "certs/server.pem"
key = "certs/server.key"

[listener.mtls]
protocol = "mqtts"
listen = "127.0.0.1:0"
certificate = "certs/server.pem"
key = "certs/server.key"
client_certificate = "required"
client_ca = "certs/ca.pem"

[listener.ws]
protocol = "ws"
listen = "127.0.0.1:0"

[listener.wss]
protocol = "wss"
listen = "127.0.0.1:0"
certificate = "certs/server.pem"
key = "certs/server.key"
"#;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tcp,
    Tls,
    /// With a certificate of the client's own.
    MutualTls,
    WebSocket,
    SecureWebSocket,
}

const EVERY_WAY: [Way; 5] =
    [Way::Tcp, Way::Tls, Way::MutualTls, Way::WebSocket, Way::SecureWebSocket];

/// A way into a gateway, and what a client needs for it.
struct Door {
    way: Way,
    port: u16,
    /// Files, where TLS is spoken: the authority, and the client's certificate and key.
    ca: Option<String>,
    own: Option<[String; 2]>,
    tls: Option<Arc<ClientConfig>>,
}

impl Door {
    fn of(site: &Site, gateway: &Gateway, way: Way) -> Door {
        let file = |name: &str| site.path(name).to_str().expect("UTF-8").to_owned();
        let (listener, has_tls) = match way {
            Way::Tcp => ("mqtt", false),
            Way::Tls => ("tls", true),
            Way::MutualTls => ("mtls", true),
            Way::WebSocket => ("ws", false),
            Way::SecureWebSocket => ("wss", true),
        };
        let device = (way == Way::MutualTls).then_some("device-7");
        Door {
            way,
            port: if way == Way::Tcp { gateway.mqtt.port() } else { gateway.port_of(listener) },
            ca: has_tls.then(|| file("certs/ca.pem")),
            own: device.map(|name| ["pem", "key"].map(|end| file(&format!("certs/{name}.{end}")))),
            tls: has_tls.then(|| transport::trusting(site, device)),
        }
    }

    fn url(&self) -> String {
        let port = self.port;
        match self.way {
            Way::Tcp => format!("mqtt://localhost:{port}"),
            Way::Tls | Way::MutualTls => format!("mqtts://localhost:{port}"),
            Way::WebSocket => format!("ws://localhost:{port}/mqtt"),
            Way::SecureWebSocket => format!("wss://localhost:{port}/mqtt"),
        }
    }

    /// `--ca FILE` and the like, with a prefix of each client's own.
    fn files(&self, ca: &str, cert: &str, key: &str) -> Vec<String> {
        let own = self
            .own
            .iter()
            .flat_map(|[c, k]| [cert.to_owned(), c.clone(), key.to_owned(), k.clone()]);
        let ca = self.ca.iter().flat_map(|file| [ca.to_owned(), file.clone()]);
        ca.chain(own).collect()
    }

    /// As rumqttc is told: address and transport.
    fn for_rumqttc(&self) -> (String, Transport) {
        let tls = self.tls.clone().map(TlsConfiguration::Rustls);
        let (local, url) = ("localhost".to_owned(), self.url());
        match (self.way, tls) {
            (Way::Tcp, _) => (local, Transport::tcp()),
            (Way::WebSocket, _) => (url, Transport::ws()),
            (Way::SecureWebSocket, Some(tls)) => (url, Transport::wss_with_config(tls)),
            (_, Some(tls)) => (local, Transport::tls_with_config(tls)),
            (way, None) => unreachable!("{way:?} has its TLS"),
        }
    }
}

/// A gateway with every way in.
fn start() -> (Site, Gateway) {
    let rules = "CREATE RULE r AS SELECT * FROM 'daily/+/qos/#' DO STREAM s KEY 'k';";
    let site = transport::site(rules);
    site.write("tidegate.toml", LISTENERS);
    let gateway = site.start();
    (site, gateway)
}

/// Does the same over each of some ways at once.
fn over(ways: &[Way], test: impl Fn(&Gateway, &Door) + Sync) -> Site {
    let (site, gateway) = start();
    std::thread::scope(|scope| {
        for way in ways {
            let (door, gateway, test) = (Door::of(&site, &gateway, *way), &gateway, &test);
            scope.spawn(move || test(gateway, &door));
        }
    });
    site
}

/// Runs a program of `tests/clients` to its last line.
#[track_caller]
fn goes_its_way(mut command: Command, door: &Door) {
    command.args(["--url", &door.url()]).args(door.files("--ca", "--cert", "--key"));
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {said}{complaint}", door.way);
    assert!(said.ends_with("daily path: done\n"), "{:?}: {said}", door.way);
    for step in ["MQTT 3.1.1: took leave", "MQTT 5: asked and was answered", "MQTT 5: took leave"] {
        assert!(said.contains(step), "{:?}, {step}: {said}", door.way);
    }
}

#[test]
fn paho_goes_its_daily_path_over_each_transport() {
    let site = over(&EVERY_WAY, |_, door| goes_its_way(python("daily.py"), door));
    let seen = site.stream_data("s").len();
    assert_eq!(seen, EVERY_WAY.len() * 2 * 9, "the rule has seen each, in either version");
}

#[test]
fn mqtt_js_goes_its_daily_path_over_each_transport() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node");
    assert!(folder.join("node_modules/mqtt").exists(), "run tests/clients/install first");
    let site = over(&EVERY_WAY, |_, door| {
        let mut node = Command::new("node");
        node.arg(folder.join("daily.mjs"));
        goes_its_way(node, door);
    });
    assert_eq!(site.stream_data("s").len(), EVERY_WAY.len() * 2 * 9);
}

/// Mosquitto's clients at a door, speaking one version.
struct Mosquitto<'g> {
    gateway: &'g Gateway,
    door: &'g Door,
    version: &'static str,
}

impl Mosquitto<'_> {
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "localhost", "-p", &self.door.port.to_string()]);
        command.args(self.door.files("--cafile", "--cert", "--key"));
        command.args(["-V", self.version]).args(args);
        command
    }

    #[track_caller]
    fn publish(&self, args: &[&str]) {
        let output = self.command("mosquitto_pub", args).output().expect("mosquitto_pub runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A mosquitto_sub that has subscribed and ends after so many messages.
    fn subscribe(&self, count: usize, args: &[&str]) -> Child {
        let before = metric(self.gateway, "tidegate_mqtt_subscriptions");
        let mut command = self.command("mosquitto_sub", args);
        command.args(["-C", &count.to_string(), "-W", "20", "-F", "%t %q %r %p"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("mosquitto_sub runs");
        eventually("it has subscribed", || {
            (metric(self.gateway, "tidegate_mqtt_subscriptions") > before).then_some(())
        });
        child
    }
}

/// The lines of a mosquitto client that has done its work.
#[track_caller]
fn lines(child: Child) -> Vec<String> {
    let output: Output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Mosquitto's clients know no WebSocket before 2.1. One way after the other: that one has subscribed is seen in the
/// gateway's count of all subscriptions.
#[test]
fn mosquittos_clients_go_their_daily_path_over_tcp_and_tls() {
    let (site, gateway) = start();
    for way in [Way::Tcp, Way::Tls, Way::MutualTls] {
        mosquitto_goes_its_way(&gateway, &Door::of(&site, &gateway, way));
    }
}

fn mosquitto_goes_its_way(gateway: &Gateway, door: &Door) {
    let way = format!("{:?}", door.way);
    for version in ["311", "5"] {
        let mosquitto = Mosquitto { gateway, door, version };
        let topic = |name: &str| format!("daily/{way}-{version}/{name}");
        let all = mosquitto.subscribe(3, &["-q", "2", "-t", &topic("qos/#")]);
        for qos in ["0", "1", "2"] {
            mosquitto.publish(&["-q", qos, "-t", &topic(&format!("qos/{qos}")), "-m", "x"]);
        }
        let expected = ["0", "1", "2"].map(|q| format!("{} {q} 0 x", topic(&format!("qos/{q}"))));
        assert_eq!(lines(all), expected);

        mosquitto.publish(&["-r", "-q", "1", "-t", &topic("kept"), "-m", "kept"]);
        let mut kept = mosquitto.command("mosquitto_sub", &["-t", &topic("kept"), "-C", "1"]);
        let kept = kept.args(["-W", "20", "-F", "%r %p"]).output().expect("mosquitto_sub runs");
        assert_eq!(String::from_utf8_lossy(&kept.stdout), "1 kept\n");
        mosquitto.publish(&["-r", "-n", "-t", &topic("kept")]);

        let heir = mosquitto.subscribe(1, &["-q", "1", "-t", &topic("will")]);
        let will = topic("will");
        let will =
            ["--will-topic", &will, "--will-payload", "gone", "--will-qos", "1", "-t", "none"];
        let mut mortal = mosquitto.subscribe(1, &will);
        mortal.kill().expect("it is alive");
        mortal.wait().expect("it is dead");
        assert_eq!(lines(heir), [format!("{} 1 0 gone", topic("will"))]);

        let shared = format!("$share/crew/{}", topic("work"));
        let crew = [(); 2].map(|()| mosquitto.subscribe(3, &["-q", "1", "-t", &shared]));
        for n in 0..6 {
            mosquitto.publish(&["-q", "1", "-t", &topic("work"), "-m", &n.to_string()]);
        }
        let mut shares: Vec<String> = crew.into_iter().flat_map(lines).collect();
        shares.sort();
        let expected: Vec<String> = (0..6).map(|n| format!("{} 1 0 {n}", topic("work"))).collect();
        assert_eq!(shares, expected);

        let (sleep, sleeper) = (topic("sleep"), format!("sleeper-{way}-{version}"));
        let mut lasting = vec!["-i", sleeper.as_str(), "-c", "-q", "2", "-t", &sleep];
        if version == "5" {
            lasting.extend(["-x", "60"]);
        }
        let mut first = mosquitto.command("mosquitto_sub", &lasting);
        assert!(first.arg("-E").status().expect("mosquitto_sub runs").success());
        for qos in ["1", "2"] {
            mosquitto.publish(&["-q", qos, "-t", &sleep, "-m", qos]);
        }
        let mut second = mosquitto.command("mosquitto_sub", &lasting);
        let second = second.args(["-C", "2", "-W", "20"]).output().expect("mosquitto_sub runs");
        assert_eq!(String::from_utf8_lossy(&second.stdout), "1\n2\n");
    }
    let mosquitto = Mosquitto { gateway, door, version: "5" };
    let questions = mosquitto.subscribe(1, &["-t", "daily/questions", "-F", "%R %p"]);
    let asks = ["-t", "daily/questions", "-e", "daily/answers", "-m", "how warm?", "-W", "20"];
    let mut asks = mosquitto.command("mosquitto_rr", &asks);
    let asker =
        asks.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mosquitto_rr runs");
    let question = lines(questions).concat();
    assert!(question.contains("how warm?"), "{question}");
    mosquitto.publish(&["-t", "daily/answers", "-m", "21.5"]);
    assert_eq!(lines(asker), ["21.5"]);
}

/// A rumqttc client of MQTT 3.1.1 and its connection.
struct Rumqttc {
    client: rumqttc::Client,
    connection: rumqttc::Connection,
}

impl Rumqttc {
    /// Answers with whether the server had a session.
    fn connect(door: &Door, id: &str, lasting: bool, will: Option<&str>) -> (Rumqttc, bool) {
        let (address, transport) = door.for_rumqttc();
        let id = format!("{id}-{:?}", door.way);
        let mut options = rumqttc::MqttOptions::new(id, address, door.port);
        options.set_transport(transport);
        options.set_keep_alive(Duration::from_secs(30)).set_clean_session(!lasting);
        if let Some(topic) = will {
            let qos = rumqttc::QoS::AtLeastOnce;
            options.set_last_will(rumqttc::LastWill::new(topic, "gone", qos, false));
        }
        let (client, connection) = rumqttc::Client::new(options, 100);
        let mut connected = Rumqttc { client, connection };
        let connack = connected.next(|packet| match packet {
            rumqttc::Packet::ConnAck(connack) => Some(connack),
            _ => None,
        });
        assert_eq!(connack.code, rumqttc::ConnectReturnCode::Success);
        (connected, connack.session_present)
    }

    /// Reads on until a packet is the wanted one.
    fn next<T>(&mut self, wanted: impl Fn(rumqttc::Packet) -> Option<T>) -> T {
        loop {
            let event = self.connection.recv_timeout(PATIENCE).expect("an event in time");
            if let rumqttc::Event::Incoming(packet) = event.expect("the connection stands")
                && let Some(found) = wanted(packet)
            {
                return found;
            }
        }
    }

    fn subscribe(&mut self, topic: &str, qos: rumqttc::QoS) {
        self.client.subscribe(topic, qos).expect("the queue has room");
        let suback = self.next(|packet| match packet {
            rumqttc::Packet::SubAck(suback) => Some(suback),
            _ => None,
        });
        assert_eq!(suback.return_codes, [rumqttc::SubscribeReasonCode::Success(qos)]);
    }

    /// Publishes and goes through with the acknowledgements.
    fn publish(&mut self, topic: &str, qos: rumqttc::QoS, retain: bool, payload: &str) {
        self.client.publish(topic, qos, retain, payload).expect("the queue has room");
        match qos {
            rumqttc::QoS::AtMostOnce => {}
            rumqttc::QoS::AtLeastOnce => {
                self.next(|p| matches!(p, rumqttc::Packet::PubAck(_)).then_some(()));
            }
            rumqttc::QoS::ExactlyOnce => {
                self.next(|p| matches!(p, rumqttc::Packet::PubComp(_)).then_some(()));
            }
        }
    }

    #[track_caller]
    fn hears(&mut self, topic: &str, qos: rumqttc::QoS, retain: bool, payload: &str) {
        let found = self.next(|packet| match packet {
            rumqttc::Packet::Publish(publish) => Some(publish),
            _ => None,
        });
        let found = (found.topic.as_str(), found.qos, found.retain, &found.payload[..]);
        assert_eq!(found, (topic, qos, retain, payload.as_bytes()));
    }

    fn leave(mut self) {
        self.client.disconnect().expect("the queue has room");
        while let Ok(Ok(_)) = self.connection.recv_timeout(PATIENCE) {}
    }
}

#[test]
fn rumqttc_goes_its_daily_path_over_each_transport() {
    over(&EVERY_WAY, |_, door| rumqttc_goes_its_way(door));
}

fn rumqttc_goes_its_way(door: &Door) {
    use rumqttc::QoS::AtLeastOnce;
    use rumqttc::QoS::ExactlyOnce;
    let topic = |name: &str| format!("daily/rumqttc-{:?}/{name}", door.way);
    let connect = |id| Rumqttc::connect(door, id, false, None).0;
    let (mut sender, mut listener) = (connect("sender"), connect("listener"));
    for qos in [AtLeastOnce, ExactlyOnce] {
        let topic = topic(&format!("{}", qos as u8));
        listener.subscribe(&topic, qos);
        for sent in [AtLeastOnce, ExactlyOnce] {
            sender.publish(&topic, sent, false, "x");
            listener.hears(&topic, if sent == qos { qos } else { AtLeastOnce }, false, "x");
        }
    }
    sender.publish(&topic("kept"), AtLeastOnce, true, "kept");
    listener.subscribe(&topic("kept"), AtLeastOnce);
    listener.hears(&topic("kept"), AtLeastOnce, true, "kept");
    listener.subscribe(&topic("will"), AtLeastOnce);
    drop(Rumqttc::connect(door, "mortal", false, Some(&topic("will"))));
    listener.hears(&topic("will"), AtLeastOnce, false, "gone");
    listener.subscribe(&format!("$share/crew/{}", topic("work")), AtLeastOnce);
    sender.publish(&topic("work"), AtLeastOnce, false, "work");
    listener.hears(&topic("work"), AtLeastOnce, false, "work");
    let (mut sleeper, had_session) = Rumqttc::connect(door, "sleeper", true, None);
    assert!(!had_session);
    sleeper.subscribe(&topic("sleep"), ExactlyOnce);
    sleeper.leave();
    sender.publish(&topic("sleep"), ExactlyOnce, false, "while you slept");
    let (mut sleeper, had_session) = Rumqttc::connect(door, "sleeper", true, None);
    assert!(had_session);
    sleeper.hears(&topic("sleep"), ExactlyOnce, false, "while you slept");
    [sender, listener, sleeper].into_iter().for_each(Rumqttc::leave);
}

#[test]
fn rumqttc_asks_and_is_answered_with_mqtt_5_over_each_transport() {
    over(&EVERY_WAY, |_, door| rumqttc_asks_and_is_answered(door));
}

fn rumqttc_asks_and_is_answered(door: &Door) {
    let (questions, answers) =
        (format!("daily/{:?}/questions", door.way), format!("daily/{:?}/answers", door.way));
    let connect = |id: &str| {
        let (address, transport) = door.for_rumqttc();
        let id = format!("{id}-{:?}", door.way);
        let mut options = rumqttc::v5::MqttOptions::new(id, address, door.port);
        options.set_transport(transport);
        rumqttc::v5::Client::new(options, 100)
    };
    let (asker, mut asking) = connect("asker");
    let (answerer, mut answering) = connect("answerer");
    let next = |connection: &mut rumqttc::v5::Connection, is_wanted: fn(&Packet5) -> bool| loop {
        let event = connection.recv_timeout(PATIENCE).expect("an event in time");
        if let rumqttc::v5::Event::Incoming(packet) = event.expect("the connection stands")
            && is_wanted(&packet)
        {
            return packet;
        }
    };
    let is_suback = |packet: &Packet5| matches!(packet, Packet5::SubAck(_));
    let is_publish = |packet: &Packet5| matches!(packet, Packet5::Publish(_));
    asker.subscribe(&*answers, QoS5::AtLeastOnce).expect("the queue has room");
    next(&mut asking, is_suback);
    answerer.subscribe(&*questions, QoS5::ExactlyOnce).expect("the queue has room");
    next(&mut answering, is_suback);
    let question = PublishProperties {
        response_topic: Some(answers),
        correlation_data: Some(Bytes::from_static(&[0, 0xff])),
        ..PublishProperties::default()
    };
    let asked =
        asker.publish_with_properties(questions, QoS5::ExactlyOnce, false, "how warm?", question);
    asked.expect("the queue has room");
    next(&mut asking, |packet| matches!(packet, Packet5::PubComp(_)));
    let Packet5::Publish(question) = next(&mut answering, is_publish) else { unreachable!() };
    let properties = question.properties.expect("a response topic");
    let answer = PublishProperties {
        correlation_data: properties.correlation_data,
        ..PublishProperties::default()
    };
    let topic = properties.response_topic.expect("a response topic");
    let answered =
        answerer.publish_with_properties(topic, QoS5::AtLeastOnce, false, "21.5", answer);
    answered.expect("the queue has room");
    next(&mut answering, |packet| matches!(packet, Packet5::PubAck(_)));
    let Packet5::Publish(answer) = next(&mut asking, is_publish) else { unreachable!() };
    assert_eq!(&answer.payload[..], b"21.5");
    let correlation = answer.properties.and_then(|p| p.correlation_data).expect("its correlation");
    assert_eq!(&correlation[..], [0, 0xff]);
}
