"""Uses boto3's kinesis client as programs do, and prints one JSON object of what it saw.

`--endpoint` is the only thing that is not Amazon's. What it does is one of the functions below, by its name.
"""

import argparse
import json
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def client_of(options, **more):
    arguments = {
        "endpoint_url": options.endpoint,
        "region_name": "eu-central-1",
        "aws_access_key_id": options.key,
        "aws_secret_access_key": options.secret,
        "config": Config(retries={"max_attempts": 1}),
    }
    return boto3.client("kinesis", **{**arguments, **more})


def refusal(call, **arguments):
    """Code, status and message of the error that a call ends with."""
    try:
        call(**arguments)
    except ClientError as error:
        said = error.response["Error"]
        return [said["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"], said["Message"]]
    return None


def read_shard(kinesis, stream, shard, **start):
    """All records from a place on, and what the end of the shard says."""
    arguments = start or {"ShardIteratorType": "TRIM_HORIZON"}
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **arguments)["ShardIterator"]
    records, children = [], []
    while iterator:
        page = kinesis.get_records(ShardIterator=iterator, Limit=3)
        records += page["Records"]
        children = page.get("ChildShards", [])
        iterator = page.get("NextShardIterator")
        if page["MillisBehindLatest"] == 0 and not page["Records"]:
            break
    return records, children, iterator


def texts(records):
    return [record["Data"].decode() for record in records]


