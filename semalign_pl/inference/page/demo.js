"use strict";
const at = (id) => document.getElementById(id);
const form = at("form"), text = at("text"), scale = at("scale"), state = at("status");
let asked = 0;

function say(message, wrong) {
  state.textContent = message;
  state.classList.toggle("wrong", wrong);
}

function put(section, name, content) {
  const place = section.querySelector(name);
  if (place) place.textContent = content;
}

function show(side) {
  const section = document.querySelector(`[data-side="${side.name}"]`);
  if (side.scale !== null) put(section, "h2", `${side.name} × ${side.scale.toFixed(2)}`);
  put(section, ".text", side.text + (side.finished ? "" : " …"));
  if (side.share !== null)
    put(section, ".language", `${side.in_language ? "✓ yes" : "✗ no"}, ${Math.round(100 * side.share)} % of its words`);
  if (side.similarity !== null) put(section, ".similarity", side.similarity.toFixed(2));
  put(section, ".seconds", `${side.seconds ? `${side.seconds.toFixed(1)} s` : "kept from before"}${side.finished ? "" : ", cut off at max_new_tokens"}${side.cut ? ", the source was cut at max_prompt_tokens" : ""}`);
  section.querySelector("dl").hidden = false;
}

async function ask() {
  const mine = ++asked;
  say("Answering …", false);
  try {
    const reply = await fetch("/answer", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text: text.value, scale: Number(scale.value) }),
    });
    const answer = await reply.json();
    if (mine !== asked) return; // a later question is on its way
    if (answer.error) return say(answer.error, true);
    answer.sides.forEach(show);
    at("prompt").querySelector("pre").textContent = answer.prompt;
    at("prompt").hidden = false;
    say("", false);
  } catch (error) {
    if (mine === asked) say(`No answer (${error.message}): is semalign demo still running?`, true);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
scale.addEventListener("input", () => (at("value").value = Number(scale.value).toFixed(2)));
scale.addEventListener("change", () => asked && text.value.trim() && ask());
