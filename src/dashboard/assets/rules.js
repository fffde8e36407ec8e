// The table of rules: state, counters, the last five minutes, the last hit.
import { bars, copyable, drawBars, el, keyed, setAttribute, setText } from "./dom.js";
import { ago, compact, count, utc } from "./format.js";

const ROWS_MAX = 300;
const SPARK_BARS = 30;

const STATE_NAMES = { running: "Running", disabled: "Disabled", faulting: "Faulting" };

/** What a rule does, in words; said too when that is not what its text says. */
export function stateText(rule) {
  const name = STATE_NAMES[rule.state];
  if (rule.switched_at === undefined) return name;
  return rule.state === "disabled" ? `${name} by hand` : `${name}, enabled by hand`;
}

/** Since when, for a rule that was switched. */
export function switchedSince(rule) {
  return rule.switched_at === undefined ? null : `since ${utc(rule.switched_at)}, by tidegate rule or the API`;
}

const COLUMNS = [
  { id: "name", title: "Rule", of: (rule) => rule.name },
  { id: "matched", title: "Matched", hint: "Messages whose topic matched FROM", of: (rule) => -rule.matched },
  { id: "hits", title: "Hits", hint: "Matches, firings and clearings", of: (rule) => -rule.hits },
  {
    id: "holds",
    title: "Firing",
    hint: "Keys firing, and keys pending",
    of: (rule) => -(rule.firing * 1e6 + rule.pending),
  },
  {
    id: "unknown",
    title: "Unknown",
    hint: "Messages whose condition was neither true nor false",
    of: (rule) => -rule.unknown,
  },
  { id: "faults", title: "Faults", hint: "Evaluations and actions that failed", of: (rule) => -rule.faults },
  { id: "spark", title: "5 min" },
  { id: "last", title: "Last hit", of: (rule) => -(rule.last_hit ?? 0) },
];

export class Rules {
  #root;
  #onOpen;
  #rules = [];
  #sort = null;
  #table = null;
  #body;
  #where = "";
  #watched = true;

  constructor(root, onOpen) {
    this.#root = root;
    this.#onOpen = onOpen;
  }

