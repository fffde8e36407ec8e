// lifion-kinesis: a consumer that shares a stream by leases in a DynamoDB table, against the gateway alone. Puts
// records, reads them in a first consumer, stops it, puts more, and has a second one go on. Prints what it saw as JSON.
const Kinesis = require("lifion-kinesis");
const { DynamoDB, Kinesis: Client } = require("aws-sdk");

const [endpoint] = process.argv.slice(2);
const account = { endpoint, region: "eu-central-1", accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };
const streamName = "shared";
const client = new Client(account);
const quiet = () => {};
const logger = { debug: quiet, warn: quiet, error: (...said) => console.error(...said) };

const put = (from, to) => client.putRecords({
  StreamName: streamName,
  Records: [...Array(to - from).keys()].map((n) => ({ PartitionKey: `k${n}`, Data: `${from + n}` })),
}).promise();

/** Reads until so many records have come, and a checkpoint behind them is stored. */
async function read(count) {
  const seen = [];
  const consumer = new Kinesis({
    ...account,
    streamName,
    consumerGroup: "group",
    dynamoDb: { ...account },
    initialPositionInStream: "TRIM_HORIZON",
    logger,
    noRecordsPollDelay: 250,
    pollDelay: 250,
    shouldParseJson: false,
    useAutoCheckpoints: true,
  });
  await new Promise((resolve, reject) => {
    consumer.on("data", ({ records }) => {
      seen.push(...records.map(({ data }) => Number(data.toString())));
      if (seen.length >= count) resolve();
    });
    consumer.on("error", reject);
    consumer.startConsumer().catch(reject);
  });
  await checkpointed();
  consumer.stopConsumer();
  return seen.sort((a, b) => a - b);
}

const table = new DynamoDB.DocumentClient(account);
const state = { TableName: "lifion-kinesis-state", Key: { consumerGroup: "group", streamName } };

/** Waits until the state says that each shard has been read. */
async function checkpointed() {
  for (;;) {
    const shards = Object.values((await table.get(state).promise()).Item.shards);
    if (shards.length === 2 && shards.every(({ checkpoint }) => checkpoint)) return;
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

/** Makes the state as it is when the consumer that has stopped was not heard of for minutes. */
async function elapse() {
  const { Item } = await table.get(state).promise();
  const past = new Date(0).toISOString();
  const set = (where, id, what) => table.update({
    ...state,
    UpdateExpression: "SET #where.#id.#what = :past",
    ExpressionAttributeNames: { "#where": where, "#id": id, "#what": what },
    ExpressionAttributeValues: { ":past": past },
  }).promise();
  for (const id of Object.keys(Item.consumers)) await set("consumers", id, "heartbeat");
  for (const id of Object.keys(Item.shards)) await set("shards", id, "leaseExpiration");
}

(async () => {
  await client.createStream({ StreamName: streamName, ShardCount: 2 }).promise();
  await put(0, 50);
  const first = await read(50);
  await elapse();
  await put(50, 80);
  const all = new Set(first);
  const second = await read(30);
  second.forEach((n) => all.add(n));
  console.log(JSON.stringify({ first: first.length, second: second.length, all: all.size }));
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
