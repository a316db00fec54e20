// The browser's side of figures and explorers. Python says what to show; this file draws it.
//
// show({ model, el, Plotly }) fills `el`. A message of kind "frame" carries changed traces, added
// traces, layout entries and what stands around the picture ("dynamic"); see lab/figures.py.

const BUSY_AFTER = 250; // ms without an answer before the busy sign shows
const PLAY_EVERY = 5000; // ms a scene stays when they are played

const TYPES = {
  float64: Float64Array, float32: Float32Array, uint8: Uint8Array, int8: Int8Array,
  int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
};

export function show({ model, el, Plotly }) {
  const root = make("div", "kl-explorer");
  const { message, buffers } = model.get("_snapshot");
  const about = model.get("_static");
  root.dataset.name = about.name ?? "";
  const view = Math.random().toString(36).slice(2);
  const picture = pictureView(Plotly, about, (frame) => (root.dataset.frame = frame));
  const talk = conversation(model, view, root);
  const around = about.controls ? surroundings(root, about, picture.el, talk) : null;
  if (!around) root.append(picture.el);
  el.append(root);
  const endStage = onStage(root, (by) => around?.step(by));

  const take = (message, buffers) => {
    if (picture.take(message, buffers) === "missed") {
      model.send({ kind: "hello", frame: -1, again: true });
      return;
    }
    if (message.reply?.view === view) talk.answered(message.reply.turn);
    around?.show(message.dynamic, talk.waiting());
    picture.draw();
  };
  const listen = (message, buffers) => {
    if (message?.kind === "frame") take(message, buffers);
  };
  model.on("msg:custom", listen);
  take(message, buffers);
  model.send({ kind: "hello", frame: message.frame });
  return () => {
    model.off("msg:custom", listen);
    endStage();
    around?.remove();
    picture.remove();
  };
}

// --- talking with Python ---------------------------------------------------------------------

// One question at a time: while an answer is awaited, newer values only replace each other, so a
// drag never leaves a queue and the last value always wins. The next question goes out while the
// answer is being drawn: Python and the browser work side by side.
function conversation(model, view, root) {
  let turn = 0;
  let open = null; // the turn whose answer is awaited
  let next = null; // what to ask when it has come
  let timer = null;
  const ask = (message) => {
    open = ++turn;
    clearTimeout(timer);
    timer = setTimeout(() => root.classList.add("kl-is-busy"), BUSY_AFTER);
    model.send({ ...message, view, turn });
  };
  return {
    say(message) {
      if (open === null) return ask(message);
      const both = next?.kind === "set" && message.kind === "set";
      // Values moved after a scene was asked for must not be lost, nor overtake it.
      if (next?.kind === "scene" && message.kind === "set") next = { ...next, then: message };
      else next = both ? { ...message, values: { ...next.values, ...message.values } } : message;
    },
    waiting: () => open !== null,
    answered(which) {
      if (which !== open) return;
      clearTimeout(timer);
      root.classList.remove("kl-is-busy");
      open = null;
      if (next === null) return;
      const { then, ...message } = next;
      next = then ?? null;
      ask(message);
    },
  };
}

// --- on a stage ------------------------------------------------------------------------------

const SCENE_KEYS = { n: 1, "]": 1, p: -1, "[": -1 };

const inSlides = () => document.body.dataset.jpDeckMode === "presenting";

const STAGE = { width: 1140, margin: 20 }; // px: how wide an explorer is laid out in slides; its air

