// How values are written; the names of units are those of panels.py.

const number = (value, digits = 3) =>
  value.toLocaleString("en", { maximumSignificantDigits: digits });

function scaled(value, base, names) {
  let step = 0;
  let size = Math.abs(value);
  while (size >= base && step < names.length - 1) {
    size /= base;
    step += 1;
  }
  return `${number(value / base ** step)} ${names[step]}`.trim();
}

function seconds(value) {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 0.001) return `${number(value * 1e6)} µs`;
  if (size < 1) return `${number(value * 1e3)} ms`;
  return `${number(value)} s`;
}

function duration(value) {
  const whole = Math.max(0, Math.floor(value));
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

const UNITS = {
  seconds,
  duration,
  bytes: (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]),
  ratio: (value) => `${number(value * 100)} %`,
  per_second: (value) => `${scaled(value, 1000, ["", "k", "M"])}/s`,
  count: (value) =>
    Number.isInteger(value) ? value.toLocaleString("en") : number(value),
  cores: (value) => `${number(value)} ${value === 1 ? "core" : "cores"}`,
  minor_units: (value) => `${scaled(value, 1000, ["", "k", "M", "G"])}/s`,
  yes: (value) => (value >= 1 ? "yes" : "no"),
};

export const AXES = {
  seconds: "time",
  bytes: "size",
  ratio: "share",
  per_second: "per second",
  count: "number",
  cores: "cores",
  minor_units: "minor units per second",
};

export const BASES = { bytes: 1024 };

export function written(value, unit, name, exponents) {
  if (value === null || value === undefined) return "–";
  if (unit === "money") {
    const digits = exponents[name] ?? 0;
    const shown = (value / 10 ** digits).toLocaleString("en", {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
    return `${shown} ${name}`;
  }
  return UNITS[unit](value);
}

export const clock = (atSeconds, withSeconds = true) =>
  new Date(atSeconds * 1000).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    ...(withSeconds ? { second: "2-digit" } : {}),
  });

export function moment(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? text : at.toLocaleString("sv-SE");
}
