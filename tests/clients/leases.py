"""Uses boto3's dynamodb and cloudwatch clients as consumers of streams do, and prints one JSON object of what it saw.

`--endpoint` is the only thing that is not Amazon's. What it does is one of the functions below, by its name.
"""

import argparse
import json
import threading

import boto3
from botocore.config import Config

from kinesis import refusal

LEASE = {"leaseKey": {"S": "shardId-000000000000"}}


def client_of(options, service="dynamodb"):
    return boto3.client(
        service,
        endpoint_url=options.endpoint,
        region_name="eu-central-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"max_attempts": 1}, max_pool_connections=16),
    )


def make(dynamo, name="app"):
    dynamo.create_table(
        TableName=name,
        AttributeDefinitions=[
            {"AttributeName": "leaseKey", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=[{"Key": "app", "Value": "test"}],
    )
    dynamo.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1})


def kcl(options):
    """What KCL does: its table, leases by legacy conditions and by expressions, an index on the owner."""
    dynamo = client_of(options)
    absent = refusal(dynamo.describe_table, TableName="app")
    make(dynamo)
    twice = refusal(lambda: make(dynamo))
    # KCL 1 and 2: legacy parameters.
    lease = {**LEASE, "leaseCounter": {"N": "0"}, "checkpoint": {"S": "TRIM_HORIZON"}}
    new = {"leaseKey": {"Exists": False}}
    dynamo.put_item(TableName="app", Item=lease, Expected=new)
    second = refusal(dynamo.put_item, TableName="app", Item=lease, Expected=new)
    take = dict(
        TableName="app",
        Key=LEASE,
        AttributeUpdates={
            "leaseOwner": {"Value": {"S": "worker-1"}, "Action": "PUT"},
            "leaseCounter": {"Value": {"N": "1"}, "Action": "PUT"},
            "pendingCheckpoint": {"Action": "DELETE"},
        },
        Expected={"leaseCounter": {"Value": {"N": "0"}}, "leaseOwner": {"Exists": False}},
        ReturnValues="ALL_NEW",
    )
    taken = dynamo.update_item(**take)["Attributes"]
    lost = refusal(dynamo.update_item, **take)
    # KCL 3: an index that is made later, and expressions.
    dynamo.update_table(
        TableName="app",
        AttributeDefinitions=[
            {"AttributeName": "leaseOwner", "AttributeType": "S"},
            {"AttributeName": "leaseKey", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexUpdates=[
            {
                "Create": {
                    "IndexName": "LeaseOwnerToLeaseKeyIndex",
                    "KeySchema": [
                        {"AttributeName": "leaseOwner", "KeyType": "HASH"},
                        {"AttributeName": "leaseKey", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            }
        ],
    )
    dynamo.update_item(
        TableName="app",
        Key=LEASE,
        UpdateExpression="SET checkpoint = :c ADD ownerSwitches :one",
        ConditionExpression="leaseOwner = :me AND attribute_exists(leaseKey)",
        ExpressionAttributeValues={":c": {"S": "123"}, ":one": {"N": "1"}, ":me": {"S": "worker-1"}},
    )
    for n in range(1, 7):
        item = {"leaseKey": {"S": f"shardId-{n:012}"}, "leaseOwner": {"S": f"worker-{n % 2}"}}
        dynamo.put_item(TableName="app", Item=item)
    mine = dynamo.query(
        TableName="app",
        IndexName="LeaseOwnerToLeaseKeyIndex",
        KeyConditionExpression="leaseOwner = :me",
        ExpressionAttributeValues={":me": {"S": "worker-1"}},
    )
    pages = dynamo.get_paginator("scan").paginate(TableName="app", PaginationConfig={"PageSize": 2})
    scanned = [item["leaseKey"]["S"] for page in pages for item in page["Items"]]
    parts = [
        item["leaseKey"]["S"]
        for segment in range(3)
        for item in dynamo.scan(TableName="app", Segment=segment, TotalSegments=3)["Items"]
    ]
    dynamo.batch_write_item(
        RequestItems={
            "app": [{"DeleteRequest": {"Key": {"leaseKey": {"S": f"shardId-{n:012}"}}}} for n in range(2, 7)]
        }
    )
    dynamo.update_time_to_live(
        TableName="app", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    described = dynamo.describe_table(TableName="app")["Table"]
    gone = dynamo.delete_item(
        TableName="app", Key=LEASE, Expected={"leaseOwner": {"Value": {"S": "worker-1"}}}, ReturnValues="ALL_OLD"
    )
    return {
        "absent": absent,
        "twice": twice[:2],
        "second": second,
        "taken": [taken["leaseOwner"]["S"], taken["leaseCounter"]["N"]],
        "lost": lost[:2],
        "mine": [item["leaseKey"]["S"][-1] for item in mine["Items"]],
        "scanned": [len(scanned), len(set(scanned)), sorted(parts) == sorted(scanned)],
        "table": [described["TableStatus"], described["ItemCount"], described["KeySchema"]],
        "index": described["GlobalSecondaryIndexes"][0]["IndexStatus"],
        "tags": dynamo.list_tags_of_resource(ResourceArn=described["TableArn"])["Tags"],
        "expires": dynamo.describe_time_to_live(TableName="app")["TimeToLiveDescription"]["TimeToLiveStatus"],
        "gone": [gone["Attributes"]["checkpoint"]["S"], gone["Attributes"]["ownerSwitches"]["N"]],
        "after": dynamo.get_item(TableName="app", Key=LEASE, ConsistentRead=True).get("Item"),
        "tables": dynamo.list_tables()["TableNames"],
        "refused": {
            "key": refusal(dynamo.get_item, TableName="app", Key={"other": {"S": "x"}}),
            "expression": refusal(
                dynamo.update_item, TableName="app", Key=LEASE, UpdateExpression="SET checkpoint"
            ),
            "unused": refusal(
                dynamo.update_item,
                TableName="app",
                Key=LEASE,
                UpdateExpression="REMOVE checkpoint",
                ExpressionAttributeValues={":x": {"S": "x"}},
            )[:2],
        },
    }


def race(options):
    """Eight workers that all count one lease up under a condition: each number is given once."""
    dynamo = client_of(options)
    make(dynamo)
    dynamo.put_item(TableName="app", Item={**LEASE, "leaseCounter": {"N": "0"}})
    won, lock = [], threading.Lock()

    def work(name):
        done = 0
        while done < 10:
            counter = dynamo.get_item(TableName="app", Key=LEASE)["Item"]["leaseCounter"]["N"]
            try:
                dynamo.update_item(
                    TableName="app",
                    Key=LEASE,
                    UpdateExpression="SET leaseCounter = leaseCounter + :one, leaseOwner = :me",
                    ConditionExpression="leaseCounter = :seen",
                    ExpressionAttributeValues={
                        ":one": {"N": "1"}, ":seen": {"N": counter}, ":me": {"S": name}
                    },
                )
            except dynamo.exceptions.ConditionalCheckFailedException:
                continue
            done += 1
            with lock:
                won.append(int(counter))

    workers = [threading.Thread(target=work, args=(f"worker-{n}",)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"won": sorted(won) == list(range(80))}


def kept(options):
    """What is in the table after a kill."""
    dynamo = client_of(options)
    item = dynamo.get_item(TableName="app", Key=LEASE)["Item"]
    return {"counter": item["leaseCounter"]["N"]}


def metrics(options):
    """Sends metrics as the SDK does."""
    cloudwatch = client_of(options, "cloudwatch")
    datum = {"MetricName": "RecordsProcessed", "Value": 5.0, "Unit": "Count"}
    answer = cloudwatch.put_metric_data(Namespace="app", MetricData=[datum] * 3)
    # So large that it is packed.
    cloudwatch.put_metric_data(
        Namespace="app", MetricData=[{**datum, "Dimensions": [{"Name": "Shard", "Value": f"{n}"}]} for n in range(500)]
    )
    return {"status": answer["ResponseMetadata"]["HTTPStatusCode"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what")
    parser.add_argument("--endpoint", required=True)
    options = parser.parse_args()
    print(json.dumps(globals()[options.what](options)))


if __name__ == "__main__":
    main()
