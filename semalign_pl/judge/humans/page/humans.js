// One pair of answers at a time. Texts are shown by textContent only; which side is which is not in the page.
(() => {
"use strict";
const get = (id) => document.getElementById(id);
const { items, ...made } = JSON.parse(get("data").textContent);
const KEY = `semalign-judge-${made.page}`;
let state = { reader: "", at: 0, answers: items.map(() => ({ choice: "", comment: "" })) };
let exported = true; // nothing is lost if the page is closed

// -- progress, kept by the browser where it can -----------------------------------------------------------------------

function fits(kept) {
  return kept !== null && typeof kept.reader === "string" && Number.isInteger(kept.at) &&
    kept.answers.length === items.length &&
    kept.answers.every(({ choice, comment }) => typeof choice === "string" && typeof comment === "string");
}
function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    if (fits(kept)) state = kept;
  } catch {
    // no storage, which save() says, or no JSON: begin anew
  }
}
function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
    get("unkept").hidden = true;
  } catch {
    get("unkept").hidden = false;
  }
}
function change() {
  exported = false;
  save();
  say("");
  showText();
}

// -- what is shown ------------------------------------------------------------------------------------------------------

function put(element, { text, lang }) {
  element.textContent = text;
  element.lang = lang;
}
function say(text) {
  get("said").textContent = text;
}
const unanswered = () => state.answers.filter((answer) => !answer.choice).length;

function show() {
  const done = state.at >= items.length;
  const answered = items.length - unanswered();
  get("item").hidden = get("choices").hidden = done;
  get("done").hidden = !done;
  get("back").disabled = state.at === 0;
  get("next").disabled = done;
  get("progress").textContent = done
    ? `${answered} of ${items.length} answered`
    : `Pair ${state.at + 1} of ${items.length} · ${answered} answered`;
  get("bar").value = answered;
  if (done) {
    get("left").textContent = unanswered()
      ? `${unanswered()} without an answer: go back to them, or export what there is.`
      : "Thank you. Export the answers and send the file to the person who gave you this page.";
    get("done").focus();
    return;
  }
  const item = items[state.at], answer = state.answers[state.at];
  put(get("source"), item.source);
  put(get("first"), item.first);
  put(get("second"), item.second);
  get("reference").hidden = item.reference === null;
  get("reference").open = false;
  if (item.reference !== null) put(get("reference").querySelector(".text"), item.reference);
  get("comment").value = answer.comment;
  for (const button of document.querySelectorAll("[data-choice]"))
    button.setAttribute("aria-pressed", String(button.dataset.choice === answer.choice));
}

function go(at) {
  state.at = Math.min(Math.max(at, 0), items.length);
  save();
  show();
  scrollTo(0, Math.max(0, get("progress").getBoundingClientRect().top + scrollY - 8));
}

function choose(choice) {
  if (state.at >= items.length) return;
  state.answers[state.at].choice = choice;
  change();
  const after = state.answers.findIndex((answer, at) => at > state.at && !answer.choice);
  const before = state.answers.findIndex((answer) => !answer.choice);
  go(after >= 0 ? after : before >= 0 ? before : items.length);
}

// -- export -------------------------------------------------------------------------------------------------------------

const wellFormed = (text) => new TextDecoder().decode(new TextEncoder().encode(text));

// CRC-32 of zlib: finds damage and changes by hand.
function crc32(text) {
  let crc = ~0;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return (~crc >>> 0).toString(16).padStart(8, "0");
}

function answersFile() {
  const reader = wellFormed(state.reader.trim());
  const answers = [];
  items.forEach(({ id }, at) => {
    const { choice } = state.answers[at], comment = wellFormed(state.answers[at].comment.trim());
    if (choice) answers.push({ id, choice, comment, check: crc32([made.page, reader, id, choice, comment].join("\u001f")) });
  });
  return JSON.stringify({ ...made, reader, answers }, null, 1);
}

// The text to copy, kept up to date while it is open: a copy of an earlier one would lack the last answers.
function showText() {
  if (get("as-text").open) get("json").value = answersFile();
}

function saveFile() {
  if (!state.reader.trim()) {
    say("Write your name first: it tells the answers of several readers apart.");
    get("reader").focus();
    return;
  }
  const text = answersFile(), name = state.reader.trim().replace(/[^\p{L}\p{M}\p{N}]+/gu, "-").slice(0, 40);
  get("json").value = text;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `answers-${name || "reader"}-${made.page.slice(0, 8)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  exported = true;
  say(`${link.download}: ${items.length - unanswered()} of ${items.length} answers.`);
}

// -- keyboard and buttons -----------------------------------------------------------------------------------------------

const KEYS = {
  a: () => choose("first"), 1: () => choose("first"),
  b: () => choose("second"), 2: () => choose("second"),
  t: () => choose("tie"), 3: () => choose("tie"),
  backspace: () => go(state.at - 1), arrowleft: () => go(state.at - 1), arrowright: () => go(state.at + 1),
  c: () => get("comment").focus(),
};
document.addEventListener("keydown", (event) => {
  // A key held down would answer all pairs.
  if (event.repeat || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, textarea")) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "reader")) event.target.blur();
    return;
  }
  // A keyboard that is set to Tibetan gives Tibetan letters: then the place of the key counts.
  const key = /^[ -~]$/.test(event.key) ? event.key : event.code.replace(/^(Key|Digit|Numpad)/, "");
  if (!Object.hasOwn(KEYS, key.toLowerCase())) return;
  event.preventDefault();
  KEYS[key.toLowerCase()]();
});
for (const button of document.querySelectorAll("[data-choice]"))
  button.addEventListener("click", () => choose(button.dataset.choice));
get("back").addEventListener("click", () => go(state.at - 1));
get("next").addEventListener("click", () => go(state.at + 1));
get("export").addEventListener("click", saveFile);
get("as-text").addEventListener("toggle", showText);
get("comment").addEventListener("input", () => {
  state.answers[state.at].comment = get("comment").value;
  change();
});
get("reader").addEventListener("input", () => {
  state.reader = get("reader").value;
  change();
});
addEventListener("storage", (event) => {
  if (event.key !== KEY) return;
  load(); // the page is open in two windows: both show the same answers
  get("reader").value = state.reader;
  show();
  showText();
});
addEventListener("beforeunload", (event) => {
  if (!exported && !get("unkept").hidden) event.preventDefault();
});

load();
get("reader").value = state.reader;
save();
show();
})();
