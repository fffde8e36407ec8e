// Starts the page and joins its parts: one live connection, one clock, one state of the rules.
import { get } from "./api.js";
import { Chart } from "./chart.js";
import { Hits } from "./hits.js";
import { connect } from "./live.js";
import { Header, RuleSet, Totals } from "./overview.js";
import { RuleDetail } from "./rule_detail.js";
import { Rules } from "./rules.js";
import { Palette, Series } from "./series.js";
import { startPanels } from "./targets.js";

const SECONDS = 300;
const MINUTES = 24 * 60;
const DAY_REFRESH_MS = 30_000;
const COUNTDOWN_MS = 200;

/** How far the gateway's clock is ahead of this device's. */
let clockAhead = 0;
let overview = null;
let startedAt = null;
let resyncing = false;

const now = () => Date.now() + clockAhead;
const palette = new Palette();
const seconds = new Series(1000, SECONDS);
const minutes = new Series(60_000, MINUTES);
const header = new Header();
const ruleSet = new RuleSet();
const totals = new Totals(document.getElementById("totals"));
const detail = new RuleDetail(document.getElementById("rule-detail"), now);
const openRule = (name) => detail.open(name);
const chart = new Chart(
  document.getElementById("chart"),
  document.getElementById("legend"),
  palette,
  openRule,
);
const rules = new Rules(document.getElementById("rules-body"), openRule);
const hits = new Hits(palette, firstMessage);
const refreshPanels = startPanels(now, mqttOptions);

/** `-h 127.0.0.1 -p 1883`, from the address on the `ready:` line. */
function mqttOptions() {
  const address = overview?.mqtt ?? "127.0.0.1:1883";
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at).replace(/^\[|\]$/g, "");
  const reachable = host === "0.0.0.0" || host === "::" ? location.hostname : host;
  return `-h ${reachable} -p ${address.slice(at + 1)}`;
}

/** A line for the shell that reaches the first rule that runs. */
function firstMessage() {
  const filter =
    rules.all.find((rule) => rule.state !== "disabled" && rule.topics.length > 0)?.topics[0] ??
    "lab/7/telemetry";
  const topic = filter
    .replace(/^\$share\/[^/]+\//, "")
    .replaceAll("+", "7")
    .replace("#", "telemetry");
  const quoted = `'${topic.replaceAll("'", `'\\''`)}'`;
  return `mosquitto_pub -q 1 ${mqttOptions()} \\\n  -t ${quoted} \\\n  -m '{"moteid":7,"temperature":31}'`;
}

/** Fetches everything that is not repeated by the live connection. */
async function resync() {
  if (resyncing) return;
  resyncing = true;
  try {
    const [newOverview, ruleList, series] = await Promise.all([
      get("/api/overview"),
      get("/api/rules"),
      get("/api/series?span=5m"),
    ]);
    overview = newOverview;
    clockAhead = overview.now - Date.now();
    if (startedAt !== null && startedAt !== overview.started_at) {
      seconds.clear();
      minutes.clear();
    }
    startedAt = overview.started_at;
    header.show(overview);
    ruleSet.show(overview.rule_set);
    rules.replace(ruleList.rules, overview);
    hits.rules(ruleList.rules.map((rule) => rule.name));
    seconds.merge(series);
    draw();
    await hits.catchUp();
    draw();
    refreshPanels();
    if (
      minutes.end === 0 &&
      document.querySelector('[data-span="24h"]').getAttribute("aria-pressed") === "true"
    )
      refreshDay();
  } catch {
    // The live connection says that the gateway cannot be reached, and calls again when it can.
  } finally {
    resyncing = false;
  }
}

function draw() {
  chart.draw();
  rules.draw(now(), seconds, palette);
  if (overview) totals.show(overview.totals, seconds, rules.all);
  header.tick(now());
}

async function refreshDay() {
  try {
    minutes.merge(await get("/api/series?span=24h"));
    chart.draw();
  } catch {
    // Tried again with the next turn.
  }
}

for (const button of document.querySelectorAll("[data-span]")) {
  button.addEventListener("click", () => {
    const day = button.dataset.span === "24h";
    for (const other of document.querySelectorAll("[data-span]"))
      other.setAttribute("aria-pressed", String(other === button));
    chart.show(day ? minutes : seconds);
    if (day) refreshDay();
  });
}
setInterval(() => {
  const day = document.querySelector('[data-span="24h"]').getAttribute("aria-pressed") === "true";
  if (day && !document.hidden) refreshDay();
}, DAY_REFRESH_MS);
setInterval(() => detail.tick(), COUNTDOWN_MS);
setInterval(() => header.tick(now()), 1000);
document.addEventListener("redraw", draw);

chart.show(seconds);
detail.follow();
resync();
connect({
  onState: (state, delayMs) => {
    header.link(state, delayMs);
    // All live places may be taken; the page is then as fresh as its tries are frequent.
    if (state === "reconnecting") resync();
  },
  onOpen: resync,
  onHits: (batch) => hits.add(batch),
  onStats: (stats) => {
    clockAhead = stats.now - Date.now();
    header.readiness(stats.readiness);
    seconds.merge(stats.series);
    const known = rules.merge(stats.rules);
    if (overview) overview.totals = stats.totals;
    if (overview && (!known || ruleSet.isNews(overview.rule_set, stats))) resync();
    if (!document.hidden) draw();
  },
});
