"""Uses boto3's kinesis client as a registered consumer does, and prints one JSON object of what it saw.

`--endpoint` is the only thing that is not Amazon's. What it does is one of the functions below, by its name.
"""

import argparse
import http.client
import json
import socket
import time
import urllib.parse

import cbor2
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError

from kinesis import client_of, refusal

SHARD = "shardId-000000000000"


def arn_of(kinesis, stream):
    return kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]


def subscribe(kinesis, consumer, start, shard=SHARD):
    """The events of a subscription, one by one."""
    answer = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition=start)
    for event in answer["EventStream"]:
        yield event["SubscribeToShardEvent"]


def pushed(kinesis, consumer, start, count, shard=SHARD):
    """So many records of a subscription, and where it would go on; it is left then."""
    answer = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition=start)
    data, last = [], None
    for event in answer["EventStream"]:
        last = event["SubscribeToShardEvent"]
        data += [record["Data"].decode() for record in last["Records"]]
        if len(data) >= count:
            break
    answer["EventStream"].close()
    return data, last["ContinuationSequenceNumber"]


def again(call):
    """What a call answers once the subscription before has been noticed to be gone."""
    for _ in range(200):
        try:
            return call()
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise
            time.sleep(0.05)
    raise AssertionError("the subscription is still there")


def consumers(options):
    """Registers, lists, describes, tags and ends consumers."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="fan", ShardCount=1)
    arn = arn_of(kinesis, "fan")
    made = [
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=f"c{n:02}", Tags={"made": "here"})
        for n in range(20)
    ]
    first = made[0]["Consumer"]
    one_more = refusal(kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="c20")
    twice = refusal(kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="c00")
    pages = kinesis.get_paginator("list_stream_consumers").paginate(
        StreamARN=arn, PaginationConfig={"PageSize": 7}
    )
    listed = [consumer["ConsumerName"] for page in pages for consumer in page["Consumers"]]
    described = kinesis.describe_stream_consumer(ConsumerARN=first["ConsumerARN"])["ConsumerDescription"]
    kinesis.tag_resource(ResourceARN=first["ConsumerARN"], Tags={"more": "1"})
    kinesis.untag_resource(ResourceARN=first["ConsumerARN"], TagKeys=["made"])
    tags = kinesis.list_tags_for_resource(ResourceARN=first["ConsumerARN"])["Tags"]
    kinesis.deregister_stream_consumer(ConsumerARN=first["ConsumerARN"])
    kinesis.deregister_stream_consumer(StreamARN=arn, ConsumerName="c01")
    count = kinesis.describe_stream_summary(StreamName="fan")["StreamDescriptionSummary"]["ConsumerCount"]
    gone = refusal(kinesis.describe_stream_consumer, StreamARN=arn, ConsumerName="c00")
    kept = refusal(kinesis.delete_stream, StreamName="fan")
    kinesis.delete_stream(StreamName="fan", EnforceConsumerDeletion=True)
    return {
        "arn": first["ConsumerARN"].startswith(f"{arn}/consumer/c00:"),
        "status": [first["ConsumerStatus"], described["ConsumerStatus"]],
        "same": [described[name] == first[name] for name in ("ConsumerARN", "ConsumerCreationTimestamp")],
        "of": described["StreamARN"] == arn,
        "listed": listed == [f"c{n:02}" for n in range(20)],
        "tags": tags,
        "count": count,
        "refused": {"one_more": one_more[:2], "twice": twice, "gone": gone, "kept": kept[:2]},
        "both": refusal(kinesis.describe_stream_consumer, StreamARN=arn)[0],
    }


def positions(options):
    """Is pushed records from every kind of place, and goes on where it has stopped."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="fan", ShardCount=1)
    arn = arn_of(kinesis, "fan")
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    put = lambda n: kinesis.put_record(StreamName="fan", PartitionKey="k", Data=f"{n}")["SequenceNumber"]
    numbers = [put(n) for n in range(3)]
    # The gateway's clock moves on: what is put next has another time than this.
    time.sleep(0.02)
    numbers += [put(n) for n in range(3, 6)]
    # Times are told by the gateway's clock, which need not be this one.
    iterator = kinesis.get_shard_iterator(
        StreamName="fan", ShardId=SHARD, ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[3]
    )["ShardIterator"]
    since = kinesis.get_records(ShardIterator=iterator, Limit=1)["Records"][0]["ApproximateArrivalTimestamp"]
    places = {
        "TRIM_HORIZON": ({}, 6),
        "AT_SEQUENCE_NUMBER": ({"SequenceNumber": numbers[4]}, 2),
        "AFTER_SEQUENCE_NUMBER": ({"SequenceNumber": numbers[4]}, 1),
        "AT_TIMESTAMP": ({"Timestamp": since}, 3),
    }
    seen = {}
    for kind, (more, count) in places.items():
        start = {"Type": kind, **more}
        seen[kind], on = again(lambda: pushed(kinesis, consumer, start, count))
    # Goes on behind what it has seen, and is pushed what comes while it listens.
    start = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": on}
    events = again(lambda: kinesis.subscribe_to_shard(
        ConsumerARN=consumer, ShardId=SHARD, StartingPosition=start))["EventStream"]
    put(6)
    live = next(event["SubscribeToShardEvent"] for event in events if event["SubscribeToShardEvent"]["Records"])
    # Nothing comes: it says so, and where it would go on.
    quiet = next(iter(events))["SubscribeToShardEvent"]
    events.close()
    latest = again(lambda: kinesis.subscribe_to_shard(
        ConsumerARN=consumer, ShardId=SHARD, StartingPosition={"Type": "LATEST"}))["EventStream"]
    put(7)
    newest = next(event["SubscribeToShardEvent"] for event in latest if event["SubscribeToShardEvent"]["Records"])
    return {
        "seen": seen,
        "live": [record["Data"].decode() for record in live["Records"]],
        "behind": live["MillisBehindLatest"],
        "goes_on": live["ContinuationSequenceNumber"] == live["Records"][-1]["SequenceNumber"],
        "quiet": [quiet["Records"], quiet["ContinuationSequenceNumber"] == live["ContinuationSequenceNumber"]],
        "latest": [record["Data"].decode() for record in newest["Records"]],
        "refused": {
            "consumer": refusal(
                kinesis.subscribe_to_shard,
                ConsumerARN=consumer.replace("consumer/c:", "consumer/d:"),
                ShardId=SHARD,
                StartingPosition={"Type": "LATEST"},
            )[:2],
            "shard": refusal(
                kinesis.subscribe_to_shard,
                ConsumerARN=consumer,
                ShardId="shardId-000000000007",
                StartingPosition={"Type": "LATEST"},
            )[:2],
            "number": refusal(
                kinesis.subscribe_to_shard,
                ConsumerARN=consumer,
                ShardId=SHARD,
                StartingPosition={"Type": "AT_SEQUENCE_NUMBER"},
            )[:2],
            "type": refusal(
                kinesis.subscribe_to_shard,
                ConsumerARN=consumer,
                ShardId=SHARD,
                StartingPosition={"Type": "SOON"},
            )[:2],
        },
    }


