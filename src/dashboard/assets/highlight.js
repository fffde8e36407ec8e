// Colour for rule text and JSON: tokens become spans with text, so hostile text stays text.
import { el } from "./dom.js";

// Beyond this, one span a token would make the page slow; the text is shown plain.
const HIGHLIGHT_CHARS_MAX = 40_000;

const RULE_KEYWORDS = new Set(
  [
    "all and as at batch between by case clear cleared create days day deliver description disabled do else end",
    "error every exists false firing for foreach from gap group hash having hold hours hour in invoke is join keep",
    "key lateness least left like log max microseconds milliseconds millisecond minutes minute missing nanoseconds not null on or partition qos queue",
    "repeat republish reset restart retain rule seconds second select set stream table then times timestamp to true",
    "undefined upsert value when where with within",
  ].flatMap((line) => line.split(" ")),
);

const tokens = (...kinds) => new RegExp(kinds.map((kind) => kind.source).join("|"), "g");
const NUMBER = /(?<number>-?\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)/;
const RULE_TOKENS = tokens(
  /(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))/,
  /(?<string>'(?:[^']|'')*'?|"[^"\n]*"?)/,
  NUMBER,
  /(?<call>[A-Za-z_]\w*(?=\s*\())/,
  /(?<word>[A-Za-z_@]\w*)/,
);
const JSON_TOKENS = tokens(
  /(?<key>"(?:[^"\\]|\\.)*"(?=\s*:))/,
  /(?<string>"(?:[^"\\]|\\.)*"?)/,
  NUMBER,
  /(?<word>true|false|null)/,
);

/** The text of a rule. */
export function highlightRule(text) {
  return highlight(text, RULE_TOKENS, (kind, token) => {
    if (kind === "call") return RULE_KEYWORDS.has(token.toLowerCase()) ? "keyword" : "call";
    if (kind !== "word") return kind;
    return RULE_KEYWORDS.has(token.toLowerCase()) ? "keyword" : null;
  });
}

/** JSON text. */
export function highlightJson(text) {
  return highlight(text, JSON_TOKENS, (kind) => (kind === "word" ? "keyword" : kind));
}

function highlight(text, pattern, kindOf) {
  const out = document.createDocumentFragment();
  if (text.length > HIGHLIGHT_CHARS_MAX) {
    out.append(text);
    return out;
  }
  let done = 0;
  for (const match of text.matchAll(pattern)) {
    const [found] = Object.entries(match.groups).find(([, token]) => token !== undefined);
    const kind = kindOf(found, match[0]);
    if (!kind) continue;
    out.append(text.slice(done, match.index), el("span", { class: `t-${kind}` }, match[0]));
    done = match.index + match[0].length;
  }
  out.append(text.slice(done));
  return out;
}
