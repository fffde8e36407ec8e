// lifion-kinesis as a registered consumer that is pushed records. It signs by aws4, which puts Amazon's host into each
// subscription whatever the endpoint is; so that name is this machine here, as a line of /etc/hosts would have it, and the
// gateway knows it by `http.hosts`. Prints what it was pushed as JSON.
const dns = require("dns");

const lookup = dns.lookup;
dns.lookup = (name, ...rest) => lookup(name.endsWith(".amazonaws.com") ? "127.0.0.1" : name, ...rest);

const { Parser, parse } = require("lifion-aws-event-stream");
const Kinesis = require("lifion-kinesis");
const { Kinesis: Client } = require("aws-sdk");

// Its parser takes one message out of what the socket gives at once, and loses its place when there are two.
Parser.prototype._transform = function transform(chunk, encoding, callback) {
  this.dataBuffer = Buffer.concat([this.dataBuffer, chunk]);
  while (this.dataBuffer.length >= 4 && this.dataBuffer.length >= this.dataBuffer.readUInt32BE(0)) {
    const length = this.dataBuffer.readUInt32BE(0);
    this.push(parse(this.dataBuffer.subarray(0, length)));
    this.dataBuffer = this.dataBuffer.subarray(length);
  }
  callback();
};

const [endpoint] = process.argv.slice(2);
const account = { endpoint, region: "eu-central-1", accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" };
const streamName = "pushed";
const client = new Client(account);
const put = (n) => client.putRecord({ StreamName: streamName, PartitionKey: "k", Data: `${n}` }).promise();

(async () => {
  await client.createStream({ StreamName: streamName, ShardCount: 1 }).promise();
  await put(0);
  const consumer = new Kinesis({
    ...account,
    streamName,
    consumerGroup: "group",
    dynamoDb: { ...account },
    initialPositionInStream: "TRIM_HORIZON",
    shouldParseJson: false,
    useEnhancedFanOut: true,
  });
  const seen = [];
  consumer.on("data", ({ records }) => {
    seen.push(...records.map(({ data }) => Number(data.toString())));
    // One at a time: each is pushed while the answer goes on.
    if (seen.length < 6) put(seen.length);
    else {
      console.log(JSON.stringify(seen));
      process.exit(0);
    }
  });
  consumer.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
  await consumer.startConsumer();
})();
