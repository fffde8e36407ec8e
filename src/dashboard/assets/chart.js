// The chart of hits over time: stacked bars, a colour a rule, on one canvas. Pointer or arrow keys read a bar out.
import { el, keyed, setAttribute, setText } from "./dom.js";
import { rate, time, timeOfDay } from "./format.js";

const BAR_PX_MIN = 4;
const MARGIN = { top: 10, right: 6, bottom: 22, left: 42 };
const GREY = "other";

/** Draws into `root`; `legend` lists the colours; `onRule(name)` when one is chosen. */
export class Chart {
  #canvas;
  #readout;
  #legend;
  #onRule;
  #palette;
  #series = null;
  #bars = [];
  #cursor = null;
  #colours = {};

  constructor(root, legend, palette, onRule) {
    this.#canvas = root.querySelector("canvas");
    this.#readout = root.querySelector(".readout");
    this.#legend = legend;
    this.#palette = palette;
    this.#onRule = onRule;
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.#canvas.addEventListener("pointerdown", (event) => this.#point(event.offsetX));
    this.#canvas.addEventListener("pointerleave", () => this.#select(null));
    this.#canvas.addEventListener("blur", () => this.#select(null));
    this.#canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(root);
    document.addEventListener("themechange", () => {
      this.#readColours();
      this.draw();
    });
    this.#readColours();
  }

  /** What to show from now on. */
  show(series) {
    this.#series = series;
    this.#select(null);
    this.draw();
  }

  /** Draws what is shown, as it is now. */
  draw() {
    const series = this.#series;
    const { clientWidth: width, clientHeight: height } = this.#canvas.parentElement;
    if (!series || series.end === 0 || width === 0) return;
    const ratio = devicePixelRatio || 1;
    if (
      this.#canvas.width !== Math.round(width * ratio) ||
      this.#canvas.height !== Math.round(height * ratio)
    ) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const context = this.#canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const plot = {
      x: MARGIN.left,
      y: MARGIN.top,
      width: width - MARGIN.left - MARGIN.right,
      height: height - MARGIN.top - MARGIN.bottom,
    };
    this.#stack(series, plot.width);
    const top = niceTop(Math.max(...this.#bars.map((bar) => bar.total)));
    this.#drawGrid(context, plot, top);
    this.#drawBars(context, plot, top);
    this.#drawTimes(context, plot);
    if (this.#bars.every((bar) => bar.total === 0)) this.#drawEmpty(context, plot);
    this.#drawLegend();
    this.#showReadout(plot);
    const now = this.#bars.at(-1)?.total ?? 0;
    const peak = Math.max(...this.#bars.map((bar) => bar.total));
    const label = `Hits per second over time: ${rate(now)} now, ${rate(peak)} at most. Arrow keys read it out.`;
    setAttribute(this.#canvas, "aria-label", label);
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ink-soft", "line", "line-strong", "surface", GREY, ...Array(8).keys()]) {
      this.#colours[name] = style
        .getPropertyValue(typeof name === "number" ? `--rule-${name}` : `--${name}`)
        .trim();
    }
  }

  /** Turns the series into bars wide enough to see, each a list of parts from the bottom up. */
  #stack(series, width) {
    const fit = Math.max(10, Math.floor(width / BAR_PX_MIN));
    const per = [1, 2, 3, 5, 10, 15, 20, 30, 60].find((n) => series.steps / n <= fit) ?? 60;
    const count = Math.ceil(series.steps / per);
    this.#palette.assign(series.busiest());
    const rules = this.#palette.rules();
    const totals = series.sums(per, count, (bucket) => bucket.hits);
    const parts = rules.map((rule) => series.sums(per, count, (bucket) => bucket.rules.get(rule)));
    const widthMs = per * series.stepMs;
    const end = Math.ceil(series.end / widthMs) * widthMs;
    this.#bars = totals.map((total, n) => {
      const at = end - (count - n) * widthMs;
      // The bars at both ends may hold fewer steps than the others.
      const seconds = Math.max(1, (Math.min(at + widthMs, series.end) - Math.max(at, series.start)) / 1000);
      const named = rules
        .map((rule, r) => ({
          rule,
          colour: this.#colours[this.#palette.slot(rule)],
          value: parts[r][n] / seconds,
        }))
        .filter((part) => part.value > 0);
      const rest = total / seconds - named.reduce((sum, part) => sum + part.value, 0);
      if (rest > 1e-9) named.push({ rule: "other rules", colour: this.#colours[GREY], value: rest });
      return { at, widthMs, total: total / seconds, parts: named };
    });
  }

  #drawGrid(context, plot, top) {
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let n = 0; n <= 4; n += 1) {
      const y = Math.round(plot.y + plot.height - (n / 4) * plot.height) + 0.5;
      context.strokeStyle = this.#colours[n === 0 ? "line-strong" : "line"];
      context.beginPath();
      context.moveTo(plot.x, y);
      context.lineTo(plot.x + plot.width, y);
      context.stroke();
      context.fillStyle = this.#colours["ink-soft"];
      context.fillText(rate((top * n) / 4), plot.x - 8, y);
    }
  }

