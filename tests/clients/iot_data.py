"""Publishes through boto3's iot-data client and reads retained messages back, as an application does.

Prints one JSON object of what it saw. `--endpoint` is the only thing that is not Amazon's.
"""

import argparse
import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def refusal(call, **arguments):
    """The code and the status of the error that a call ends with."""
    try:
        call(**arguments)
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]]
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--cafile")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--count", type=int, default=3)
    options = parser.parse_args()
    client = boto3.client(
        "iot-data",
        endpoint_url=options.endpoint,
        region_name="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        verify=options.cafile,
        config=Config(
            retries={"max_attempts": 1},
            client_cert=(options.cert, options.key) if options.cert else None,
        ),
    )
    for n in range(options.count):
        client.publish(topic="plant/boto3/a b", qos=1, payload=json.dumps({"n": n}))
    client.publish(
        topic="plant/retained",
        qos=1,
        retain=True,
        payload=json.dumps({"n": -1}),
        contentType="application/json",
        responseTopic="plant/answers",
        messageExpiry=600,
        payloadFormatIndicator="UTF8_DATA",
        correlationData="AAEC",
        userProperties=json.dumps([{"deviceName": "alpha"}, {"deviceCnt": "45"}]),
    )
    retained = client.get_retained_message(topic="plant/retained")
    for n in range(3):
        client.publish(topic=f"page/{n}", qos=0, retain=True, payload=b"x")
    pages = client.get_paginator("list_retained_messages").paginate(PaginationConfig={"PageSize": 2})
    listed = [item for page in pages for item in page["retainedTopics"]]
    print(
        json.dumps(
            {
                "retained": {
                    "topic": retained["topic"],
                    "payload": retained["payload"].decode(),
                    "qos": retained["qos"],
                    "userProperties": json.loads(retained["userProperties"]),
                    "has_time": retained["lastModifiedTime"] > 1_600_000_000_000,
                },
                "listed": [[item["topic"], item["payloadSize"], item["qos"]] for item in listed],
                "refused": {
                    "wildcard": refusal(client.publish, topic="a/#", payload=b"x"),
                    "too_large": refusal(client.publish, topic="a", payload=b"x" * 300_000),
                    "reserved": refusal(client.publish, topic="$events/x", payload=b"x"),
                    "unknown": refusal(client.get_retained_message, topic="nothing"),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
