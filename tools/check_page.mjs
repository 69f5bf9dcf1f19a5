#!/usr/bin/env -S node --experimental-websocket --no-warnings
// Tries the page of a running `vivace serve` in headless Chromium, through its DevTools protocol, as somebody would: draws, cancels, reloads in the middle, opens
// a second tab, uses settings again, drags pictures in, paints a mask and edits behind it, loses the connection in the middle, switches the language. Screenshots, light and dark, wide and narrow, go to a folder, to be looked at.
//   tools/check_page.mjs http://127.0.0.1:7860 shots        (needs Node 20.10 or newer and the package chromium; draws a few pictures of 60 steps)
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [server, shots = "shots"] = process.argv.slice(2);
if (!server) throw new Error("expected the address of a server, as http://127.0.0.1:7860");
// What lies between the browser and the server, and may be cut.
const sockets = new Set();
let whole = true;
const cable = createServer(near => {
  if (!whole) return near.destroy();
  const far = connect(new URL(server).port, new URL(server).hostname);
  for (const [a, b] of [[near, far], [far, near]]) {
    sockets.add(a);
    a.pipe(b);
    a.on("error", () => b.destroy());
    a.on("close", () => { sockets.delete(a); b.destroy(); });
  }
});
await new Promise(resolve => cable.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${cable.address().port}`;
function online(yes) {
  whole = yes;
  if (!yes) for (const each of sockets) each.destroy();
}
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
  async box(id) {
    return JSON.parse(await this.run(`(e => { e.scrollIntoView({ block: "center" }); return JSON.stringify(e.getBoundingClientRect()); })(document.getElementById(${JSON.stringify(id)}))`));
  }
  // A line from one point of an element to another, as parts of its width and height.
  async drag(id, from, to) {
    const box = await this.box(id), at = ([x, y]) => ({ x: box.x + x * box.width, y: box.y + y * box.height });
    const mouse = (type, point) => this.send("Input.dispatchMouseEvent", { type, ...at(point), button: "left", buttons: 1, clickCount: 1 });
    await mouse("mousePressed", from);
    for (let i = 1; i <= 8; ++i) await mouse("mouseMoved", from.map((x, k) => x + (to[k] - x) * i / 8));
    await mouse("mouseReleased", to);
  }
  async drop(file) {
    const data = { items: [], files: [file], dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) await this.send("Input.dispatchDragEvent", { type, x: 300, y: 300, data });
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
  // A file that is dragged in: its own text says the same.
  const bytes = await other.run("fetch(document.getElementById('picture').src).then(r => r.arrayBuffer()).then(b => btoa(String.fromCharCode(...new Uint8Array(b))))");
  const saved = join(profile, "apple.png");
  writeFileSync(saved, Buffer.from(bytes, "base64"));
  await other.set("prompt", "");
  await other.drop(saved);
  await other.until("document.getElementById('prompt').value === 'a red apple' && document.getElementById('steps').value === '60'", "settings of a picture are used again");
  console.log("uses settings again");

  // A picture from elsewhere, without settings, is one to be edited.
  const plain = join(profile, "plain.png");
  const drawn = await other.run("(c => { c.width = c.height = 128; const x = c.getContext('2d'); x.fillStyle = '#fff'; x.fillRect(0, 0, 128, 128); return c.toDataURL('image/png'); })(document.createElement('canvas'))");
  writeFileSync(plain, Buffer.from(drawn.slice(drawn.indexOf(",") + 1), "base64"));
  await other.drop(plain);
  await other.until("!document.getElementById('edit').hidden && document.getElementById('base').width === 128", "a picture can be edited");
  // The left half is painted over; what is sent says so.
  await other.set("brush", "30");
  for (const x of [0.1, 0.3]) await other.drag("mask", [x, 0.05], [x, 0.95]);
  const painted = await other.run(`(async () => {
    const mask = new Image();
    mask.src = edit.request().mask_image;
    await mask.decode();
    const canvas = document.createElement("canvas"), ink = canvas.getContext("2d");
    canvas.width = mask.width;
    canvas.height = mask.height;
    ink.drawImage(mask, 0, 0);
    return [[0.2, 0.5], [0.9, 0.5]].map(([x, y]) => ink.getImageData(x * mask.width, y * mask.height, 1, 1).data[0]).join();
  })()`);
  if (painted !== "255,0") throw new Error(`the mask is ${painted} at the left and the right: expected 255,0`);
  await other.set("strength", "1");
  await other.set("steps", "30");
  await other.set("seed", "7");
  await other.shoot("editing", 1200, 1100, false);
  await other.shoot("editing-phone-dark", 390, 1400, true);
  await other.run("document.getElementById('form').requestSubmit()");
  await other.until(`${status}.startsWith('Done') && ${idle}`, "the edit is done");
  await other.until("document.getElementById('picture').complete && document.getElementById('picture').naturalWidth === 128", "it has the picture's size");
  const sides = await other.run(`(() => {
    const picture = document.getElementById("picture"), canvas = document.createElement("canvas"), ink = canvas.getContext("2d");
    canvas.width = canvas.height = 128;
    ink.drawImage(picture, 0, 0);
    const far = x => { const d = ink.getImageData(x, 0, 16, 128).data; let sum = 0; for (let i = 0; i < d.length; i += 4) sum += 765 - d[i] - d[i + 1] - d[i + 2]; return sum / d.length; };
    return JSON.stringify([far(8), far(112)]);
  })()`).then(JSON.parse);
  if (sides[0] < 2 * sides[1]) throw new Error(`behind the mask ${sides[0]} has changed, beside it ${sides[1]}`);
  await other.shoot("edited", 1200, 1100, false);
  await other.run("document.getElementById('stop-editing').click()");
  console.log("drags pictures in, paints a mask and edits behind it");

  await tab.set("steps", "1000");
  await tab.run("document.getElementById('form').requestSubmit()");
  await tab.until(`${status}.startsWith('Step')`, "steps are told");
  online(false);
  await tab.until(`${status}.startsWith('The connection was lost')`, "the connection is lost in the middle");
  online(true);
  await tab.until(`${status}.startsWith('Step') || ${status}.startsWith('Done')`, "the job is followed again");
  await tab.press("Escape");
  await tab.until(`${idle}`, "the job has ended");
  console.log("loses the connection in the middle of a job, and finds the job again");

  online(false);
  await tab.run("document.getElementById('form').requestSubmit()");
  await tab.until(`${status} === 'The server cannot be reached'`, "a lost connection is told");
  online(true);
  // The page asks whether there is a report.
  errors.splice(0, errors.length, ...errors.filter(e => !e.includes("net::ERR_") && !e.endsWith("/report")));
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
cable.close();
chromium.kill();
await new Promise(resolve => chromium.on("close", resolve));
rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
if (failed) {
  console.error(String(failed.message));
  process.exit(1);
}
