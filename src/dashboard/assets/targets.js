// The panels of what is behind the rules: streams, deliveries, hooks, other brokers; and of who is connected.
import { copyable, el, keyed, setAttribute, setText } from "./dom.js";
import { ask, get } from "./api.js";
import { ago, bytes, compact, count, duration, roughly, time, utc } from "./format.js";
import { Contents } from "./contents.js";
import { Shards } from "./shards.js";

const REFRESH_MS = 4_000;
const ITEMS_MAX = 100;

/** A panel: a list of named things, each with a headline, facts and perhaps a problem. */
class Panel {
  #section;
  #body;
  #path;
  #describe;
  #empty;
  #open;
  #act;
  #list = null;
  #busy = false;

  /**
   * `open(item)` shows what is in one of them, where that can be seen. `act` is what can be done to one: `{label,
   * sure(item), run(item)}`, asked about before it is done if there is a question.
   */
  constructor(id, path, describe, empty, open = null, act = null) {
    this.#section = document.getElementById(id);
    this.#body = this.#section.querySelector(".panel-body");
    this.#path = path;
    this.#describe = describe;
    this.#empty = empty;
    this.#open = open;
    this.#act = act;
  }

  async refresh(now) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const answer = await get(this.#path);
      this.#show(answer, now());
      this.#section.classList.remove("failed");
    } catch (error) {
      // What was shown stays, marked; a first answer that fails says why.
      this.#section.classList.add("failed");
      if (!this.#list) this.#body.replaceChildren(el("p", { class: "problem" }, error.message));
    } finally {
      this.#busy = false;
    }
  }

  #show(answer, now) {
    const items = Object.values(answer)[0];
    const total = answer.total ?? items.length;
    const head = this.#section.querySelector(".card-head");
    if (!head.querySelector(".count")) head.append(el("span", { class: "count" }));
    setText(head.querySelector(".count"), total > 0 ? count(total) : "");
    if (items.length === 0) {
      this.#list = null;
      this.#body.replaceChildren(el("div", { class: "empty" }, ...this.#empty()));
      return;
    }
    if (!this.#list) {
      this.#list = el("ul", {
        class: "things",
        tabindex: "0",
        "aria-label": this.#section.querySelector("h2").textContent,
      });
      this.#body.replaceChildren(this.#list);
    }
    keyed(
      this.#list,
      items.slice(0, ITEMS_MAX),
      (item) => item.name ?? item.client_id,
      (item) => this.#make(item),
      (row, item) => this.#update(row, item, now),
    );
  }

  #make(item) {
    const name = this.#open
      ? el("button", { type: "button", class: "name ellipsis", onclick: () => this.#open(item) })
      : el("b", { class: "name ellipsis" });
    const problem = el("p", { class: "problem", hidden: true });
    const detail = el("p", { class: "filters", hidden: true });
    const row = el("li", {}, name, el("span", { class: "note ellipsis" }), detail, el("dl", {}), problem);
    if (this.#act) row.append(this.#button(item, problem));
    return row;
  }

  #button(item, problem) {
    const { label, sure, run } = this.#act;
    const act = async () => {
      if (sure && !confirm(sure(item))) return;
      button.disabled = true;
      try {
        await run(item);
      } catch (error) {
        problem.hidden = false;
        setText(problem, error.message);
      } finally {
        button.disabled = false;
      }
    };
    const name = `${label} ${item.client_id ?? item.name}`;
    const button = el("button", { type: "button", class: "quiet act", "aria-label": name, onclick: act }, label);
    return button;
  }

  #update(row, item, now) {
    const { title, note, detail, facts, problem, mood } = this.#describe(item, now);
    const [name, noteNode, detailNode, factsNode, problemNode] = row.children;
    setText(name, title);
    setAttribute(name, "title", title);
    setText(noteNode, note);
    setAttribute(noteNode, "title", note);
    setText(detailNode, detail ?? "");
    detailNode.hidden = !detail;
    keyed(
      factsNode,
      facts,
      ([label]) => label,
      ([label]) => el("div", {}, el("dt", {}, label), el("dd", {})),
      (node, [, value, hover]) => {
        setText(node.lastChild, value);
        setAttribute(node, "title", hover);
      },
    );
    setText(problemNode, problem ?? "");
    problemNode.hidden = !problem;
    setAttribute(row, "data-mood", mood);
  }
}

function stream(item, now) {
  const age = (at) => (at === undefined ? "–" : ago(now - at));
  return {
    title: item.name,
    note: `${count(item.shards)} ${item.shards === 1 ? "shard" : "shards"}, kept ${roughly(item.retention_ms)}`,
    facts: [
      ["Records", compact(item.records), count(item.records)],
      ["Size", bytes(item.bytes)],
      ["Oldest", age(item.oldest), item.oldest && utc(item.oldest)],
      ["Newest", age(item.newest), item.newest && utc(item.newest)],
    ],
  };
}