  /** All rules, from `/api/rules`, and an overview. */
  replace(rules, { rules_path, rule_set }) {
    this.#rules = rules;
    this.#where = rules_path;
    this.#watched = rule_set.watched;
    const disabled = rules.filter((rule) => rule.state === "disabled").length;
    const note = disabled > 0 ? `${count(rules.length)}, ${count(disabled)} disabled` : count(rules.length);
    setText(document.getElementById("rules-count"), rules.length === 0 ? "" : note);
    if (rules.length === 0) this.#showEmpty();
    else if (!this.#table) this.#build();
  }

  /** The rules that `stats` says have changed; false when it names one that is not known here. */
  merge(changed) {
    return changed.every((stats) => {
      const rule = this.#rules.find((known) => known.name === stats.name);
      if (rule) Object.assign(rule, stats);
      return rule !== undefined;
    });
  }

  /** As they are now. */
  get all() {
    return this.#rules;
  }

  /** Brings the table up to date; once a second. */
  draw(now, series, palette) {
    if (!this.#table) return;
    const column = COLUMNS.find((candidate) => candidate.id === this.#sort);
    const rules = column
      ? this.#rules.toSorted((a, b) =>
          column.of(a) < column.of(b) ? -1 : column.of(a) > column.of(b) ? 1 : 0,
        )
      : this.#rules;
    keyed(
      this.#body,
      rules.slice(0, ROWS_MAX),
      (rule) => rule.name,
      (rule) => this.#row(rule),
      (row, rule) => {
        const { name, swatch, state, matched, hits, firing, pending, unknown, faults, spark, last } = row.parts;
        setAttribute(row, "data-state", rule.state);
        setAttribute(name, "title", rule.description ?? rule.name);
        setAttribute(swatch, "data-slot", String(palette.slot(rule.name) ?? "other"));
        setText(state, stateText(rule));
        setAttribute(state, "title", switchedSince(rule));
        setText(matched, compact(rule.matched));
        setText(hits, compact(rule.hits));
        setText(firing, rule.watches ? compact(rule.firing) : "–");
        setAttribute(firing, "data-some", rule.firing > 0 ? "" : null);
        setText(pending, rule.pending > 0 ? `+${compact(rule.pending)}` : "");
        setAttribute(pending, "title", rule.watches ? `${count(rule.pending)} pending` : null);
        setText(unknown, compact(rule.unknown));
        setText(faults, compact(rule.faults));
        setAttribute(faults, "data-some", rule.faults > 0 ? "" : null);
        // The newest bar is not over yet and would look like a fall.
        const counts = series.sums(series.steps / SPARK_BARS, SPARK_BARS + 1, (bucket) =>
          bucket.rules.get(rule.name),
        );
        drawBars(spark, counts.slice(0, SPARK_BARS));
        setText(last, rule.last_hit === undefined ? "never" : ago(now - rule.last_hit));
        setAttribute(last, "title", rule.last_hit === undefined ? null : utc(rule.last_hit));
      },
    );
  }

  #row(rule) {
    const parts = {
      swatch: el("span", { class: "swatch" }),
      state: el("span", { class: "state" }),
      spark: bars(90, 20),
    };
    for (const column of ["matched", "hits", "unknown", "faults", "last"])
      parts[column] = el("td", { class: `num ${column}` });
    parts.firing = el("span", { class: "firing" });
    parts.pending = el("span", { class: "pending" });
    parts.name = el("button", { type: "button", class: "rule-name" }, rule.name);
    const row = el(
      "tr",
      { onclick: () => this.#onOpen(rule.name) },
      el(
        "th",
        { scope: "row" },
        el(
          "div",
          { class: "rule-cell" },
          parts.swatch,
          el("span", { class: "rule-lines" }, parts.name, parts.state),
        ),
      ),
      parts.matched,
      parts.hits,
      el("td", { class: "num holds" }, parts.firing, parts.pending),
      parts.unknown,
      parts.faults,
      el("td", { class: "spark" }, parts.spark),
      parts.last,
    );
    row.parts = parts;
    return row;
  }

  #build() {
    const heads = COLUMNS.map((column) => {
      if (!column.of) return el("th", { scope: "col", class: column.id }, column.title);
      const sort = () => this.#sortBy(column.id);
      const button = el(
        "button",
        { type: "button", class: "sort", title: column.hint, onclick: sort },
        column.title,
      );
      return el("th", { scope: "col", class: column.id, "data-column": column.id }, button);
    });
    this.#body = el("tbody");
    this.#table = el("table", { class: "rules" }, el("thead", {}, el("tr", {}, ...heads)), this.#body);
    this.#root.replaceChildren(this.#table);
  }

  #sortBy(id) {
    this.#sort = this.#sort === id ? null : id;
    for (const head of this.#table.querySelectorAll("[data-column]")) {
      setAttribute(
        head,
        "aria-sort",
        head.dataset.column === this.#sort ? (id === "name" ? "ascending" : "descending") : null,
      );
    }
    document.dispatchEvent(new Event("redraw"));
  }

  #showEmpty() {
    this.#table = null;
    const sample = `CREATE RULE hot AS\n  SELECT * FROM 'lab/+/telemetry' WHERE temperature > 30\nDO STREAM alerts KEY topic();`;
    this.#root.replaceChildren(
      el(
        "div",
        { class: "empty" },
        el("p", {}, el("b", {}, "No rules are loaded.")),
        el(
          "p",
          {},
          "Save this as ",
          el("code", {}, `${this.#where}/hot.rule`),
          this.#watched ? ", and it runs a moment later:" : ", and run tidegate reload:",
        ),
        copyable(sample),
      ),
    );
  }
}
