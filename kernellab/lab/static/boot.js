// All that travels with each figure: find the page's one library and let it draw.
const shelf = (globalThis.__kernellab ??= new Map());

async function unpacked(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function load(model) {
  const library = await patiently(() => model.widget_manager.get_model(model.get("_library")));
  const { plotly, front, style } = library.get("_payload");
  const url = URL.createObjectURL(
    new Blob([await unpacked(plotly)], { type: "text/javascript" }),
  );
  const before = globalThis.Plotly; // leave the page's own plotly, if any, as it was
  await import(/* webpackIgnore: true */ url);
  const Plotly = globalThis.Plotly;
  globalThis.Plotly = before;
  URL.revokeObjectURL(url);
  const sheet = document.createElement("style");
  sheet.textContent = style;
  document.head.append(sheet);
  const code = URL.createObjectURL(new Blob([front], { type: "text/javascript" }));
  const { show } = await import(/* webpackIgnore: true */ code);
  URL.revokeObjectURL(code);
  return { show, Plotly };
}

// While a page is being restored, the library may be known a moment after the figure.
async function patiently(look) {
  for (let tries = 0; ; tries++) {
    try {
      const found = await look();
      if (found?.get("_payload")?.front) return found;
    } catch (error) {
      if (tries >= 100) throw error;
    }
    if (tries >= 100) throw new Error("the figures' library is not on this page");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export default {
  async render({ model, el }) {
    const key = model.get("_front");
    try {
      if (!shelf.has(key)) shelf.set(key, load(model));
      const { show, Plotly } = await shelf.get(key);
      return show({ model, el, Plotly });
    } catch (error) {
      shelf.delete(key);
      el.textContent = "This picture needs a running kernel: run its cell again. " + error.message;
    }
  },
};
