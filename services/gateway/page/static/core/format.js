// Numbers, times and sizes as text. All of a column's figures have the same number of places.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function count(value) {
  return value === null || value === undefined ? "–" : whole.format(value);
}

export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1000) return whole.format(value);
  if (size >= 100) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  if (size >= 0.001) return value.toFixed(4);
  return value.toExponential(2);
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? whole.format(value) : value.toFixed(1);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 s";
  if (value < 0.0995) return `${(value * 1000).toFixed(value < 0.00995 ? 1 : 0)} ms`;
  if (value < 1) return `${(value * 1000).toFixed(0)} ms`;
  if (value < 100) return `${value.toFixed(1)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${(value / 3600).toFixed(1)} h` : `${Math.round(value / 86400)} d`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at === 0 ? value : value.toFixed(1)} ${units[at]}`;
}

export function clock(ms) {
  if (!ms) return "–";
  return new Date(ms).toLocaleTimeString("en-GB");
}

export function moment(ms) {
  if (!ms) return "–";
  const at = new Date(ms);
  const day = at.toLocaleDateString("en-CA");
  return day === new Date().toLocaleDateString("en-CA")
    ? at.toLocaleTimeString("en-GB")
    : `${day} ${at.toLocaleTimeString("en-GB").slice(0, 5)}`;
}

export function ago(ms) {
  if (!ms) return "–";
  return `${seconds(Math.max(0, (Date.now() - ms) / 1000))} ago`;
}

export function json(value, indent) {
  return typeof value === "string" ? value : JSON.stringify(value, null, indent);
}

export function short(digest, length = 10) {
  return digest ? digest.slice(0, length) : "–";
}

export function many(value, one, more = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : more}`;
}

export function brief(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10000) return count(value);
  return value < 1e6
    ? `${Math.round(value / 1000)}k`
    : value < 1e9
      ? `${(value / 1e6).toFixed(1)}M`
      : `${(value / 1e9).toFixed(1)}G`;
}