// Presents one explorer: keys step its scenes while it is the one in view (or has the focus), and
// in slides it fills the projector. Returns what ends this.
function onStage(root, step) {
  const press = (event) => {
    const by = SCENE_KEYS[event.key];
    const combined = event.ctrlKey || event.altKey || event.metaKey;
    if (!by || (combined && !event.getModifierState("AltGraph"))) return;
    if (takesText(event.target) || inFront() !== root) return;
    event.preventDefault();
    event.stopPropagation();
    step(by);
  };
  let zoom = 1;
  const enlarge = (by) => {
    zoom = by;
    root.classList.toggle("kl-on-stage", zoom !== 1);
    root.style.setProperty("--kl-zoom", zoom);
  };
  const fit = () => enlarge(inSlides() ? innerWidth / STAGE.width : 1);
  // What is too high for the window shrinks to fit; it grows again when the window does.
  const high = new ResizeObserver(() => {
    const room = (innerHeight - STAGE.margin) / root.getBoundingClientRect().height;
    if (inSlides() && room < 1) enlarge(zoom * room);
  });
  const slides = new MutationObserver(fit);
  slides.observe(document.body, { attributeFilter: ["data-jp-deck-mode"] });
  high.observe(root);
  window.addEventListener("resize", fit);
  window.addEventListener("keydown", press, true);
  fit();
  return () => {
    slides.disconnect();
    high.disconnect();
    window.removeEventListener("resize", fit);
    window.removeEventListener("keydown", press, true);
  };
}

const takesText = (el) =>
  Boolean(el.closest?.("input:not([type=range], [type=checkbox], [type=radio]), textarea, select")) ||
  el.isContentEditable;

// The explorer that scene keys mean: the one with the focus, or, where a lab is presented, the one
// that fills most of the window.
function inFront() {
  const focused = document.activeElement?.closest(".kl-explorer");
  if (focused && shownArea(focused)) return focused;
  if (!inSlides() && !document.body.dataset.voila) return null;
  const all = [...document.querySelectorAll(".kl-explorer")].map((el) => [shownArea(el), el]);
  const [area, best] = all.reduce((a, b) => (b[0] > a[0] ? b : a), [0, null]);
  return area > 0 ? best : null;
}

function shownArea(el) {
  if (!el.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return 0;
  const box = el.getBoundingClientRect();
  const width = Math.min(box.right, innerWidth) - Math.max(box.left, 0);
  const height = Math.min(box.bottom, innerHeight) - Math.max(box.top, 0);
  return Math.max(0, width) * Math.max(0, height);
}

// --- the picture -----------------------------------------------------------------------------

function pictureView(Plotly, about, painted) {
  const el = make("div", "kl-picture");
  const plot = make("div", "kl-plot");
  el.append(plot);
  el.style.height = `calc(${about.height}px * var(--kl-zoom, 1))`;
  if (about.alt) {
    el.setAttribute("role", "img");
    el.setAttribute("aria-label", about.alt);
  }
  let data = [];
  let layout = {};
  let config = {};
  let dynamic = {};
  let frame = -1;
  let drawn = null; // width of the last drawing; null before the first
  let drawing = Promise.resolve();
  let wanted = false;

  // In the units of the drawing, which a projected slide enlarges as a whole.
  const zoom = () => Number(getComputedStyle(el).getPropertyValue("--kl-zoom")) || 1;
  const size = () => Math.floor(el.clientWidth / zoom());
  const paint = async () => {
    wanted = false;
    if (!size()) return; // hidden; the observer paints once there is room
    const shown = frame;
    drawn = size();
    // Copies, because plotly notes the reader's zoom in what it is given. A zoom survives as long
    // as "uirevision" (the scene) stays the same.
    const by = Math.min(1, Math.max(SMALLEST, drawn / NOMINAL));
    const traces = data.map((trace) => shrunk({ ...trace }, by));
    const shaped = { ...shrunk(structuredClone(layout), by), width: drawn };
    if (shaped.margin && dynamic.legend_room) {
      shaped.margin.b += legendRoom(traces, shaped, drawn) - dynamic.legend_room;
    }
    await Plotly.react(plot, traces, shaped, config);
    painted(shown);
  };
  const observer = new ResizeObserver(() => {
    if (size() && size() !== drawn) draw();
  });
  observer.observe(el);

  // At most one drawing waits behind the running one; it shows the newest state.
  function draw() {
    if (wanted) return;
    wanted = true;
    drawing = drawing.then(paint).catch((error) => console.error(error));
  }

  return {
    el,
    draw,
    frame: () => frame,
    take(message, buffers = []) {
      const open = (value) => decode(value, buffers);
      if (message.data) {
        data = message.data.map(open).map(readyTrace);
        layout = open(message.whole_layout);
        config = message.config;
      } else if (frame < 0 || message.frame > frame + 1) {
        return "missed";
      }
      frame = message.frame;
      dynamic = message.dynamic;
      for (const trace of message.added ?? []) data.push(readyTrace(open(trace)));
      for (const [i, update] of Object.entries(message.changed ?? {})) {
        const merged = { ...data[i], ...open(update) };
        for (const key in update) if (update[key] === null) delete merged[key];
        data[i] = readyTrace(merged);
      }
      if (message.layout) layout = { ...layout, ...open(message.layout) };
      return "taken";
    },
    remove() {
      observer.disconnect();
      Plotly.purge(plot);
    },
  };
}

// The pixels a legend needs below the picture. Python's estimate knows neither the true width of the
// page nor that of the letters; plotly makes no room for a legend at the foot of a figure.
// Panels stand at fractions of the picture, laid out for NOMINAL pixels. In a narrower picture the
// letters and margins shrink with them, or titles would run into the panel beside.
const NOMINAL = 800;
const SMALLEST = 0.68; // of the letters; below, they could not be read

function shrunk(value, by, key = "") {
  if (by === 1 || value === null || typeof value !== "object" || ArrayBuffer.isView(value)) {
    return value;
  }
  if (Array.isArray(value)) {
    const plain = typeof value[0] !== "object" || ArrayBuffer.isView(value[0]);
    return plain ? value : value.map((item) => shrunk(item, by, key));
  }
  const scaled = (k, v) => {
    // Below, axis titles and the legend need their room whatever the width.
    const length = (/font$/i.test(key) && k === "size") || (key === "margin" && k !== "b");
    return length && typeof v === "number" ? v * by : shrunk(v, by, k);
  };
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, scaled(k, v)]));
}

