// The dashboard in Chromium, against a live gateway.
//
//   TIDEGATE_URL=http://127.0.0.1:8080 node --test dashboard.mjs
//
// The gateway needs a rule that hits on {"moteid":7,"temperature":31} published to `lab/+/telemetry`, and a stream. Messages are published
// with mosquitto_pub to the address that /api/overview names; TIDEGATE_PUBLISH replaces that with a shell command that
// finds $TOPIC and $PAYLOAD in its environment. TIDEGATE_RULES is the folder of the gateway's rule files, which it must watch; without
// it the tests that change rules are left out. CHROMIUM is the browser, /usr/bin/chromium unless set.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";

const url = new URL(process.env.TIDEGATE_URL ?? "http://127.0.0.1:8080").origin;
const PAYLOAD = '{"moteid":7,"temperature":31}';
const RULES = process.env.TIDEGATE_RULES;
/** A topic that any page which parses HTML would run. */
const HOSTILE_TOPIC = 'lab/<img src=x onerror="window.pwned=1">/telemetry';

let browser;
let context;
let page;
let complaints;

async function publish(topic, payload = PAYLOAD) {
  if (process.env.TIDEGATE_PUBLISH) {
    const env = { ...process.env, TOPIC: topic, PAYLOAD: payload };
    execFileSync("sh", ["-c", process.env.TIDEGATE_PUBLISH], { env, stdio: ["ignore", "ignore", "inherit"] });
    return;
  }
  const { mqtt } = await (await fetch(`${url}/api/overview`)).json();
  const [host, port] = [mqtt.slice(0, mqtt.lastIndexOf(":")), mqtt.slice(mqtt.lastIndexOf(":") + 1)];
  execFileSync("mosquitto_pub", [
    "-h",
    host.replace(/^\[|\]$/g, ""),
    "-p",
    port,
    "-q",
    "1",
    "-t",
    topic,
    "-m",
    payload,
  ]);
}

/** Opens the page and notes everything that a user would call broken. */
async function open(options = {}) {
  context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, ...options });
  page = await context.newPage();
  complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== url) complaints.push(`foreign request: ${request.url()}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`);
  });
  await page.goto(url);
  await page.locator('#link[data-state="live"]').waitFor();
  await page.locator("#rules tbody tr").first().waitFor();
}

async function overflow() {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

before(async () => {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic"],
  });
});
after(() => browser?.close());
beforeEach(() => open());
afterEach(() => context?.close());

test("the page loads, is live, and complains of nothing", async () => {
  assert.equal(await page.title(), "Tidegate");
  assert.match(await page.locator("#mqtt-address").textContent(), /:\d+$/);
  await page.locator("#totals .tile").nth(5).waitFor();
  await page.waitForFunction(() => document.querySelector("#uptime").textContent !== "–");
  const [card, list] = [
    await page.locator("#hits").boundingBox(),
    await page.locator("#hits-scroll").boundingBox(),
  ];
  assert.ok(list.y + list.height <= card.y + card.height, "the feed scrolls inside its card");
  assert.ok(
    Math.abs(card.height - (await page.locator(".left").boundingBox()).height) < 2,
    "both columns end together",
  );
  assert.deepEqual(complaints, []);
});

test("a hit is on the page within a second of its acknowledgement, and hostile text is text", async () => {
  await page.fill("#hits-text", HOSTILE_TOPIC);
  const before = await page.locator("#hits-list > li").count();
  await publish(HOSTILE_TOPIC);
  await page.waitForFunction((n) => document.querySelectorAll("#hits-list > li").length > n, before, {
    timeout: 1000,
    polling: 20,
  });
  const row = page.locator("#hits-list > li").first();
  assert.equal(await row.locator(".topic").textContent(), HOSTILE_TOPIC);
  await row.locator("button.hit").click();
  assert.equal(await row.locator("button.hit").getAttribute("aria-expanded"), "true");
  assert.match(await row.locator("pre").textContent(), /\d/);
  assert.match(await row.locator(".facts").textContent(), /UTC/);
  assert.equal(await page.locator("main img").count(), 0);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.deepEqual(complaints, []);
});

test("a paused feed holds what arrives, and goes on when resumed", async () => {
  const marker = `lab/paused-${Date.now()}/telemetry`;
  await page.fill("#hits-text", marker);
  await page.click("#hits-pause");
  await publish(marker);
  await page.locator("#hits-held").waitFor();
  assert.equal(await page.locator("#hits-list > li").count(), 0);
  await page.click("#hits-pause");
  await page.locator("#hits-list > li").first().waitFor();
  assert.equal(await page.locator("#hits-list > li .topic").first().textContent(), marker);
});

