// The start page's displays. Python sends plain lists (see lab/atlas.py); everything that reacts to
// the hand happens here, so that typing and pointing never wait for the kernel.

const SVG = "http://www.w3.org/2000/svg";
const SIZE = 5; // of a point, in pixels
const REACH = 22; // pixels around a point in which it can be pointed at
const STATUS_WORDS = { works: "works", "in progress": "in progress", planned: "planned" };

export default {
  render({ model, el }) {
    const root = make("div", "kla");
    root.setAttribute("data-lm-suppress-shortcuts", "true"); // keys belong to this display
    el.append(root);
    let remove = () => {};
    const draw = () => {
      remove();
      root.replaceChildren();
      const content = model.get("content");
      root.dataset.view = content.view;
      remove = VIEWS[content.view](root, content, linker(model), model) ?? (() => {});
    };
    draw();
    model.on("change:content", draw);
    return () => {
      model.off("change:content", draw);
      remove();
    };
  },
};

const VIEWS = { atlas, contents, paths, progress };

// --- links -------------------------------------------------------------------------------------

// A link to a notebook, as seen from the start page. JupyterLab opens it beside the page when its
// own link handler knows the path; elsewhere it is a plain relative link.
function linker(model) {
  return (href, text, name = "kla-link") => {
    const link = make("a", name, text);
    link.href = href;
    const [file, fragment] = href.split("#");
    const { resolver, linkHandler } = model.widget_manager?.rendermime ?? {};
    if (resolver && linkHandler) {
      resolver
        .resolveUrl(file)
        .then((path) => linkHandler.handleLink(link, path, fragment ? `#${fragment}` : ""))
        .catch(() => {});
    } else {
      link.target = "_blank";
    }
    return link;
  };
}

// While a notebook opens, cells above its section still grow and push the section away. So for a few
// seconds the section is brought back, until it stays or the reader takes over.
function keepInView(id) {
  const until = performance.now() + 6000;
  const taken = new AbortController();
  for (const kind of ["wheel", "keydown", "pointerdown"]) {
    window.addEventListener(kind, () => taken.abort(), { capture: true, signal: taken.signal });
  }
  let still = 0;
  const look = () => {
    if (taken.signal.aborted) return;
    if (still >= 8 || performance.now() > until) return taken.abort();
    const anchors = document.querySelectorAll(`[data-jupyter-id="${CSS.escape(id)}"]`);
    const heading = [...anchors].map((a) => a.closest("h1, h2, h3, h4")).find((h) => h?.offsetParent);
    if (heading) {
      const before = heading.getBoundingClientRect().top;
      heading.scrollIntoView({ block: "start" });
      still = Math.abs(heading.getBoundingClientRect().top - before) < 2 ? still + 1 : 0;
    }
    setTimeout(look, 150);
  };
  setTimeout(look, 600);
}

// --- the atlas ---------------------------------------------------------------------------------

function atlas(root, content, linkTo) {
  const parts = new Map(content.parts.map((part) => [part.name, part]));
  const labs = new Map(content.labs.map((lab) => [lab.name, lab]));
  const papers = searchable(content, parts, labs);
  const state = { words: "", part: "", status: "", selected: null, found: papers };

  const search = searchBar(content, papers, change);
  const list = resultList(papers, (paper) => select(paper));
  const card = paperCard(linkTo, () => select(null));
  const map = paperMap(content.parts, papers, {
    point: (paper) => select(paper, true),
    part: (part) => search.setPart(state.part === part.name ? "" : part.name),
  });
  const side = make("div", "kla-side");
  side.append(card.el, list.el);
  const body = make("div", "kla-body");
  body.append(map.el, side);
  root.append(search.el, body);

  function change(next) {
    Object.assign(state, next);
    state.found = matching(papers, state);
    search.count(state.found.length);
    if (state.selected && !state.found.includes(state.selected)) show(null);
    list.show(state.found);
    map.show(state);
  }

  function show(paper) {
    state.selected = paper;
    card.show(paper);
    list.mark(paper);
    map.show(state);
    search.input.setAttribute("aria-activedescendant", paper ? list.id(paper) : "");
  }

  function select(paper, fromMap = false) {
    if (paper && !state.found.includes(paper)) return;
    show(paper);
    if (paper && fromMap) card.focus();
  }

  // From the search box the arrows move through the results, Enter opens, Escape goes back.
  search.input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && state.found.length) {
      const at = state.found.indexOf(state.selected) + step;
      if (at >= 0 || state.selected === null) show(state.found[clamp(at, state.found.length)]);
    } else if (event.key === "Enter" && state.found.length) {
      if (state.selected) card.open();
      else show(state.found[0]);
    } else if (event.key === "Escape") {
      if (state.selected) show(null);
      else search.clear();
    } else return;
    event.preventDefault();
  });
  card.el.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    show(null);
    search.input.focus({ preventScroll: true });
  });

  change({});
  return map.remove;
}