function legendRoom(traces, layout, width) {
  const pen = (legendRoom.pen ??= make("canvas").getContext("2d"));
  pen.font = `${layout.legend.font.size}px ${layout.legend.font.family}`;
  const widths = traces
    .filter((trace) => trace.visible === true && trace.showlegend)
    .map((trace) => pen.measureText(trace.name).width + 58);
  const room = width - layout.margin.l - layout.margin.r;
  const total = widths.reduce((sum, each) => sum + each, 0);
  const columns = Math.max(1, Math.floor(room / Math.max(...widths)));
  return 8 + 23 * (total <= room ? 1 : Math.ceil(widths.length / columns));
}

function decode(value, buffers) {
  if (Array.isArray(value)) return value.map((item) => decode(item, buffers));
  if (value === null || typeof value !== "object") return value;
  if ("~" in value) {
    const bytes = buffers[value["~"]];
    const Typed = TYPES[value.dtype];
    const whole = new Typed(
      bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
    );
    const [rows, columns] = value.shape;
    if (value.shape.length === 1) return whole;
    if (value.shape.length === 3) return { pixels: whole, rows, columns };
    return Array.from({ length: rows }, (_, i) =>
      whole.subarray(i * columns, (i + 1) * columns),
    );
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, decode(v, buffers)]));
}

// Colour pictures arrive as bytes; the browser's own encoder turns them into an image at once,
// where plotly would handle every pixel as a little array.
function readyTrace(trace) {
  if (trace.type !== "image" || !trace.z?.pixels) return trace;
  const { pixels, rows, columns } = trace.z;
  const canvas = make("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let i = 0, j = 0; i < pixels.length; j++) {
    image.data[j] = j % 4 === 3 ? 255 : pixels[i++];
  }
  image.data[image.data.length - 1] = 255;
  context.putImageData(image, 0, 0);
  const { z, ...rest } = trace;
  return { ...rest, source: canvas.toDataURL("image/png"), hoverinfo: "skip" };
}

