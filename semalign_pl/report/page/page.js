// The sample browser, and the points of the charts that select its samples. Texts are shown by textContent only.
(() => {
"use strict";
const PER_PAGE = 10;
const get = (id) => document.getElementById(id);
const data = JSON.parse(get("samples-data").textContent);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
function makeText(number, lang) {
  const element = make("p", { className: "text", dir: "auto" });
  element.lang = lang;
  element.textContent = number < 0 ? "–" : data.texts[number];
  return element;
}
function fill(select, options) {
  select.replaceChildren(...options.map(([value, title]) => make("option", { value, textContent: title })));
}
function say(element, text) {
  if (element) element.textContent = text;
}

// -- sample browser ------------------------------------------------------------------------------------------------

const form = get("sample-controls");
let group, shown, order = [], page = 0; // shown: point by system, "" for none

const title = (metric) => data.metrics[metric][0];
const format = (metric, value) => (value === null || value === undefined ? "–" : value.toFixed(data.metrics[metric][1]));
const systems = () => group.systems.filter((system) => shown[system.name]);
const scores = (system, metric) => {
  const all = system.points[shown[system.name]].scores; // a metric may be named like a property of every object
  return Object.hasOwn(all, metric) ? all[metric] : undefined;
};

// Values of a metric by row: of one system, the highest of all systems, or the difference of highest and lowest.
function column(metric, name) {
  const columns = group.systems
    .filter((system) => shown[system.name] && (name === system.name || name.startsWith("*")))
    .map((system) => scores(system, metric))
    .filter((values) => values);
  return group.ids.map((_, row) => {
    const values = columns.map((values) => values[row]).filter((value) => value !== null);
    if (!values.length) return null;
    const highest = Math.max(...values);
    return name === "*spread" ? highest - Math.min(...values) : highest;
  });
}

function matches(row, query) {
  const texts = [group.prompts[row], group.references[row]];
  for (const system of systems()) texts.push(system.points[shown[system.name]].texts[row]);
  return group.ids[row].toLowerCase().includes(query) ||
    texts.some((number) => number >= 0 && data.texts[number].toLowerCase().includes(query));
}

function select() {
  const query = get("sample-query").value.trim().toLowerCase();
  const limits = [get("filter-low").value, get("filter-high").value].map((text) => (text === "" ? null : Number(text)));
  order = group.ids.map((_, row) => row);
  if (query) order = order.filter((row) => matches(row, query));
  if (limits.some((limit) => limit !== null)) {
    const values = column(get("filter-metric").value, get("filter-system").value);
    order = order.filter((row) => values[row] !== null &&
      (limits[0] === null || values[row] >= limits[0]) && (limits[1] === null || values[row] <= limits[1]));
  }
  if (get("sort-metric").value) {
    const values = column(get("sort-metric").value, get("sort-system").value);
    const direction = Number(get("sort-order").value);
    order.sort((a, b) => (values[a] === null) - (values[b] === null) || direction * (values[a] - values[b]) || a - b);
  }
  page = 0;
  draw();
}

function drawRow(row) {
  const heading = (text, tag = "h4") => make(tag, { textContent: text });
  const given = make("div", { className: "texts" },
    make("div", {}, heading("Prompt"), makeText(group.prompts[row], group.promptLangs[row])),
    make("div", {}, heading("Reference"), makeText(group.references[row], group.lang)));
  const answers = make("div", { className: "texts" });
  for (const system of systems()) {
    const point = shown[system.name];
    const numbers = Object.keys(system.points[point].scores)
      .filter((metric) => group.metrics.includes(metric))
      .map((metric) => `${title(metric)} ${format(metric, scores(system, metric)[row])}`);
    const name = point === "end" ? system.title : `${system.title}, ${point}`;
    const head = make("h4", { className: system.colour }, make("span", { className: "key" }), name);
    const lines = make("p", { className: "scores" });
    for (const number of numbers) lines.append(make("span", { textContent: number }), " ");
    const card = make("div", {}, head, makeText(system.points[point].texts[row], group.lang), lines);
    card.dataset.system = system.name;
    card.dataset.point = point;
    answers.append(card);
  }
  const article = make("article", { className: "row" },
    make("h3", {}, `${row + 1} · `, make("code", { textContent: group.ids[row] })), given, answers);
  return article;
}

function draw() {
  const pages = Math.max(1, Math.ceil(order.length / PER_PAGE));
  get("sample-rows").replaceChildren(...order.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(drawRow));
  say(get("sample-count"), `${order.length.toLocaleString("en")} of ${group.ids.length.toLocaleString("en")} rows`);
  say(get("page-number"), `Page ${page + 1} of ${pages}`);
  get("page-back").disabled = page === 0;
  get("page-next").disabled = page + 1 >= pages;
  get("sample-pager").hidden = pages < 2;
}

function turn(by) {
  page += by;
  draw();
  get("sample-count").scrollIntoView();
}

function drawPoints() {
  const labels = group.systems.map((system) => {
    const choice = make("select", { name: `point-${system.name}` });
    fill(choice, [...Object.keys(system.points).map((point) => [point, point]), ["", "not shown"]]);
    choice.value = shown[system.name];
    choice.addEventListener("change", () => { shown[system.name] = choice.value; select(); mark(); });
    return make("label", { className: system.colour }, make("span", { className: "key" }), `${system.title} `, choice);
  });
  get("sample-points").replaceChildren(...labels);
}

function open(number) {
  group = data.groups[number];
  get("test-set").value = String(number);
  shown = Object.fromEntries(group.systems.map((system) => [system.name, Object.keys(system.points)[0]]));
  const metrics = group.metrics.map((metric) => [metric, title(metric)]);
  const names = group.systems.map((system) => [system.name, system.title]);
  fill(get("sort-metric"), [["", "order in the file"], ...metrics]);
  fill(get("filter-metric"), metrics);
  fill(get("sort-system"), [...names, ["*spread", "highest minus lowest"]]);
  fill(get("filter-system"), [...names, ["*any", "highest of all systems"], ["*spread", "highest minus lowest"]]);
  const last = names[names.length - 1][0];
  get("sort-system").value = get("filter-system").value = last;
  drawPoints();
  select();
}

if (form) {
  fill(get("test-set"), data.groups.map((one, number) => [String(number), [one.title, one.test].filter(Boolean).join(", ") || "test"]));
  get("test-set-label").hidden = data.groups.length < 2;
  form.hidden = false;
  open(0);
  get("test-set").addEventListener("change", () => { open(Number(get("test-set").value)); mark(); });
  let waiting;
  form.addEventListener("input", (event) => {
    if (event.target.id === "test-set" || event.target.name.startsWith("point-")) return;
    clearTimeout(waiting);
    waiting = setTimeout(select, event.target.type === "search" ? 150 : 0);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { open(data.groups.indexOf(group)); mark(); }));
  get("page-back").addEventListener("click", () => turn(-1));
  get("page-next").addEventListener("click", () => turn(1));
}

// -- points of the charts ------------------------------------------------------------------------------------------

const marks = [...document.querySelectorAll(".mark[data-system]")];

function mark() {
  for (const each of marks) {
    const { system, point } = each.dataset;
    each.setAttribute("aria-pressed", String(Boolean(shown) && point !== "end" && shown[system] === point));
  }
}

function show(each) {
  const { system, point } = each.dataset;
  const label = each.getAttribute("aria-label");
  const has = (one) => one.systems.some((other) => other.name === system && Object.hasOwn(other.points, point));
  const number = form ? (has(group) ? data.groups.indexOf(group) : data.groups.findIndex(has)) : -1;
  if (number < 0) {
    say(get("point-shown"), `${label}. There are no predictions of this point.`);
    return;
  }
  if (data.groups[number] !== group) open(number);
  shown[system] = point;
  drawPoints();
  select();
  mark();
  each.setAttribute("aria-pressed", "true");
  say(get("point-shown"), `${label}. Its samples are shown below.`);
  get("samples").scrollIntoView();
  get("samples").focus({ preventScroll: true });
}

for (const each of marks) {
  each.addEventListener("click", () => show(each));
  each.addEventListener("keydown", (event) => {
    const among = [...each.closest("svg").querySelectorAll(".mark[data-system]")];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" || event.key === " ") show(each);
    else if (step) {
      const next = among[(among.indexOf(each) + step + among.length) % among.length];
      for (const other of among) other.setAttribute("tabindex", other === next ? "0" : "-1");
      next.focus();
    } else return;
    event.preventDefault();
  });
  each.addEventListener("focus", () => say(get("point-shown"), each.getAttribute("aria-label")));
}
mark();

// -- a system without fonts for the page's texts ---------------------------------------------------------------------

// Characters that the system's fonts lack are drawn as the same box.
function isMissing(character) {
  const context = make("canvas", { width: 24, height: 24 }).getContext("2d", { willReadFrequently: true });
  const drawn = [character, "\u{10fffe}"].map((text) => {
    context.clearRect(0, 0, 24, 24);
    context.font = "16px sans-serif"; // the page's own fonts lack them, too
    context.fillText(text, 2, 18);
    return context.getImageData(0, 0, 24, 24).data.join();
  });
  return drawn[0] === drawn[1];
}

const notice = get("font-notice");
if (notice) document.fonts.ready.then(() => { notice.hidden = ![...notice.dataset.unembedded].some(isMissing); });
})();
