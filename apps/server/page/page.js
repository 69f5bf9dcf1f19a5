"use strict";
// The page of `vivace serve`: it makes a job, follows its events, and keeps what was drawn with its settings.

const schedulers = [
  "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s", "dpmpp_sde", "unipc", "deis", "heun", "ddim", "pndm", "lms", "dpm2", "dpm2_a", "sa_solver", "lcm", "tcd",
];
const $ = id => document.getElementById(id);
const fields = ["prompt", "negative", "model", "scheduler", "width", "height", "images", "steps", "guidance", "seed", "strength"];
const keptAtMost = 24;

// Storage may be switched off.
const kept = {
  get(key, or) { try { return JSON.parse(localStorage.getItem("vivace." + key)) ?? or; } catch { return or; } },
  set(key, value) { try { localStorage.setItem("vivace." + key, JSON.stringify(value)); } catch { /* full, or off */ } },
};
let language = kept.get("language", navigator.language.startsWith("zh") ? "zh" : "en");
let models = [];
let current = null;  // the job that is drawn: {id, stop}
const t = () => texts[language];

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function speak() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t()[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t()[element.dataset.label]);
  $("language").textContent = language === "zh" ? "English" : "中文";
  $("language").lang = language === "zh" ? "en" : "zh";
  for (const id of ["width", "height", "steps", "guidance", "strength"]) $(id).placeholder = t().own;
  $("seed").placeholder = t().random;
  $("scheduler").options[0].textContent = t().own;
  showDefaults();
}

function showDefaults() {
  const own = models.find(m => m.id === $("model").value)?.defaults;
  if (!own) return;
  for (const [id, name] of [["width", "width"], ["height", "height"], ["steps", "num_inference_steps"], ["guidance", "guidance_scale"]])
    $(id).placeholder = own[name];
}

async function call(path, options = {}) {
  const headers = {};
  if ($("key").value) headers.Authorization = "Bearer " + $("key").value;
  if (options.body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) $("key-row").hidden = false;
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const error = new Error(response.status === 401 ? t().needsKey : body.error?.message ?? `HTTP ${response.status}`);
  error.status = response.status;
  throw error;
}

async function loadModels() {
  models = (await (await call("v1/models")).json()).data;
  const before = $("model").value || kept.get("form", {}).model;
  $("model").replaceChildren(...models.map(m => new Option(m.id, m.id)));
  if (models.some(m => m.id === before)) $("model").value = before;
  showDefaults();
}

// The server's adapters, each with a weight, 0 for none.
async function loadLoras() {
  const list = await (await call("sdapi/v1/loras")).json(), before = kept.get("loras", {});
  $("loras-row").hidden = list.length === 0;
  $("loras").replaceChildren(...list.map(({ name }) => {
    const item = document.createElement("li"), label = document.createElement("label"), text = document.createElement("span"), weight = document.createElement("input");
    text.textContent = name;
    Object.assign(weight, { type: "number", min: -4, max: 4, step: 0.1, value: before[name] ?? 0 });
    weight.dataset.lora = name;
    label.append(text, weight);
    item.append(label);
    return item;
  }));
}

function weights() {
  return Object.fromEntries([...$("loras").querySelectorAll("input")].filter(i => Number(i.value) !== 0).map(i => [i.dataset.lora, Number(i.value)]));
}

function request() {
  const number = id => $(id).value === "" ? undefined : Number($(id).value);
  return {
    prompt: $("prompt").value, negative_prompt: $("negative").value || undefined, model: $("model").value || undefined,
    scheduler: $("scheduler").value || undefined, width: number("width"), height: number("height"), n: number("images"),
    num_inference_steps: number("steps"), guidance_scale: number("guidance"), seed: number("seed"),
    loras: Object.entries(weights()).map(([name, weight]) => ({ name, weight })), ...edit.request(),
  };
}

function show(source, preview) {
  $("picture").src = source;
  $("picture").classList.toggle("preview", preview);
  $("picture").alt = $("prompt").value;
  $("picture").hidden = false;
  $("hint").hidden = true;
  $("edit-this").hidden = preview;
}