const clamp = (i, length) => Math.min(Math.max(i, 0), length - 1);

// Each paper with the texts in which words are looked for: those near its title, and the others.
function searchable(content, parts, labs) {
  return content.papers.map((paper, order) => {
    const [lab, part] = [labs.get(paper.lab), parts.get(paper.part)];
    const { title, authors, slug, year, arxiv } = paper;
    const near = folded(`${title} ${authors} ${slug} ${year ?? ""} ${arxiv ?? ""}`);
    const far = folded(`${paper.summary} ${lab.name} ${lab.title} ${part.name} ${part.title}`);
    return { ...paper, order, lab, part, near, far };
  });
}

// As catalogue.find: every word must occur; words in title and authors come first.
function matching(papers, { words, part, status }) {
  const wanted = folded(words).split(/\s+/).filter(Boolean);
  const score = (paper) => wanted.filter((word) => paper.near.includes(word)).length;
  const found = papers.filter(
    (paper) =>
      (!part || paper.part.name === part) &&
      (!status || paper.status === status) &&
      wanted.every((word) => paper.near.includes(word) || paper.far.includes(word)),
  );
  if (!wanted.length) return found;
  const scores = new Map(found.map((paper) => [paper, score(paper)]));
  return found.sort((a, b) => scores.get(b) - scores.get(a) || a.order - b.order);
}

function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

function searchBar(content, papers, change) {
  const el = make("div", "kla-search");
  const input = make("input", "kla-input");
  Object.assign(input, {
    type: "search",
    placeholder: "Search: a word, an author, a year",
    autocomplete: "off",
    spellcheck: false,
  });
  setAll(input, {
    "aria-label": "search the papers",
    role: "combobox",
    "aria-expanded": "true",
    "aria-controls": "kla-results",
  });
  input.addEventListener("input", () => change({ words: input.value }));

  const select = make("select", "kla-select");
  select.setAttribute("aria-label", "part");
  select.append(option("", "all parts"));
  for (const part of content.parts) {
    select.append(option(part.name, `${pad(part.order)} ${part.label}`));
  }
  select.addEventListener("change", () => change({ part: select.value }));

  const pills = make("div", "kla-pills");
  setAll(pills, { role: "group", "aria-label": "status" });
  const here = new Set(papers.map((paper) => paper.status));
  const choices = [["", "all"], ...Object.entries(STATUS_WORDS).filter(([key]) => here.has(key))];
  const buttons = choices.map(([key, word]) => {
    const pill = make("button", "kla-pill", word);
    pill.type = "button";
    pill.addEventListener("click", () => {
      press(key);
      change({ status: key });
    });
    pills.append(pill);
    return [key, pill];
  });
  const press = (key) => {
    for (const [each, pill] of buttons) pill.setAttribute("aria-pressed", String(each === key));
  };
  press("");
  if (choices.length < 3) pills.hidden = true; // all papers are of one status: nothing to choose

  const count = make("div", "kla-count");
  setAll(count, { role: "status", "aria-live": "polite" });
  el.append(input, select, pills, count);
  const setPart = (name) => {
    select.value = name;
    change({ part: name });
  };
  return {
    el,
    input,
    setPart,
    clear() {
      input.value = select.value = "";
      press("");
      change({ words: "", part: "", status: "" });
    },
    count(found) {
      const strong = make("strong", null, String(found));
      count.replaceChildren(strong, ` of ${papers.length} papers`);
    },
  };
}

