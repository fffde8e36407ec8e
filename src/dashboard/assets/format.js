// Numbers, sizes, times and durations as people read them. Times are local; UTC is on hover.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** 1,284,220 */
export function count(n) {
  return whole.format(n ?? 0);
}

/** 12,345 and then 1.3M: fits a narrow column. */
export function compact(n) {
  return n < 100_000 ? whole.format(n) : short.format(n);
}

/** A rate a second: 0, 0.4, 12.3, 1,240. */
export function rate(n) {
  if (n === 0) return "0";
  if (n < 100) return n.toFixed(n < 10 ? 2 : 1).replace(/\.?0+$/, "") || "0";
  return compact(Math.round(n));
}

/** 4.2 MB, in thousands as disks are sold. */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  let size = n;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** 3 d 4 h, 12 min 5 s, 4.2 s, 310 ms: two parts at most. */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** Duration with one part, for narrow places: 3 d, 12 min. */
export function roughly(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** "12 s ago". */
export function ago(ms) {
  return ms < 1000 ? "now" : `${roughly(ms)} ago`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** 14:03:09, local; with the day when it is not today's. */
export function time(ms) {
  const at = new Date(ms);
  const today = new Date().toDateString() === at.toDateString();
  return today ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}

/** 14:03, local. */
export function timeOfDay(ms) {
  return minute.format(ms);
}

/** What stands on hover: UTC, to the millisecond. */
export function utc(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.getTime())
    ? `${ms} ms`
    : `${at.toISOString().replace("T", " ").replace("Z", "")} UTC`;
}