function clock(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

// One event of a job; true at its end.
function happened(name, data) {
  switch (name) {
    case "status":
      say(data.status === "queued" ? t().waiting(data.jobs_before) : t().loading);
      $("progress").value = data.progress;
      for (const image of data.images) drawn(image);
      return false;
    case "started": say(t().loading); return false;
    case "step":
      $("progress").value = data.progress;
      say(t().step(data.step, data.steps, clock(data.seconds_left)));
      return false;
    case "preview": show("data:image/png;base64," + data.b64_json, true); return false;
    case "image": drawn(data); return false;
    case "done": say(t().done(data.images.map(i => i.seed).join(", "))); return true;
    case "cancelled": say(data.error.status === 499 ? t().cancelled : data.error.message, data.error.status !== 499); return true;
    case "failed": say(data.error.message, true); return true;
  }
  return false;
}

// Server-sent events, read by hand: EventSource cannot send a key. True once the job has ended.
async function listen(id, signal) {
  const reader = (await call(`jobs/${id}/events`, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return false;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1], data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data && happened(name, JSON.parse(data))) return true;
    }
  }
}

async function follow(id) {
  const stop = new AbortController();
  current = { id, stop };
  sessionStorage.setItem("vivace.job", id);
  $("draw").disabled = true;
  $("cancel").disabled = $("progress").hidden = false;
  $("progress").value = 0;
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      if (await listen(id, stop.signal)) break;
    } catch (error) {
      if (stop.signal.aborted) break;
      if (error.status) { say(error.status === 404 ? t().gone : error.message, true); break; }
    }
    say(t().lost, true);
    await new Promise(resolve => setTimeout(resolve, wait));
  }
  sessionStorage.removeItem("vivace.job");
  current = null;
  $("draw").disabled = false;
  $("cancel").disabled = $("progress").hidden = true;
}

async function draw() {
  if (current || !$("form").reportValidity()) return;
  kept.set("form", Object.fromEntries(fields.map(id => [id, $(id).value])));
  kept.set("loras", weights());
  sessionStorage.setItem("vivace.key", $("key").value);
  try {
    const job = await (await call("jobs", { method: "POST", body: JSON.stringify(request()) })).json();
    await follow(job.id);
    loadModels().catch(() => { /* what it says of the job stays */ });
  } catch (error) {
    say(error.status ? error.message : t().unreachable, true);
  }
}

async function cancel() {
  if (!current) return;
  const { id } = current;
  try {
    await call(`jobs/${id}`, { method: "DELETE" });
  } catch { /* it has ended already */ }
}

// A small copy is kept: the server lets the picture itself go after a while.
async function drawn(image) {
  const source = image.url.slice(1);
  show(source, false);
  const picture = new Image();
  picture.src = source;
  try { await picture.decode(); } catch { return; }
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 160;
  const side = Math.min(picture.naturalWidth, picture.naturalHeight);
  canvas.getContext("2d").drawImage(picture, (picture.naturalWidth - side) / 2, (picture.naturalHeight - side) / 2, side, side, 0, 0, 160, 160);
  const history = kept.get("history", []).filter(entry => entry.url !== source);
  history.unshift({ url: source, small: canvas.toDataURL("image/jpeg", 0.8), parameters: image.parameters });
  kept.set("history", history.slice(0, keptAtMost));
  showHistory();
}

function showHistory() {
  const history = kept.get("history", []);
  $("clear").hidden = history.length === 0;
  $("history").replaceChildren(...history.map(entry => {
    const item = document.createElement("li"), button = document.createElement("button"), small = new Image(), label = document.createElement("span");
    button.type = "button";
    button.title = entry.parameters;
    small.src = entry.small;
    small.alt = "";
    label.textContent = entry.parameters.split("\n")[0];
    button.append(small, label);
    button.onclick = () => {
      use(entry.parameters);
      $("picture").onerror = () => { $("picture").onerror = null; show(entry.small, true); };
      show(entry.url, false);
    };
    item.append(button);
    return item;
  }));
}

// Of any name: the list has short ones.
function chooseScheduler(name) {
  if (name && ![...$("scheduler").options].some(o => o.value === name)) $("scheduler").append(new Option(name, name));
  $("scheduler").value = name;
}