function resultList(papers, choose) {
  const el = make("ul", "kla-results");
  el.id = "kla-results";
  setAll(el, { role: "listbox", "aria-label": "papers found" });
  const items = papers.map((paper) => {
    const item = make("li", "kla-item");
    item.id = `kla-${paper.slug}`;
    setAll(item, { role: "option", "aria-selected": "false" });
    const title = make("div", "kla-item-title");
    title.append(swatch(paper.part), make("span", null, paper.title));
    const line = make("div", "kla-item-line", byline(paper));
    line.append(statusWord(paper.status));
    item.append(title, line, make("div", "kla-item-summary", paper.summary));
    item.addEventListener("click", () => choose(paper));
    return item;
  });
  const none = make("li", "kla-none", "No paper holds all these words. Try fewer, or other, words.");
  let marked = null;
  return {
    el,
    id: (paper) => `kla-${paper.slug}`,
    show(found) {
      el.replaceChildren(...(found.length ? found.map((paper) => items[paper.order]) : [none]));
      el.scrollTop = 0;
    },
    mark(paper) {
      marked?.setAttribute("aria-selected", "false");
      marked = paper && items[paper.order];
      if (!marked) return;
      marked.setAttribute("aria-selected", "true");
      const top = marked.offsetTop - el.offsetTop; // scrolls this list only, never the page
      const bottom = top + marked.offsetHeight;
      if (top < el.scrollTop || bottom > el.scrollTop + el.clientHeight) el.scrollTop = top - 8;
    },
  };
}

function paperCard(linkTo, close) {
  const el = make("div", "kla-card");
  setAll(el, { role: "region", "aria-label": "the chosen paper" });
  let open = null;
  const empty = make("p", "kla-hint");
  empty.textContent = "Point at the map, or type. A click shows the paper and the way to its lab.";
  const show = (paper) => {
    open = null;
    el.classList.toggle("kla-empty", !paper);
    if (!paper) return el.replaceChildren(empty);
    const head = make("div", "kla-card-head");
    const part = make("span", "kla-card-part");
    part.append(swatch(paper.part), `${pad(paper.part.order)} ${paper.part.label}`);
    const shut = make("button", "kla-close", "×");
    Object.assign(shut, { type: "button", title: "close (Escape)" });
    shut.setAttribute("aria-label", "close this paper");
    shut.addEventListener("click", close);
    head.append(part, statusWord(paper.status), shut);
    const line = make("div", "kla-card-line", byline(paper));
    if (paper.link) line.append(" ", outside(paper.link, "arXiv"));
    const where = make("div", "kla-card-lab");
    if (paper.href) {
      open = linkTo(paper.href, "Open the lab", "kla-open");
      if (paper.href.includes("#")) open.addEventListener("click", () => keepInView(paper.slug));
      where.append(open, make("span", null, paper.lab.title));
    } else {
      where.append(make("strong", null, `Planned in lab ${paper.lab.number}: `), paper.lab.title);
    }
    el.replaceChildren(
      head,
      make("div", "kla-card-title", paper.title),
      line,
      make("p", "kla-card-summary", paper.summary),
      where,
    );
  };
  show(null);
  return {
    el,
    show,
    focus: () => (open ?? el.querySelector("button")).focus({ preventScroll: true }),
    open: () => open?.click(),
  };
}

// --- the map -----------------------------------------------------------------------------------

