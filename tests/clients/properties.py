"""Sends one MQTT 5 message with every property through the gateway and compares what comes back.

Prints {"sent": ..., "received": ...} and ends with 0 when they agree: everything as it was, the
message expiry not longer than it was.
"""

import argparse
import base64
import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from subscriber import properties_of

EXPIRY_SECONDS = 600


def connected(options, name):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    client.connect(options.host, options.port, keepalive=30)
    return client


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", default="properties/round/trip")
    parser.add_argument("--qos", type=int, choices=(0, 1, 2), default=1)
    parser.add_argument("--patience", type=float, default=20, help="seconds")
    options = parser.parse_args()

    payload = "22,5 °C".encode()
    sent = {
        "payload_format": 1,
        "message_expiry": EXPIRY_SECONDS,
        "content_type": "text/plain; charset=utf-8",
        "response_topic": "properties/answer",
        "correlation_data": base64.b64encode(b"\x00\x01\xff").decode("ascii"),
        "user_properties": [["unit", "°C"], ["site", "lab"], ["unit", "again"]],
    }
    properties = Properties(PacketTypes.PUBLISH)
    properties.PayloadFormatIndicator = sent["payload_format"]
    properties.MessageExpiryInterval = sent["message_expiry"]
    properties.ContentType = sent["content_type"]
    properties.ResponseTopic = sent["response_topic"]
    properties.CorrelationData = base64.b64decode(sent["correlation_data"])
    properties.UserProperty = [tuple(pair) for pair in sent["user_properties"]]

    subscribed, received = threading.Event(), threading.Event()
    answer = {}

    def on_message(_client, _userdata, message):
        answer.update(payload=message.payload.decode(), properties=properties_of(message) or {})
        received.set()

    listener = connected(options, "properties-listener")
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.on_message = on_message
    listener.subscribe(options.topic, qos=options.qos)
    listener.loop_start()
    speaker = connected(options, "properties-speaker")
    speaker.loop_start()
    if not subscribed.wait(options.patience):
        print("the subscription was not acknowledged", file=sys.stderr)
        return 1
    message = speaker.publish(options.topic, payload, qos=options.qos, properties=properties)
    message.wait_for_publish(options.patience)
    if not received.wait(options.patience):
        print("the message did not come back", file=sys.stderr)
        return 1
    for client in (speaker, listener):
        client.disconnect()
        client.loop_stop()

    back = json.loads(json.dumps(answer["properties"]))
    print(json.dumps({"sent": sent, "received": back}, ensure_ascii=False))
    left = back.get("message_expiry", 0)
    same = {key: value for key, value in back.items() if key != "message_expiry"}
    wanted = {key: value for key, value in sent.items() if key != "message_expiry"}
    is_same = same == wanted and answer["payload"].encode() == payload
    return 0 if is_same and 0 < left <= EXPIRY_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
