// The AWS SDK's client as the programs here use it: Amazon's in everything but the endpoint of the command line.
import { KinesisClient } from "@aws-sdk/client-kinesis";

const [endpoint] = process.argv.slice(2);
export const client = new KinesisClient({
  endpoint,
  region: "eu-central-1",
  credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "secret" },
  maxAttempts: 1,
});