// --- what stands around the picture ----------------------------------------------------------

function surroundings(root, about, picture, talk) {
  const head = make("div", "kl-head");
  const title = make("div", "kl-title", about.title);
  const busy = make("span", "kl-busy", "computing…");
  busy.setAttribute("role", "status");
  const papers = make("div", "kl-papers", about.papers.join(" · "));
  papers.title = about.papers.join("\n");
  head.append(title, busy, papers);

  const scenes = sceneRow(about.scenes, talk);
  const controls = make("div", "kl-controls");
  const folded = make("div", "kl-controls");
  const settings = about.controls.map((spec) => {
    const control = CONTROLS[spec.kind](spec, (value) =>
      talk.say({ kind: "set", values: { [spec.name]: value } }),
    );
    control.el.classList.add("kl-control");
    control.el.dataset.name = spec.name;
    (spec.folded ? folded : controls).append(control.el);
    return [spec.name, control];
  });
  if (folded.children.length) {
    const more = make("details", "kl-more");
    more.append(make("summary", "", `More controls (${folded.children.length})`), folded);
    controls.append(more);
  }
  const run = about.run === "button" ? runRow(talk) : null;
  if (run) controls.append(run.el);

  const error = make("div", "kl-error");
  error.setAttribute("role", "alert");
  error.hidden = true;
  const stale = make("div", "kl-stale", "The picture belongs to earlier settings; press Run.");
  stale.hidden = true;
  const readouts = make("div", "kl-readouts");
  readouts.setAttribute("aria-live", "off");
  const stage = make("div", "kl-stage");
  stage.append(readouts, picture);
  const body = make("div", "kl-body");
  body.append(controls, stage);
  // Errors take the place of the scene's sentence, so that the picture stays where it is.
  scenes.el.append(error, stale);
  root.append(head, scenes.el, body);

  return {
    show(dynamic, newerWaiting) {
      scenes.show(dynamic.scene, dynamic.touched);
      // While the hand is ahead of the answers, the controls stay where the hand put them.
      if (!newerWaiting) {
        for (const [name, control] of settings) control.show(dynamic.values[name]);
      }
      showReadouts(readouts, dynamic.readouts);
      error.hidden = !dynamic.error;
      error.textContent = dynamic.error ?? "";
      stale.hidden = !dynamic.stale || Boolean(dynamic.error) || dynamic.run?.state === "running";
      scenes.look.hidden = !error.hidden || !stale.hidden;
      root.classList.toggle("kl-is-stale", dynamic.stale || Boolean(dynamic.error));
      run?.show(dynamic.run);
    },
    step: scenes.step,
    remove: scenes.remove,
  };
}

function showReadouts(row, readouts) {
  row.hidden = readouts.length === 0;
  while (row.children.length > readouts.length) row.lastChild.remove();
  while (row.children.length < readouts.length) {
    const chip = make("div", "kl-readout");
    chip.append(make("span", "kl-readout-label"), make("span", "kl-readout-value"));
    row.append(chip);
  }
  readouts.forEach(({ label, text }, i) => {
    const chip = row.children[i];
    chip.dataset.name = label;
    chip.children[0].textContent = label;
    chip.children[1].textContent = text;
  });
}

