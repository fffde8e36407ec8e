// The live connection: server-sent events, with backoff when it breaks and a watchdog for when it silently does not.
import { parse } from "./api.js";

const SILENCE_MS = 6_000; // `stats` comes each second
const BACKOFF_MAX_MS = 15_000;

/**
 * Keeps the feed open. `onState("live" | "reconnecting", delayMs?)`, `onOpen()` each time it opens (what happened
 * meanwhile has to be fetched), `onHits({missed, hits})`, `onStats(stats)`.
 */
export function connect({ onState, onOpen, onHits, onStats }) {
  let source = null;
  let failures = 0;
  let heardAt = 0;
  let retry = null;

  function open() {
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

  function broken() {
    if (retry !== null) return;
    source?.close();
    source = null;
    const delay = Math.min(BACKOFF_MAX_MS, 500 * 2 ** failures) * (0.75 + Math.random() / 2);
    failures = Math.min(failures + 1, 10);
    onState("reconnecting", delay);
    retry = setTimeout(open, delay);
  }

  setInterval(() => {
    if (source && Date.now() - heardAt > SILENCE_MS) broken();
  }, 1000);
  // A phone that wakes up should not wait out a backoff.
  const hurry = () => {
    if (document.hidden || retry === null) return;
    clearTimeout(retry);
    open();
  };
  document.addEventListener("visibilitychange", hurry);
  addEventListener("online", hurry);
  // A page that a browser puts aside must not keep one of the few live places.
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted) broken();
  });
  open();
}