def data_plane(options):
    """Puts, iterators of all types, and reads."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="data", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    kinesis.get_waiter("stream_exists").wait(StreamName="data", WaiterConfig={"Delay": 1, "MaxAttempts": 1})
    shards = kinesis.list_shards(StreamName="data")["Shards"]
    hashes = [shard["HashKeyRange"]["StartingHashKey"] for shard in shards]
    one = kinesis.put_record(
        StreamName="data", PartitionKey="k", Data=b"first", ExplicitHashKey=hashes[1]
    )
    # The gateway's clock moves on: what is put next has another time than this.
    time.sleep(0.02)
    entries = [
        {"PartitionKey": "ü" * 256, "Data": bytes([n, 255]), "ExplicitHashKey": hashes[1]}
        for n in range(5)
    ]
    many = kinesis.put_records(StreamName="data", Records=entries)
    shard = one["ShardId"]
    numbers = [one["SequenceNumber"]] + [record["SequenceNumber"] for record in many["Records"]]
    all_records, _, _ = read_shard(kinesis, "data", shard)
    # Times are told by the gateway's clock, which need not be this one.
    since = all_records[1]["ApproximateArrivalTimestamp"]
    places = {
        "at": {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[2]},
        "after": {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[2]},
        "time": {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": since},
        "latest": {"ShardIteratorType": "LATEST"},
    }
    found = {
        name: [record["SequenceNumber"] for record in read_shard(kinesis, "data", shard, **start)[0]]
        for name, start in places.items()
    }
    empty = shards[0]["ShardId"]
    of_empty = read_shard(kinesis, "data", empty, ShardIteratorType="AT_TIMESTAMP", Timestamp=since)
    iterator = kinesis.get_shard_iterator(
        StreamARN="arn:aws:kinesis:mars-1:123456789012:stream/data",
        ShardId=shard,
        ShardIteratorType="TRIM_HORIZON",
    )["ShardIterator"]
    page = kinesis.get_records(ShardIterator=iterator, Limit=2)
    return {
        "shards": len(shards),
        "failed": many["FailedRecordCount"],
        "read": [record["SequenceNumber"] for record in all_records] == numbers,
        "grows": [int(n) for n in numbers] == sorted({int(n) for n in numbers}),
        "data": [all_records[0]["Data"].decode(), all_records[5]["Data"].hex()],
        "key": all_records[5]["PartitionKey"] == "ü" * 256,
        "at": found["at"] == numbers[2:],
        "after": found["after"] == numbers[3:],
        "time": found["time"] == numbers[1:],
        "latest": found["latest"],
        "empty": [of_empty[0], of_empty[2] is not None],
        "page": [len(page["Records"]), page["MillisBehindLatest"] > 0],
        "arrived": abs(all_records[0]["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 60,
    }


def control_plane(options):
    """Makes, lists, describes, changes and deletes streams."""
    kinesis = client_of(options)
    for n in range(3):
        kinesis.create_stream(StreamName=f"c{n}", ShardCount=1, Tags={"made": "here"})
    pages = kinesis.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2})
    listed = [name for page in pages for name in page["StreamNames"]]
    arn = kinesis.describe_stream_summary(StreamName="c0")["StreamDescriptionSummary"]["StreamARN"]
    kinesis.increase_stream_retention_period(StreamName="c0", RetentionPeriodHours=8760)
    kinesis.decrease_stream_retention_period(StreamARN=arn, RetentionPeriodHours=48)
    kinesis.add_tags_to_stream(StreamName="c0", Tags={"a": "1", "b": ""})
    kinesis.remove_tags_from_stream(StreamName="c0", TagKeys=["made", "none"])
    kinesis.tag_resource(ResourceARN=arn, Tags={"c": "3"})
    kinesis.untag_resource(ResourceARN=arn, TagKeys=["a"])
    tags = kinesis.list_tags_for_stream(StreamName="c0", Limit=1)
    kinesis.enable_enhanced_monitoring(StreamName="c0", ShardLevelMetrics=["ALL"])
    watched = kinesis.disable_enhanced_monitoring(
        StreamARN=arn, ShardLevelMetrics=["IncomingBytes", "OutgoingBytes"]
    )
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=2048)
    large = kinesis.put_record(StreamName="c0", PartitionKey="k", Data=b"x" * 2_000_000)
    summary = kinesis.describe_stream_summary(StreamName="c0")["StreamDescriptionSummary"]
    described = kinesis.describe_stream(StreamName="c0")["StreamDescription"]
    counted = kinesis.describe_limits()
    for n in range(3):
        kinesis.delete_stream(StreamName=f"c{n}", EnforceConsumerDeletion=True)
    kinesis.get_waiter("stream_not_exists").wait(
        StreamName="c0", WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    return {
        "listed": listed,
        "arn": arn,
        "retention": described["RetentionPeriodHours"],
        "status": described["StreamStatus"],
        "tags": [tags["Tags"], tags["HasMoreTags"]],
        "large": large["ShardId"],
        "watched": [
            len(watched["CurrentShardLevelMetrics"]),
            watched["DesiredShardLevelMetrics"],
            described["EnhancedMonitoring"][0] == summary["EnhancedMonitoring"][0],
        ],
        "mode": summary["StreamModeDetails"]["StreamMode"],
        "size": summary["MaxRecordSizeInKiB"],
        "open": summary["OpenShardCount"],
        "counted": counted["OpenShardCount"],
        "refused": {
            "unknown": refusal(kinesis.describe_stream, StreamName="none"),
            "named": refusal(kinesis.delete_stream, StreamName="kept"),
            "short": refusal(
                kinesis.increase_stream_retention_period, StreamName="kept", RetentionPeriodHours=23
            ),
            "on_demand": refusal(
                kinesis.update_shard_count,
                StreamName="kept",
                TargetShardCount=4,
                ScalingType="UNIFORM_SCALING",
            ),
            "number": refusal(
                kinesis.get_shard_iterator,
                StreamName="kept",
                ShardId="0",
                ShardIteratorType="AFTER_SEQUENCE_NUMBER",
                StartingSequenceNumber="0",
            ),
            "iterator": refusal(
                kinesis.get_shard_iterator,
                StreamName="kept",
                ShardId="shardId-000000000099",
                ShardIteratorType="LATEST",
            ),
            "future": refusal(
                kinesis.get_shard_iterator,
                StreamName="kept",
                ShardId="0",
                ShardIteratorType="AT_TIMESTAMP",
                Timestamp=time.time() + 600,
            )[0],
            "metric": refusal(
                kinesis.enable_enhanced_monitoring, StreamName="kept", ShardLevelMetrics=["None"]
            )[:2],
            "policy": refusal(kinesis.get_resource_policy, ResourceARN=arn),
            "too_large": refusal(
                kinesis.put_record, StreamName="kept", PartitionKey="k", Data=b"x" * (1 << 20)
            )[:2],
        },
    }


def reshard(options):
    """Splits and merges between puts, and reads the shards as their family tells."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="family", ShardCount=1)
    put = [0]

    def fill():
        for _ in range(6):
            kinesis.put_record(StreamName="family", PartitionKey=f"k{put[0] % 3}", Data=b"%d" % put[0])
            put[0] += 1

    def open_shards():
        shards = kinesis.list_shards(StreamName="family", ShardFilter={"Type": "AT_LATEST"})["Shards"]
        return sorted(shards, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))

    fill()
    kinesis.split_shard(
        StreamName="family", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(1 << 127)
    )
    fill()
    left, right = (shard["ShardId"] for shard in open_shards())
    kinesis.merge_shards(StreamName="family", ShardToMerge=left, AdjacentShardToMerge=right)
    fill()
    kinesis.update_shard_count(StreamName="family", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    fill()
    # As KCL does: a child when its parents have been read to their end.
    roots = kinesis.list_shards(StreamName="family", ShardFilter={"Type": "AT_TRIM_HORIZON"})["Shards"]
    waiting, done, seen, ends = [shard["ShardId"] for shard in roots], [], [], {}
    while waiting:
        shard = waiting.pop(0)
        records, children, iterator = read_shard(kinesis, "family", shard)
        seen += records
        done.append(shard)
        ends[shard] = [iterator is None, len(children)]
        for child in children:
            is_new = child["ShardId"] not in done + waiting
            if is_new and all(parent in done for parent in child["ParentShards"]):
                waiting.append(child["ShardId"])
    by_key = {}
    for record in seen:
        by_key.setdefault(record["PartitionKey"], []).append(int(record["Data"]))
    pages = kinesis.get_paginator("list_shards").paginate(
        StreamName="family", PaginationConfig={"PageSize": 2}
    )
    return {
        "roots": len(roots),
        "count": len(seen),
        "in_order": all(numbers == sorted(numbers) for numbers in by_key.values()),
        "ends": sorted(ends.values()),
        "listed": [shard["ShardId"][-1] for page in pages for shard in page["Shards"]],
        "after": len(
            kinesis.list_shards(
                StreamName="family", ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000003"}
            )["Shards"]
        ),
        "again": refusal(
            kinesis.split_shard,
            StreamName="family",
            ShardToSplit="shardId-000000000000",
            NewStartingHashKey="5",
        ),
        "apart": refusal(
            kinesis.merge_shards,
            StreamName="family",
            ShardToMerge=open_shards()[1]["ShardId"],
            AdjacentShardToMerge=open_shards()[0]["ShardId"],
        )[0],
        "too_many": refusal(
            kinesis.update_shard_count,
            StreamName="family",
            TargetShardCount=5,
            ScalingType="UNIFORM_SCALING",
        )[2],
    }


def reshard_often(options):
    """Puts while a stream that a rule reads is split and merged again and again."""
    kinesis = client_of(options)
    arn = kinesis.describe_stream_summary(StreamName="parted")["StreamDescriptionSummary"]["StreamARN"]
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "PROVISIONED"})
    number = 0
    for turn in range(12):
        for _ in range(2):
            entries = [
                {"PartitionKey": f"k{n % 5}", "Data": json.dumps({"n": number + n, "k": n % 5})}
                for n in range(10)
            ]
            answer = kinesis.put_records(StreamName="parted", Records=entries)
            assert answer["FailedRecordCount"] == 0
            number += 10
        target = [1, 2, 4, 2][turn % 4]
        kinesis.update_shard_count(
            StreamName="parted", TargetShardCount=target, ScalingType="UNIFORM_SCALING"
        )
    shards = kinesis.list_shards(StreamName="parted")["Shards"]
    return {"count": number, "shards": len(shards)}


