"""boto3's kinesis client over streams whose records are encrypted at rest; prints one JSON object of what it saw."""

import argparse
import json

from kinesis import client_of, read_shard, refusal

SHARD = "shardId-000000000000"


def described(kinesis, stream):
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    whole = kinesis.describe_stream(StreamName=stream)["StreamDescription"]
    found = [summary["EncryptionType"], summary.get("KeyId")]
    assert found == [whole["EncryptionType"], whole.get("KeyId")]
    return found


def read(kinesis, stream):
    records, _, _ = read_shard(kinesis, stream, SHARD)
    return [[record["Data"].decode(), record.get("EncryptionType")] for record in records]


def put(kinesis, stream, data):
    answer = kinesis.put_record(StreamName=stream, PartitionKey="key-" + data, Data=data.encode())
    return answer.get("EncryptionType")


def first(options):
    """Encrypts a stream, with every spelling of a key's id, and asks for keys that are not there."""
    kinesis = client_of(options)
    kinesis.create_stream(StreamName="open", ShardCount=1)
    puts = [put(kinesis, "open", "clear-text"), put(kinesis, "vault", "clear-before")]
    before = described(kinesis, "vault")
    kms = "arn:aws:kms:eu-central-1:123456789012:"
    spelled = []
    for key_id in ["old", "alias/line", kms + "key/old", kms + "alias/line"]:
        kinesis.start_stream_encryption(StreamName="vault", EncryptionType="KMS", KeyId=key_id)
        spelled.append(described(kinesis, "vault") == ["KMS", key_id])
        puts.append(put(kinesis, "vault", "hidden-words"))
    many = kinesis.put_records(
        StreamName="vault",
        Records=[{"PartitionKey": "hidden-key", "Data": b"hidden-words"} for _ in range(3)],
    )
    return {
        "before": before,
        "puts": puts,
        "many": [many["FailedRecordCount"], many.get("EncryptionType")],
        "spelled": spelled,
        "read": read(kinesis, "vault"),
        "refused": {
            name: refusal(
                kinesis.start_stream_encryption, StreamName=stream, EncryptionType=kind, KeyId=key_id
            )
            for name, stream, kind, key_id in [
                ("key", "vault", "KMS", "none"),
                ("alias", "vault", "KMS", "alias/none"),
                ("arn", "vault", "KMS", kms + "key/none"),
                ("type", "vault", "NONE", "old"),
                ("word", "vault", "AES", "old"),
                ("stream", "none", "KMS", "old"),
            ]
        },
        "still": described(kinesis, "vault"),
    }


def rotate(options):
    """Goes over to another key, and to none."""
    kinesis = client_of(options)
    kinesis.start_stream_encryption(StreamName="vault", EncryptionType="KMS", KeyId="new")
    answers = [put(kinesis, "vault", "second-key")]
    kinesis.stop_stream_encryption(StreamName="vault", EncryptionType="KMS", KeyId="new")
    stopped = described(kinesis, "vault")
    answers.append(put(kinesis, "vault", "clear-after"))
    kinesis.start_stream_encryption(StreamName="vault", EncryptionType="KMS", KeyId="new")
    answers.append(put(kinesis, "vault", "third"))
    return {"answers": answers, "stopped": stopped, "read": read(kinesis, "vault")}


def missing(options):
    """What a gateway without the first key, or without both, can still do."""
    kinesis = client_of(options)
    start = {"ShardIteratorType": "TRIM_HORIZON"}
    iterator = kinesis.get_shard_iterator(StreamName="vault", ShardId=SHARD, **start)["ShardIterator"]
    page = kinesis.get_records(ShardIterator=iterator, Limit=100)
    refused = refusal(kinesis.get_records, ShardIterator=page["NextShardIterator"])
    return {
        "first": [record["Data"].decode() for record in page["Records"]],
        "refused": refused[:2],
        "says": "old" in refused[2],
        "put": refusal(put_one, kinesis=kinesis, stream="vault"),
        "open": put(kinesis, "open", "goes-on"),
        "described": described(kinesis, "vault"),
    }


def put_one(kinesis, stream):
    put(kinesis, stream, "late")


def locked(options):
    """A stream whose key for new records is not there."""
    return {"put": refusal(put_one, kinesis=client_of(options), stream="vault")}


def everything(options):
    """All keys are there again."""
    kinesis = client_of(options)
    return {"read": read(kinesis, "vault"), "put": refusal(put_one, kinesis=kinesis, stream="vault")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what")
    parser.add_argument("--endpoint", required=True)
    options = parser.parse_args()
    options.key, options.secret = "AKIDEXAMPLE", "secret"
    print(json.dumps(globals()[options.what](options)))


if __name__ == "__main__":
    main()
