// Rates over time: one bucket a second for five minutes, or a minute for a day, filled from `/api/series` and from the
// live `stats`, which repeats the last seconds so that none is missed.

const RULES_WITH_COLOUR = 8;

/** Which of the eight colours each rule has. It keeps its colour while the page is open, where there is one to keep. */
export class Palette {
  #slots = new Map();

  /** Gives colours to these rules, most important first; others give theirs up when all are taken. */
  assign(rules) {
    const wanted = rules.slice(0, RULES_WITH_COLOUR);
    const missing = wanted.filter((rule) => !this.#slots.has(rule));
    for (const rule of missing) {
      if (this.#slots.size >= RULES_WITH_COLOUR) {
        const idle = [...this.#slots.keys()].find((known) => !wanted.includes(known));
        this.#slots.delete(idle);
      }
      const taken = new Set(this.#slots.values());
      const free = [...Array(RULES_WITH_COLOUR).keys()].find((slot) => !taken.has(slot));
      this.#slots.set(rule, free);
    }
  }

  /** 0 to 7, or null for a rule that shares the grey. */
  slot(rule) {
    return this.#slots.get(rule) ?? null;
  }

  /** Rules with a colour, in the order of the colours. */
  rules() {
    return [...this.#slots].sort((a, b) => a[1] - b[1]).map(([rule]) => rule);
  }
}

export class Series {
  #buckets = new Map();
  #end = 0;

  constructor(stepMs, steps) {
    this.stepMs = stepMs;
    this.steps = steps;
  }

  /** Forgets all, for a gateway that has started anew. */
  clear() {
    this.#buckets.clear();
    this.#end = 0;
  }

  /** Takes in an answer of `/api/series`, or the part that `stats` carries. */
  merge(view) {
    view.hits.forEach((hits, n) => {
      const at = view.start + n * this.stepMs;
      const bucket = this.#buckets.get(at) ?? { rules: new Map() };
      bucket.hits = hits;
      bucket.messages = view.messages[n];
      for (const { rule, hits: ofRule } of view.rules) {
        if (ofRule[n] > 0) bucket.rules.set(rule, ofRule[n]);
      }
      this.#buckets.set(at, bucket);
    });
    this.#end = Math.max(this.#end, view.start + view.hits.length * this.stepMs);
    const oldest = this.#end - this.steps * this.stepMs;
    for (const at of this.#buckets.keys()) if (at < oldest) this.#buckets.delete(at);
  }

  /** Start of the oldest step shown. */
  get start() {
    return this.#end - this.steps * this.stepMs;
  }

  /** End of the newest step shown; 0 before the first answer. */
  get end() {
    return this.#end;
  }

  /** Sums of `per` neighbouring steps, oldest first, the newest `count` of them. `pick(bucket)` chooses what. */
  sums(per, count, pick) {
    const out = new Array(count).fill(0);
    // Bins lie on a grid of their own width, so that a bar keeps its height while it moves.
    const width = per * this.stepMs;
    const last = Math.ceil(this.#end / width) * width;
    for (const [at, bucket] of this.#buckets) {
      const bin = count - 1 - Math.floor((last - this.stepMs - at) / width);
      if (bin >= 0 && bin < count) out[bin] += pick(bucket) ?? 0;
    }
    return out;
  }

  /** A second's mean over the newest `steps` steps. */
  recentRate(steps, pick) {
    const sum = this.sums(1, steps, pick).reduce((a, b) => a + b, 0);
    return sum / ((steps * this.stepMs) / 1000);
  }

  /** Rule names, most hits first. */
  busiest() {
    const totals = new Map();
    for (const { rules } of this.#buckets.values()) {
      for (const [rule, hits] of rules) totals.set(rule, (totals.get(rule) ?? 0) + hits);
    }
    return [...totals].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([rule]) => rule);
  }
}
