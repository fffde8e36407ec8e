// A registered consumer with the AWS SDK for JavaScript, which subscribes over HTTP/2. Prints what it saw as JSON.
import {
  CreateStreamCommand, DescribeStreamSummaryCommand, PutRecordCommand,
  RegisterStreamConsumerCommand, SubscribeToShardCommand,
} from "@aws-sdk/client-kinesis";
import { client } from "./client.mjs";

const StreamName = "pushed";
await client.send(new CreateStreamCommand({ StreamName, ShardCount: 1 }));
const { StreamDescriptionSummary } = await client.send(new DescribeStreamSummaryCommand({ StreamName }));
const { Consumer } = await client.send(
  new RegisterStreamConsumerCommand({ StreamARN: StreamDescriptionSummary.StreamARN, ConsumerName: "node" }),
);
const put = (n) =>
  client.send(new PutRecordCommand({ StreamName, PartitionKey: "k", Data: Buffer.from(`${n}`) }));
await put(0);
const { EventStream } = await client.send(
  new SubscribeToShardCommand({
    ConsumerARN: Consumer.ConsumerARN,
    ShardId: "shardId-000000000000",
    StartingPosition: { Type: "TRIM_HORIZON" },
  }),
);
const data = [];
let event;
for await (const { SubscribeToShardEvent } of EventStream) {
  event = SubscribeToShardEvent;
  for (const record of event.Records) {
    data.push(Buffer.from(record.Data).toString());
    // One at a time: each is pushed while the answer goes on.
    if (data.length < 5) await put(data.length);
  }
  if (data.length === 5) break;
}
const again = await client.send(
  new SubscribeToShardCommand({
    ConsumerARN: Consumer.ConsumerARN.replace("consumer/node:", "consumer/none:"),
    ShardId: "shardId-000000000000",
    StartingPosition: { Type: "LATEST" },
  }),
).catch((error) => error.name);
console.log(JSON.stringify({
  data,
  goesOn: /^\d+$/.test(event.ContinuationSequenceNumber),
  behind: event.MillisBehindLatest,
  arrived: event.Records[0].ApproximateArrivalTimestamp instanceof Date,
  refused: again,
  handler: client.config.requestHandler.constructor.name,
}));
client.destroy();
// The answer that goes on would keep the process for as long as it lasts.
process.exit(0);
