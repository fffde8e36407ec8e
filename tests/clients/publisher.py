"""Publishes numbered messages with QoS 1 or 2 and writes down which ones were acknowledged.

Each payload is {"id": "<client id>-<n>", "n": n, "value": n % 100}. The id goes to --out, one a line,
when its PUBACK (PUBCOMP) has come. A lost connection is opened again and what was not
acknowledged is sent again, so every id that is written down must be found in the gateway, and
none may be missing. SIGTERM, SIGINT or --count ends the publishing; the acknowledgements still
due are waited for. The last line on standard output is a JSON summary; exit code 1 when
some message was never acknowledged.
"""

import argparse
import json
import queue
import signal
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--out", required=True, help="file of acknowledged ids, one a line")
    parser.add_argument("--client-id", default="publisher")
    parser.add_argument("--qos", type=int, choices=(1, 2), default=1)
    parser.add_argument("--protocol", type=int, choices=(4, 5), default=4)
    parser.add_argument("--count", type=int, default=0, help="0: until SIGTERM")
    parser.add_argument("--rate", type=float, default=0, help="messages a second; 0: as fast as it goes")
    parser.add_argument("--inflight", type=int, default=50)
    parser.add_argument("--cafile", help="authority of the gateway's certificate: TLS")
    parser.add_argument("--cert", help="certificate to show")
    parser.add_argument("--key", help="its private key")
    parser.add_argument("--websocket", help="path: WebSocket")
    parser.add_argument("--keep", action="store_true", help="keep the session over reconnects")
    parser.add_argument("--retry", type=float, default=1, help="seconds between two attempts to connect")
    parser.add_argument("--drain", type=float, default=30, help="seconds for the last acknowledgements")
    return parser.parse_args()


class Client(mqtt.Client):
    """paho 2.1 forgets at a second failed attempt to connect that a message has had its PUBREC, and sends it anew."""

    def _messages_reconnect_reset_out(self):
        released = [m for m in self._out_messages.values() if m.state == mqtt.mqtt_ms_resend_pubrel]
        super()._messages_reconnect_reset_out()
        for message in released:
            message.state = mqtt.mqtt_ms_resend_pubrel


class Publisher:
    """One connection and what is on its way over it."""

    def __init__(self, options):
        self.options = options
        self.stopping = threading.Event()
        self.connections = 0
        # The network thread only appends here: it calls back while it holds paho's locks, so
        # looking the id up there could deadlock with publish().
        self.acknowledged_mids = queue.Queue()
        self.ids_by_mid = {}
        self.acknowledged = 0
        self.out = open(options.out, "a", encoding="utf-8")
        self.client = Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            protocol=mqtt.MQTTv5 if options.protocol == 5 else mqtt.MQTTv311,
            transport="websockets" if options.websocket else "tcp",
            clean_session=None if options.protocol == 5 else not options.keep,
        )
        if options.websocket:
            self.client.ws_set_options(path=options.websocket)
        if options.cafile:
            self.client.tls_set(options.cafile, options.cert, options.key)
        self.client.max_inflight_messages_set(options.inflight)
        self.client.reconnect_delay_set(min_delay=options.retry, max_delay=options.retry)
        self.client.on_connect = self.on_connect
        self.client.on_publish = self.on_publish

    def on_connect(self, _client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            print(f"refused: {reason}", file=sys.stderr, flush=True)
            return
        self.connections += 1

    def on_publish(self, _client, _userdata, mid, _reason, _properties):
        self.acknowledged_mids.put(mid)

    def settle(self, timeout):
        """Writes down the acknowledgements that are there; waits for one when there is none."""
        try:
            mid = self.acknowledged_mids.get(timeout=timeout) if timeout else self.acknowledged_mids.get_nowait()
            while True:
                self.out.write(self.ids_by_mid.pop(mid) + "\n")
                self.acknowledged += 1
                mid = self.acknowledged_mids.get_nowait()
        except queue.Empty:
            self.out.flush()

    def run(self):
        options = self.options
        more = {}
        if options.protocol == 5 and options.keep:
            more["clean_start"] = False
            more["properties"] = Properties(PacketTypes.CONNECT)
            more["properties"].SessionExpiryInterval = 3600
        self.client.connect_async(options.host, options.port, keepalive=30, **more)
        self.client.loop_start()
        started = time.monotonic()
        published = 0
        while not self.stopping.is_set() and (options.count == 0 or published < options.count):
            if len(self.ids_by_mid) >= options.inflight:
                self.settle(0.1)
                continue
            if options.rate:
                wait = started + published / options.rate - time.monotonic()
                if wait > 0 and self.stopping.wait(min(wait, 0.1)):
                    break
                if wait > 0.1:
                    continue
            name = f"{options.client_id}-{published}"
            payload = json.dumps({"id": name, "n": published, "value": published % 100})
            message = self.client.publish(options.topic, payload, qos=options.qos)
            self.ids_by_mid[message.mid] = name
            published += 1
            self.settle(0)
        deadline = time.monotonic() + options.drain
        while self.ids_by_mid and time.monotonic() < deadline:
            self.settle(0.1)
        self.client.disconnect()
        self.client.loop_stop()
        summary = {"published": published, "acknowledged": self.acknowledged, "connections": self.connections}
        print(json.dumps(summary), flush=True)
        return 0 if self.acknowledged == published else 1


def main():
    publisher = Publisher(arguments())
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: publisher.stopping.set())
    return publisher.run()


if __name__ == "__main__":
    sys.exit(main())
