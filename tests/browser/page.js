// Read by the browser tests inside the page: what JupyterLab and the explorers show.
"use strict";
window.kernellabPage = (() => {
  const app = () => window.jupyterapp;
  const panel = () => app().shell.currentWidget;
  const cells = () => panel().content.widgets;

  function ready(path) {
    if (!app() || !panel() || !panel().context) return false;
    const context = panel().context;
    if (context.path !== path || !context.isReady) return false;
    const session = context.sessionContext;
    return session.isReady && session.session?.kernel?.status === "idle";
  }

  function whatIsOpen() {
    const context = panel()?.context;
    const dialog = document.querySelector(".jp-Dialog")?.innerText ?? "no dialog";
    const status = context?.sessionContext?.session?.kernel?.status ?? "no kernel";
    return `${context?.path ?? "no notebook"}, ${status}, ${dialog}`;
  }

  let running = false;
  let failure = null;

  function watch(promise) {
    running = true;
    failure = null;
    promise.then(() => (running = false)).catch((error) => {
      running = false;
      failure = String(error);
    });
  }

  function runAll() {
    watch(app().commands.execute("notebook:run-all-cells"));
  }

  function runCell(index, source) {
    const notebook = panel().content;
    notebook.activeCellIndex = index;
    notebook.deselectAll();
    if (source !== null) notebook.activeCell.model.sharedModel.setSource(source);
    watch(app().commands.execute("notebook:run-cell"));
  }

  const kernel = () => panel().context.sessionContext.session?.kernel;

  function finished() {
    return !running && kernel()?.status === "idle";
  }

  function outputs() {
    return cells().flatMap((cell, index) =>
      cell.model.type === "code"
        ? cell.model.outputs.toJSON().map((output) => ({ index, output }))
        : []
    );
  }

  function errors() {
    const found = outputs()
      .filter(({ output }) => output.output_type === "error")
      .map(({ index, output }) => `cell ${index}: ${output.ename}: ${output.evalue}`);
    // Errors inside output widgets, and widgets that could not be drawn, are only in the page.
    const shown = [
      ...document.querySelectorAll(
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error'], .jupyter-widgets-error-widget"
      ),
    ].map((node) => `shown: ${node.textContent.trim().slice(0, 400)}`);
    return [...found, ...shown, ...(failure ? [`JupyterLab: ${failure}`] : [])];
  }

  const warnings = () =>
    outputs()
      .filter(({ output }) => output.output_type === "stream" && output.name === "stderr")
      .map(({ index, output }) => `cell ${index}: ${[].concat(output.text).join("").slice(0, 400)}`);

  // Explorers ------------------------------------------------------------------------------
  const explorers = () => [...document.querySelectorAll(".kl-explorer")];
  const plots = (node) => [...node.querySelectorAll(".js-plotly-plot")];
  const visible = (node) =>
    node.getClientRects().length > 0 && node.checkVisibility({ visibilityProperty: true });
  const text = (node) => node.innerText.replace(/\s+/g, " ").trim();

  function explorer(name) {
    const found = explorers().filter((node) => node.dataset.name === name);
    if (found.length !== 1) throw new Error(`${found.length} explorers are named ${name}`);
    return found[0];
  }

  const painted = (node) => {
    const all = plots(node);
    return all.length > 0 && all.every((plot) => plot._fullLayout !== undefined);
  };

  function onScreen(node) {
    const box = node.getBoundingClientRect();
    return visible(node) && box.bottom > 0 && box.top < window.innerHeight;
  }

  // Every widget that a cell put out stands in the page, and every explorer on screen has its
  // picture. JupyterLab skips what is far off the screen, so a picture there may come later.
  function drawn() {
    const waiting = [...document.querySelectorAll(".jp-OutputArea-output")].some((node) =>
      node.textContent.startsWith("Loading widget")
    );
    return !waiting && explorers().every((node) => painted(node) || !onScreen(node));
  }

  // A short word for everything that is drawn, so that two pictures can be told apart.
  function digest(value) {
    let hash = 2166136261;
    const mix = (number) => (hash = Math.imul(hash ^ number, 16777619));
    const add = (word) => {
      for (let i = 0; i < word.length; i++) mix(word.charCodeAt(i));
    };
    // The bytes of numbers: this runs while a reader would look on, and must not hold up the page.
    const bytes = ({ buffer, byteOffset, byteLength }) =>
      new (byteOffset % 4 || byteLength % 4 ? Uint8Array : Int32Array)(
        buffer, byteOffset, byteOffset % 4 || byteLength % 4 ? byteLength : byteLength / 4
      );
    const walk = (part) => {
      if (part === null || typeof part !== "object") add(String(part));
      else if (ArrayBuffer.isView(part)) bytes(part).forEach(mix);
      else for (const key of Object.keys(part)) if (key !== "meta" && key !== "uid") add(key), walk(part[key]);
    };
    walk(value);
    return (hash >>> 0).toString(16);
  }

  const picture = (node) =>
    plots(node).map((plot) => digest(plot.data) + digest(plot.layout)).join(" ");

  const controls = (node) =>
    Object.assign({}, ...plots(node).map((plot) => plot.layout?.meta?.controls ?? {}));

  const sliders = (node) =>
    [...node.querySelectorAll("input[type=range]")].filter((one) => visible(one) && !one.disabled);

  // Where a slider stands between its ends, 0 to 1.
  const position = (slider) =>
    (Number(slider.value) - Number(slider.min)) / (Number(slider.max) - Number(slider.min));

  const shownIn = (node, selector) => [...node.querySelectorAll(selector)].filter(visible);

  function state(name) {
    const node = explorer(name);
    return {
      picture: picture(node),
      controls: controls(node),
      readouts: shownIn(node, ".kl-readout").map(text),
      error: shownIn(node, ".kl-error").map(text).filter(Boolean).join(" ") || null,
      busy: shownIn(node, ".kl-busy").length > 0,
      sliders: sliders(node).map(position),
      // The scene that is shown; -1 once a control has left it.
      scene: shownIn(node, ".kl-scene").findIndex((one) => one.ariaPressed === "true"),
      frame: plots(node)[0]?.layout?.meta?.frame ?? null,
    };
  }

  // Where the value of a control would put its slider. `scale` tells the ends, and whether equal
  // steps of the slider are equal factors of the value.
  function expected(value, { low, high, log }) {
    return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  }

  const near = (a, b) => Math.abs(a - b) < 2e-3;

  // Does the picture on screen belong to what the slider shows?
  function settled(name, index, scale) {
    const node = explorer(name);
    return near(position(sliders(node)[index]), expected(controls(node)[scale.control], scale));
  }

  // From the hand to the pixel --------------------------------------------------------------
  // Records each new value of slider `index` with the time of the event that set it, and each
  // repaint with the controls it belongs to.
  function record(name, index) {
    const node = explorer(name);
    const slider = sliders(node)[index];
    const trace = { inputs: [], frames: [], busy: false };
    const input = (event) => {
      // The hand moved a little before the browser turned that into an input event.
      trace.inputs.push({ time: Math.min(event.timeStamp, moved), at: position(slider) });
      moved = Infinity;
    };
    let moved = Infinity;
    const hand = (event) => {
      if (moved === Infinity) moved = event.timeStamp;
      // A movement that changes no value asks for no answer.
      setTimeout(() => (moved = Infinity));
    };
    const kinds = ["pointermove", "pointerdown", "keydown"];
    kinds.forEach((kind) => window.addEventListener(kind, hand, true));
    slider.addEventListener("input", input, true);
    const afterPaint = () =>
      requestAnimationFrame(() => {
        const values = controls(node);
        // A message posted from an animation frame arrives after that frame is painted.
        const channel = new MessageChannel();
        channel.port1.onmessage = () =>
          trace.frames.push({ time: performance.now(), controls: values });
        channel.port2.postMessage(null);
      });
    plots(node).forEach((plot) => plot.on("plotly_afterplot", afterPaint));
    const watch = () => {
      if (shownIn(node, ".kl-busy").length) trace.busy = true;
    };
    const observer = new MutationObserver(watch);
    observer.observe(node, { subtree: true, childList: true, attributes: true });
    trace.stop = () => {
      kinds.forEach((kind) => window.removeEventListener(kind, hand, true));
      slider.removeEventListener("input", input, true);
      plots(node).forEach((plot) => plot.removeListener("plotly_afterplot", afterPaint));
      observer.disconnect();
    };
    node.kernellabTrace = trace;
  }

  // Milliseconds that a fixed piece of work takes: how quick this machine is at this moment.
  function pace() {
    const begin = performance.now();
    let hash = 2166136261;
    for (let i = 0; i < 8e6; i++) hash = Math.imul(hash ^ i, 16777619);
    return hash === 0 ? 0 : performance.now() - begin; // the sum is used, or it is left out
  }

  // For every input: milliseconds until a frame is on screen that shows it or a later input.
  function latencies(name, scale) {
    const { inputs, frames, busy, stop } = explorer(name).kernellabTrace;
    stop();
    const waits = [];
    let shown = 0;
    for (const frame of frames) {
      const at = expected(frame.controls[scale.control], scale);
      let newest = -1;
      inputs.forEach((one, k) => {
        if (one.time <= frame.time && near(one.at, at)) newest = k;
      });
      for (; shown <= newest; shown++) waits.push(frame.time - inputs[shown].time);
    }
    const settled = shown === inputs.length && waits.length ? waits[waits.length - 1] : null;
    return { waits, inputs: inputs.length, frames: frames.length, busy, settled };
  }

  // What a reader would stumble over: text cut off, text on text, an explorer wider than its cell.
  function blemishes(name) {
    const node = explorer(name);
    const found = [];
    const box = node.getBoundingClientRect();
    const word = (one) => `"${one.textContent.trim().slice(0, 40)}"`;
    if (node.scrollWidth > node.clientWidth + 2) {
      found.push(`it is ${node.scrollWidth} px wide in a cell of ${node.clientWidth} px`);
    }
    if (box.height > 720) found.push(`it is ${Math.round(box.height)} px high, the screen 720`);
    for (const one of node.querySelectorAll("button, label, output, span, div, p")) {
      const style = getComputedStyle(one);
      if (style.textOverflow === "ellipsis" && one.title) continue; // shortened, whole in its tip
      const cut = style.overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1;
      if (cut && one.children.length === 0 && visible(one)) found.push(`${word(one)} is cut off`);
    }
    for (const plot of plots(node)) {
      const frame = plot.getBoundingClientRect();
      const texts = [...plot.querySelectorAll(".infolayer text, [class*=axislayer] text")]
        .filter((one) => visible(one) && one.textContent.trim())
        .map((one) => ({ one, at: one.getBoundingClientRect() }));
      for (const { one, at } of texts) {
        const out = Math.max(frame.left - at.left, at.right - frame.right, frame.top - at.top, at.bottom - frame.bottom);
        if (out > 2) found.push(`${word(one)} leaves the picture by ${Math.round(out)} px`);
      }
      texts.forEach((a, i) =>
        texts.slice(i + 1).forEach((b) => {
          const x = Math.min(a.at.right, b.at.right) - Math.max(a.at.left, b.at.left);
          const y = Math.min(a.at.bottom, b.at.bottom) - Math.max(a.at.top, b.at.top);
          if (x > 2 && y > 4) found.push(`${word(a.one)} lies on ${word(b.one)}`);
        })
      );
    }
    return [...new Set(found)];
  }

  // Cells that still run or wait, for the message of a test that waited in vain.
  const unfinished = () =>
    cells().flatMap((cell, index) => (cell.promptNode?.textContent?.includes("*") ? [index] : []));

  return {
    unfinished,
    toTop: () => panel().content.scrollToItem(0),
    ready, whatIsOpen, runAll, runCell, finished, errors, warnings,
    drawn, state, settled, record, latencies, pace,
    blemishes, explorer,
    slider: (name, index) => sliders(explorer(name))[index],
    sliderNames: (name) =>
      sliders(explorer(name)).map((one) => one.closest(".kl-control").dataset.name),
    scenes: (name) => shownIn(explorer(name), ".kl-scene").length,
    names: () => explorers().map((node) => node.dataset.name),
    kernelId: () => kernel()?.id,
  };
})();
