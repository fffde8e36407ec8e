// One stream in full: its shards, what goes in and out of each, and changing which shards there are.
import { ask, get } from "./api.js";
import { el, keyed, setAttribute, setText } from "./dom.js";
import { bytes, compact, count, duration, rate, roughly, utc } from "./format.js";

const REFRESH_MS = 2_000;
const HASH_KEYS = 2n ** 128n;

export class Shards {
  #dialog;
  #now;
  #name = null;
  #timer = null;
  #parts = null;
  /** What was counted of each shard when it was asked for last, for the rates. */
  #before = new Map();

  /** `now()` is the gateway's time. */
  constructor(dialog, now) {
    this.#dialog = dialog;
    this.#now = now;
    dialog.addEventListener("close", () => this.#stop());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  open(name) {
    this.#stop();
    this.#name = name;
    this.#build(name);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#refresh();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#name = null;
    this.#before.clear();
  }

  #build(name) {
    const parts = {
      mode: el("span", { class: "pill" }),
      problem: el("p", { class: "problem", role: "alert", hidden: true }),
      facts: el("dl", { class: "counters" }),
      number: el("input", { type: "number", min: "1", max: "10000", required: true, "aria-label": "Number of shards" }),
      open: el("ol", { class: "shards", "aria-label": "Shards that take records" }),
      closedTitle: el("h3", { hidden: true }),
      closed: el("ol", { class: "shards", "aria-label": "Closed shards" }),
      readers: el("ul", { class: "fault-codes" }),
    };
    this.#parts = parts;
    const set = el("button", { type: "submit", class: "quiet" }, "Set number of shards");
    const form = el("form", { class: "reshape" }, parts.number, set);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const shards = parts.number.valueAsNumber;
      this.#change(`Give the stream ${name} ${count(shards)} shards of the same size?`, { count: { shards } });
    });
    const close = () => this.#dialog.close();
    this.#dialog.replaceChildren(
      el(
        "div",
        { class: "detail" },
        el(
          "header",
          {},
          el("h2", { id: "stream-detail-title", title: name }, name),
          parts.mode,
          el("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: close }, "✕"),
        ),
        parts.problem,
        parts.facts,
        parts.readers,
        el("div", { class: "shards-head" }, el("h3", {}, "Shards"), form),
        parts.open,
        parts.closedTitle,
        parts.closed,
      ),
    );
  }

  async #refresh() {
    clearTimeout(this.#timer);
    const name = this.#name;
    try {
      const detail = await get(`/api/streams/${encodeURIComponent(name)}`);
      if (name === this.#name) this.#show(detail);
      if (name === this.#name) this.#complain(null);
    } catch (error) {
      if (name === this.#name) this.#complain(error.message);
    }
    if (name === this.#name) this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
  }

  #complain(message) {
    this.#parts.problem.hidden = !message;
    setText(this.#parts.problem, message ?? "");
  }

  /** Asks whether it is meant, does it, and shows what came of it. */
  async #change(question, change) {
    const name = this.#name;
    if (!confirm(`${question} Closed shards stay readable until retention has taken their records.`)) return;
    clearTimeout(this.#timer);
    try {
      const path = `/api/streams/${encodeURIComponent(name)}/reshard`;
      const detail = await ask("POST", path, change);
      if (name !== this.#name) return;
      this.#complain(null);
      this.#show(detail);
      this.#parts.number.value = String(detail.shards);
      this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
    } catch (error) {
      // Stays until the next look.
      if (name !== this.#name) return;
      this.#complain(error.message);
      this.#parts.problem.scrollIntoView({ block: "center" });
      this.#timer = setTimeout(() => this.#refresh(), 4 * REFRESH_MS);
    }
  }

  #show(detail) {
    const { parts, now } = { parts: this.#parts, now: this.#now() };
    const lost = detail.full === "refuse" ? ["Refused", detail.refused_records] : ["Dropped", detail.dropped_records];
    setText(parts.mode, detail.mode.replace("_", "-"));
    const facts = [
      ["Records", compact(detail.records), count(detail.records)],
      ["Size", bytes(detail.bytes), `${count(detail.bytes)} bytes of data and keys`],
      ["Oldest", detail.oldest === undefined ? "–" : roughly(now - detail.oldest), detail.oldest && utc(detail.oldest)],
      ["Kept for", roughly(detail.retention_ms), "of the time that the gateway runs"],
    ];
    if (detail.size_max) {
      facts.push(["At most", bytes(detail.size_max), `${count(detail.size_max)} bytes of data and keys`]);
      facts.push([lost[0], compact(lost[1]), "records since the gateway started, because the stream was full"]);
    }
    factsOf(parts.facts, facts);
    keyed(
      parts.readers,
      detail.readers,
      (reader) => reader.rule,
      () => el("li", {}),
      (row, reader) =>
        setText(row, `Read by rule ${reader.rule}, ${reader.lag_records === 0 ? "to the end" : `${count(reader.lag_records)} records behind`}`),
    );
    const open = detail.shard_list.filter((shard) => shard.closed === undefined);
    const closed = detail.shard_list.filter((shard) => shard.closed !== undefined);
    open.sort((one, other) => (BigInt(one.starting_hash_key) < BigInt(other.starting_hash_key) ? -1 : 1));
    open.forEach((shard, place) => (shard.next = open[place + 1] ?? null));
    if (!parts.number.value) parts.number.value = String(detail.shards);
    this.#list(parts.open, open, now);
    this.#list(parts.closed, closed, now);
    const left = detail.shards_total - detail.shard_list.length;
    parts.closedTitle.hidden = closed.length === 0 && left === 0;
    setText(parts.closedTitle, `Closed${left > 0 ? `, and ${count(left)} more that are not shown` : ""}`);
    this.#before = new Map(detail.shard_list.map((shard) => [shard.shard, { shard, at: now }]));
  }

  #list(list, shards, now) {
    keyed(
      list,
      shards,
      (shard) => shard.shard,
      (shard) => this.#make(shard),
      (row, shard) => this.#update(row, shard, now),
    );
  }

  #make(shard) {
    const row = el("li", {});
    row.range = el("span", { class: "bar" });
    row.facts = el("dl", {});
    row.append(
      el("b", {}, `Shard ${Number(shard.shard.slice("shardId-".length))}`),
      el("span", { class: "soft hash" }),
      el("span", { class: "track" }, row.range),
      row.facts,
    );
    if (shard.closed === undefined) {
      const split = () =>
        this.#change(`Split ${shard.shard} in the middle of its hash keys?`, { split: { shard: shard.shard } });
      row.merge = el("button", { type: "button", class: "quiet", onclick: () => this.#merge(row.shard) }, "Merge with next");
      row.append(
        el("p", { class: "acts" }, el("button", { type: "button", class: "quiet", onclick: split }, "Split"), row.merge),
      );
    }
    return row;
  }

  #merge(shard) {
    const pair = [shard.shard, shard.next.shard];
    this.#change(`Merge ${pair[0]} with ${pair[1]}?`, { merge: { shards: pair } });
  }

  #update(row, shard, now) {
    row.shard = shard;
    const [start, end] = [BigInt(shard.starting_hash_key), BigInt(shard.ending_hash_key)];
    const hash = row.querySelector(".hash");
    setText(hash, `hash keys ${prefix(start)} to ${prefix(end)}`);
    setAttribute(hash, "title", `${shard.starting_hash_key} to ${shard.ending_hash_key}`);
    const part = (key) => Number((key * 10_000n) / HASH_KEYS) / 10_000;
    const [from, width] = [part(start), Math.max(part(end + 1n) - part(start), 0.004)];
    row.range.style.transform = `translateX(${(from * 100).toFixed(2)}%) scaleX(${width.toFixed(4)})`;
    if (row.merge) row.merge.hidden = !shard.next;
    const before = this.#before.get(shard.shard);
    const speed = (name) => {
      if (!before || now <= before.at) return "–";
      return `${rate(((shard[name] - before.shard[name]) * 1000) / (now - before.at))}/s`;
    };
    const throttled = shard.throttled_in + shard.throttled_out;
    const age = shard.iterator_age_ms;
    factsOf(row.facts, [
      ["In", speed("in_records"), `${count(shard.in_records)} records, ${bytes(shard.in_bytes)} since the start`],
      ["Out", speed("out_records"), `${count(shard.out_records)} records, ${bytes(shard.out_bytes)} to readers of the Kinesis API`],
      ["Throttled", compact(throttled), `${count(shard.throttled_in)} records and ${count(shard.throttled_out)} reads`],
      ["Readers", age === undefined ? "none" : age === 0 ? "at the end" : `${duration(age)} behind`, "of the last minute or two"],
      ["Oldest", shard.oldest === undefined ? "–" : roughly(now - shard.oldest), shard.oldest && utc(shard.oldest)],
      ["Size", bytes(shard.bytes), `${count(shard.records)} records`],
    ]);
  }
}

/** The first digits of a hash key, in hexadecimal. */
function prefix(key) {
  return key.toString(16).padStart(32, "0").slice(0, 6);
}

function factsOf(list, facts) {
  keyed(
    list,
    facts,
    ([label]) => label,
    ([label]) => el("div", {}, el("dt", {}, label), el("dd", {})),
    (row, [, value, title]) => {
      setText(row.lastChild, value);
      setAttribute(row, "title", title || null);
    },
  );
}