def family(options):
    """Reads a shard that is split while it is read, and its children."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="fan", ShardCount=1)
    arn = arn_of(kinesis, "fan")
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    put = lambda n: kinesis.put_record(StreamName="fan", PartitionKey=f"k{n}", Data=f"{n}")
    for n in range(10):
        put(n)
    data, last = [], None
    for event in subscribe(kinesis, consumer, {"Type": "TRIM_HORIZON"}):
        data += [record["Data"].decode() for record in event["Records"]]
        if len(data) == 10 and not event.get("ChildShards"):
            kinesis.split_shard(StreamName="fan", ShardToSplit=SHARD, NewStartingHashKey=str(1 << 127))
            for n in range(10, 20):
                put(n)
        last = event
    children = last["ChildShards"]
    of_children = []
    for child in children:
        number = kinesis.get_shard_iterator(
            StreamName="fan", ShardId=child["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        count = len(kinesis.get_records(ShardIterator=number)["Records"])
        if count:
            found, _ = pushed(kinesis, consumer, {"Type": "TRIM_HORIZON"}, count, child["ShardId"])
            of_children += found
    return {
        "parent": data == [str(n) for n in range(10)],
        "ends": ["ContinuationSequenceNumber" in last, [child["ParentShards"] for child in children]],
        "children": sorted(of_children, key=int) == [str(n) for n in range(10, 20)],
    }


def taken_over(options):
    """Two subscriptions to one shard: the second is refused at first, and takes over then. A consumer that is
    ended, and one whose stream is deleted."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="fan", ShardCount=1)
    arn = arn_of(kinesis, "fan")
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    other = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="d")["Consumer"]["ConsumerARN"]
    start = {"Type": "LATEST"}
    first = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=SHARD, StartingPosition=start)
    soon = refusal(kinesis.subscribe_to_shard, ConsumerARN=consumer, ShardId=SHARD, StartingPosition=start)
    beside = kinesis.subscribe_to_shard(ConsumerARN=other, ShardId=SHARD, StartingPosition=start)
    second = again(lambda: kinesis.subscribe_to_shard(
        ConsumerARN=consumer, ShardId=SHARD, StartingPosition=start))

    def end_of(answer):
        try:
            for _ in answer["EventStream"]:
                pass
        except EventStreamError as error:
            return [error.response["Error"]["Code"], error.response["Error"]["Message"]]
        return None

    lost = end_of(first)
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    ended = end_of(second)
    kinesis.delete_stream(StreamName="fan", EnforceConsumerDeletion=True)
    return {"soon": soon, "lost": lost, "ended": ended[0], "deleted": end_of(beside)[0]}


