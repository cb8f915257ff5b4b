// Line charts as inline SVG: axes with units, a limit, a cursor for pointer and keys, a legend that
// is a table of figures. Texts from the server only ever become text nodes.

import { AXES, BASES, clock, written } from "./values.js";

const SVG = "http://www.w3.org/2000/svg";
const EDGE = { left: 62, right: 10, top: 24, bottom: 22 };
const HEIGHT = 208;

export function element(name, attributes = {}, ...children) {
  const made = ["svg", "g", "line", "path", "rect", "text", "title", "desc"].includes(name)
    ? document.createElementNS(SVG, name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function steps(top, base = 10, wanted = 4) {
  // Round numbers from 0 up to at least `top`; of bytes, powers of two.
  const rough = top / wanted;
  const grade = base === 1024 ? 2 ** Math.ceil(Math.log2(rough)) : round(rough);
  const found = [];
  for (let n = 0; n <= Math.ceil(top / grade - 1e-9); n += 1) found.push(n * grade);
  return found;
}

function round(rough) {
  const grade = 10 ** Math.floor(Math.log10(rough));
  const found = [1, 2, 2.5, 5, 10].find((one) => one * grade >= rough - grade * 1e-9);
  return found * grade;
}

function moments(from, to) {
  const apart = [30, 60, 120, 300, 600, 900].find((one) => (to - from) / one <= 6) ?? 1800;
  const found = [];
  for (let at = Math.ceil(from / apart) * apart; at <= to; at += apart) found.push(at);
  return found;
}

export function summary(series, unit) {
  const known = series.values.filter((value) => value !== null);
  const write = (value) => written(value ?? null, unit, series.name);
  return {
    now: write(series.values.at(-1)),
    low: known.length ? write(Math.min(...known)) : "–",
    high: known.length ? write(Math.max(...known)) : "–",
  };
}

export function chart(holder, spec) {
  // spec: title, unit, limit (or null), times, from, series [{name, values}], leftOut, atZero
  let drawn = holder.querySelector(".chart");
  if (!drawn) {
    drawn = element("div", { class: "chart", tabindex: "0", role: "group" });
    drawn.append(element("div", { class: "plot" }));
    const readout = element("p", { class: "readout", "aria-live": "polite" });
    const legend = element("table", { class: "legend" });
    holder.replaceChildren(drawn, readout, legend);
    listen(drawn);
  }
  drawn.spec = spec;
  drawn.setAttribute("aria-label", `${spec.title}: left and right arrow keys read the values`);
  paint(drawn);
  holder.querySelector(".legend").replaceChildren(...legendRows(spec));
}

function scales(drawn) {
  const { times, from, series, limit, unit } = drawn.spec;
  const width = Math.max(drawn.clientWidth, 240);
  const known = series.flatMap((one) => one.values).filter((value) => value !== null);
  const highest = Math.max(0, ...known);
  const near = limit !== null && (highest === 0 || highest >= limit * 0.4);
  const reach = near ? Math.max(highest, limit * 1.1) : highest;
  const ticks = steps(reach > 0 ? reach : 1, BASES[unit]);
  const to = times.at(-1);
  const x = (at) => EDGE.left + ((at - from) / (to - from || 1)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - (value / ticks.at(-1)) * (HEIGHT - EDGE.top - EDGE.bottom);
  return { width, ticks, to, x, y };
}

function paint(drawn) {
  const { title, unit, limit, times, from, series } = drawn.spec;
  const scale = scales(drawn);
  const { width, ticks, to, x, y } = scale;
  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
  const said = series.map((one) => {
    const { now, low, high } = summary(one, unit);
    return `${one.name || title}: now ${now}, lowest ${low}, highest ${high}.`;
  });
  svg.append(element("title", {}, `${title}, ${clock(from)} to ${clock(to)}`));
  svg.append(element("desc", {}, said.join(" ") || "Nothing was measured."));
  for (const tick of ticks) {
    svg.append(element("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: y(tick), y2: y(tick) }));
    svg.append(element("text", { x: EDGE.left - 6, y: y(tick) + 4, "text-anchor": "end" }, written(tick, unit)));
  }
  svg.append(element("text", { x: 2, y: 10 }, AXES[unit] ?? unit));
  for (const at of moments(from, to)) {
    const left = x(at);
    if (left < EDGE.left + 12 || left > width - EDGE.right - 12) continue;
    svg.append(element("line", { class: "axis", x1: left, x2: left, y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom + 4 }));
    svg.append(element("text", { x: left, y: HEIGHT - 6, "text-anchor": "middle" }, clock(at, at % 60 !== 0)));
  }
  if (limit !== null && limit <= ticks.at(-1)) {
    svg.append(element("line", { class: "limit", x1: EDGE.left, x2: width - EDGE.right, y1: y(limit), y2: y(limit) }));
  }
  series.forEach((one, index) => svg.append(trace(one.values, times, index, x, y)));
  if (limit !== null && limit <= ticks.at(-1)) {
    svg.append(element("text", { class: "limit-name", x: width - EDGE.right, y: y(limit) - 4, "text-anchor": "end" }, `limit ${written(limit, unit)}`));
  }
  drawn.scale = scale;
  drawn.querySelector(".plot").replaceChildren(svg);
  if (drawn.at !== undefined) point(drawn, Math.min(drawn.at, times.length - 1));
}

function gaps(times) {
  // Where no sample was taken for long: nothing is drawn across.
  const apart = times.slice(1).map((at, n) => at - times[n]);
  const usual = [...apart].sort((a, b) => a - b)[Math.floor(apart.length / 2)];
  return [false, ...apart.map((one) => one > 3 * usual)];
}

function trace(values, times, index, x, y) {
  let path = "";
  let open = false;
  const broken = gaps(times);
  const ends = (n) => n >= values.length || values[n] === null || broken[n];
  values.forEach((value, n) => {
    if (value === null || broken[n]) open = false;
    if (value === null) return;
    const alone = !open && ends(n + 1);
    path += `${open ? "L" : "M"}${x(times[n]).toFixed(1)} ${y(value).toFixed(1)}${alone ? "h2" : ""}`;
    open = true;
  });
  return element("path", { class: `trace s${index % 8}`, d: path });
}

function point(drawn, index) {
  const { times, series, unit } = drawn.spec;
  const { x } = drawn.scale;
  drawn.at = index;
  const svg = drawn.querySelector("svg");
  svg.querySelector(".cursor")?.remove();
  const left = x(times[index]);
  svg.append(element("line", { class: "cursor", x1: left, x2: left, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
  const values = series.map((one) => `${one.name} ${written(one.values[index], unit)}`.trim());
  drawn.parentElement.querySelector(".readout").textContent =
    `${clock(times[index])}: ${values.join(", ") || "nothing"}`;
}

function leave(drawn) {
  drawn.at = undefined;
  drawn.querySelector(".cursor")?.remove();
  drawn.parentElement.querySelector(".readout").textContent = "";
}

function listen(drawn) {
  drawn.addEventListener("keydown", (event) => {
    const last = drawn.spec.times.length - 1;
    const here = drawn.at ?? last + 1;
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") leave(drawn);
    if (to === undefined) return;
    event.preventDefault();
    point(drawn, Math.max(0, Math.min(last, to)));
  });
  drawn.addEventListener("pointermove", (event) => {
    const box = drawn.querySelector("svg").getBoundingClientRect();
    const { times } = drawn.spec;
    const { x, width } = drawn.scale;
    const wanted = ((event.clientX - box.left) / box.width) * width;
    const away = times.map((at) => Math.abs(x(at) - wanted));
    point(drawn, away.indexOf(Math.min(...away)));
  });
  drawn.addEventListener("pointerleave", () => leave(drawn));
  drawn.addEventListener("blur", () => leave(drawn));
  new ResizeObserver(() => drawn.spec && paint(drawn)).observe(drawn);
}

function remarks({ leftOut, atZero }) {
  const found = [];
  if (leftOut) found.push(`${leftOut} smaller not shown.`);
  if (atZero.length) found.push(`At zero: ${atZero.join(", ")}.`);
  return found.join(" ");
}

function legendRows(spec) {
  const { series, unit, title } = spec;
  const heads = ["Series", "Now", "Lowest", "Highest"].map((name, n) =>
    element("th", { scope: "col", ...(n ? { class: "number" } : {}) }, name));
  const rows = series.map((one, index) => {
    const { now, low, high } = summary(one, unit);
    const swatch = element("svg", { class: "swatch", viewBox: "0 0 26 10", "aria-hidden": "true" },
      element("line", { class: `s${index % 8}`, x1: 0, x2: 26, y1: 5, y2: 5 }));
    const cells = [now, low, high].map((value) => element("td", { class: "number" }, value));
    return element("tr", {}, element("td", {}, swatch, one.name || title), ...cells);
  });
  if (remarks(spec)) rows.push(element("tr", {}, element("td", { colspan: "4", class: "remark" }, remarks(spec))));
  return [element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)];
}

export function ranking(holder, spec) {
  // spec: unit, series [{name, values}], leftOut, atZero, exponents
  const highest = Math.max(...spec.series.map((one) => one.values.at(-1) ?? 0), 0);
  const rows = spec.series.map((one) => {
    const value = one.values.at(-1);
    const share = highest > 0 ? Math.max(0, (value ?? 0) / highest) * 100 : 0;
    const bar = element("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      element("rect", { class: "rest", width: 100, height: 6 }), element("rect", { width: share, height: 6 }));
    return element("tr", {},
      element("td", {}, one.name, ...(spec.unit === "money" ? [] : [bar])),
      element("td", { class: "number" }, written(value, spec.unit, one.name, spec.exponents)));
  });
  if (remarks(spec)) rows.push(element("tr", {}, element("td", { colspan: "2", class: "remark" }, remarks(spec))));
  holder.replaceChildren(element("table", {}, element("tbody", {}, ...rows)));
}
