// Numbers: the text format of `/metrics` read back, and how numbers and times are written.

/** Samples of `/metrics`, as `{ name, labels, value }`. */
export function samples(text) {
  const found = [];
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const end = line.search(/[{ ]/);
    if (end < 0) continue;
    const labels = {};
    let at = end;
    if (line[at] === "{") {
      at += 1;
      while (line[at] !== "}" && at < line.length) {
        const equals = line.indexOf('="', at);
        if (equals < 0) break;
        const key = line.slice(at, equals);
        let value = "";
        at = equals + 2;
        while (at < line.length && line[at] !== '"') {
          if (line[at] === "\\") {
            at += 1;
            value += line[at] === "n" ? "\n" : line[at];
          } else {
            value += line[at];
          }
          at += 1;
        }
        labels[key] = value;
        at += 1;
        if (line[at] === ",") at += 1;
      }
      at += 1;
    }
    const value = Number(line.slice(at).trim().split(" ")[0]);
    if (!Number.isNaN(value)) found.push({ name: line.slice(0, end), labels, value });
  }
  return found;
}

/** The sum of a name over all labels that fit; `null` without a sample. */
export function sum(all, name, labels = {}) {
  let total = null;
  for (const sample of all) {
    if (sample.name !== name) continue;
    if (Object.entries(labels).every(([key, value]) => sample.labels[key] === value)) {
      total = (total ?? 0) + sample.value;
    }
  }
  return total;
}

/** The value of a label of the sample that is 1. */
export function state(all, name, label) {
  const on = all.find((sample) => sample.name === name && sample.value === 1);
  return on ? on.labels[label] : null;
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function number(value) {
  return value === null || value === undefined ? "–" : whole.format(Math.round(value));
}

export function compact(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) < 10_000 ? whole.format(Math.round(value * 10) / 10) : short.format(value);
}

/** A rate: few digits, and none of them jumps about. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 100) return compact(Math.round(value));
  return value.toFixed(value >= 10 || value === 0 ? 0 : 1);
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${value.toFixed(at === 0 || value >= 100 ? 0 : 1)} ${units[at]}`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** How long ago a time was. */
export function ago(time) {
  const at = typeof time === "number" ? time : Date.parse(time);
  return Number.isNaN(at) ? "–" : `${span((Date.now() - at) / 1000)} ago`;
}

export function clock(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "–";
  return at.toLocaleString("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** A word of the job for people: `in-database` becomes `in database`. */
export function words(text) {
  return String(text ?? "").replaceAll(/[-_]/g, " ");
}