// "a fox\nNegative prompt: blurry\nSteps: 20, Sampler: ..., Seed: 7, Size: 512x512"
function use(parameters) {
  const lines = parameters.split("\n"), last = lines.pop();
  const at = lines.findIndex(line => line.startsWith("Negative prompt: "));
  const value = name => new RegExp(`(?:^|, )${name}: ([^,]*)`).exec(last)?.[1] ?? "";
  $("prompt").value = lines.slice(0, at < 0 ? lines.length : at).join("\n");
  $("negative").value = at < 0 ? "" : lines.slice(at).join("\n").slice("Negative prompt: ".length);
  $("steps").value = value("Steps");
  $("guidance").value = value("CFG scale");
  $("seed").value = value("Seed");
  [$("width").value, $("height").value] = (value("Size") + "x").split("x");
  chooseScheduler(value("Sampler"));
  $("strength").value = value("Denoising strength");
  const loras = Object.fromEntries(value("Loras").split(" ").filter(Boolean).map(text => [text.slice(0, text.lastIndexOf(":")), text.slice(text.lastIndexOf(":") + 1)]));
  for (const input of $("loras").querySelectorAll("input")) input.value = loras[input.dataset.lora] ?? 0;
  if (models.some(m => m.id === value("Model"))) $("model").value = value("Model");
}

// The text "parameters" of a PNG: tEXt is Latin-1, iTXt UTF-8 behind five fields.
function parametersOf(bytes) {
  const view = new DataView(bytes), latin = new TextDecoder("latin1"), utf8 = new TextDecoder();
  for (let at = 8; at + 12 <= view.byteLength;) {
    const length = view.getUint32(at), type = latin.decode(new Uint8Array(bytes, at + 4, 4));
    if (at + 12 + length > view.byteLength) break;
    const data = new Uint8Array(bytes, at + 8, length);
    if (latin.decode(data.subarray(0, 11)) === "parameters\0") {
      if (type === "tEXt") return latin.decode(data.subarray(11));
      if (type === "iTXt" && data[11] === 0) return utf8.decode(data.subarray(data.indexOf(0, data.indexOf(0, 13) + 1) + 1));
    }
    at += 12 + length;
  }
  return null;
}

async function dropped(file) {
  const bytes = await file.arrayBuffer();
  const parameters = bytes.byteLength > 8 ? parametersOf(bytes) : null, source = URL.createObjectURL(file);
  // A picture from elsewhere can only be edited.
  if (!parameters) return editPicture(source);
  use(parameters);
  show(source, false);
  say("");
}

async function editPicture(source) {
  try {
    await edit.begin(source);
    say("");
  } catch {
    say(t().notPicture, true);
  }
}

$("form").addEventListener("submit", event => { event.preventDefault(); draw(); });
$("cancel").addEventListener("click", cancel);
$("model").addEventListener("change", showDefaults);
$("key").addEventListener("change", () => { sessionStorage.setItem("vivace.key", $("key").value); Promise.all([loadModels(), loadLoras()]).then(() => say("")).catch(error => say(error.message, true)); });
$("language").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; kept.set("language", language); speak(); if (!current) say(""); });
$("edit-this").addEventListener("click", () => editPicture($("picture").src));
$("file").addEventListener("change", () => { if ($("file").files[0]) editPicture(URL.createObjectURL($("file").files[0])); $("file").value = ""; });
$("clear").addEventListener("click", () => { kept.set("history", []); showHistory(); });
document.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); draw(); }
  if (event.key === "Escape") cancel();
});
document.addEventListener("dragover", event => { event.preventDefault(); $("stage").classList.add("over"); });
document.addEventListener("dragleave", () => $("stage").classList.remove("over"));
document.addEventListener("drop", event => {
  event.preventDefault();
  $("stage").classList.remove("over");
  if (event.dataTransfer.files[0]) dropped(event.dataTransfer.files[0]);
});
window.addEventListener("storage", showHistory);  // another tab has drawn

$("scheduler").replaceChildren(new Option("", ""), ...schedulers.map(name => new Option(name, name)));
for (const [id, value] of Object.entries(kept.get("form", {}))) if (fields.includes(id) && id !== "model") $(id).value = value;
chooseScheduler(kept.get("form", {}).scheduler ?? "");
$("key").value = sessionStorage.getItem("vivace.key") ?? "";
speak();
showHistory();
call("report", { method: "HEAD" }).then(() => { $("report").hidden = false; }).catch(() => { /* there is none */ });
Promise.all([loadModels(), loadLoras()])
  .then(() => { const id = sessionStorage.getItem("vivace.job"); if (id) follow(id); })
  .catch(error => say(error.status ? error.message : t().unreachable, true));
