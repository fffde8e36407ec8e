// Subscribes, publishes numbered messages with QoS 1, and waits until each is acknowledged and has come
// back, in order. Prints {"acknowledged", "received"}; exit code 1 when something was different.
//
//   node round_trip.mjs URL TOPIC COUNT [CAFILE [CERT KEY]]

import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const [url, topic, count, ca, cert, key] = process.argv.slice(2);
const file = (path) => (path ? readFileSync(path) : undefined);
const client = await mqtt.connectAsync(url, {
  clientId: `mqttjs-${process.pid}`,
  protocolVersion: 5,
  reconnectPeriod: 0,
  ca: file(ca),
  cert: file(cert),
  key: file(key),
});
const received = [];
const wanted = Number(count);
const all = new Promise((resolve, reject) => {
  client.on("close", () => reject(new Error("the connection was closed")));
  client.on("message", (_topic, payload) => {
    received.push(JSON.parse(payload).n);
    if (received.length === wanted) resolve();
  });
});
await client.subscribeAsync(topic, { qos: 1 });
const acknowledged = await Promise.all(
  Array.from({ length: wanted }, (_, n) =>
    client.publishAsync(topic, JSON.stringify({ n, text: "x".repeat(n % 700) }), { qos: 1 }),
  ),
);
await all;
client.removeAllListeners("close");
await client.endAsync();
const inOrder = received.every((n, i) => n === i);
console.log(JSON.stringify({ acknowledged: acknowledged.length, received: received.length }));
process.exit(inOrder ? 0 : 1);