def paced(options):
    """Is pushed more than a second's bytes of a provisioned shard."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="fan", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    arn = arn_of(kinesis, "fan")
    for _ in range(8):
        kinesis.put_record(StreamName="fan", PartitionKey="k", ExplicitHashKey="0", Data=b"x" * 1_000_000)
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "PROVISIONED"})
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    began, count = time.monotonic(), 0
    for event in subscribe(kinesis, consumer, {"Type": "TRIM_HORIZON"}):
        count += len(event["Records"])
        if count == 8:
            break
    # Nearly four seconds' worth, of which the first is there and the last is not waited for.
    return {"slow": time.monotonic() - began > 2}


def stays(options):
    """Registers a consumer and reads the first half."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="fan", ShardCount=1)
    consumer = kinesis.register_stream_consumer(StreamARN=arn_of(kinesis, "fan"), ConsumerName="c")
    consumer = consumer["Consumer"]["ConsumerARN"]
    for n in range(3):
        kinesis.put_record(StreamName="fan", PartitionKey="k", Data=f"{n}")
    _, on = pushed(kinesis, consumer, {"Type": "TRIM_HORIZON"}, 3)
    for n in range(3, 5):
        kinesis.put_record(StreamName="fan", PartitionKey="k", Data=f"{n}")
    return {"arn": consumer, "from": on}


def comes_back(options):
    """Goes on where the first half has ended."""
    kinesis = client_of(options)
    found = kinesis.list_stream_consumers(StreamARN=arn_of(kinesis, "fan"))["Consumers"][0]["ConsumerARN"]
    start = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": options.start}
    return {"arn": found, "data": pushed(kinesis, found, start, 2)[0]}


def subscribe_by_hand(options, consumer):
    """A socket whose answer to SubscribeToShard is not read yet, in CBOR."""
    body = cbor2.dumps(
        {"ConsumerARN": consumer, "ShardId": SHARD, "StartingPosition": {"Type": "TRIM_HORIZON"}}
    )
    host = urllib.parse.urlsplit(options.endpoint)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host.hostname, host.port))
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Kinesis_20131202.SubscribeToShard\r\n"
        f"Content-Type: application/x-amz-cbor-1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def first_events(connection, count):
    """The first events of an answer in chunks, CBOR read."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    assert answer.headers["Content-Type"] == "application/vnd.amazon.eventstream", answer.headers
    buffer, events = EventStreamBuffer(), []
    while len(events) < count:
        # Checks both checksums.
        buffer.add_data(answer.read1(65536))
        events += [(event.headers, event.payload) for event in buffer]
    return events


def unread(options):
    """Leaves an answer unread while another consumer reads the same shard."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="fan", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    arn = arn_of(kinesis, "fan")
    put = lambda: kinesis.put_record(
        StreamName="fan", PartitionKey="k", ExplicitHashKey="0", Data=b"x" * 1_000_000
    )
    for _ in range(20):
        put()
    slow, quick = (
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=name)["Consumer"]["ConsumerARN"]
        for name in ("slow", "quick")
    )
    connection = subscribe_by_hand(options, slow)
    read = 0
    for event in subscribe(kinesis, quick, {"Type": "TRIM_HORIZON"}):
        read += len(event["Records"])
        if read == 20:
            for _ in range(20):
                put()
        if read == 40:
            break
    (opening, nothing), (headers, payload) = first_events(connection, 2)[:2]
    # A time is a tagged number of milliseconds, which Java reads and Python takes for seconds.
    record = cbor2.loads(payload.replace(b"\xc1\x1b", b"\x1b"))["Records"][0]
    return {
        "open": opening[":event-type"] == "initial-response" and cbor2.loads(nothing) == {},
        "read": read,
        "cbor": [record["Data"] == b"x" * 1_000_000, record["PartitionKey"]],
    }


def waits(options):
    """Waits for records until the answer ends."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="idle", ShardCount=1)
    consumer = kinesis.register_stream_consumer(StreamARN=arn_of(kinesis, "idle"), ConsumerName="c")
    try:
        for _ in subscribe(kinesis, consumer["Consumer"]["ConsumerARN"], {"Type": "LATEST"}):
            pass
    # A machine that is busy may take longer than a stop waits for answers.
    except Exception as error:
        return {"ended": type(error).__name__}
    return {"ended": "quietly"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", default="AKIDEXAMPLE")
    parser.add_argument("--secret", default="secret")
    parser.add_argument("--from", dest="start")
    options = parser.parse_args()
    print(json.dumps(globals()[options.what](options)))


if __name__ == "__main__":
    main()
