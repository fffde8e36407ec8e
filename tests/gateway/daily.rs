//! The daily path of a device with clients that we did not write, in both versions of MQTT: each QoS both
//! ways, retained messages, wills, shared subscriptions, a session that is resumed, request and response.

use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::Packet as Packet5;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use crate::clients::python;
use crate::hardship::metric;
use crate::live::Gateway;
use crate::live::PATIENCE;
use crate::live::Site;
use crate::live::eventually;

/// Where a client goes in, and what it needs for that.
struct Door {
    /// `mqtt://HOST:PORT`, and what else `daily.py` and `daily.mjs` know.
    url: String,
    /// Their further arguments: `--ca FILE`, `--user NAME` and the like.
    options: Vec<String>,
}

impl Door {
    fn plain(gateway: &Gateway) -> Door {
        Door { url: format!("mqtt://{}", gateway.mqtt), options: Vec::new() }
    }
}

fn site() -> Site {
    Site::with_rules("CREATE RULE r AS SELECT * FROM 'daily/+/qos/#' DO STREAM s KEY 'k';")
}

/// Runs a program of `tests/clients` to its last line.
#[track_caller]
fn goes_its_way(mut command: Command, door: &Door) {
    let output = command.args(["--url", &door.url]).args(&door.options).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{complaint}");
    assert!(said.ends_with("daily path: done\n"), "{said}");
    for step in ["MQTT 3.1.1: took leave", "MQTT 5: asked and was answered", "MQTT 5: took leave"] {
        assert!(said.contains(step), "{step}: {said}");
    }
}

#[test]
fn paho_goes_its_daily_path() {
    let site = site();
    let gateway = site.start();
    goes_its_way(python("daily.py"), &Door::plain(&gateway));
    assert_eq!(site.stream_data("s").len(), 2 * 9, "the rule has seen each, in either version");
}

#[test]
fn mqtt_js_goes_its_daily_path() {
    let site = site();
    let gateway = site.start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node");
    assert!(folder.join("node_modules/mqtt").exists(), "run tests/clients/install first");
    let mut node = Command::new("node");
    node.arg(folder.join("daily.mjs"));
    goes_its_way(node, &Door::plain(&gateway));
}

/// Mosquitto's clients at a gateway, speaking one version.
struct Mosquitto<'g> {
    gateway: &'g Gateway,
    version: &'static str,
}

impl Mosquitto<'_> {
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.gateway.mosquitto(program);
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

#[test]
fn mosquittos_clients_go_their_daily_path() {
    let site = site();
    let gateway = site.start();
    for version in ["311", "5"] {
        let mosquitto = Mosquitto { gateway: &gateway, version };
        let topic = |name: &str| format!("daily/{version}/{name}");
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

        let sleep = topic("sleep");
        let mut lasting = vec!["-i", "sleeper", "-c", "-q", "2", "-t", &sleep];
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
    let mosquitto = Mosquitto { gateway: &gateway, version: "5" };
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
    fn connect(gateway: &Gateway, id: &str, lasting: bool, will: Option<&str>) -> (Rumqttc, bool) {
        let address = gateway.mqtt;
        let mut options = rumqttc::MqttOptions::new(id, address.ip().to_string(), address.port());
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
fn rumqttc_goes_its_daily_path() {
    use rumqttc::QoS::AtLeastOnce;
    use rumqttc::QoS::ExactlyOnce;
    let site = site();
    let gateway = site.start();
    let connect = |id| Rumqttc::connect(&gateway, id, false, None).0;
    let (mut sender, mut listener) = (connect("sender"), connect("listener"));
    for qos in [AtLeastOnce, ExactlyOnce] {
        let topic = format!("daily/rumqttc/{}", qos as u8);
        listener.subscribe(&topic, qos);
        for sent in [AtLeastOnce, ExactlyOnce] {
            sender.publish(&topic, sent, false, "x");
            listener.hears(&topic, if sent == qos { qos } else { AtLeastOnce }, false, "x");
        }
    }
    sender.publish("daily/rumqttc/kept", AtLeastOnce, true, "kept");
    listener.subscribe("daily/rumqttc/kept", AtLeastOnce);
    listener.hears("daily/rumqttc/kept", AtLeastOnce, true, "kept");
    listener.subscribe("daily/rumqttc/will", AtLeastOnce);
    drop(Rumqttc::connect(&gateway, "mortal", false, Some("daily/rumqttc/will")));
    listener.hears("daily/rumqttc/will", AtLeastOnce, false, "gone");
    listener.subscribe("$share/crew/daily/rumqttc/work", AtLeastOnce);
    sender.publish("daily/rumqttc/work", AtLeastOnce, false, "work");
    listener.hears("daily/rumqttc/work", AtLeastOnce, false, "work");
    let (mut sleeper, had_session) = Rumqttc::connect(&gateway, "sleeper", true, None);
    assert!(!had_session);
    sleeper.subscribe("daily/rumqttc/sleep", ExactlyOnce);
    sleeper.leave();
    sender.publish("daily/rumqttc/sleep", ExactlyOnce, false, "while you slept");
    let (mut sleeper, had_session) = Rumqttc::connect(&gateway, "sleeper", true, None);
    assert!(had_session);
    sleeper.hears("daily/rumqttc/sleep", ExactlyOnce, false, "while you slept");
    [sender, listener, sleeper].into_iter().for_each(Rumqttc::leave);
}

#[test]
fn rumqttc_asks_and_is_answered_over_mqtt_5() {
    let site = site();
    let gateway = site.start();
    let connect = |id: &str| {
        let (host, port) = (gateway.mqtt.ip().to_string(), gateway.mqtt.port());
        let options = rumqttc::v5::MqttOptions::new(id, host, port);
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
    asker.subscribe("daily/5/answers", QoS5::AtLeastOnce).expect("the queue has room");
    next(&mut asking, is_suback);
    answerer.subscribe("daily/5/questions", QoS5::ExactlyOnce).expect("the queue has room");
    next(&mut answering, is_suback);
    let question = PublishProperties {
        response_topic: Some("daily/5/answers".to_owned()),
        correlation_data: Some(Bytes::from_static(&[0, 0xff])),
        ..PublishProperties::default()
    };
    let asked = asker.publish_with_properties(
        "daily/5/questions",
        QoS5::ExactlyOnce,
        false,
        "how warm?",
        question,
    );
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
