"use strict";
// The picture that is edited, and the mask that a brush paints over it.

const edit = (() => {
  const $ = id => document.getElementById(id);
  const base = $("base"), mask = $("mask"), ink = mask.getContext("2d");
  let painted = false, last = null;
  let cursor = [0.5, 0.5];  // of the keyboard's brush, as parts of the width and the height

  const radius = () => Number($("brush").value) / 100 * Math.max(mask.width, mask.height);
  // From the window's pixels to the picture's.
  function place(event) {
    const box = mask.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * mask.width, (event.clientY - box.top) / box.height * mask.height];
  }

  function stroke(from, to) {
    ink.strokeStyle = "#e0218a";
    ink.lineWidth = 2 * radius();
    ink.lineCap = ink.lineJoin = "round";
    ink.beginPath();
    ink.moveTo(...from);
    ink.lineTo(to[0] + 0.01, to[1]);  // a point is a dot
    ink.stroke();
    painted = true;
  }

  function clearMask() {
    ink.clearRect(0, 0, mask.width, mask.height);
    painted = false;
  }

  async function begin(source) {
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    for (const canvas of [base, mask]) {
      canvas.width = picture.naturalWidth;
      canvas.height = picture.naturalHeight;
    }
    base.getContext("2d").drawImage(picture, 0, 0);
    clearMask();
    $("edit").hidden = false;
    $("edit").scrollIntoView({ block: "nearest" });
  }

  function end() {
    $("edit").hidden = true;
    clearMask();
  }

  // White where it was painted, on black.
  function maskUrl() {
    const whole = document.createElement("canvas"), context = whole.getContext("2d");
    whole.width = mask.width;
    whole.height = mask.height;
    context.drawImage(mask, 0, 0);
    context.fillStyle = "#fff";
    context.globalCompositeOperation = "source-in";
    context.fillRect(0, 0, whole.width, whole.height);
    context.fillStyle = "#000";
    context.globalCompositeOperation = "destination-over";
    context.fillRect(0, 0, whole.width, whole.height);
    return whole.toDataURL("image/png");
  }

  // What a job is told beside the rest.
  function request() {
    if ($("edit").hidden) return {};
    const strength = $("strength").value;
    return { image: base.toDataURL("image/png"), mask_image: painted ? maskUrl() : undefined, strength: strength === "" ? undefined : Number(strength) };
  }

  mask.addEventListener("pointerdown", event => {
    event.preventDefault();
    mask.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(last, last);
  });
  mask.addEventListener("pointermove", event => {
    if (!last) return;
    const next = place(event);
    stroke(last, next);
    last = next;
  });
  for (const name of ["pointerup", "pointercancel"]) mask.addEventListener(name, () => { last = null; });
  mask.addEventListener("keydown", event => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    cursor = cursor.map((x, i) => Math.min(1, Math.max(0, x + step[i] * 0.04)));
    const at = [cursor[0] * mask.width, cursor[1] * mask.height];
    if (event.key === " " || event.shiftKey) stroke(at, at);
  });
  $("clear-mask").addEventListener("click", clearMask);
  $("stop-editing").addEventListener("click", end);
  return { begin, end, request };
})();