test("hits are filtered by rule and by event", async () => {
  await publish("lab/7/telemetry");
  await page.locator("#hits-list > li").first().waitFor();
  const rule = await page.locator("#hits-list .hit-rule").first().textContent();
  await page.selectOption("#hits-rule", rule);
  await page.waitForFunction(
    (name) =>
      [...document.querySelectorAll("#hits-list .hit-rule")].every((node) => node.textContent === name),
    rule,
  );
  await page.selectOption("#hits-event", "cleared");
  await page.waitForFunction(() =>
    [...document.querySelectorAll("#hits-list .event")].every((node) => node.textContent === "cleared"),
  );
  assert.deepEqual(complaints, []);
});

test("a rule opens by keyboard, shows its text, has an address, and closes", async () => {
  const first = page.locator("#rules .rule-name").first();
  const name = await first.textContent();
  await first.focus();
  await page.keyboard.press("Enter");
  await page.locator("dialog[open] pre.code").waitFor();
  await page.waitForFunction(() => /select/i.test(document.querySelector("dialog pre.code").textContent));
  assert.equal(await page.locator("#rule-detail-title").textContent(), name);
  const address = page.url();
  assert.ok(address.endsWith(`#rule/${encodeURIComponent(name)}`), address);
  await page.keyboard.press("Escape");
  await page.locator("dialog[open]").waitFor({ state: "detached" });
  // The address goes back in the dialog's close event; to go to the same one would change nothing.
  await page.waitForFunction(() => !location.hash.startsWith("#rule/"));
  await page.goto(address);
  await page.locator("dialog[open]").waitFor();
  assert.equal(await page.locator("#rule-detail-title").textContent(), name);
  assert.deepEqual(complaints, []);
});

test("a stream shows its newest records, text as text", async () => {
  await publish(HOSTILE_TOPIC);
  await page.locator("#streams button.name").first().click();
  await page.locator("#contents[open] .contents li").first().waitFor();
  assert.match(await page.locator("#contents h2").textContent(), /^Stream /);
  assert.equal(await page.locator("#contents img").count(), 0);
  await page.keyboard.press("Escape");
  await page.locator("#contents[open]").waitFor({ state: "detached" });
  assert.deepEqual(complaints, []);
});

test("the theme is automatic, light or dark, and is remembered", async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const seen = [];
  for (const name of ["light", "dark"]) {
    await page.click("#theme");
    assert.equal(await page.locator("html").getAttribute("data-theme"), name);
    seen.push(await ground());
  }
  assert.notEqual(seen[0], seen[1]);
  await page.reload();
  await page.locator('#link[data-state="live"]').waitFor();
  assert.equal(await ground(), seen[1]);
});

test("the chart is read out by pointer and by arrow keys, for minutes and for a day", async () => {
  const canvas = page.locator("#chart canvas");
  await canvas.hover();
  await page.locator("#chart .readout").waitFor();
  await page.click('[data-span="24h"]');
  await canvas.focus();
  await page.keyboard.press("ArrowLeft");
  assert.match(await page.locator("#chart .readout").textContent(), /\/s/);
  assert.deepEqual(complaints, []);
});

test("a client can be disconnected, after a question", async () => {
  const { mqtt } = await (await fetch(`${url}/api/overview`)).json();
  const [host, port] = [mqtt.slice(0, mqtt.lastIndexOf(":")), mqtt.slice(mqtt.lastIndexOf(":") + 1)];
  const id = `kicked-${Date.now()}`;
  const kicked = async () => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return Number(/connections_closed_total\{reason="kicked"\} (\d+)/.exec(text)?.[1] ?? 0);
  };
  const before = await kicked();
  const client = spawn("mosquitto_sub", ["-h", host.replace(/^\[|\]$/g, ""), "-p", port, "-i", id, "-t", "nothing"]);
  try {
    const button = page.locator(`#clients button[aria-label="Disconnect ${id}"]`);
    await button.waitFor();
    const row = page.locator("#clients li").filter({ has: page.locator(`[aria-label="Disconnect ${id}"]`) });
    assert.equal(await row.locator(".filters").textContent(), "subscribes to nothing");
    page.once("dialog", (dialog) => dialog.dismiss());
    await button.click();
    assert.equal(await kicked(), before, "not without a yes");
    const asked = new Promise((resolve) => page.once("dialog", (dialog) => resolve(dialog.message()) || dialog.accept()));
    const answered = page.waitForResponse((response) => response.request().method() === "DELETE");
    await button.click();
    assert.match(await asked, new RegExp(id));
    assert.equal((await answered).status(), 204);
    const deadline = Date.now() + 10_000;
    while ((await kicked()) !== before + 1) assert.ok(Date.now() < deadline, "it is cut");
  } finally {
    client.kill();
  }
  assert.deepEqual(complaints, []);
});

