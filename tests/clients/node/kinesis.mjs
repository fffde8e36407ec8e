// The AWS SDK for JavaScript, whose Kinesis client begins with HTTP/2 without TLS. Prints what it saw as JSON.
import {
  CreateStreamCommand, GetRecordsCommand, GetShardIteratorCommand, ListShardsCommand,
  PutRecordsCommand, DescribeStreamCommand,
} from "@aws-sdk/client-kinesis";
import { client } from "./client.mjs";

const StreamName = "node";
await client.send(new CreateStreamCommand({ StreamName, ShardCount: 2 }));
const Records = [...Array(50).keys()].map((n) => ({ PartitionKey: `k${n}`, Data: Buffer.from(`${n}`) }));
const puts = await Promise.all(
  [0, 1, 2, 3].map(() => client.send(new PutRecordsCommand({ StreamName, Records }))),
);
const { Shards } = await client.send(new ListShardsCommand({ StreamName }));
let read = 0;
for (const { ShardId } of Shards) {
  const { ShardIterator } = await client.send(
    new GetShardIteratorCommand({ StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" }),
  );
  const page = await client.send(new GetRecordsCommand({ ShardIterator }));
  read += page.Records.length;
}
const refused = await client.send(new DescribeStreamCommand({ StreamName: "none" })).catch((error) => error.name);
console.log(JSON.stringify({
  failed: puts.map((put) => put.FailedRecordCount),
  read,
  refused,
  handler: client.config.requestHandler.constructor.name,
}));
client.destroy();
