"""Speaks the wire of Kinesis by hand where boto3 does not: CBOR, gzip, chunks, and requests that are wrong.

Prints one JSON object of what it saw.
"""

import argparse
import datetime
import gzip
import http.client
import json
import urllib.parse

import cbor2

JSON = "application/x-amz-json-1.1"
CBOR = "application/x-amz-cbor-1.1"


class Wire:
    def __init__(self, endpoint):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(endpoint).netloc)

    def send(self, operation, body, content_type=JSON, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["X-Amz-Target"] = f"Kinesis_20131202.{operation}"
        if content_type:
            headers["Content-Type"] = content_type
        chunks = "Transfer-Encoding" in headers
        self.connection.request("POST", "/", body, headers, encode_chunked=chunks)
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def cbor(self, operation, request):
        status, headers, body = self.send(operation, cbor2.dumps(request), CBOR)
        assert headers["Content-Type"] == CBOR, headers
        return status, cbor2.loads(body) if body else None

    def wrong(self, operation, body, content_type=JSON, **headers):
        status, headers, body = self.send(operation, body, content_type, **headers)
        said = json.loads(body)
        assert headers["x-amzn-ErrorType"] == said["__type"] and headers["x-amzn-RequestId"]
        return [status, said["__type"], said.get("message", "")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True)
    wire = Wire(parser.parse_args().endpoint)
    seen = {}
    seen["created"] = wire.cbor("CreateStream", {"StreamName": "cbor", "ShardCount": 1})
    _, put = wire.cbor("PutRecord", {"StreamName": "cbor", "PartitionKey": "k", "Data": b"\x00\xff"})
    # An indefinite map, as the Java SDK writes it, with a tagged time.
    at = int(datetime.datetime.now().timestamp() * 1000) - 60_000
    asked = b"\xbf" + b"".join(
        cbor2.dumps(part)
        for part in [
            "StreamName", "cbor", "ShardId", put["ShardId"], "ShardIteratorType", "AT_TIMESTAMP",
            "Timestamp", cbor2.CBORTag(1, at),
        ]
    ) + b"\xff"
    status, _, body = wire.send("GetShardIterator", asked, CBOR)
    assert status == 200, body
    iterator = cbor2.loads(body)["ShardIterator"]
    status, _, body = wire.send("GetRecords", cbor2.dumps({"ShardIterator": iterator}), CBOR)
    # A time is a tagged number of milliseconds, which Java reads and Python takes for seconds.
    loaded = cbor2.loads(body.replace(b"\xc1\x1b", b"\x1b"))
    record = loaded["Records"][0]
    seen["record"] = [record["Data"].hex(), record["PartitionKey"], record["SequenceNumber"] == put["SequenceNumber"]]
    seen["time"] = abs(record["ApproximateArrivalTimestamp"] - (at + 60_000)) < 60_000
    status, said = wire.cbor("DescribeStream", {"StreamName": "none"})
    seen["cbor_error"] = [status, said["__type"]]
    seen["cbor_broken"] = wire.cbor("DescribeStream", 5)[1]["__type"]
    packed = gzip.compress(json.dumps({"StreamName": "cbor"}).encode())
    status, _, body = wire.send("DescribeStreamSummary", packed, Content_Encoding="gzip")
    seen["gzip"] = json.loads(body)["StreamDescriptionSummary"]["OpenShardCount"]
    chunks = [b'{"Stream', b'Name":"cbor"}']
    status, _, body = wire.send("DescribeStreamSummary", chunks, Transfer_Encoding="chunked")
    seen["chunks"] = status
    seen["wrong"] = {
        "operation": wire.wrong("None", "{}"),
        "content_type": wire.wrong("ListStreams", "{}", "text/plain")[:2],
        "syntax": wire.wrong("ListStreams", "{"),
        "list": wire.wrong("ListStreams", "[null, null, null]"),
        "entry": wire.wrong("PutRecords", '{"StreamName":"kept","Records":[["AA==","k",null]]}'),
        "filter": wire.wrong("ListShards", '{"StreamName":"kept","ShardFilter":["AT_LATEST",null,null]}'),
        "empty": wire.wrong("ListStreams", ""),
        "type": wire.wrong("DescribeStream", '{"StreamName":5}'),
        "base64": wire.wrong("PutRecord", '{"StreamName":"cbor","PartitionKey":"k","Data":"AAE"}')[:2],
        "required": wire.wrong("PutRecord", '{"StreamName":"cbor"}'),
        "name": wire.wrong("DescribeStream", '{"StreamName":"a b"}'),
        "hash_key": wire.wrong(
            "PutRecord",
            '{"StreamName":"cbor","PartitionKey":"k","Data":"","ExplicitHashKey":"340282366920938463463374607431768211456"}',
        )[:2],
        "iterator_type": wire.wrong(
            "GetShardIterator", '{"StreamName":"cbor","ShardId":"0","ShardIteratorType":"SOON"}'
        ),
        "limit": wire.wrong("GetRecords", json.dumps({"ShardIterator": iterator, "Limit": 0}))[1:],
        "records": wire.wrong(
            "PutRecords", json.dumps({"StreamName": "cbor", "Records": [{"PartitionKey": "k", "Data": ""}] * 501})
        ),
        "batch": wire.wrong(
            "PutRecords",
            json.dumps({"StreamName": "cbor", "Records": [{"PartitionKey": "k", "Data": "A" * 1_000_000}] * 14}),
        )[1:],
        "gzip": wire.wrong("ListStreams", b"x", Content_Encoding="gzip"),
        "bomb": wire.wrong("ListStreams", gzip.compress(b" " * 40_000_000), Content_Encoding="gzip")[:2],
        "origin": wire.send("ListStreams", "{}", Origin="http://elsewhere.example")[0],
    }
    wire.connection.close()
    too_large = Wire(parser.parse_args().endpoint)
    seen["wrong"]["body"] = too_large.wrong("ListStreams", b" " * (17 << 20))[:2]
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
