// Fetches the figures of this page again and again, and fills its panels.

import { chart, element, ranking } from "./chart.js";
import { clock, moment, written } from "./values.js";

const content = document.getElementById("content");
const notice = document.getElementById("notice");
const freshness = document.getElementById("freshness");
const range = document.getElementById("range");
const pause = document.getElementById("pause");
const every = Number(content.dataset.everyMs);
let timer;
let asked = 0;

async function refresh() {
  clearTimeout(timer);
  asked += 1;
  const turn = asked;
  try {
    const answer = await fetch(`/dashboards/${content.dataset.page}/data?range_s=${range.value}`);
    if (answer.status === 401) {
      location.assign("/dashboards/login");
      return;
    }
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const figures = await answer.json();
    if (turn !== asked) return;
    show(figures);
    notice.hidden = true;
    freshness.textContent = `As of ${clock(figures.times.at(-1))}`;
  } catch (error) {
    if (turn !== asked) return;
    notice.textContent = `No new figures since ${clock(Date.now() / 1000)}: ${error.message}. Trying again.`;
    notice.hidden = false;
  }
  wait();
}

function wait() {
  clearTimeout(timer);
  const held = pause.getAttribute("aria-pressed") === "true" || document.hidden;
  if (!held) timer = setTimeout(refresh, every);
}

function show(figures) {
  for (const panel of content.querySelectorAll("[data-panel]")) {
    const found = figures.panels[panel.dataset.panel];
    if (panel.dataset.kind === "figure") figure(panel, found);
    else drawing(panel, found, figures);
  }
  for (const panel of content.querySelectorAll("[data-table]")) {
    table(panel, figures.tables[panel.dataset.table]);
  }
  content.dataset.shown = figures.at;
}

function figure(panel, { series }) {
  const value = series[0]?.values.at(-1) ?? null;
  const { unit, limit, below } = panel.dataset;
  const bound = limit === undefined ? null : Number(limit);
  const over = value !== null && bound !== null && (below === "1" ? value < bound : value > bound);
  panel.querySelector(".value").textContent = written(value, unit);
  panel.classList.toggle("over", over);
  let verdict = value === null ? "nothing measured yet" : "";
  if (over && unit !== "yes") verdict = `${below === "1" ? "below" : "above"} ${written(bound, unit)}`;
  panel.querySelector(".verdict").textContent = verdict;
}

function drawing(panel, { series, left_out: leftOut, at_zero: atZero }, figures) {
  const holder = panel.querySelector(".drawing");
  if (!series.length) {
    const said = atZero.length ? `All at zero: ${atZero.join(", ")}.` : "Nothing measured yet.";
    holder.replaceChildren(element("p", { class: "state" }, said));
    return;
  }
  const { unit, kind, limit } = panel.dataset;
  const spec = { title: panel.querySelector("h2").textContent, unit, series, leftOut, atZero };
  if (kind === "rank") {
    ranking(holder, { ...spec, exponents: figures.exponents });
    return;
  }
  const to = figures.times.at(-1);
  const from = Math.min(figures.times[0], to - Math.min(figures.range_s, 60));
  chart(holder, { ...spec, times: figures.times, from, limit: limit === undefined ? null : Number(limit) });
}

function table(panel, { rows, unavailable, left_out: leftOut }) {
  const state = panel.querySelector(".state");
  const body = panel.querySelector("tbody");
  const forms = [...panel.querySelectorAll("th")].map((head) => head.dataset.form);
  const shown = rows ?? [];
  body.replaceChildren(...shown.map((row) => element("tr", {}, ...row.map((text, n) => cell(text, forms[n])))));
  panel.querySelector(".scroll").hidden = shown.length === 0;
  state.textContent = unavailable ?? (shown.length ? "" : body.dataset.empty);
  if (leftOut) state.textContent = `${leftOut} more are not shown.`;
  state.hidden = state.textContent === "";
}

function cell(text, form) {
  if (form === "time") return element("td", { title: text }, text && moment(text));
  if (form === "milliseconds") return element("td", { class: "number" }, text && written(Number(text) / 1000, "seconds"));
  if (form === "money") return element("td", { class: "number" }, text);
  const known = /^[a-z_]{1,20}$/.test(text) ? { class: `status-${text}` } : {};
  return element("td", known, text);
}

range.addEventListener("change", refresh);
pause.addEventListener("click", () => {
  const held = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(held));
  pause.textContent = held ? "Go on" : "Pause";
  if (held) clearTimeout(timer);
  else refresh();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && pause.getAttribute("aria-pressed") !== "true") refresh();
});
document.getElementById("leave").addEventListener("click", async () => {
  const answer = await fetch("/dashboards/session", { method: "DELETE" }).catch(() => null);
  if (answer?.ok || answer?.status === 401) {
    location.assign("/dashboards/login");
    return;
  }
  notice.textContent = "You are still signed in: the server could not end the session. Try again.";
  notice.hidden = false;
});
refresh();
