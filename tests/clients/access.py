"""One client that logs in, subscribes and publishes, and tells what it was answered.

Prints one JSON line when everything asked for is answered:
  {"connack": 0, "suback": {"a/#": 135}, "puback": {"a/b": 135}}
Codes are those of the protocol version. With --stay it then prints {"message": TOPIC} for each message, and
{"disconnect": CODE} at the end of the connection; it goes when it has as many messages as --messages says.
"""

import argparse
import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client-id", default="c1")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--protocol", type=int, choices=(4, 5), default=5)
    parser.add_argument("--keep", action="store_true", help="go on with the session, and leave one")
    parser.add_argument("--will")
    parser.add_argument("--subscribe", action="append", default=[])
    parser.add_argument("--publish", action="append", default=[])
    parser.add_argument("--qos", type=int, choices=(1, 2), default=1)
    parser.add_argument("--stay", action="store_true")
    parser.add_argument("--messages", type=int, default=0)
    return parser.parse_args()


def say(document):
    print(json.dumps(document), flush=True)


def main():
    args = arguments()
    answered = threading.Condition()
    told = {"connack": None, "suback": {}, "puback": {}}
    asked = {}
    ended = []
    messages = []

    version = {4: mqtt.MQTTv311, 5: mqtt.MQTTv5}[args.protocol]
    options = {"clean_session": not args.keep} if args.protocol == 4 else {}
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id=args.client_id,
        protocol=version,
        reconnect_on_failure=False,
        **options,
    )
    if args.user is not None or args.password is not None:
        # paho sends no password without a user name.
        client.username_pw_set(args.user or "", args.password)
    if args.will:
        client.will_set(args.will, "gone", qos=1)

    def note(change):
        with answered:
            change()
            answered.notify_all()

    # paho puts MQTT 5's codes in place of 3.1.1's; these are the old ones again.
    old = {0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}

    def on_connect(_client, _data, _flags, code, _properties):
        value = code.value
        note(lambda: told.update(connack=old.get(value, value) if args.protocol == 4 else value))

    def on_subscribe(_client, _data, mid, codes, _properties):
        note(lambda: told["suback"].update({asked[mid]: codes[0].value}))

    def on_publish(_client, _data, mid, code, _properties):
        note(lambda: told["puback"].update({asked[mid]: code.value}))

    def on_disconnect(_client, _data, flags, code, _properties):
        value = code.value if flags.is_disconnect_packet_from_server else None
        note(lambda: ended.append(value))

    def on_message(_client, _data, message):
        note(lambda: messages.append(message.topic))

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_publish = on_publish
    client.on_disconnect = on_disconnect
    client.on_message = on_message
    if args.protocol == 5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600 if args.keep else 0
        client.connect(args.host, args.port, clean_start=not args.keep, properties=properties)
    else:
        client.connect(args.host, args.port)
    client.loop_start()

    def wait(condition):
        with answered:
            if not answered.wait_for(condition, timeout=60):
                sys.exit(f"no answer in time: {told}")

    wait(lambda: told["connack"] is not None or ended)
    if told["connack"] == 0:
        for filter_ in args.subscribe:
            with answered:
                asked[client.subscribe(filter_, 1)[1]] = filter_
            wait(lambda: filter_ in told["suback"] or ended)
        for topic in args.publish:
            with answered:
                asked[client.publish(topic, "{}", qos=args.qos).mid] = topic
            wait(lambda: topic in told["puback"] or ended)
    say(told)
    if args.stay and told["connack"] == 0:
        shown = 0
        while not (args.messages and shown >= args.messages):
            wait(lambda: ended or len(messages) > shown)
            for topic in messages[shown:]:
                say({"message": topic})
                shown += 1
            if ended:
                say({"disconnect": ended[0]})
                break
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
