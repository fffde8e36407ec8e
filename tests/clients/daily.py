"""The daily path of a device, with paho-mqtt: what every client does, in both versions of MQTT.

Connects to --url (mqtt, mqtts, ws, wss), with whatever TLS and login options it is given, and goes
through publish and subscribe with each QoS, retained messages, wills, shared subscriptions, a session
that is resumed, request and response. Prints a line for each step, and "daily path: done" at the end;
a step that fails ends it with a traceback.
"""

import argparse
import queue
import ssl
import urllib.parse
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PATIENCE = 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="mqtt://HOST:PORT, mqtts://, ws://HOST:PORT/PATH, wss://")
    parser.add_argument("--ca", help="the authority that the server's certificate is trusted by")
    parser.add_argument("--cert", help="the client's certificate")
    parser.add_argument("--key", help="its key")
    parser.add_argument("--user")
    parser.add_argument("--password")
    return parser.parse_args()


class Device:
    """A client whose connection, messages and acknowledgements are waited for."""

    def __init__(self, options, version, name, lasting=False, will=None):
        self.options, self.version, self.lasting = options, version, lasting
        url = urllib.parse.urlsplit(options.url)
        transport = "websockets" if url.scheme in ("ws", "wss") else "tcp"
        clean = {} if version == mqtt.MQTTv5 else {"clean_session": not lasting}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, name, protocol=version, transport=transport, **clean
        )
        if transport == "websockets":
            self.client.ws_set_options(path=url.path or "/mqtt")
        if url.scheme in ("mqtts", "wss"):
            self.client.tls_set(options.ca, options.cert, options.key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if options.user:
            self.client.username_pw_set(options.user, options.password)
        if will:
            self.client.will_set(*will)
        self.host, self.port = url.hostname, url.port
        self.messages, self.connected = queue.Queue(), queue.Queue()
        self.gone, self.granted = queue.Queue(), queue.Queue()
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.connected.put((flags, reason))
        self.client.on_disconnect = lambda client, data, flags, reason, properties: self.gone.put(reason)
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.granted.put(reasons)

    def connect(self):
        """Answers whether the server had a session."""
        properties = {}
        if self.version == mqtt.MQTTv5:
            wanted = Properties(PacketTypes.CONNECT)
            wanted.SessionExpiryInterval = 60 if self.lasting else 0
            properties = {"clean_start": not self.lasting, "properties": wanted}
        self.client.connect(self.host, self.port, 30, **properties)
        self.client.loop_start()
        flags, reason = self.connected.get(timeout=PATIENCE)
        assert not reason.is_failure, reason
        return flags.session_present

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        reasons = self.granted.get(timeout=PATIENCE)
        assert [reason.value for reason in reasons] == [qos], reasons

    def publish(self, topic, payload, qos, retain=False, properties=None):
        sent = self.client.publish(topic, payload, qos, retain, properties)
        sent.wait_for_publish(PATIENCE)
        assert sent.is_published(), f"{topic} is acknowledged"

    def hears(self, topic, payload, qos, retain=False):
        message = self.messages.get(timeout=PATIENCE)
        found = (message.topic, message.payload, message.qos, message.retain)
        assert found == (topic, payload, qos, retain), found
        return message

    def leave(self):
        self.client.disconnect()
        self.gone.get(timeout=PATIENCE)
        self.client.loop_stop()

    def vanish(self):
        """Ends the connection as a broken network does."""
        self.client.loop_stop()
        self.client.socket().close()


def daily(options, version):
    word = {mqtt.MQTTv311: "3.1.1", mqtt.MQTTv5: "5"}[version]
    base = f"daily/{uuid.uuid4().hex[:8]}"
    name = base.replace("/", "-")

    def say(step):
        print(f"MQTT {word}: {step}", flush=True)

    sender = Device(options, version, f"{name}-sender")
    listener = Device(options, version, f"{name}-listener")
    assert not sender.connect() and not listener.connect()
    say("connected")

    for qos in (0, 1, 2):
        listener.subscribe(f"{base}/qos/{qos}", qos)
        for sent in (0, 1, 2):
            payload = bytes([qos, sent, 0xFF])
            sender.publish(f"{base}/qos/{qos}", payload, sent)
            listener.hears(f"{base}/qos/{qos}", payload, min(qos, sent))
    say("published and subscribed with QoS 0, 1 and 2")

    sender.publish(f"{base}/kept", b"kept", 1, retain=True)
    listener.subscribe(f"{base}/kept", 1)
    listener.hears(f"{base}/kept", b"kept", 1, retain=True)
    sender.publish(f"{base}/kept", b"", 1, retain=True)
    listener.hears(f"{base}/kept", b"", 1)
    say("retained a message, and removed it")

    listener.subscribe(f"{base}/will", 1)
    mortal = Device(options, version, f"{name}-mortal", will=(f"{base}/will", b"gone", 1, False))
    mortal.connect()
    mortal.vanish()
    listener.hears(f"{base}/will", b"gone", 1)
    say("left a will")

    members = [Device(options, version, f"{name}-member-{n}") for n in range(2)]
    for member in members:
        member.connect()
        member.subscribe(f"$share/crew/{base}/work", 1)
    for n in range(10):
        sender.publish(f"{base}/work", str(n).encode(), 1)
    shares = [[member.messages.get(timeout=PATIENCE).payload for _ in range(5)] for member in members]
    assert sorted(shares[0] + shares[1]) == [str(n).encode() for n in range(10)], shares
    for member in members:
        member.leave()
    say("shared a subscription")

    sleeper = Device(options, version, f"{name}-sleeper", lasting=True)
    assert not sleeper.connect()
    sleeper.subscribe(f"{base}/sleep", 2)
    sleeper.leave()
    for qos in (1, 2):
        sender.publish(f"{base}/sleep", b"while you slept", qos)
    sleeper = Device(options, version, f"{name}-sleeper", lasting=True)
    assert sleeper.connect(), "the session is there"
    for qos in (1, 2):
        sleeper.hears(f"{base}/sleep", b"while you slept", qos)
    sleeper.leave()
    say("resumed a session")

    if version == mqtt.MQTTv5:
        options = SubscribeOptions(qos=1, noLocal=True)
        sender.client.subscribe(f"{base}/answers", options=options)
        sender.granted.get(timeout=PATIENCE)
        listener.subscribe(f"{base}/questions", 1)
        wanted = Properties(PacketTypes.PUBLISH)
        wanted.ResponseTopic = f"{base}/answers"
        wanted.CorrelationData = b"\x00\xff7"
        wanted.UserProperty = [("b", "1"), ("a", "2")]
        sender.publish(f"{base}/questions", b"how warm?", 1, properties=wanted)
        asked = listener.hears(f"{base}/questions", b"how warm?", 1).properties
        assert asked.UserProperty == [("b", "1"), ("a", "2")], asked
        answer = Properties(PacketTypes.PUBLISH)
        answer.CorrelationData = asked.CorrelationData
        listener.publish(asked.ResponseTopic, b"21.5", 1, properties=answer)
        told = sender.hears(f"{base}/answers", b"21.5", 1).properties
        assert told.CorrelationData == b"\x00\xff7", told
        say("asked and was answered")

    for device in (sender, listener):
        device.leave()
    say("took leave")


def main():
    options = arguments()
    for version in (mqtt.MQTTv311, mqtt.MQTTv5):
        daily(options, version)
    print("daily path: done", flush=True)


if __name__ == "__main__":
    main()
