// The live connection: server-sent events, with backoff when it breaks and a watchdog for when it silently does not. A
// page that nobody sees gives its connection back: a browser has six for one gateway, and the gateway few for all.
import { parse } from "./api.js";

const SILENCE_MS = 6_000; // `stats` comes each second
const BACKOFF_MAX_MS = 15_000;
const HIDDEN_MS = 30_000;

/**
 * Keeps the feed open. `onState("live" | "reconnecting", delayMs?)`, `onOpen()` each time it opens (what happened
 * meanwhile has to be fetched), `onHits({missed, hits})`, `onStats(stats)`.
 */
export function connect({ onState, onOpen, onHits, onStats }) {
  let source = null;
  let failures = 0;
  let heardAt = 0;
  let retry = null;
  let leave = null;

  function open() {
    clearTimeout(retry);
    retry = null;
    heardAt = Date.now();
    source = new EventSource("/api/events");
    source.addEventListener("open", () => {
      heardAt = Date.now();
      onOpen();
    });
    source.addEventListener("stats", (event) => {
      heardAt = Date.now();
      failures = 0;
      onState("live");
      onStats(parse(event.data));
    });
    source.addEventListener("hits", (event) => {
      heardAt = Date.now();
      onHits(parse(event.data));
    });
    source.addEventListener("error", broken);
  }

  function close() {
    source?.close();
    source = null;
    clearTimeout(retry);
    retry = null;
  }

  function broken() {
    if (retry !== null) return;
    close();
    const delay = Math.min(BACKOFF_MAX_MS, 500 * 2 ** failures) * (0.75 + Math.random() / 2);
    failures = Math.min(failures + 1, 10);
    onState("reconnecting", delay);
    retry = setTimeout(open, delay);
  }

  setInterval(() => {
    if (source && Date.now() - heardAt > SILENCE_MS) broken();
  }, 1000);
  // Who comes back should not wait out a backoff.
  const hurry = () => {
    if (!document.hidden && source === null) open();
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leave);
    if (document.hidden) leave = setTimeout(close, HIDDEN_MS);
    else hurry();
  });
  addEventListener("online", hurry);
  addEventListener("pagehide", close);
  addEventListener("pageshow", hurry);
  open();
}
