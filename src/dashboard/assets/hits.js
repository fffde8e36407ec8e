// The live feed of hits: newest first, filtered, paused by hand or while the reader is further down.
import { copyable, el, keyed, setAttribute, setText } from "./dom.js";
import { get, jsonText, payloadText } from "./api.js";
import { bytes, count, time, utc } from "./format.js";
import { highlightJson } from "./highlight.js";

const KEPT_MAX = 1000;
const ROWS_MAX = 200;
const OLDER = 100;
const READING_PX = 40;
// More hits than this at once cannot be read one by one: they are drawn together, less often.
const BUSY_HITS = 10;
const BUSY_DRAW_MS = 500;
/** Why an episode ended, for people. */
const REASONS = {
  false: "no longer true",
  clear_when: "CLEAR WHEN",
  gap: "silence",
  rule_changed: "rule changed",
  rule_removed: "rule removed",
};

export class Hits {
  #root = (id) => document.getElementById(`hits-${id}`);
  /** Newest first, at most KEPT_MAX, of the filter asked for. */
  #hits = [];
  /** Arrived while nobody was to be disturbed; newest first. */
  #held = [];
  #missed = 0;
  #paused = false;
  #rows = ROWS_MAX;
  #open = new Set();
  #exhausted = false;
  #asked = 0;
  #drawing = null;
  #hint;
  #palette;

