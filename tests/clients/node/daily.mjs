// The daily path of a device, with MQTT.js: what every client does, in both versions of MQTT.
//
// node daily.mjs --url mqtt://HOST:PORT [--ca FILE --cert FILE --key FILE --user NAME --password WORD]
//
// Connects (mqtt, mqtts, ws, wss) and goes through publish and subscribe with each QoS, retained
// messages, wills, shared subscriptions, a session that is resumed, request and response. Prints a line
// for each step, and "daily path: done" at the end; a step that fails ends it with an error.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import mqtt from "mqtt";

const PATIENCE = 20_000;
const names = ["url", "ca", "cert", "key", "user", "password"];
const { values } = parseArgs({
  options: Object.fromEntries(names.map((name) => [name, { type: "string" }])),
});
const read = (file) => (file ? readFileSync(file) : undefined);
const login = {
  ca: read(values.ca),
  cert: read(values.cert),
  key: read(values.key),
  username: values.user,
  password: values.password,
};

function within(what, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not in time: ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

class Device {
  #heard = [];
  #waiting = [];

  static async connect(version, clientId, { lasting = false, will } = {}) {
    const device = new Device();
    device.client = mqtt.connect(values.url, {
      ...login,
      clientId,
      will,
      protocolVersion: version,
      clean: !lasting,
      reconnectPeriod: 0,
      properties: version === 5 ? { sessionExpiryInterval: lasting ? 60 : 0 } : undefined,
    });
    device.client.on("message", (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain, packet };
      const waiting = device.#waiting.shift();
      waiting ? waiting(message) : device.#heard.push(message);
    });
    const connack = await within("CONNACK", new Promise((done, fail) => {
      device.client.once("connect", done);
      device.client.once("error", fail);
    }));
    device.hadSession = connack.sessionPresent;
    return device;
  }

  async subscribe(topic, qos, options = {}) {
    const granted = await within("SUBACK", this.client.subscribeAsync(topic, { qos, ...options }));
    assert.deepEqual(granted.map((one) => one.qos), [qos]);
  }

  publish(topic, payload, qos, options = {}) {
    return within(`${topic} is acknowledged`, this.client.publishAsync(topic, payload, { qos, ...options }));
  }

  next() {
    const message = this.#heard.shift();
    return within("a message", message ? Promise.resolve(message) : new Promise((done) => this.#waiting.push(done)));
  }

  async hears(topic, payload, qos, retain = false) {
    const { packet, ...message } = await this.next();
    assert.deepEqual(message, { topic, payload, qos, retain });
    return packet.properties ?? {};
  }

  leave() {
    return within("the end", this.client.endAsync());
  }

  vanish() {
    this.client.stream.destroy();
  }
}

async function daily(version) {
  const word = version === 5 ? "5" : "3.1.1";
  const base = `daily/${randomUUID().slice(0, 8)}`;
  const name = base.replace("/", "-");
  const say = (step) => console.log(`MQTT ${word}: ${step}`);
  const connect = (role, options) => Device.connect(version, `${name}-${role}`, options);

  const sender = await connect("sender");
  const listener = await connect("listener");
  assert.ok(!sender.hadSession && !listener.hadSession);
  say("connected");

  for (const qos of [0, 1, 2]) {
    await listener.subscribe(`${base}/qos/${qos}`, qos);
    for (const sent of [0, 1, 2]) {
      await sender.publish(`${base}/qos/${qos}`, `${qos} ${sent}`, sent);
      await listener.hears(`${base}/qos/${qos}`, `${qos} ${sent}`, Math.min(qos, sent));
    }
  }
  say("published and subscribed with QoS 0, 1 and 2");

  await sender.publish(`${base}/kept`, "kept", 1, { retain: true });
  await listener.subscribe(`${base}/kept`, 1);
  await listener.hears(`${base}/kept`, "kept", 1, true);
  await sender.publish(`${base}/kept`, "", 1, { retain: true });
  await listener.hears(`${base}/kept`, "", 1);
  say("retained a message, and removed it");

  await listener.subscribe(`${base}/will`, 1);
  const will = { topic: `${base}/will`, payload: "gone", qos: 1, retain: false };
  (await connect("mortal", { will })).vanish();
  await listener.hears(`${base}/will`, "gone", 1);
  say("left a will");

  const members = [await connect("member-0"), await connect("member-1")];
  for (const member of members) await member.subscribe(`$share/crew/${base}/work`, 1);
  const all = Array.from({ length: 10 }, (_, n) => `${n}`);
  for (const payload of all) await sender.publish(`${base}/work`, payload, 1);
  const shares = [];
  for (const member of members) {
    for (let n = 0; n < 5; n++) shares.push((await member.next()).payload);
    await member.leave();
  }
  assert.deepEqual(shares.sort(), all);
  say("shared a subscription");

  let sleeper = await connect("sleeper", { lasting: true });
  assert.ok(!sleeper.hadSession);
  await sleeper.subscribe(`${base}/sleep`, 2);
  await sleeper.leave();
  for (const qos of [1, 2]) await sender.publish(`${base}/sleep`, "while you slept", qos);
  sleeper = await connect("sleeper", { lasting: true });
  assert.ok(sleeper.hadSession, "the session is there");
  for (const qos of [1, 2]) await sleeper.hears(`${base}/sleep`, "while you slept", qos);
  await sleeper.leave();
  say("resumed a session");

  if (version === 5) {
    await sender.subscribe(`${base}/answers`, 1, { nl: true });
    await listener.subscribe(`${base}/questions`, 1);
    const correlationData = Buffer.from([0, 255, 55]);
    const properties = { responseTopic: `${base}/answers`, correlationData, userProperties: { b: ["1", "2"] } };
    await sender.publish(`${base}/questions`, "how warm?", 1, { properties });
    const asked = await listener.hears(`${base}/questions`, "how warm?", 1);
    assert.deepEqual({ ...asked.userProperties }, { b: ["1", "2"] });
    const answer = { correlationData: asked.correlationData };
    await listener.publish(asked.responseTopic, "21.5", 1, { properties: answer });
    const told = await sender.hears(`${base}/answers`, "21.5", 1);
    assert.deepEqual(told.correlationData, correlationData);
    say("asked and was answered");
  }

  await sender.leave();
  await listener.leave();
  say("took leave");
}

for (const version of [4, 5]) await daily(version);
console.log("daily path: done");