test("the shards of a stream are shown, and split and merged after a question", async () => {
  await page.locator("#streams button.act").first().click();
  const dialog = page.locator("#stream-detail");
  const rows = dialog.locator(".shards").first().locator("li");
  await rows.first().waitFor();
  const before = await rows.count();
  const answerOf = async (click, accept) => {
    page.once("dialog", (question) => (accept ? question.accept() : question.dismiss()));
    if (!accept) return click();
    const answered = page.waitForResponse((response) => response.request().method() === "POST");
    await click();
    return (await answered).status();
  };
  const split = () => rows.first().getByRole("button", { name: "Split" }).click();
  await answerOf(split, false);
  assert.equal(await rows.count(), before, "not without a yes");
  assert.equal(await answerOf(split, true), 200);
  await rows.nth(before).waitFor();
  assert.equal(await rows.count(), before + 1);
  for (const fact of ["In", "Out", "Throttled", "Readers", "Oldest", "Size"])
    assert.equal(await rows.first().locator("dt", { hasText: new RegExp(`^${fact}$`) }).count(), 1);
  const merge = () => rows.first().getByRole("button", { name: "Merge with next" }).click();
  assert.equal(await answerOf(merge, true), 200);
  await rows.nth(before).waitFor({ state: "detached" });
  assert.deepEqual(complaints, []);
  await dialog.locator("input").fill(String(before * 20));
  const set = () => dialog.getByRole("button", { name: "Set number of shards" }).click();
  assert.equal(await answerOf(set, true), 400);
  await dialog.locator(".problem", { hasText: "half to double" }).waitFor();
});

test("a phone sees everything without scrolling sideways", async () => {
  await context.close();
  await open({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  await page.locator("#clients .panel-body > *").first().waitFor();
  assert.equal(await overflow(), 0);
  await page.locator("#rules .rule-name").first().tap();
  await page.locator("dialog[open] pre.code").waitFor();
  assert.equal(await overflow(), 0);
  const dialog = await page.locator("dialog[open]").boundingBox();
  assert.equal(Math.round(dialog.width), 360);
  assert.deepEqual(complaints, []);
});

test("every control can be reached and named", async () => {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, select, input, a, [tabindex]")]
      .filter(
        (node) =>
          !node.closest("[hidden]") &&
          !(
            node.textContent.trim() ||
            node.getAttribute("aria-label") ||
            node.getAttribute("aria-labelledby")
          ),
      )
      .map((node) => node.outerHTML.slice(0, 120)),
  );
  assert.deepEqual(nameless, []);
  await page.keyboard.press("Tab");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, "none");
});

test("a broken connection is shown, and mended with nothing missing", async () => {
  const marker = `lab/away-${Date.now()}/telemetry`;
  await page.fill("#hits-text", marker);
  // The browser's own switch lets a running event stream go on, so a page that comes anew meets a dead feed.
  let dead = true;
  await page.route("**/api/events", (route) => (dead ? route.abort() : route.continue()));
  await page.reload();
  await page.fill("#hits-text", marker);
  await page.locator('#link[data-state="reconnecting"]').waitFor();
  await publish(marker);
  dead = false;
  await page.locator('#link[data-state="live"]').waitFor();
  await page.locator("#hits-list > li").first().waitFor();
  assert.equal(await page.locator("#hits-list .topic").first().textContent(), marker);
});

test("rules that are refused are told, and those that are loaded appear, without a reload of the page", {
  skip: RULES ? false : "TIDEGATE_RULES is not set",
}, async () => {
  const file = join(RULES, "dashboard.rule");
  const names = () => page.locator("#rules .rule-name").allTextContents();
  const appears = (name) => page.locator("#rules .rule-name", { hasText: name }).waitFor();
  const before = await names();
  try {
    writeFileSync(file, "CREATE RULE fresh AS SELECT lenght(x) FROM 'a/<b>' DO LOG;\n");
    await page.locator("#refused").waitFor();
    assert.equal(await page.locator("#refused-title").textContent(), "Rules on disk are not what runs: 1 error.");
    assert.match(await page.locator("#refused-text").textContent(), /the rules on disk have 1 error in \d files/);
    await page.locator("#refused summary").click();
    assert.match(await page.locator("#refused-report").textContent(), /dashboard\.rule:1:29/);
    assert.deepEqual(await names(), before, "what ran runs on");
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme });
      const [ink, ground] = await page.evaluate(() => {
        const style = getComputedStyle(document.querySelector("#refused"));
        return [getComputedStyle(document.querySelector("#refused-title")).color, style.backgroundColor];
      });
      assert.ok(contrast(ink, ground) >= 4.5, `${scheme}: ${ink} on ${ground}`);
    }
    await page.setViewportSize({ width: 360, height: 740 });
    assert.equal(await overflow(), 0);
    await page.setViewportSize({ width: 1440, height: 1000 });

    writeFileSync(file, "CREATE RULE fresh DESCRIPTION 'First' AS SELECT length(x) AS n FROM 'a/b' DO LOG;\n");
    await appears("fresh");
    assert.equal(await page.locator("#refused").isVisible(), false);
    writeFileSync(file, "CREATE RULE fresh DISABLED DESCRIPTION 'Second' AS SELECT * FROM 'a/b' DO LOG;\n");
    await page.locator("#rules .rule-name[title=Second]").waitFor();
    assert.equal(await page.locator("#rules tr", { hasText: "fresh" }).getAttribute("data-state"), "disabled");
    await page.locator("#hits-rule option[value=fresh]").waitFor({ state: "attached" });
  } finally {
    rmSync(file, { force: true });
  }
  await page.locator("#rules .rule-name", { hasText: "fresh" }).waitFor({ state: "detached" });
  assert.deepEqual(await names(), before);
  assert.deepEqual(complaints, []);
});

