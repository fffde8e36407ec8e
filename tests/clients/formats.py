"""Publishes one reading in each payload format, encoded by the formats' own Python libraries.

A message goes to PREFIX/<format>, each with QoS 1 and after the acknowledgement of the one before.
"""

import argparse
import json
import pathlib
import sys
from datetime import datetime
from datetime import timezone

import cbor2
import msgpack
import paho.mqtt.client as mqtt
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from pysparkplug._protobuf import sparkplug_b_pb2

DESCRIPTORS = pathlib.Path(__file__).parent.parent / "cases" / "lab.desc"
TIME = datetime(2024, 2, 3, 4, 5, 6, 789000, tzinfo=timezone.utc)
READING = {"id": "m7", "celsius": 31.5, "tags": ["a", {"b": None}], "count": 2**63}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--prefix", required=True)
    return parser.parse_args()


def protobuf():
    """The reading as a message of lab.proto."""
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("lab.Reading"))
    reading = message(mote_id="m7", celsius=31.5, state=2, serial=2**63)
    reading.at.FromDatetime(TIME)
    return reading.SerializeToString()


def sparkplug():
    """The reading as metrics."""
    payload = sparkplug_b_pb2.Payload(timestamp=1706933106789, seq=7)
    payload.metrics.add(name="celsius", datatype=sparkplug_b_pb2.Float, float_value=31.5)
    payload.metrics.add(name="offset", datatype=sparkplug_b_pb2.Int32, int_value=2**32 - 5)
    payload.metrics.add(alias=9, datatype=sparkplug_b_pb2.Boolean, boolean_value=True)
    return payload.SerializeToString()


def payloads():
    """Topic and payload of each message."""
    binary = {**READING, "raw": bytes([1, 2, 255])}
    yield "json", json.dumps(READING).encode()
    yield "cbor", cbor2.dumps({**binary, "at": TIME})
    yield "msgpack", msgpack.packb({**binary, "at": TIME}, datetime=True)
    yield "protobuf", protobuf()
    yield "decoded", protobuf()
    yield "sparkplug", sparkplug()
    yield "csv", b"id;celsius\r\nm7;31.5\r\n"
    yield "text", b"m7 reports 31.5 degrees"
    yield "bytes", bytes([0, 159, 146, 150])
    # In no format but BYTES.
    yield "cbor", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"
    yield "msgpack", b"\xdf\xff\xff\xff\xff"
    yield "protobuf", b"\x0a\xff\xff\xff\xff\x0f"
    yield "sparkplug", b"\x12\xff"
    yield "csv", b"\xff"
    yield "text", b"\xff"


def main():
    options = arguments()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="formats")
    client.connect(options.host, options.port, keepalive=30)
    client.loop_start()
    for name, payload in payloads():
        message = client.publish(f"{options.prefix}/{name}", payload, qos=1)
        message.wait_for_publish(timeout=20)
        if not message.is_published():
            print(f"{name} was not acknowledged", file=sys.stderr)
            return 1
    client.disconnect()
    client.loop_stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
