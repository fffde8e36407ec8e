"""Subscribes and writes down what comes, as NDJSON.

Prints "ready" when every subscription is acknowledged (again after each reconnect), so that a
test knows when it may publish; with --resume it subscribes only where it finds no session, and prints
"resumed" where it does. Ends after --count messages, or on SIGTERM. A line is
{"topic", "payload" | "payload_base64", "qos", "retain", "dup", "properties"?}.
"""

import argparse
import base64
import json
import signal
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", action="append", required=True, help="may be given several times")
    parser.add_argument("--out", required=True)
    parser.add_argument("--client-id", default="subscriber")
    parser.add_argument("--qos", type=int, choices=(0, 1, 2), default=1)
    parser.add_argument("--protocol", type=int, choices=(4, 5), default=4)
    parser.add_argument("--count", type=int, default=0, help="0: until SIGTERM")
    parser.add_argument("--session-expiry", type=int, default=0, help="seconds; keeps the session")
    parser.add_argument("--resume", action="store_true", help="do not subscribe where there is a session")
    parser.add_argument("--retry", type=float, default=1, help="seconds between two attempts to connect")
    return parser.parse_args()


def described(payload):
    """The payload as JSON when it is JSON, else as base64."""
    try:
        return {"payload": json.loads(payload)}
    except ValueError:
        return {"payload_base64": base64.b64encode(payload).decode("ascii")}


def properties_of(message):
    """The MQTT 5 properties as plain values; None when there are none."""
    found = getattr(message, "properties", None)
    if found is None:
        return None
    names = {
        "PayloadFormatIndicator": "payload_format",
        "MessageExpiryInterval": "message_expiry",
        "ContentType": "content_type",
        "ResponseTopic": "response_topic",
        "CorrelationData": "correlation_data",
        "UserProperty": "user_properties",
        "SubscriptionIdentifier": "subscription_identifiers",
    }
    plain = {}
    for theirs, ours in names.items():
        value = getattr(found, theirs, None)
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode("ascii")
        if value is not None:
            plain[ours] = value
    return plain or None


def main():
    options = arguments()
    is_v5 = options.protocol == 5
    out = open(options.out, "a", encoding="utf-8")
    done = threading.Event()
    seen = 0

    def on_connect(client, _userdata, flags, reason, _properties):
        if reason.is_failure:
            print(f"refused: {reason}", file=sys.stderr, flush=True)
        elif options.resume and flags.session_present:
            print("resumed", flush=True)
        else:
            client.subscribe([(topic, options.qos) for topic in options.topic])

    def on_subscribe(_client, _userdata, _mid, reasons, _properties):
        refused = [str(reason) for reason in reasons if reason.is_failure]
        print("refused: " + ", ".join(refused) if refused else "ready", flush=True)

    def on_message(_client, _userdata, message):
        nonlocal seen
        line = {"topic": message.topic, **described(message.payload)}
        line.update(qos=message.qos, retain=bool(message.retain), dup=bool(message.dup))
        properties = properties_of(message)
        if properties:
            line["properties"] = properties
        out.write(json.dumps(line, ensure_ascii=False) + "\n")
        out.flush()
        seen += 1
        if options.count and seen >= options.count:
            done.set()

    keeps_session = options.session_expiry > 0
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
        clean_session=None if is_v5 else not keeps_session,
    )
    client.reconnect_delay_set(min_delay=options.retry, max_delay=options.retry)
    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: done.set())
    if is_v5:
        connect = Properties(PacketTypes.CONNECT)
        connect.SessionExpiryInterval = options.session_expiry
        client.connect(
            options.host, options.port, keepalive=30, clean_start=not keeps_session, properties=connect
        )
    else:
        client.connect(options.host, options.port, keepalive=30)
    client.loop_start()
    done.wait()
    client.disconnect()
    client.loop_stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
