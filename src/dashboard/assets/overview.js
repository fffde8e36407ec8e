// The header and the totals: what a glance from across the room should tell.
import { bars, drawBars, el, setAttribute, setText } from "./dom.js";
import { count, compact, duration, rate, time, utc } from "./format.js";

const SPARK_SECONDS = 60;
const RATE_SECONDS = 5;

export class Header {
  #startedAt = null;

  /** An answer of `/api/overview`. */
  show(overview) {
    this.#startedAt = overview.started_at;
    setText(document.getElementById("version"), overview.version);
    setText(document.getElementById("mqtt-address"), overview.mqtt);
    setText(
      document.getElementById("data-dir"),
      `Rules from ${overview.rules_path}, data in ${overview.data_dir}`,
    );
  }

  /** Once a second. */
  tick(now) {
    if (this.#startedAt !== null) setText(document.getElementById("uptime"), duration(now - this.#startedAt));
  }

  /** `live`, `reconnecting`. */
  link(state, delayMs) {
    const names = { live: "Live", reconnecting: "Reconnecting" };
    setAttribute(document.getElementById("link"), "data-state", state);
    setText(document.getElementById("link-text"), names[state]);
    const title = delayMs ? `Next try in ${duration(delayMs)}. What is shown may be out of date.` : null;
    setAttribute(document.getElementById("link"), "title", title);
    document.body.classList.toggle("stale", state !== "live");
  }

  /** What `/readyz` would say. */
  readiness({ state, reason }) {
    const texts = {
      ready: "",
      starting: "The gateway is starting and takes no messages yet.",
      stopping: "The gateway is stopping and takes no more messages.",
      stalled: `The gateway cannot store messages: ${reason}`,
    };
    const alarm = document.getElementById("alarm");
    setText(alarm, texts[state] ?? "");
    alarm.hidden = !texts[state];
  }
}

/** The banner that says that what runs is not what is on disk. */
export class RuleSet {
  #shown = null;

  /** `rule_set` of an overview. */
  show({ loaded_at, stale }) {
    const root = document.getElementById("refused");
    root.hidden = !stale;
    if (!stale || stale.at === this.#shown) return;
    this.#shown = stale.at;
    const errors = stale.errors > 0 ? `: ${count(stale.errors)} ${stale.errors === 1 ? "error" : "errors"}` : "";
    setText(document.getElementById("refused-title"), `Rules on disk are not what runs${errors}.`);
    const text = document.getElementById("refused-text");
    setText(
      text,
      `${stale.result === "refused" ? "Refused" : "Failed"} at ${time(stale.at)}: ${stale.message}. The rules that were loaded at ${time(loaded_at)} run on.`,
    );
    setAttribute(text, "title", utc(stale.at));
    setText(document.getElementById("refused-report"), stale.report);
    document.getElementById("refused-details").hidden = stale.report === "";
  }

  /** Whether `stats` speaks of another state than the one that is known. */
  isNews(rule_set, stats) {
    return stats.generation !== rule_set.generation || stats.rules_refused !== rule_set.stale?.at;
  }
}

export class Totals {
  #tiles = new Map();

  constructor(root) {
    for (const [id, label, unit, spark] of [
      ["messages", "Messages", "/s", true],
      ["hits", "Hits", "/s", true],
      ["firing", "Keys firing", "", false],
      ["faults", "Faults", "", false],
      ["clients", "Clients", "", false],
      ["commit", "Commit", "ms", false],
    ]) {
      const value = el("b", {}, "–");
      const note = el("span", { class: "note" }, "\u00a0");
      const graph = spark ? bars(120, 24) : null;
      const figure = el("p", { class: "figure" }, value, unit ? el("span", { class: "unit" }, unit) : null);
      const tile = el("div", { class: "tile" }, el("p", { class: "label" }, label), figure, note, graph);
      root.append(tile);
      this.#tiles.set(id, { tile, value, note, graph });
    }
  }

  /** The totals of `stats`, the last minute, and the rules as they are now. */
  show(totals, series, rules) {
    const sum = (pick) => rules.reduce((all, rule) => all + pick(rule), 0);
    const messages = (bucket) => bucket.messages;
    const hits = (bucket) => bucket.hits;
    this.#set(
      "messages",
      rate(series.recentRate(RATE_SECONDS, messages)),
      `${compact(totals.messages)} since start`,
    );
    this.#set("hits", rate(series.recentRate(RATE_SECONDS, hits)), `${compact(totals.hits)} since start`);
    drawBars(this.#tiles.get("messages").graph, series.sums(1, SPARK_SECONDS, messages));
    drawBars(this.#tiles.get("hits").graph, series.sums(1, SPARK_SECONDS, hits));
    const firing = sum((rule) => rule.firing);
    this.#set(
      "firing",
      compact(firing),
      `${compact(sum((rule) => rule.pending))} pending`,
      firing > 0 && "firing",
    );
    const faulting = rules.filter((rule) => rule.state === "faulting").length;
    const blame =
      faulting > 0
        ? `${count(faulting)} ${faulting === 1 ? "rule" : "rules"} faulting`
        : "none in the last minute";
    this.#set("faults", compact(totals.faults), blame, faulting > 0 && "bad");
    this.#set("clients", compact(totals.clients), "connected");
    const commit =
      totals.commit_ms === undefined ? "–" : totals.commit_ms.toFixed(totals.commit_ms < 10 ? 1 : 0);
    this.#set("commit", commit, `${compact(totals.commits)} commits`, totals.commit_ms > 250 && "bad");
  }

  #set(id, value, note, mood) {
    const parts = this.#tiles.get(id);
    setText(parts.value, value);
    setText(parts.note, note);
    setAttribute(parts.tile, "data-mood", mood || null);
  }
}