function paperMap(parts, papers, chosen) {
  const el = make("div", "kla-map");
  const svg = draw("svg", { role: "img", "aria-label": MAP_WORDS });
  const [marks, names, top] = [draw("g"), draw("g", { class: "kla-names" }), draw("g")];
  svg.append(marks, names, top);
  const tip = make("div", "kla-tip");
  tip.hidden = true;
  el.append(svg, tip, legend(papers));
  let width = 0;
  let height = 0;
  let state = { found: papers, selected: null, part: "" };
  let hovered = null;

  const points = papers.map((paper) => {
    const mark = draw("path", { d: SHAPES[paper.part.shape](SIZE), class: "kla-point" });
    mark.dataset.slug = paper.slug;
    mark.style.setProperty("--part", paper.part.color);
    mark.classList.toggle("kla-planned", paper.status === "planned");
    marks.append(mark);
    return mark;
  });
  const ring = draw("circle", { r: 11, class: "kla-ring" });
  const halo = draw("circle", { r: 9, class: "kla-halo" });
  top.append(halo, ring);
  const labels = parts.map((part) => {
    const label = draw("text", { class: "kla-name", role: "button", tabindex: -1 });
    label.textContent = part.label;
    label.style.setProperty("--part", part.color);
    label.dataset.part = part.name;
    names.append(label);
    return label;
  });

  const place = (paper) => [18 + paper.x * (width - 36), height - 34 - paper.y * (height - 58)];

  function layOut() {
    width = el.clientWidth;
    height = svg.clientHeight;
    if (!width || !height) return;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    papers.forEach((paper, i) => {
      const [x, y] = place(paper);
      points[i].setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    });
    placeNames(parts, papers, labels, place, width, height);
    paint();
  }

  function paint() {
    const found = new Set(state.found);
    const filtered = state.found.length < papers.length;
    const inParts = new Set(state.found.map((paper) => paper.part.name));
    papers.forEach((paper, i) => {
      points[i].classList.toggle("kla-off", !found.has(paper));
      points[i].classList.toggle("kla-on", filtered && found.has(paper));
    });
    parts.forEach((part, i) => labels[i].classList.toggle("kla-off", !inParts.has(part.name)));
    circle(ring, state.selected);
    circle(halo, hovered);
  }

  function circle(mark, paper) {
    mark.style.display = paper ? "" : "none";
    if (!paper) return;
    const [x, y] = place(paper);
    setAll(mark, { cx: x, cy: y });
  }

  function nearest(event, reach) {
    const box = svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [null, reach ** 2];
    for (const paper of state.found) {
      const [x, y] = place(paper);
      const d = (x - px) ** 2 + (y - py) ** 2;
      if (d < least) [best, least] = [paper, d];
    }
    return best;
  }

  function hover(paper) {
    if (paper === hovered) return;
    hovered = paper;
    circle(halo, paper);
    el.classList.toggle("kla-pointing", Boolean(paper));
    tip.hidden = !paper;
    if (!paper) return;
    tip.replaceChildren(
      make("strong", null, paper.title),
      make("span", null, `${byline(paper)} ${paper.part.label}`),
    );
    const [x, y] = place(paper);
    const room = Math.min(330, width - 20);
    tip.style.width = `${room}px`;
    tip.style.left = `${clampTo(x - room / 2, 8, width - room - 8)}px`;
    const above = y > tip.offsetHeight + 24;
    tip.style.top = `${above ? y - tip.offsetHeight - 14 : y + 16}px`;
  }

  svg.addEventListener("pointermove", (event) => 
    hover(nearest(event, event.target.dataset.part ? 2 * SIZE : REACH)),
  );
  svg.addEventListener("pointerleave", () => hover(null));
  svg.addEventListener("click", (event) => {
    const name = event.target.dataset.part; // a point under a name comes before the name
    const paper = nearest(event, name ? 2 * SIZE : REACH);
    if (paper) chosen.point(paper);
    else if (name) chosen.part(parts.find((part) => part.name === name));
  });
  const observer = new ResizeObserver(layOut);
  observer.observe(el);
  return {
    el,
    show(next) {
      state = next;
      if (width) paint();
    },
    remove: () => observer.disconnect(),
  };
}

const MAP_WORDS =
  "A map with one point a paper. Papers that are written in similar words stand near one another; " +
  "colour and shape tell the part. The list beside it holds the same papers.";

