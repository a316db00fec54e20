// Opens the lab that `kernellab present` names as slides: starts jupyterlab-slideshow's deck on it,
// runs every cell, and keeps what a key press reveals in view.
//
// JupyterLab loads this file as it loads built extensions (a container with init and get); it needs
// nothing of JupyterLab but the application object, so there is nothing to build.
(() => {
  const here = document.currentScript.src;

  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

  async function waitFor(what) {
    for (;;) {
      const found = what();
      if (found) return found;
      await sleep(50);
    }
  }

  function addStyle() {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = here.replace(/deck\.js.*$/, "deck.css");
    document.head.append(link);
  }

  // How much larger than 1280 x 720 the projector is; deck.css enlarges cards by it.
  function measure() {
    const zoom = Math.min(window.innerWidth / 1280, window.innerHeight / 720);
    document.body.style.setProperty("--kl-deck-zoom", zoom);
  }

  // The notebook in front. A notebook is told by its session, without JupyterLab's classes.
  const notebookIn = (app) => {
    const panel = app.shell.currentWidget;
    return panel?.content?.widgets && panel?.context?.sessionContext ? panel : null;
  };

  // A new slide starts at its top; a fragment that comes into view is scrolled to.
  function follow(notebook) {
    const scroll = async () => {
      await sleep(80); // the deck marks what is on screen first
      const cell = notebook.activeCell;
      if (!cell) return;
      const shown = notebook.widgets.filter((each) => each.hasClass("jp-deck-mod-visible"));
      if (shown[0] === cell) notebook.outerNode.scrollTop = 0;
      else cell.node.scrollIntoView({ block: "nearest" });
    };
    notebook.activeCellChanged.connect(scroll);
  }

  // The deck's keys are for cells; they work as soon as one has the focus.
  const focus = (notebook) => {
    notebook.mode = "command";
    (notebook.activeCell ?? notebook).node.focus({ preventScroll: true });
  };

  const presenting = () => document.body.dataset.jpDeckMode === "presenting";
  const isSlider = (el) => el.matches?.("input[type=range]");
  const takesText = (el) =>
    el.isContentEditable || el.matches?.("input:not([type=range], [type=checkbox], [type=radio]), textarea, select");

  // The deck hears its keys only while a cell has the focus. Who has just moved a slider goes on
  // with Space all the same, and the keys of a presenter's remote control always work.
  function hearKeys(app, notebook) {
    const press = (event) => {
      if (!presenting() || event.ctrlKey || event.altKey || event.metaKey || takesText(event.target)) return;
      const space = event.key === " " && isSlider(event.target);
      const on = event.key === "PageDown" || (space && !event.shiftKey);
      const back = event.key === "PageUp" || (space && event.shiftKey);
      if (!on && !back) return;
      event.preventDefault();
      event.stopPropagation();
      const way = on ? { direction: "down", alternate: "forward" } : { direction: "up", alternate: "back" };
      app.commands.execute("deck:go", way).then(() => focus(notebook));
    };
    window.addEventListener("keydown", press, true);
    // A button that was clicked by hand must not keep Space for itself.
    document.addEventListener("click", ({ target, detail }) => {
      const mine = target.closest?.(".kl-explorer, .kl-card");
      if (presenting() && detail > 0 && mine && !isSlider(target) && !takesText(target)) focus(notebook);
    });
  }

  // "Run all" ends on the last cell; whoever presents stays where they are.
  async function runAll(app, notebook) {
    let place = notebook.activeCellIndex;
    const note = () => {
      const last = notebook.widgets.length - 1;
      if (notebook.activeCellIndex !== last) place = notebook.activeCellIndex;
    };
    notebook.activeCellChanged.connect(note);
    await app.commands.execute("notebook:run-all-cells");
    notebook.activeCellChanged.disconnect(note);
    notebook.activeCellIndex = place;
  }

  async function present(app) {
    await app.restored;
    const panel = await waitFor(() => notebookIn(app));
    await panel.context.ready;
    await panel.context.sessionContext.ready;
    const notebook = panel.content;
    notebook.activeCellIndex = 0;
    document.body.dataset.klDeck = "running";
    await app.commands.execute("deck:start");
    follow(notebook);
    hearKeys(app, notebook);
    focus(notebook);
    await runAll(app, notebook);
    focus(notebook);
    await waitFor(() => panel.context.sessionContext.session?.kernel?.status === "idle");
    document.body.dataset.klDeck = "ready";
  }

  const plugin = {
    id: "kernellab-deck:plugin",
    autoStart: true,
    activate: (app) => {
      addStyle();
      measure();
      window.addEventListener("resize", measure);
      present(app).catch((error) => console.error("kernellab present:", error));
    },
  };

  (window._JUPYTERLAB ??= {})["kernellab-deck"] = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