  #drawBars(context, plot, top) {
    const step = plot.width / this.#bars.length;
    const gap = step > 5 ? 1 : 0.5;
    this.#bars.forEach((bar, n) => {
      let y = plot.y + plot.height;
      const x = plot.x + n * step;
      if (n === this.#cursor) {
        context.fillStyle = this.#colours.line;
        context.fillRect(x - gap / 2, plot.y, step, plot.height);
      }
      for (const part of bar.parts) {
        const tall = (part.value / top) * plot.height;
        context.fillStyle = part.colour;
        context.fillRect(x, y - tall, step - gap, tall);
        y -= tall;
      }
    });
  }

  #drawTimes(context, plot) {
    const [first] = this.#bars;
    const end = this.#bars.at(-1).at + first.widthMs;
    const span = end - first.at;
    const room = Math.max(2, Math.floor(plot.width / 90));
    const minutes =
      [1, 2, 5, 10, 30, 60, 120, 180, 240, 360, 720].find((m) => span / (m * 60_000) <= room) ?? 720;
    const every = minutes * 60_000;
    const zone = new Date(end).getTimezoneOffset() * 60_000;
    context.fillStyle = this.#colours["ink-soft"];
    context.strokeStyle = this.#colours["line-strong"];
    context.textBaseline = "top";
    context.textAlign = "center";
    for (let at = Math.ceil((first.at - zone) / every) * every + zone; at <= end; at += every) {
      const x = plot.x + ((at - first.at) / span) * plot.width;
      if (x < plot.x + 14 || x > plot.x + plot.width - 14) continue;
      context.beginPath();
      context.moveTo(Math.round(x) + 0.5, plot.y + plot.height);
      context.lineTo(Math.round(x) + 0.5, plot.y + plot.height + 4);
      context.stroke();
      context.fillText(timeOfDay(at), x, plot.y + plot.height + 7);
    }
  }

  #drawEmpty(context, plot) {
    context.font = "13px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = this.#colours["ink-soft"];
    context.fillText("No hits in this time", plot.x + plot.width / 2, plot.y + plot.height / 2);
  }

  #drawLegend() {
    const rules = this.#palette.rules();
    keyed(
      this.#legend,
      rules,
      (rule) => rule,
      (rule) =>
        el(
          "li",
          {},
          el(
            "button",
            { type: "button", class: "quiet", onclick: () => this.#onRule(rule) },
            el("span", { class: "swatch" }),
            el("span", { class: "ellipsis" }, rule),
          ),
        ),
      (item, rule) =>
        setAttribute(item.querySelector(".swatch"), "data-slot", String(this.#palette.slot(rule))),
    );
  }

  #point(x) {
    const width = this.#canvas.clientWidth - MARGIN.left - MARGIN.right;
    const n = Math.floor(((x - MARGIN.left) / width) * this.#bars.length);
    this.#select(n >= 0 && n < this.#bars.length ? n : null);
  }

  #key(event) {
    const last = this.#bars.length - 1;
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (event.key === "Escape") this.#select(null);
    else if (event.key === "Home") this.#select(0);
    else if (event.key === "End") this.#select(last);
    else if (event.key in moves)
      this.#select(Math.min(last, Math.max(0, (this.#cursor ?? last + 1) + moves[event.key])));
    else return;
    event.preventDefault();
  }

  #select(n) {
    if (this.#cursor === n) return;
    this.#cursor = n;
    this.draw();
    if (n === null) this.#readout.hidden = true;
  }

  #showReadout(plot) {
    const bar = this.#cursor === null ? null : this.#bars[this.#cursor];
    this.#readout.hidden = !bar;
    if (!bar) return;
    const rows = bar.parts.toReversed().map((part) => {
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = part.colour;
      return el(
        "li",
        {},
        swatch,
        el("span", { class: "ellipsis" }, part.rule),
        el("b", {}, rate(part.value)),
      );
    });
    const head = el("p", {}, el("span", {}, time(bar.at)), el("b", {}, `${rate(bar.total)} /s`));
    this.#readout.replaceChildren(head, el("ul", {}, ...rows));
    const x = plot.x + ((this.#cursor + 0.5) / this.#bars.length) * plot.width;
    const beside = x > plot.x + plot.width / 2 ? x - this.#readout.offsetWidth - 14 : x + 14;
    this.#readout.style.transform = `translateX(${Math.max(0, Math.round(beside))}px)`;
    setText(this.#canvas, `${time(bar.at)}: ${rate(bar.total)} hits per second`);
  }
}

/** A round number at or above the peak whose quarters are round too. */
function niceTop(peak) {
  if (peak <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(peak));
  return [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10].map((n) => n * power).find((n) => n >= peak) ?? 10 * power;
}
