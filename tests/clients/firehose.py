"""Uses boto3's firehose client as programs do, and prints one JSON object of what it saw.

`--endpoint` is the only thing that is not Amazon's. What it does is one of the functions below, by its name.
"""

import argparse
import json
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ConnectionClosedError
from botocore.exceptions import HTTPClientError

ROLE = "arn:aws:iam::000000000000:role/delivery"


def client_of(options):
    """Tries each request once: one that is sent again after a connection has ended may be there twice."""
    return boto3.client(
        "firehose",
        endpoint_url=options.endpoint,
        region_name="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


def refusal(call, **arguments):
    """Code, status and message of the error that a call ends with."""
    try:
        call(**arguments)
    except ClientError as error:
        said = error.response["Error"]
        return [said["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"], said["Message"]]
    return None


def bucket(name, **more):
    return {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{name}", **more}


def daily(options):
    """Makes delivery streams, puts into them, changes, describes, lists and tags them."""
    firehose = client_of(options)
    seen = {}
    arn = firehose.create_delivery_stream(
        DeliveryStreamName="clicks",
        DeliveryStreamType="DirectPut",
        ExtendedS3DestinationConfiguration=bucket(
            "lake",
            Prefix="clicks/!{timestamp:yyyy}/",
            ErrorOutputPrefix="bad/",
            BufferingHints={"SizeInMBs": 1, "IntervalInSeconds": 1},
        ),
        Tags=[{"Key": "team", "Value": "a"}, {"Key": "stage", "Value": "b"}],
    )["DeliveryStreamARN"]
    one = firehose.put_record(DeliveryStreamName="clicks", Record={"Data": b"first\n"})
    many = firehose.put_record_batch(
        DeliveryStreamName="clicks", Records=[{"Data": b"%d\n" % n} for n in range(500)]
    )
    ids = {one["RecordId"], *(answer["RecordId"] for answer in many["RequestResponses"])}
    seen["put"] = [arn, len(ids), many["FailedPutCount"], one["Encrypted"]]
    described = firehose.describe_delivery_stream(DeliveryStreamName="clicks")
    described = described["DeliveryStreamDescription"]
    destination = described["Destinations"][0]
    extended = destination["ExtendedS3DestinationDescription"]
    seen["described"] = [
        described["DeliveryStreamStatus"], described["VersionId"], described["DeliveryStreamType"],
        described["CreateTimestamp"].year > 2020, destination["DestinationId"],
        extended["BufferingHints"], extended["CompressionFormat"], extended["BucketARN"],
        destination["S3DestinationDescription"]["Prefix"],
    ]
    update = {
        "DeliveryStreamName": "clicks",
        "DestinationId": destination["DestinationId"],
        "ExtendedS3DestinationUpdate": {"Prefix": "gz/", "CompressionFormat": "GZIP"},
    }
    firehose.update_destination(CurrentDeliveryStreamVersionId="1", **update)
    seen["stale"] = refusal(firehose.update_destination, CurrentDeliveryStreamVersionId="1", **update)
    described = firehose.describe_delivery_stream(DeliveryStreamName="clicks")
    described = described["DeliveryStreamDescription"]
    extended = described["Destinations"][0]["ExtendedS3DestinationDescription"]
    seen["updated"] = [
        described["VersionId"], extended["CompressionFormat"], extended["Prefix"],
        extended["BufferingHints"]["IntervalInSeconds"],
    ]
    for name in ["b", "c"]:
        firehose.create_delivery_stream(
            DeliveryStreamName=name, S3DestinationConfiguration=bucket("lake")
        )
    page = firehose.list_delivery_streams(Limit=2)
    rest = firehose.list_delivery_streams(
        ExclusiveStartDeliveryStreamName=page["DeliveryStreamNames"][-1], DeliveryStreamType="DirectPut"
    )
    seen["listed"] = [page, rest["DeliveryStreamNames"], rest["HasMoreDeliveryStreams"]]
    seen["listed"][0].pop("ResponseMetadata")
    firehose.tag_delivery_stream(DeliveryStreamName="clicks", Tags=[{"Key": "x"}])
    firehose.untag_delivery_stream(DeliveryStreamName="clicks", TagKeys=["team"])
    tags = firehose.list_tags_for_delivery_stream(DeliveryStreamName="clicks", Limit=1)
    seen["tags"] = [tags["Tags"], tags["HasMoreTags"]]
    # One of the configuration.
    firehose.put_record(DeliveryStreamName="declared", Record={"Data": b'{"by": "boto3"}'})
    seen["refused"] = refused(firehose)
    firehose.stop_delivery_stream_encryption(DeliveryStreamName="clicks")
    return seen


def refused(firehose):
    """What is refused, and how."""
    put, batch = firehose.put_record, firehose.put_record_batch
    create = firehose.create_delivery_stream
    extended = {"ExtendedS3DestinationConfiguration": bucket("lake")}
    endpoint = {"HttpEndpointDestinationConfiguration": {
        "EndpointConfiguration": {"Url": "https://example.com"},
        "S3Configuration": bucket("lake"),
    }}
    some = [{"Data": b"x"}]
    kms = {"KeyType": "AWS_OWNED_CMK"}
    return {
        "unknown": refusal(put, DeliveryStreamName="none", Record=some[0]),
        "exists": refusal(create, DeliveryStreamName="clicks", **extended),
        "declared": refusal(create, DeliveryStreamName="declared", **extended),
        "large": refusal(put, DeliveryStreamName="clicks", Record={"Data": b"x" * 1_024_001}),
        "largest": refusal(put, DeliveryStreamName="b", Record={"Data": b"x" * 1_024_000}),
        "many": refusal(batch, DeliveryStreamName="clicks", Records=some * 501),
        "heavy": refusal(batch, DeliveryStreamName="clicks", Records=[{"Data": b"x" * 1_000_000}] * 5),
        "name": refusal(put, DeliveryStreamName="a b", Record=some[0]),
        "endpoint": refusal(create, DeliveryStreamName="d", **endpoint),
        "interval": refusal(create, DeliveryStreamName="d", ExtendedS3DestinationConfiguration=bucket(
            "lake", BufferingHints={"SizeInMBs": 1, "IntervalInSeconds": 901})),
        "encryption": refusal(
            firehose.start_delivery_stream_encryption, DeliveryStreamName="clicks",
            DeliveryStreamEncryptionConfigurationInput=kms),
        "stream": refusal(create, DeliveryStreamName="d", DeliveryStreamType="KinesisStreamAsSource",
            **extended),
    }


def partitioned(options):
    """Dynamic partitioning, and Parquet, as programs ask for them."""
    firehose = client_of(options)
    processors = [
        {"Type": "MetadataExtraction", "Parameters": [
            {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{room: .room}"},
            {"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"},
        ]},
        {"Type": "AppendDelimiterToRecord", "Parameters": [
            {"ParameterName": "Delimiter", "ParameterValue": "\\n"},
        ]},
    ]
    firehose.create_delivery_stream(
        DeliveryStreamName="rooms",
        ExtendedS3DestinationConfiguration=bucket(
            "rooms",
            Prefix="room=!{partitionKeyFromQuery:room}/",
            ErrorOutputPrefix="errors/!{firehose:error-output-type}/",
            DynamicPartitioningConfiguration={"Enabled": True},
            ProcessingConfiguration={"Enabled": True, "Processors": processors},
        ),
    )
    schema = {"DatabaseName": "d", "TableName": "t", "RoleARN": ROLE}
    firehose.create_delivery_stream(
        DeliveryStreamName="tables",
        ExtendedS3DestinationConfiguration=bucket(
            "tables",
            DataFormatConversionConfiguration={
                "Enabled": True,
                "SchemaConfiguration": schema,
                "InputFormatConfiguration": {"Deserializer": {"OpenXJsonSerDe": {}}},
                "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {"Compression": "GZIP"}}},
            },
        ),
    )
    records = [b'{"room":"a","n":1}', b'{"room":"b","n":2.5}', b'{"room":"a","n":3}', b"{}"]
    answers = [
        firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": data} for data in records])
        for name in ["rooms", "tables"]
    ]
    return [answer["FailedPutCount"] for answer in answers]


def load(options):
    """Puts numbered records until it is stopped, and writes down the acknowledged ones."""
    run, number = uuid.uuid4().hex, 0
    firehose = client_of(options)
    with open(options.out, "a") as acknowledged:
        print(json.dumps({"ready": True}), flush=True)
        while True:
            ids = [f"{run}-{number + n}" for n in range(20)]
            number += 20
            records = [{"Data": json.dumps({"id": one}).encode() + b"\n"} for one in ids]
            try:
                answer = firehose.put_record_batch(DeliveryStreamName="load", Records=records)
            except (ClientError, EndpointConnectionError, ConnectionClosedError, HTTPClientError):
                continue
            for one, result in zip(ids, answer["RequestResponses"]):
                if "RecordId" in result:
                    acknowledged.write(one + "\n")
            acknowledged.flush()


def make(options):
    """Makes the delivery stream of the load."""
    client_of(options).create_delivery_stream(
        DeliveryStreamName="load",
        ExtendedS3DestinationConfiguration=bucket(
            "load", BufferingHints={"SizeInMBs": 1, "IntervalInSeconds": 1}
        ),
    )
    return {}


def delete(options):
    """Deletes a delivery stream, and says what becomes of puts then."""
    firehose = client_of(options)
    firehose.delete_delivery_stream(DeliveryStreamName="clicks")
    return refusal(firehose.put_record, DeliveryStreamName="clicks", Record={"Data": b"x"})


parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["daily", "partitioned", "load", "make", "delete"])
parser.add_argument("--endpoint", required=True)
parser.add_argument("--out")
arguments = parser.parse_args()
print(json.dumps(globals()[arguments.what](arguments)))