function sceneRow(scenes, talk) {
  const el = make("div", "kl-scenes");
  const go = (index) => talk.say({ kind: "scene", index });
  let current = 0;
  let playing = null;
  const stop = () => {
    clearInterval(playing);
    playing = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "play the scenes");
  };
  const step = (by) => go((current + by + scenes.length) % scenes.length);
  const byHand = (by) => (stop(), step(by));
  const previous = button("‹", "previous scene", () => byHand(-1));
  const following = button("›", "next scene", () => byHand(1));
  previous.title = "previous scene (key p or [ while presenting)";
  following.title = "next scene (key n or ] while presenting)";
  const play = button("▶", "play the scenes", () => {
    if (playing !== null) return stop();
    step(1);
    playing = setInterval(() => (el.isConnected ? step(1) : stop()), PLAY_EVERY);
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "pause the scenes");
  });
  const names = make("div", "kl-scene-names");
  names.setAttribute("role", "group");
  names.setAttribute("aria-label", "scenes");
  const buttons = scenes.map(({ title }, i) => {
    const each = button(title, null, () => (stop(), go(i)));
    each.className = "kl-scene";
    each.dataset.name = title;
    names.append(each);
    return each;
  });
  const nav = make("div", "kl-scene-nav");
  nav.append(previous, following, play);
  const look = make("div", "kl-look");
  look.setAttribute("aria-live", "polite");
  const row = make("div", "kl-scene-row");
  row.append(nav, names);
  el.append(row, look);
  if (scenes.length < 2) row.hidden = true;
  return {
    el,
    look,
    step: byHand,
    remove: stop,
    show(scene, touched) {
      current = scene;
      buttons.forEach((each, i) => {
        each.setAttribute("aria-pressed", String(i === scene && !touched));
        each.classList.toggle("kl-touched", i === scene && touched);
      });
      if (look.textContent !== scenes[scene].look) look.textContent = scenes[scene].look;
      look.classList.toggle("kl-touched", touched);
    },
  };
}

function runRow(talk) {
  const el = make("div", "kl-run");
  const start = button("Run", null, () => talk.say({ kind: "start" }));
  start.classList.add("kl-run-start");
  const stop = button("Stop", null, () =>
    talk.say({ kind: state === "stopped" ? "resume" : "stop" }),
  );
  stop.classList.add("kl-run-stop");
  const bar = make("progress", "kl-progress");
  bar.max = 1;
  const message = make("div", "kl-run-message");
  message.setAttribute("role", "status");
  let state = "idle";
  const buttons = make("div", "kl-run-buttons");
  buttons.append(start, stop);
  el.append(buttons, bar, message);
  return {
    el,
    show(run) {
      state = run.state;
      el.dataset.state = state;
      start.disabled = state === "running";
      start.textContent = state === "finished" || state === "stopped" ? "Run again" : "Run";
      stop.disabled = state !== "running" && state !== "stopped";
      stop.textContent = state === "stopped" ? "Continue" : "Stop";
      bar.value = state === "finished" ? 1 : run.fraction;
      message.textContent = run.message || { finished: "finished", stopped: "stopped" }[state] || "";
    },
  };
}

// --- controls: each is { el, show(value) } and calls changed(value) --------------------------

const CONTROLS = {
  slider: (spec, changed) => {
    const steps = Math.round((spec.high - spec.low) / spec.step);
    const decimals = Math.min(8, Math.max(0, -Math.floor(Math.log10(spec.step) + 1e-9) + 2));
    return rangeControl(spec, steps, changed, {
      at: (i) => Math.min(spec.high, Number((spec.low + i * spec.step).toFixed(decimals))),
      place: (value) => (value - spec.low) / spec.step,
      text: (value) => general(value, 4),
    });
  },
  int_slider: (spec, changed) =>
    rangeControl(spec, Math.floor((spec.high - spec.low) / spec.step), changed, {
      at: (i) => spec.low + i * spec.step,
      place: (value) => (value - spec.low) / spec.step,
      text: String,
    }),
  log_slider: (spec, changed) => {
    const span = Math.log(spec.high / spec.low);
    const at = (i) => {
      const value = Number((spec.low * Math.exp((span * i) / spec.stops)).toPrecision(3));
      return Math.min(Math.max(value, spec.low), spec.high);
    };
    return rangeControl(spec, spec.stops, changed, {
      at: (i) => (i === 0 ? spec.low : i === spec.stops ? spec.high : at(i)),
      place: (value) => (spec.stops * Math.log(value / spec.low)) / span,
      text: (value) => general(value, 3),
    });
  },
  choice: (spec, changed) => {
    const letters = spec.options.reduce((sum, option) => sum + option.length + 3, 0);
    return spec.options.length <= 5 && letters <= 42
      ? pillControl(spec, changed, false)
      : selectControl(spec, changed);
  },
  choices: (spec, changed) => pillControl(spec, changed, true),
  toggle: (spec, changed) => {
    const el = make("label", "kl-toggle");
    const box = make("input");
    box.type = "checkbox";
    box.setAttribute("role", "switch");
    box.addEventListener("change", () => changed(box.checked));
    const text = make("span", "kl-label", spec.label);
    if (spec.help) el.title = spec.help;
    el.append(text, box);
    return { el, show: (value) => (box.checked = value) };
  },
};