  /** `hint()` gives the line that makes a first hit. */
  constructor(palette, hint) {
    this.#palette = palette;
    this.#hint = hint;
    this.#root("pause").addEventListener("click", () => this.#pause(!this.#paused));
    this.#root("held").addEventListener("click", () => this.#release());
    this.#root("older").addEventListener("click", () => this.#older());
    this.#root("scroll").addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#root("filter").addEventListener("submit", (event) => event.preventDefault());
    for (const id of ["rule", "event"]) this.#root(id).addEventListener("change", () => this.resync());
    this.#root("text").addEventListener("input", () => this.draw());
    document.addEventListener("filterhits", (event) => this.#filter(event.detail.rule));
  }

  /** The names to choose from. */
  rules(names) {
    const select = this.#root("rule");
    // A rule that is removed while it is chosen stays until another is: its hits are still there.
    const chosen = names.includes(select.value) ? "" : select.value;
    keyed(
      select,
      chosen ? ["", ...names, chosen] : ["", ...names],
      (name) => name,
      (name) => el("option", { value: name }, name || "All rules"),
      () => {},
    );
  }

  /** Fetches what happened while the live connection was away, without disturbing a reader. */
  async catchUp() {
    const newest = this.#hits[0]?.id;
    if (!this.#paused || newest === undefined) return this.resync();
    const { hits } = await get(`/api/hits?${this.#query()}`);
    const known = new Set(this.#held.map((hit) => hit.id));
    const missing = hits.filter((hit) => hit.id > newest && !known.has(hit.id));
    this.#held = [...this.#held, ...missing].sort((a, b) => b.id - a.id).slice(0, KEPT_MAX);
    this.#showHeld();
  }

  /** Fetches the newest hits: at first, and after a change of filter. */
  async resync() {
    const asked = ++this.#asked;
    this.#exhausted = false;
    this.#rows = ROWS_MAX;
    try {
      const { hits } = await get(`/api/hits?${this.#query()}`);
      if (asked !== this.#asked) return;
      const newest = hits[0]?.id ?? 0;
      const arrived = [...this.#held, ...this.#hits].filter((hit) => hit.id > newest && this.#wanted(hit));
      this.#hits = [...arrived, ...hits];
      this.#held = [];
      this.#missed = 0;
      this.#exhausted = hits.length < OLDER;
      setText(this.#root("empty"), "");
    } catch (error) {
      if (asked !== this.#asked) return;
      if (error.status === 404) this.#hits = [];
      this.#root("empty").replaceChildren(el("p", { class: "problem" }, error.message));
    }
    this.draw();
  }

  /** Hits of the live feed, oldest first, and how many were passed over. */
  add({ hits, missed }) {
    const newest = this.#held[0]?.id ?? this.#hits[0]?.id ?? 0;
    const wanted = hits.filter((hit) => hit.id > newest && this.#wanted(hit)).reverse();
    this.#missed += missed;
    if (this.#paused || this.#root("scroll").scrollTop > READING_PX) {
      this.#held = [...wanted, ...this.#held].slice(0, KEPT_MAX);
      this.#showHeld();
      return;
    }
    if (wanted.length === 0 && missed === 0) return;
    this.#hits = [...wanted, ...this.#hits].slice(0, KEPT_MAX);
    this.#drawSoon(wanted.length > BUSY_HITS);
  }

  #drawSoon(busy) {
    this.#root("list").classList.toggle("busy", busy);
    if (this.#drawing !== null) return;
    if (!busy) return this.draw();
    this.#drawing = setTimeout(() => {
      this.#drawing = null;
      this.draw();
    }, BUSY_DRAW_MS);
  }

  /** Brings the list up to date. */
  draw() {
    const text = this.#root("text").value.trim().toLowerCase();
    const shown = (text ? this.#hits.filter((hit) => textOf(hit).includes(text)) : this.#hits).slice(
      0,
      this.#rows,
    );
    keyed(
      this.#root("list"),
      shown,
      (hit) => hit.id,
      (hit) => this.#row(hit),
      (row, hit) => setAttribute(row.swatch, "data-slot", String(this.#palette.slot(hit.rule) ?? "other")),
    );
    const ids = new Set(shown.map((hit) => hit.id));
    for (const id of this.#open) if (!ids.has(id)) this.#open.delete(id);
    this.#showEmpty(shown.length, text);
    this.#root("older").hidden = shown.length === 0 || this.#exhausted || this.#rows >= KEPT_MAX;
    this.#showHeld();
  }

  #query(before) {
    const query = new URLSearchParams({ limit: String(OLDER) });
    if (this.#root("rule").value) query.set("rule", this.#root("rule").value);
    if (this.#root("event").value) query.set("event", this.#root("event").value);
    if (before !== undefined) query.set("before", String(before));
    return query;
  }

  #wanted(hit) {
    const rule = this.#root("rule").value;
    const event = this.#root("event").value;
    return (!rule || hit.rule === rule) && (!event || hit.event === event);
  }

  #filter(rule) {
    this.#root("rule").value = rule;
    document.getElementById("hits").scrollIntoView({ block: "start" });
    this.resync();
  }

  #pause(paused) {
    this.#paused = paused;
    setAttribute(this.#root("pause"), "aria-pressed", String(paused));
    setText(this.#root("pause"), paused ? "Resume" : "Pause");
    if (!paused) this.#release();
    this.#showHeld();
  }

  #release() {
    this.#root("scroll").scrollTop = 0;
    if (this.#paused) this.#pause(false);
    this.#hits = [...this.#held, ...this.#hits].slice(0, KEPT_MAX);
    this.#held = [];
    this.#missed = 0;
    this.#rows = ROWS_MAX;
    this.draw();
  }

  #scrolled() {
    if (!this.#paused && this.#held.length > 0 && this.#root("scroll").scrollTop <= 2) this.#release();
  }

  #showHeld() {
    const held = this.#root("held");
    const fresh = `${this.#held.length >= KEPT_MAX ? "over " : ""}${count(this.#held.length)} new`;
    held.hidden = this.#held.length === 0;
    setText(held, `↑ ${fresh}`);
    const missed = this.#root("missed");
    missed.hidden = this.#missed === 0;
    setText(missed, `${count(this.#missed)} came too fast to be listed live; they are counted and carried out like all others.`);
  }

  async #older() {
    const last = this.#hits.at(-1);
    if (!last) return;
    const asked = ++this.#asked;
    this.#rows = Math.min(KEPT_MAX, this.#rows + OLDER);
    if (this.#hits.length < this.#rows) {
      try {
        const { hits } = await get(`/api/hits?${this.#query(last.id)}`);
        if (asked !== this.#asked) return;
        this.#exhausted = hits.length < OLDER;
        this.#hits = [...this.#hits, ...hits].slice(0, KEPT_MAX);
      } catch (error) {
        this.#root("empty").replaceChildren(el("p", { class: "problem" }, error.message));
        return;
      }
    }
    this.draw();
  }

  #row(hit) {
    const swatch = el("span", { class: "swatch" });
    const key = hit.key === undefined ? null : el("code", { class: "key ellipsis" }, jsonText(hit.key));
    const line = payloadText(hit.output).text.slice(0, 300) || "(empty)";
    const button = el(
      "button",
      { type: "button", class: "hit", "aria-expanded": "false" },
      el(
        "span",
        { class: "hit-head" },
        el("span", { class: "event", "data-event": hit.event }, hit.event),
        swatch,
        el("span", { class: "hit-rule ellipsis" }, hit.rule),
        hit.reason === undefined ? null : el("span", { class: "reason" }, REASONS[hit.reason] ?? hit.reason),
        el("time", { datetime: isoOrNull(hit.at), title: utc(hit.at) }, time(hit.at)),
      ),
      el(
        "span",
        { class: "hit-from" },
        el("span", { class: "topic ellipsis", title: hit.topic }, hit.topic),
        key,
      ),
      el("code", { class: "hit-output ellipsis" }, line),
    );
    const row = el("li", {}, button);
    row.swatch = swatch;
    button.addEventListener("click", () => this.#toggle(row, button, hit));
    return row;
  }

  async #toggle(row, button, hit) {
    const opened = !this.#open.has(hit.id);
    setAttribute(button, "aria-expanded", String(opened));
    if (!opened) {
      this.#open.delete(hit.id);
      row.lastChild.remove();
      return;
    }
    this.#open.add(hit.id);
    const body = el("div", { class: "hit-body" });
    row.append(body);
    let whole = hit;
    if ("cut" in hit.output) {
      try {
        whole = await get(`/api/hits/${hit.id}`);
      } catch (error) {
        body.append(el("p", { class: "problem" }, `Only the beginning is shown: ${error.message}`));
      }
    }
    if (whole !== hit && "cut" in whole.output) {
      body.append(el("p", { class: "soft" }, "Only the beginning of this output is kept with the hit."));
    }
    const { text, language } = payloadText(whole.output, 2);
    const code = el(
      "pre",
      { class: "code", tabindex: "0" },
      language === "json" ? highlightJson(text) : text,
    );
    const facts = [
      ["Time", utc(hit.at)],
      ["Client", hit.client_id ?? "none"],
      ["Topic", hit.topic],
      ["Key", hit.key === undefined ? null : jsonText(hit.key)],
      ["Size", `${bytes(whole.output.bytes)}${language === "base64" ? ", shown as base64" : ""}`],
    ].filter(([, fact]) => fact !== null);
    body.append(
      el(
        "dl",
        { class: "facts" },
        ...facts.map(([name, fact]) => el("div", {}, el("dt", {}, name), el("dd", {}, fact))),
      ),
      code,
    );
  }

  #showEmpty(shown, text) {
    const empty = this.#root("empty");
    if (shown > 0) {
      if (!empty.querySelector(".problem")) setText(empty, "");
      return;
    }
    if (empty.querySelector(".problem")) return;
    const filtered = text || this.#root("rule").value || this.#root("event").value;
    if (filtered) {
      setText(empty, "");
      empty.append(el("p", { class: "empty" }, "No hit passes the filter."));
      return;
    }
    const hint = this.#hint();
    if (empty.dataset.hint === hint && empty.hasChildNodes()) return;
    empty.dataset.hint = hint;
    empty.replaceChildren(
      el(
        "div",
        { class: "empty" },
        el("p", {}, el("b", {}, "Waiting for the first hit.")),
        el("p", {}, "Publish a message that a rule listens to:"),
        copyable(hint),
      ),
    );
  }
}

/** What the text filter searches, made once a hit. */
function textOf(hit) {
  if (hit.text !== undefined) return hit.text;
  const key = hit.key === undefined ? "" : jsonText(hit.key);
  const parts = [hit.rule, hit.event, hit.topic, hit.client_id ?? "", key, payloadText(hit.output).text];
  hit.text = parts.join(" ").toLowerCase();
  return hit.text;
}

function isoOrNull(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? null : at.toISOString();
}