const SHAPES = {
  circle: (r) => `M${r} 0A${r} ${r} 0 1 1 ${-r} 0A${r} ${r} 0 1 1 ${r} 0Z`,
  square: (r) => `M${-0.88 * r} ${-0.88 * r}h${1.76 * r}v${1.76 * r}h${-1.76 * r}Z`,
  diamond: (r) => `M0 ${-1.22 * r}L${1.22 * r} 0L0 ${1.22 * r}L${-1.22 * r} 0Z`,
};

// Each part's name stands near the middle of its points, where it covers the fewest of all points
// and no other name.
function placeNames(parts, papers, labels, place, width, height) {
  const all = papers.map(place);
  const taken = [];
  parts.forEach((part, i) => {
    const mine = all.filter((_, j) => papers[j].part.name === part.name);
    const [x, y] = [0, 1].map((axis) => median(mine.map((point) => point[axis])));
    const half = labels[i].getComputedTextLength() / 2 + 3;
    let best = null;
    for (let dy = -70; dy <= 70; dy += 7) {
      for (let dx = -70; dx <= 70; dx += 14) {
        const cx = clampTo(x + dx, half + 3, width - half - 3);
        const cy = clampTo(y + dy, 14, height - 36);
        const inside = ([px, py], reach) => Math.abs(px - cx) < half + reach && Math.abs(py - cy) < 8 + reach;
        const covered = all.filter((point) => inside(point, 3)).length;
        const clash = taken.filter(
          (box) => Math.abs(cx - box.cx) < half + box.half && Math.abs(cy - box.cy) < 18,
        ).length;
        const cost = 14 * covered + 400 * clash + Math.hypot(cx - x, 1.3 * (cy - y));
        if (!best || cost < best.cost) best = { cx, cy, half, cost };
      }
    }
    taken.push(best);
    setAll(labels[i], { x: best.cx.toFixed(1), y: (best.cy + 5).toFixed(1) });
  });
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function legend(papers) {
  const el = make("div", "kla-legend");
  const key = (filled, words) => {
    const icon = draw("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14" });
    const mark = draw("path", { d: SHAPES.circle(SIZE), class: "kla-point" });
    mark.classList.toggle("kla-planned", !filled);
    mark.style.setProperty("--part", "#3b4046");
    icon.append(mark);
    const item = make("span", "kla-key");
    item.append(icon, words);
    return item;
  };
  el.append(key(true, "has a lab"), key(false, "planned"), "near = similar words");
  return el;
}

// --- contents, paths, progress -----------------------------------------------------------------

function contents(root, { parts, labs }, linkTo) {
  for (const part of parts) {
    const mine = labs.filter((lab) => lab.part === part.name);
    const working = mine.filter((lab) => lab.href);
    const block = make("details", "kla-part");
    block.open = working.length > 0;
    const head = make("summary");
    head.append(
      swatch(part),
      make("span", "kla-part-number", pad(part.order)),
      make("span", "kla-part-title", part.title),
      make("span", "kla-part-count", labsReady(mine)),
    );
    block.append(head, make("p", "kla-part-about", part.about), labList(mine, linkTo));
    root.append(block);
  }
}

function labsReady(labs) {
  const works = labs.filter((lab) => lab.status === "works").length;
  const begun = labs.filter((lab) => lab.status === "in progress").length;
  const all = labs.length === 1 ? "1 lab" : `${labs.length} labs`;
  if (works) return works === labs.length ? `${all}, all work` : `${works} of ${all} work`;
  return begun ? `${begun} of ${all} in progress` : `${all} planned`;
}

function labList(labs, linkTo) {
  const list = make("ul", "kla-labs");
  for (const lab of labs) {
    const item = make("li", lab.href ? "kla-lab" : "kla-lab kla-lab-planned");
    const title = lab.href ? linkTo(lab.href, lab.title) : make("span", null, lab.title);
    const about = make("span", "kla-lab-about", `${lab.papers} papers · ${lab.minutes} min`);
    about.append(statusWord(lab.status));
    item.append(make("span", "kla-lab-number", lab.number), title, about);
    list.append(item);
  }
  return list;
}

