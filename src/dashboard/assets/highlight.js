// Colour for rule text and JSON: tokens become spans with text, so hostile text stays text.
import { el } from "./dom.js";

// Beyond this, one span a token would make the page slow; the text is shown plain.
const HIGHLIGHT_CHARS_MAX = 40_000;

const RULE_WORDS =
  "all and as at between by case clear cleared create deliver description disabled do else end error every exists false " +
  "firing for foreach from gap group hash having hold in invoke is join keep key least left like log max missing not null " +
  "on or partition publish qos repeat republish reset restart retain rule select set stream table then times timestamp to true " +
  "undefined value when where with within milliseconds millisecond seconds second minutes minute hours hour days day batch upsert queue";
const RULE_KEYWORDS = new Set(RULE_WORDS.split(" "));

const RULE_TOKENS =
  /(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<string>'(?:[^']|'')*'?|"[^"\n]*"?)|(?<number>\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)|(?<call>[A-Za-z_]\w*(?=\s*\())|(?<word>[A-Za-z_@][\w]*)/g;
const JSON_TOKENS =
  /(?<key>"(?:[^"\\]|\\.)*"(?=\s*:))|(?<string>"(?:[^"\\]|\\.)*"?)|(?<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?<word>true|false|null)/g;

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

function highlight(text, tokens, kindOf) {
  const out = document.createDocumentFragment();
  if (text.length > HIGHLIGHT_CHARS_MAX) {
    out.append(text);
    return out;
  }
  let done = 0;
  for (const match of text.matchAll(tokens)) {
    const [found] = Object.entries(match.groups).find(([, token]) => token !== undefined);
    const kind = kindOf(found, match[0]);
    if (!kind) continue;
    out.append(text.slice(done, match.index), el("span", { class: `t-${kind}` }, match[0]));
    done = match.index + match[0].length;
  }
  out.append(text.slice(done));
  return out;
}
