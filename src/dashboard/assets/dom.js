// Building and changing the page. Text from outside becomes text nodes and attribute values only; nothing here, or
// anywhere in these scripts, parses HTML.

/** An element: `el("td", {class: "num", title: "…", onclick: f}, "text", child, …)`. Null children are left out. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets text only when it differs, so that a selection in it survives. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets or removes an attribute only when it differs. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/**
 * Keeps `parent`'s children equal to `items`: one node an item, made once by `make(item)` and brought up to date by
 * `update(node, item)`. Nodes keep their identity, focus and selection while their item stays.
 */
export function keyed(parent, items, key, make, update) {
  const known = parent.keyedNodes ?? (parent.keyedNodes = new Map());
  const wanted = new Set();
  let place = parent.firstChild;
  for (const item of items) {
    const id = key(item);
    if (wanted.has(id)) continue;
    wanted.add(id);
    let node = known.get(id);
    if (!node) {
      node = make(item);
      known.set(id, node);
    }
    update(node, item);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  for (const [id, node] of known) {
    if (wanted.has(id)) continue;
    node.remove();
    known.delete(id);
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** A line of bars, `width` by `height` user units, that {@link drawBars} fills. */
export function bars(width, height) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("bars");
  svg.append(document.createElementNS(SVG, "path"));
  return svg;
}

/** Draws counts as bars from the left to the right edge. */
export function drawBars(svg, counts) {
  const { width, height } = svg.viewBox.baseVal;
  const top = Math.max(1, ...counts);
  const step = width / counts.length;
  let path = `M0 ${height - 0.5}H${width}v.5H0z`;
  counts.forEach((count, n) => {
    if (count <= 0) return;
    const tall = Math.max(1.5, (count / top) * height);
    path += `M${(n * step).toFixed(1)} ${height}v${(-tall).toFixed(1)}h${(step * 0.75).toFixed(1)}v${tall.toFixed(1)}z`;
  });
  setAttribute(svg.firstChild, "d", path);
}

/** Some code with a button that copies it. */
export function copyable(code) {
  const button = el("button", { type: "button", class: "quiet copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.previousSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return el("div", { class: "copyable" }, el("pre", { tabindex: "0" }, code), button);
}