function paths(root, { paths }, linkTo) {
  const row = make("div", "kla-paths");
  for (const path of paths) {
    const column = make("section", "kla-path");
    const works = `${path.ready} of ${path.stops.length} labs work today`;
    column.append(
      make("h3", null, path.title),
      make("p", "kla-path-about", path.about),
      make("p", "kla-path-ready", works),
    );
    const list = make("ol", "kla-stops");
    for (const stop of path.stops) {
      const item = make("li", stop.href ? "kla-stop" : "kla-stop kla-lab-planned");
      const head = make("div", "kla-stop-head");
      head.append(make("span", "kla-stop-when", stop.when), statusWord(stop.status));
      const title = stop.href ? linkTo(stop.href, stop.title) : make("span", null, stop.title);
      item.append(head, title, make("div", "kla-stop-why", stop.why));
      list.append(item);
    }
    column.append(list);
    row.append(column);
  }
  root.append(row);
}

function progress(root, { rows, problem }, linkTo, model) {
  const head = make("div", "kla-progress-head");
  const [passed, all] = [total(rows, "passed"), total(rows, "exercises")];
  const [guessed, asked] = [total(rows, "guessed"), total(rows, "predictions")];
  const refresh = make("button", "kla-pill", "Refresh");
  refresh.type = "button";
  refresh.addEventListener("click", () => model.send({ kind: "refresh" }));
  const words = make("div", "kla-progress-total");
  words.append(
    make("strong", null, `${passed} of ${all}`),
    " exercises passed, ",
    make("strong", null, `${guessed} of ${asked}`),
    " predictions guessed",
  );
  head.append(words, refresh);
  root.append(head);
  if (problem) root.append(make("p", "kla-problem", problem));
  const table = make("table", "kla-table");
  const titles = make("tr");
  for (const word of ["notebook", "exercises", "predictions"]) titles.append(make("th", null, word));
  table.append(titles);
  for (const row of rows) {
    const line = make("tr");
    const name = make("td");
    name.append(row.href ? linkTo(row.href, row.title) : row.title);
    line.append(name, meter(row.passed, row.exercises), meter(row.guessed, row.predictions));
    table.append(line);
  }
  root.append(table, make("p", "kla-small", "Kept on your own disk; nobody else sees it."));
}

const total = (rows, key) => rows.reduce((sum, row) => sum + row[key], 0);

function meter(done, all) {
  const cell = make("td", "kla-meter");
  const dots = make("span", "kla-dots");
  dots.setAttribute("aria-hidden", "true");
  for (let i = 0; i < all; i++) dots.append(make("i", i < done ? "kla-done" : null));
  cell.append(dots, `${done} of ${all}`);
  return cell;
}

// --- small pieces ------------------------------------------------------------------------------

function byline({ authors, year }) {
  return [authors, year].filter(Boolean).join(", ") + (authors || year ? " · " : "");
}

function statusWord(status) {
  const word = make("span", "kla-status", STATUS_WORDS[status]);
  word.dataset.status = status;
  return word;
}

function swatch(part) {
  const icon = draw("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" });
  icon.classList.add("kla-swatch");
  icon.append(draw("path", { d: SHAPES[part.shape](SIZE), fill: part.color }));
  return icon;
}

function outside(href, text) {
  const link = make("a", "kla-link", text);
  Object.assign(link, { href, target: "_blank", rel: "noopener noreferrer" });
  return link;
}

function option(value, text) {
  const item = make("option", null, text);
  item.value = value;
  return item;
}

const pad = (number) => String(number).padStart(2, "0");
const clampTo = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

function make(tag, name, text) {
  const el = document.createElement(tag);
  if (name) el.className = name;
  if (text !== undefined && text !== null) el.textContent = text;
  return el;
}

function draw(tag, attributes = {}) {
  const el = document.createElementNS(SVG, tag);
  setAll(el, attributes);
  return el;
}

function setAll(el, attributes) {
  for (const [key, value] of Object.entries(attributes)) el.setAttribute(key, value);
}