function rangeControl(spec, steps, changed, { at, place, text }) {
  const { el, head } = labelled(spec, "label");
  const input = make("input", "kl-range");
  Object.assign(input, { type: "range", min: 0, max: steps, step: 1 });
  const output = make("output", "kl-value");
  const write = (value) => {
    output.textContent = text(value);
    input.setAttribute("aria-valuetext", text(value));
    input.style.setProperty("--kl-part", `${(100 * input.value) / steps}%`);
  };
  input.addEventListener("input", () => {
    const value = at(Number(input.value));
    write(value);
    changed(value);
  });
  head.append(output);
  el.append(input);
  return {
    el,
    show(value) {
      const stop = Math.round(place(value));
      if (Number(input.value) !== stop) input.value = stop;
      write(value);
    },
  };
}

function pillControl(spec, changed, many) {
  const { el } = labelled(spec, "div");
  const row = make("div", "kl-pills");
  row.setAttribute("role", many ? "group" : "radiogroup");
  row.setAttribute("aria-label", spec.label);
  const name = `kl-${Math.random().toString(36).slice(2)}`;
  const boxes = spec.options.map((option, i) => {
    const pill = make("label", "kl-pill");
    const box = make("input");
    Object.assign(box, { type: many ? "checkbox" : "radio", name, value: i });
    box.addEventListener("change", () =>
      changed(many ? boxes.flatMap((each, j) => (each.checked ? [j] : [])) : i),
    );
    pill.append(box, make("span", null, option));
    row.append(pill);
    return box;
  });
  el.append(row);
  return {
    el,
    show: (value) =>
      boxes.forEach((box, i) => (box.checked = many ? value.includes(i) : value === i)),
  };
}

function selectControl(spec, changed) {
  const { el } = labelled(spec, "label");
  const select = make("select", "kl-select");
  spec.options.forEach((option, i) => {
    const item = make("option", null, option);
    item.value = i;
    select.append(item);
  });
  select.addEventListener("change", () => changed(Number(select.value)));
  el.append(select);
  return { el, show: (value) => (select.value = String(value)) };
}

function labelled(spec, tag) {
  const el = make(tag);
  const head = make("div", "kl-control-head");
  const label = make("span", "kl-label", spec.label);
  if (spec.help) {
    label.classList.add("kl-has-help");
    el.title = spec.help;
  }
  head.append(label);
  el.append(head);
  return { el, head };
}

// Like Python's "%.{digits}g", so that screen and text form agree.
function general(value, digits) {
  if (value === 0) return "0";
  const [mantissa, power] = value.toExponential(digits - 1).split("e");
  const exponent = Number(power);
  const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (exponent < -4 || exponent >= digits) {
    const sign = exponent < 0 ? "-" : "+";
    return `${trimmed(mantissa)}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  return trimmed(value.toFixed(Math.max(0, digits - 1 - exponent)));
}

function make(tag, name, text) {
  const el = document.createElement(tag);
  if (name) el.className = name;
  if (text !== undefined) el.textContent = text;
  // JupyterLab would take arrow keys and Enter for itself; the element in focus must forbid it.
  if (["input", "select", "button"].includes(tag)) el.dataset.lmSuppressShortcuts = "true";
  return el;
}

function button(text, label, action) {
  const el = make("button", "kl-button", text);
  el.type = "button";
  if (label) {
    el.setAttribute("aria-label", label);
    el.title = label;
  }
  el.addEventListener("click", action);
  return el;
}