test("a rule is disabled by its button, after a question, counts nothing, and goes on when it is enabled", {
  skip: RULES ? false : "TIDEGATE_RULES is not set",
}, async () => {
  const file = join(RULES, "switched.rule");
  const topic = `switched/${Date.now()}`;
  const rule = async (name) => (await fetch(`${url}/api/rules/${name}`)).json();
  const counted = async () => [(await rule("switched")).matched, (await rule("beside")).matched];
  const row = page.locator("#rules tr", { hasText: "switched" });
  const pill = page.locator("dialog .pill");
  const button = page.locator("dialog .power");
  const answers = (verb) =>
    page.waitForResponse((response) => response.url().endsWith(`/api/rules/switched/${verb}`));
  const asked = (accepts) =>
    new Promise((resolve) =>
      page.once("dialog", (dialog) => resolve(dialog.message()) || (accepts ? dialog.accept() : dialog.dismiss())),
    );
  try {
    writeFileSync(
      file,
      `CREATE RULE switched AS SELECT n FROM '${topic}' WHEN n > 0 FOR 1 HOUR DO LOG;
       CREATE RULE beside AS SELECT n FROM '${topic}' DO LOG;\n`,
    );
    await page.locator("#rules .rule-name", { hasText: "switched" }).click();
    await page.locator("dialog[open] pre.code").waitFor();
    await publish(topic, '{"n":1}');
    assert.deepEqual(await counted(), [1, 1]);
    await page.locator("dialog .keys li").waitFor();

    let question = asked(false);
    await button.click();
    assert.match(await question, /Disable switched.*What it watches is ended/);
    assert.equal((await rule("switched")).state, "running", "not without a yes");
    let answered = answers("disable");
    question = asked(true);
    await button.click();
    await question;
    assert.equal((await answered).status(), 200);
    await page.locator('dialog .pill[data-state="disabled"]').waitFor();
    assert.equal(await pill.textContent(), "Disabled by hand");
    assert.equal(await button.textContent(), "Enable");
    await page.locator("dialog .keys li").waitFor({ state: "detached" });
    await page.locator('#rules tr[data-state="disabled"]', { hasText: "switched" }).waitFor();
    await publish(topic, '{"n":2}');
    assert.deepEqual(await counted(), [1, 2], "the other rule has seen the message, this one has not");

    for (const width of [1440, 360]) {
      await page.setViewportSize({ width, height: 740 });
      const [power, hits] = await page.locator("dialog .buttons button").evaluateAll((buttons) =>
        buttons.map((node) => node.getBoundingClientRect().toJSON()),
      );
      assert.ok(hits.left >= power.right + 4 || hits.top >= power.bottom + 4, `${width}: apart`);
      assert.ok(power.bottom < 740 && hits.right <= width, `${width}: in sight`);
      assert.equal(await overflow(), 0);
    }

    answered = answers("enable");
    question = asked(true);
    await button.click();
    assert.match(await question, /Enable switched/);
    assert.equal((await answered).status(), 200);
    await page.locator('dialog .pill[data-state="running"]').waitFor();
    await publish(topic, '{"n":3}');
    assert.deepEqual(await counted(), [2, 3], "it goes on");
    await page.waitForFunction(() => document.querySelector("dialog .counters dd").textContent === "2");
    await page.locator("dialog .close").click();
    assert.equal(await row.getAttribute("data-state"), "running");
  } finally {
    rmSync(file, { force: true });
  }
  await page.locator("#rules .rule-name", { hasText: "switched" }).waitFor({ state: "detached" });
  assert.deepEqual(complaints, []);
});

/** Contrast of two `rgb(…)` colours, as WCAG 2 counts it. */
function contrast(one, other) {
  const luminance = (colour) => {
    const [r, g, b] = colour
      .match(/[\d.]+/g)
      .slice(0, 3)
      .map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [light, dark] = [luminance(one), luminance(other)].toSorted((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}