def until_refused(call):
    """The first refusal of a call that is made again and again."""
    return next(filter(None, (call() for _ in range(200))), None)


def limits(options):
    """Meets the limits of a provisioned shard."""
    kinesis = client_of(options, config=Config(retries={"total_max_attempts": 1}))
    kinesis.create_stream(StreamName="slow", ShardCount=1)
    entries = [{"PartitionKey": "k", "Data": b"x"} for _ in range(500)]
    answers = [kinesis.put_records(StreamName="slow", Records=entries) for _ in range(4)]
    failed = [record for answer in answers for record in answer["Records"] if "ErrorCode" in record]
    iterator = kinesis.get_shard_iterator(
        StreamName="slow", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    reads = [refusal(kinesis.get_records, ShardIterator=iterator, Limit=1) for _ in range(20)]
    place = {"StreamName": "slow", "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"}
    iterators = until_refused(lambda: refusal(kinesis.get_shard_iterator, **place))
    return {
        "iterators": iterators,
        "first": answers[0]["FailedRecordCount"],
        "failed": len(failed) > 0 and len(failed) == sum(a["FailedRecordCount"] for a in answers),
        "says": sorted({(record["ErrorCode"], record["ErrorMessage"]) for record in failed}),
        "reads": [reads[0], sorted({read[0] for read in reads if read})],
    }


def fill(options):
    """Puts until the streams `small` and `rolling` have met their room twice over, and reads what is left."""
    kinesis = client_of(options, config=Config(retries={"max_attempts": 0}))
    large = b"x" * (1024 * 1024 - 3)
    answers = {}
    for stream in ["small", "rolling"]:
        refused = set()
        stored = 0
        for number in range(32):
            entry = {"PartitionKey": "%03d" % number, "Data": large}
            for record in kinesis.put_records(StreamName=stream, Records=[entry])["Records"]:
                stored += "SequenceNumber" in record
                if "ErrorCode" in record:
                    refused.add((record["ErrorCode"], record["ErrorMessage"]))
        one = refusal(kinesis.put_record, StreamName=stream, PartitionKey="k", Data=large)
        answers[stream] = {"stored": stored, "refused": sorted(refused), "one": one and one[0]}
    return answers


def signed(options):
    """What another key, another secret and no signature at all are answered."""
    from botocore import UNSIGNED

    right = client_of(options)
    return {
        "right": right.list_streams()["StreamNames"],
        "put": right.put_record(StreamName="kept", PartitionKey="k", Data=b"x" * 1000)["ShardId"],
        "secret": refusal(client_of(options, aws_secret_access_key="wrong").list_streams)[:2],
        "key": refusal(client_of(options, aws_access_key_id="OTHER").list_streams),
        "none": refusal(client_of(options, config=Config(signature_version=UNSIGNED)).list_streams),
    }


def put_on(options):
    """Puts numbered records until it is stopped, and notes in a file what was acknowledged."""
    kinesis = client_of(options, config=Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=5))
    acked = open(options.out, "a", buffering=1)
    number = 0
    while True:
        entries = [{"PartitionKey": f"k{n % 7}", "Data": b'{"id":"%d"}' % (number + n)} for n in range(20)]
        number += 20
        try:
            answer = kinesis.put_records(StreamName="kept", Records=entries)
        except Exception:
            time.sleep(0.05)
            continue
        for entry, record in zip(entries, answer["Records"]):
            if "SequenceNumber" in record:
                acked.write(json.loads(entry["Data"])["id"] + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", default="AKIDEXAMPLE")
    parser.add_argument("--secret", default="secret")
    parser.add_argument("--out")
    options = parser.parse_args()
    print(json.dumps(globals()[options.what](options)))


if __name__ == "__main__":
    main()
