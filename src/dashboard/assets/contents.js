// What is in a stream (its newest records) or given up by a hook (its dead letters), asked for once and on demand.
import { get, payloadText } from "./api.js";
import { el } from "./dom.js";
import { bytes, count, time, utc } from "./format.js";
import { highlightJson } from "./highlight.js";

const ITEMS = 50;

export class Contents {
  #dialog;
  #asked = 0;

  constructor(dialog) {
    this.#dialog = dialog;
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  ofStream(name) {
    const load = async () => {
      const path = `/api/streams/${encodeURIComponent(name)}/records?from=latest&limit=${ITEMS}`;
      const { records } = await get(path);
      return records.reverse().map((record) => {
        const json = "data" in record;
        const { text } = payloadText(json ? { json: record.data } : { text: record.data_base64 }, 2);
        const place = `${record.partition_key} · ${record.shard} · ${record.sequence_number}`;
        return item(record.t, place, json ? "JSON" : "base64", json ? highlightJson(text) : text);
      });
    };
    return this.#show(`Stream ${name}`, "Newest records", "The stream holds no record.", load);
  }

  ofHook(name) {
    const load = async () => {
      const path = `/api/hooks/${encodeURIComponent(name)}/dead-letters?limit=${ITEMS}`;
      const { dead_letters: letters } = await get(path);
      return letters.map((letter) => {
        const { text, language } = payloadText(letter.payload, 2);
        const place = `${letter.rule} · ${count(letter.attempts)} attempts · ${bytes(letter.payload.bytes)}`;
        return item(letter.at, place, letter.error, language === "json" ? highlightJson(text) : text);
      });
    };
    return this.#show(`Hook ${name}`, "Newest dead letters", "No call has run out of attempts.", load);
  }

  async #show(title, what, empty, load) {
    const asked = ++this.#asked;
    const list = el("ol", { class: "contents" });
    const again = () => this.#show(title, what, empty, load);
    const close = () => this.#dialog.close();
    this.#dialog.replaceChildren(
      el(
        "div",
        { class: "detail" },
        el(
          "header",
          {},
          el("h2", { id: "contents-title" }, title),
          el("button", { type: "button", class: "quiet", onclick: again }, "Refresh"),
          el("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: close }, "✕"),
        ),
        el("h3", {}, `${what}, at most ${count(ITEMS)}`),
        list,
      ),
    );
    if (!this.#dialog.open) this.#dialog.showModal();
    try {
      const items = await load();
      if (asked !== this.#asked) return;
      list.replaceChildren(...(items.length > 0 ? items : [el("li", { class: "soft" }, empty)]));
    } catch (error) {
      if (asked === this.#asked) list.replaceChildren(el("li", { class: "problem" }, error.message));
    }
  }
}

function item(at, place, note, content) {
  return el(
    "li",
    {},
    el(
      "p",
      { class: "contents-head" },
      el("span", { title: utc(at) }, time(at)),
      el("span", { class: "ellipsis", title: place }, place),
      el("span", { class: "ellipsis", title: note }, note),
    ),
    el("pre", { class: "code", tabindex: "0" }, content),
  );
}