function delivery(item, now) {
  const waits = item.oldest === undefined ? null : now - item.oldest;
  const late = waits !== null && waits > item.buffer_interval_ms * 2 + 5_000;
  return {
    title: item.name,
    note: item.last_file ? `last: ${item.last_file}` : `to ${item.directory}`,
    facts: [
      ["Buffered", compact(item.buffered_records), `${count(item.buffered_records)} records`],
      ["Size", `${bytes(item.buffered_bytes)}`, `flushed at ${bytes(item.buffer_bytes)}`],
      ["Oldest", waits === null ? "–" : roughly(waits), `flushed after ${duration(item.buffer_interval_ms)}`],
      ["Files", compact(item.files), `${count(item.errors)} failed flushes`],
    ],
    problem: item.last_error ? failure(item.last_error, `${count(item.errors)} failed`) : null,
    mood: late ? "bad" : null,
  };
}

function hook(item, now) {
  return {
    title: item.name,
    note: item.url,
    facts: [
      [
        "Pending",
        compact(item.pending),
        item.oldest === undefined ? null : `oldest waits ${duration(now - item.oldest)}`,
      ],
      ["In flight", compact(item.in_flight)],
      ["Delivered", compact(item.delivered), `${count(item.failed_attempts)} failed attempts`],
      ["Dead", compact(item.dead_letters), "calls that ran out of attempts"],
    ],
    problem: item.last_error ? failure(item.last_error) : null,
    mood: item.dead_letters > 0 ? "bad" : null,
  };
}

function upstream(item, now) {
  const isConnected = item.connected_since !== undefined;
  return {
    title: item.name,
    note: `${item.url} as ${item.client_id}`,
    facts: [
      ["State", isConnected ? "connected" : "away", isConnected ? utc(item.connected_since) : ""],
      ["In", compact(item.received), `${count(item.received)} messages received`],
      ["Out", compact(item.forwarded), `${count(item.forwarded)} messages acknowledged`],
      ["Waiting", compact(item.backlog_messages), item.oldest ? `since ${roughly(now - item.oldest)}` : ""],
    ],
    problem: item.last_error
      ? failure(item.last_error)
      : item.refused.length > 0
        ? `refused: ${item.refused.join("; ")}`
        : null,
    mood: isConnected && item.refused.length === 0 ? null : "bad",
  };
}

function client(item, now) {
  const topics = item.subscriptions.join(", ");
  const more = item.subscriptions_total - item.subscriptions.length;
  return {
    title: item.client_id,
    note: `${item.principal ? `${item.principal}, ` : ""}${item.address}`,
    detail: topics ? `subscribes to ${topics}${more > 0 ? ` and ${count(more)} more` : ""}` : "",
    facts: [
      ["In", compact(item.messages_in), `${count(item.messages_in)} messages published`],
      ["Out", compact(item.messages_out), `${count(item.messages_out)} messages received`],
      ["MQTT", item.protocol, item.principal ? `logged in as ${item.principal} (${item.login})` : "nobody asked who it is"],
      item.connected
        ? ["Up", roughly(now - item.connected_at), utc(item.connected_at)]
        : ["Waiting", compact(item.queued), "not connected; messages that wait in its session"],
    ],
  };
}

function failure(last, prefix) {
  return [prefix, `${time(last.at)}: ${last.message}`].filter(Boolean).join(", ");
}

/** Keeps the panels fresh while the page can be seen. `now()` is the gateway's time; `mqtt()` its `-h … -p …`. */
export function startPanels(now, mqtt) {
  const words = (text, code) => [el("p", {}, text), ...(code ? [copyable(code)] : [])];
  const contents = new Contents(document.getElementById("contents"));
  const shards = new Shards(document.getElementById("stream-detail"), now);
  const panels = [
    new Panel(
      "streams",
      "/api/streams",
      stream,
      () => words("No stream holds a record yet. A rule makes one:", "DO STREAM alerts KEY topic()"),
      (item) => contents.ofStream(item.name),
      { label: "Shards", run: (item) => shards.open(item.name) },
    ),
    new Panel(
      "deliveries",
      "/api/deliveries",
      delivery,
      () =>
        words(
          "No delivery is in use. A rule fills one, and files appear under the data folder:",
          "DO DELIVER archive",
        ),
      null,
      {
        label: "Flush",
        sure: (item) => `Write what waits in ${item.name} now?`,
        run: (item) => ask("POST", `/api/deliveries/${encodeURIComponent(item.name)}/flush`),
      },
    ),
    new Panel(
      "hooks",
      "/api/hooks",
      hook,
      () =>
        words("No hook is declared. In tidegate.toml:", '[hook.pager]\nurl = "http://127.0.0.1:9000/alert"'),
      (item) => contents.ofHook(item.name),
    ),
    new Panel("upstreams", "/api/upstreams", upstream, () =>
      words("No other broker is configured. In tidegate.toml:", '[broker]\nexternal = "mqtt://host"'),
    ),
    new Panel(
      "clients",
      `/api/clients?limit=${ITEMS_MAX}`,
      client,
      () => words("Nobody is connected. Listen to everything:", `mosquitto_sub ${mqtt()} -v -t '#'`),
      null,
      {
        label: "Disconnect",
        sure: (item) => `Disconnect the client ${item.client_id}? It may come back at once.`,
        run: async (item) => {
          await ask("DELETE", `/api/clients/${encodeURIComponent(item.client_id)}`);
          refresh();
        },
      },
    ),
  ];
  const refresh = () => panels.forEach((panel) => panel.refresh(now));
  setInterval(() => document.hidden || refresh(), REFRESH_MS);
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  return refresh;
}
