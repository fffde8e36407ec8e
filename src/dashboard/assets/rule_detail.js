// One rule in full: its text, its counters, and the keys it watches, counting down.
import { el, keyed, setAttribute, setText } from "./dom.js";
import { ask, get, jsonText } from "./api.js";
import { count, duration, time, utc } from "./format.js";
import { highlightRule } from "./highlight.js";
import { stateText, switchedSince } from "./rules.js";

const REFRESH_MS = 2_000;
const PLACE = "#rule/";
const VERBS = { stream: "STREAM", deliver: "DELIVER", invoke: "INVOKE", republish: "REPUBLISH", log: "LOG" };
const LISTS = { do: "", on_cleared: "on cleared", on_error: "on error" };

export class RuleDetail {
  #dialog;
  #now;
  #name = null;
  #timer = null;
  #parts = null;
  #shown = null;

  /** `now()` is the gateway's time. The address's fragment says which rule is open, so that it can be sent on. */
  constructor(dialog, now) {
    this.#dialog = dialog;
    this.#now = now;
    dialog.addEventListener("close", () => {
      if (location.hash.startsWith(PLACE)) history.pushState(null, "", location.pathname);
      this.#stop();
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    addEventListener("hashchange", () => this.follow());
  }

  open(name) {
    location.hash = PLACE + encodeURIComponent(name);
  }

  /** Shows what the address asks for. */
  follow() {
    if (!location.hash.startsWith(PLACE)) {
      if (this.#dialog.open) this.#dialog.close();
      return;
    }
    let name;
    try {
      name = decodeURIComponent(location.hash.slice(PLACE.length));
    } catch {
      return; // not an address of ours
    }
    if (name === this.#name) return;
    this.#stop();
    this.#name = name;
    this.#build(name);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#refresh();
  }

  /** Moves the countdowns; several times a second while open. */
  tick() {
    if (!this.#shown) return;
    const now = this.#now();
    for (const row of this.#parts.pending.children) {
      const { since, due } = row.item;
      const left = Math.max(0, due - now);
      const done = due > since ? Math.min(1, Math.max(0, (now - since) / (due - since))) : 1;
      row.bar.style.transform = `scaleX(${done.toFixed(4)})`;
      setText(row.left, left > 0 ? `fires in ${duration(left)}` : "firing");
    }
    for (const row of this.#parts.firing.children)
      setText(row.left, `for ${duration(now - row.item.fired_at)}`);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#name = null;
    this.#shown = null;
  }

  #build(name) {
    const parts = {
      state: el("span", { class: "pill" }),
      power: el("button", { type: "button", class: "quiet power", hidden: true, onclick: () => this.#switch(name) }),
      description: el("p", { class: "soft" }),
      problem: el("p", { class: "problem", role: "alert", hidden: true }),
      counters: el("dl", { class: "counters" }),
      topics: el("p", { class: "chips" }),
      actions: el("p", { class: "chips" }),
      fault: el("p", { class: "problem", hidden: true }),
      faults: el("ul", { class: "fault-codes" }),
      holds: el("section", { class: "holds", hidden: true }),
      firing: el("ul", { class: "keys firing", tabindex: "0", "aria-label": "Keys firing" }),
      pending: el("ul", { class: "keys", tabindex: "0", "aria-label": "Keys pending" }),
      firingTitle: el("h3", {}),
      pendingTitle: el("h3", {}),
      text: el("pre", { class: "code", tabindex: "0", "aria-label": "Text of the rule" }),
      file: el("p", { class: "soft file" }),
    };
    parts.holds.append(parts.firingTitle, parts.firing, parts.pendingTitle, parts.pending);
    this.#parts = parts;
    const close = el(
      "button",
      { type: "button", class: "quiet close", "aria-label": "Close", onclick: () => this.#dialog.close() },
      "✕",
    );
    const hits = el(
      "button",
      { type: "button", class: "quiet", onclick: () => this.#showHits(name) },
      "Show its hits",
    );
    this.#dialog.replaceChildren(
      el(
        "div",
        { class: "detail" },
        el("header", {}, el("h2", { id: "rule-detail-title", title: name }, name), parts.state, close),
        parts.description,
        parts.counters,
        el("p", { class: "buttons" }, parts.power, hits),
        parts.problem,
        parts.fault,
        parts.faults,
        parts.holds,
        el("h3", {}, "Listens to"),
        parts.topics,
        el("h3", {}, "Sends to"),
        parts.actions,
        el("h3", {}, "Text"),
        parts.text,
        parts.file,
      ),
    );
  }

  #showHits(name) {
    this.#dialog.close();
    document.dispatchEvent(new CustomEvent("filterhits", { detail: { rule: name } }));
  }

  /** Enables or disables the rule by hand. */
  async #switch(name) {
    const { power, problem } = this.#parts;
    const verb = this.#shown.state === "disabled" ? "enable" : "disable";
    const ends = this.#shown.watches && verb === "disable" ? " What it watches is ended." : "";
    if (!confirm(`${verb === "enable" ? "Enable" : "Disable"} ${name}, whatever its text says?${ends}`)) return;
    power.disabled = true;
    try {
      const rule = await ask("POST", `/api/rules/${encodeURIComponent(name)}/${verb}`);
      if (name === this.#name) this.#show(rule);
    } catch (error) {
      setText(problem, error.message);
      problem.hidden = false;
    } finally {
      power.disabled = false;
    }
  }

  async #refresh() {
    const name = this.#name;
    try {
      const rule = await get(`/api/rules/${encodeURIComponent(name)}`);
      if (name !== this.#name) return;
      this.#parts.problem.hidden = true;
      this.#show(rule);
    } catch (error) {
      if (name !== this.#name) return;
      setText(this.#parts.problem, error.message);
      this.#parts.problem.hidden = false;
    }
    this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
  }

  #show(rule) {
    const parts = this.#parts;
    setText(parts.state, stateText(rule));
    setAttribute(parts.state, "title", switchedSince(rule));
    setAttribute(parts.state, "data-state", rule.state);
    setText(parts.power, rule.state === "disabled" ? "Enable" : "Disable");
    parts.power.hidden = false;
    setText(parts.description, rule.description ?? "");
    const counters = [
      ["Matched", rule.matched],
      ["Hits", rule.hits],
      ["Unknown", rule.unknown],
      ["Faults", rule.faults],
    ];
    if (rule.windows) counters.push(["Groups", rule.windows.groups], ["Open windows", rule.windows.open]);
    if (parts.counters.children.length !== counters.length)
      parts.counters.replaceChildren(
        ...counters.map(([label]) => el("div", {}, el("dt", {}, label), el("dd", {}))),
      );
    counters.forEach(([, value], n) => setText(parts.counters.children[n].lastChild, count(value)));
    this.#showFaults(rule);
    if (this.#shown?.text !== rule.text) parts.text.replaceChildren(highlightRule(rule.text));
    setText(parts.file, rule.file);
    chips(parts.topics, rule.stream ? [streamText(rule.stream)] : rule.topics);
    chips(
      parts.actions,
      rule.actions.map((action) =>
        [LISTS[action.when], VERBS[action.kind] ?? action.kind, action.target].filter(Boolean).join(" "),
      ),
    );
    parts.holds.hidden = !rule.watches;
    this.#showKeys(rule.holds);
    this.#shown = rule;
    this.tick();
  }

  #showFaults(rule) {
    const parts = this.#parts;
    parts.fault.hidden = !rule.last_fault;
    if (rule.last_fault) {
      setText(parts.fault, `${time(rule.last_fault.at)}: ${rule.last_fault.message}`);
      setAttribute(parts.fault, "title", utc(rule.last_fault.at));
    }
    keyed(
      parts.faults,
      Object.entries(rule.faults_by_code),
      ([code]) => code,
      ([code]) => el("li", {}, el("code", {}, code), el("b", {})),
      (item, [, faults]) => setText(item.lastChild, count(faults)),
    );
  }

  #showKeys(holds) {
    const parts = this.#parts;
    setText(parts.firingTitle, title("Firing", holds.firing, holds.firing_total));
    setText(parts.pendingTitle, title("Pending", holds.pending, holds.pending_total));
    const name = (item) => jsonText(item.key);
    const make = (item) => {
      const row = el(
        "li",
        {},
        el("code", { class: "ellipsis", title: name(item) }, name(item)),
        el("span", { class: "left" }),
      );
      row.left = row.lastChild;
      return row;
    };
    const makeCounting = (item) => {
      const row = make(item);
      row.bar = el("span", { class: "bar" });
      row.append(el("span", { class: "track", "aria-hidden": "true" }, row.bar));
      return row;
    };
    const update = (row, item) => {
      row.item = item;
      setAttribute(row, "title", `true since ${utc(item.since)}, ${count(item.samples)} messages`);
    };
    keyed(parts.firing, holds.firing, name, make, update);
    keyed(parts.pending, holds.pending, name, makeCounting, update);
  }
}

function title(word, shown, total) {
  if (total === 0) return `${word}: no keys`;
  const part = shown.length < total ? `, the first ${count(shown.length)} shown` : "";
  return `${word}: ${count(total)} ${total === 1 ? "key" : "keys"}${part}`;
}

function streamText(stream) {
  const behind = stream.lag_records > 0
    ? `, ${count(stream.lag_records)} records (${duration(stream.lag_ms)}) behind`
    : "";
  const lost = stream.skipped > 0 ? `, ${count(stream.skipped)} passed over` : "";
  return `stream ${stream.name}${behind}${lost}`;
}

function chips(root, texts) {
  keyed(
    root,
    texts,
    (text) => text,
    (text) => el("code", { class: "chip" }, text),
    () => {},
  );
}
