#!/usr/bin/env -S node --experimental-websocket --no-warnings
// Tries the page of a running `vivace serve` in headless Chromium, through its DevTools protocol, as somebody would: draws, cancels, reloads in the middle, opens
// a second tab, uses settings again, switches the language. Screenshots, light and dark, wide and narrow, go to a folder, to be looked at.
//   tools/check_page.mjs http://127.0.0.1:7860 shots        (needs Node 20.10 or newer and the package chromium; draws a few pictures of 60 steps)
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [address, shots = "shots"] = process.argv.slice(2);
if (!address) throw new Error("expected the address of a server, as http://127.0.0.1:7860");
mkdirSync(shots, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), "vivace-page-"));
const chromium = spawn("chromium", ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", `--user-data-dir=${profile}`, "--lang=en-US", "about:blank"]);
const endpoint = await new Promise((resolve, reject) => {
  let said = "";
  chromium.stderr.on("data", part => {
    said += part;
    const found = /DevTools listening on (ws:\S+)/.exec(said);
    if (found) resolve(found[1]);
  });
  chromium.on("exit", () => reject(new Error("chromium ended: " + said)));
});

const socket = new WebSocket(endpoint);
await new Promise(resolve => (socket.onopen = resolve));
const waiting = new Map(), errors = [];
let last = 0;
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.method === "Runtime.exceptionThrown") errors.push(message.params.exceptionDetails.exception?.description ?? message.params.exceptionDetails.text);
  if (message.method === "Log.entryAdded" && message.params.entry.level === "error") errors.push(message.params.entry.text + " " + (message.params.entry.url ?? ""));
  const pending = waiting.get(message.id);
  waiting.delete(message.id);
  if (message.error) pending?.reject(new Error(message.error.message));
  else pending?.resolve(message.result);
};
const send = (method, params = {}, sessionId) =>
  new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    socket.send(JSON.stringify({ id: last, method, params, sessionId }));
  });

class Tab {
  static async open() {
    const tab = new Tab();
    const { targetId } = await send("Target.createTarget", { url: "about:blank" });
    tab.id = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await tab.send(domain + ".enable");
    await tab.send("Page.navigate", { url: address });
    await tab.until("document.readyState === 'complete' && document.getElementById('model').options.length > 0", "the models are listed");
    return tab;
  }
  send(method, params) { return send(method, params, this.id); }
  async run(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(expression + ": " + exceptionDetails.exception.description);
    return result.value;
  }
  async until(expression, what, seconds = 60) {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await new Promise(r => setTimeout(r, 50))) if (await this.run(expression)) return;
    throw new Error(`not so: ${what}; the page says "${await this.run("document.getElementById('status').textContent")}"`);
  }
  set(id, value) { return this.run(`document.getElementById(${JSON.stringify(id)}).value = ${JSON.stringify(value)}`); }
  async press(key, modifiers = 0) {
    for (const type of ["keyDown", "keyUp"]) await this.send("Input.dispatchKeyEvent", { type, key, code: key, modifiers });
  }
  async shoot(name, width, height, dark) {
    await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 });
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
    const wide = await this.run("document.documentElement.scrollWidth");
    if (wide > width) throw new Error(`${name}: the page is ${wide} pixels wide on a screen of ${width}`);
    writeFileSync(join(shots, name + ".png"), Buffer.from((await this.send("Page.captureScreenshot")).data, "base64"));
  }
}

const status = "document.getElementById('status').textContent";
const idle = "!document.getElementById('draw').disabled";
let failed = null;
try {
  const tab = await Tab.open();
  await tab.set("prompt", "a red apple");
  await tab.set("negative", "blurry");
  await tab.set("steps", "60");
  await tab.set("seed", "7");
  await tab.press("Enter", 2);
  await tab.until(`${status}.startsWith('Step')`, "steps are told");
  await tab.until("document.getElementById('picture').src.startsWith('data:image/png')", "there is a preview");
  await tab.shoot("drawing", 1200, 800, false);
  await tab.until(`${status} === 'Done. Seed 7'`, "the picture is done");
  await tab.until("document.querySelectorAll('#history li').length === 1", "it is in the history");
  await tab.until("document.getElementById('picture').complete && document.getElementById('picture').naturalWidth > 0", "it is shown");
  await tab.shoot("done", 1200, 900, false);
  await tab.shoot("done-dark", 1200, 900, true);
  await tab.shoot("done-phone", 390, 1200, false);
  console.log("draws, with previews, and remembers");

  await tab.set("steps", "1000");
  await tab.run("document.getElementById('form').requestSubmit()");
  await tab.until(`${status}.startsWith('Step')`, "steps are told");
  await tab.press("Escape");
  await tab.until(`${status} === 'Cancelled' && ${idle}`, "the job is cancelled");
  console.log("cancels");

  await tab.set("steps", "60");
  await tab.run("document.getElementById('form').requestSubmit()");
  await tab.until(`${status}.startsWith('Step')`, "steps are told");
  await tab.send("Page.reload");
  await tab.until(`document.readyState === 'complete' && ${status}.startsWith('Done')`, "the job is followed after a reload");
  console.log("reloads in the middle of a job");

  const other = await Tab.open();
  await other.set("prompt", "a blue boat");
  for (const each of [tab, other]) await each.run("document.getElementById('form').requestSubmit()");
  for (const each of [tab, other]) await each.until(`${status}.startsWith('Done') && ${idle}`, "both tabs draw");
  await other.until("document.querySelector('#history span').textContent.length > 0", "the history is there");
  console.log("draws in two tabs");

  await other.set("prompt", "");
  await other.set("seed", "");
  await other.run("[...document.querySelectorAll('#history button')].find(b => b.title.startsWith('a red apple')).click()");
  await other.until("document.getElementById('prompt').value === 'a red apple' && document.getElementById('negative').value === 'blurry' && document.getElementById('seed').value === '7'",
                    "settings of the history are used again");
  // As if the picture had been dropped: its own text says the same.
  await other.set("prompt", "");
  await other.run("fetch(document.getElementById('picture').src).then(r => r.blob()).then(dropped)");
  await other.until("document.getElementById('prompt').value === 'a red apple' && document.getElementById('steps').value === '60'", "settings of a picture are used again");
  console.log("uses settings again");

  await tab.send("Network.emulateNetworkConditions", { offline: true, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await tab.run("document.getElementById('form').requestSubmit()");
  await tab.until(`${status} === 'The server cannot be reached'`, "a lost connection is told");
  await tab.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  errors.splice(0, errors.length, ...errors.filter(e => !e.includes("ERR_INTERNET_DISCONNECTED")));
  console.log("says that the connection is lost");

  await tab.run("document.getElementById('language').click()");
  await tab.until("document.querySelector('#draw span').textContent === '生成' && document.documentElement.lang === 'zh'", "the page is in Chinese");
  await tab.shoot("chinese-phone-dark", 390, 1200, true);
  console.log("speaks Chinese");
  if (errors.length) throw new Error("the console has errors: " + errors.join("; "));
} catch (error) {
  failed = error;
}
socket.close();
chromium.kill();
await new Promise(resolve => chromium.on("close", resolve));
rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
if (failed) {
  console.error(String(failed.message));
  process.exit(1);
}
