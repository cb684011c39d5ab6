// Draws the interactive figures and the table of words, and filters the page. Without it the page
// shows the same as printed figures and plain tables.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const FREE = Infinity;
  const RESAMPLES = 2000;
  const PER_PAGE = 50;
  const TOO_LOW = 0.01; // bars beneath are not seen: their value is written
  const GREYS = { anchor: "solid", name: "dash", random: "dot", chance: "dashdot" };

  const DASHES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3" };

  // ---- the data: columns of names and numbers into rows -------------------------------------

  const column = (values) => (Array.isArray(values) ? values : values.codes.map((c) => values.names[c] ?? ""));
  function rowsOf(columns) {
    const unpacked = Object.entries(columns).map(([name, values]) => [name, column(values)]);
    const count = unpacked.length ? unpacked[0][1].length : 0;
    return Array.from({ length: count }, (_, i) => {
      const row = Object.fromEntries(unpacked.map(([name, values]) => [name, values[i]]));
      if (row.delta === null) row.delta = FREE;
      return row;
    });
  }
  const means = rowsOf(data.means);
  const words = rowsOf(data.words);
  const published = data.published ? rowsOf(data.published) : [];
  const isBaseline = (name) => data.baselines.includes(name);
  const trained = words.filter((w) => !(w.trained_for in data.baseline_labels));
  const unique = (values) => [...new Set(values)];
  const ordered = (values) => unique(values).sort((a, b) => (a > b) - (a < b));
  const deltas = ordered(trained.map((w) => w.delta));
  const spoken = (text) => text.replaceAll("_", " ");
  const deltaName = (delta) => (delta === FREE ? "unconstrained" : `delta ${delta}`);
  const fixed = (value, digits = 3) => (value === null || Number.isNaN(value) ? "–" : value.toFixed(digits));
  const colour = (task) => data.palette.tasks[data.tasks.indexOf(task) % data.palette.tasks.length];
  const origin = (name) => (isBaseline(name) ? data.baseline_labels[name] : `trained for ${name}`);

  // ---- elements ---------------------------------------------------------------------------

  function element(kind, attributes = {}, ...children) {
    const made = document.createElement(kind);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in made && name !== "list") made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  // ---- filters ----------------------------------------------------------------------------

  const state = { dataset: "", concept: "", anchor: "", delta: "", task: "", method: data.methods[0] ?? "none" };
  function fill(name, options, all = "all") {
    const select = form.elements[name];
    const kept = state[name];
    select.replaceChildren(...(all ? [element("option", { value: "" }, all)] : []));
    for (const [value, label] of options) select.append(element("option", { value }, label));
    select.value = options.some(([value]) => value === kept) ? kept : select.options[0].value;
    state[name] = select.value;
  }
  function choices() {
    const here = trained.filter((w) => !state.dataset || w.dataset === state.dataset);
    fill("concept", ordered(here.map((w) => w.concept)).map((c) => [c, spoken(c)]));
    fill("anchor", ordered(here.map((w) => w.anchor)).map((a) => [a, a]));
  }
  fill("dataset", data.datasets.map((d) => [d, d]));
  fill("delta", deltas.map((d) => [String(d), deltaName(d)]));
  fill("task", data.tasks.map((t) => [t, t]));
  fill("method", (data.methods.length ? data.methods : ["none"]).map((m) => [m, m]), "");
  form.elements.method.parentElement.hidden = data.methods.length < 2;
  choices();

  const chosenDelta = () => (state.delta === "" ? null : Number(state.delta));
  const keeps = (row) =>
    (!state.dataset || row.dataset === state.dataset) &&
    (!state.concept || row.concept === state.concept) &&
    (!state.anchor || row.anchor === state.anchor || (row.anchor === "" && isBaseline(row.trained_for))) &&
    (!state.task || row.trained_for === state.task || isBaseline(row.trained_for));
  const keepsWord = (w) => w.method === state.method && keeps(w) && (chosenDelta() === null || w.delta === chosenDelta());

  // ---- means ------------------------------------------------------------------------------

  // mulberry32: a seeded stream, so that a picture does not change when it is drawn again
  function stream(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }
  const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  function interval(values) {
    const random = stream(values.length);
    const found = Float64Array.from({ length: RESAMPLES }, () => {
      let sum = 0;
      for (let i = 0; i < values.length; i++) sum += values[Math.floor(random() * values.length)];
      return sum / values.length;
    }).sort();
    return [found[Math.floor(0.025 * RESAMPLES)], found[Math.ceil(0.975 * RESAMPLES) - 1]];
  }
  const subset = () => Boolean(state.concept || state.anchor);
  function cellsOf(keep) {
    const groups = new Map();
    for (const w of words) {
      if (w.method !== state.method || !keeps(w) || !keep(w)) continue;
      data.panels.forEach((panel, p) => {
        const value = w[`value${p}`];
        if (value === null) return;
        const key = JSON.stringify([w.dataset, String(w.delta), w.trained_for, p]);
        if (!groups.has(key)) groups.set(key, { dataset: w.dataset, delta: w.delta, trained_for: w.trained_for, panel: p, values: [] });
        groups.get(key).values.push(value);
      });
    }
    return [...groups.values()].map(({ values, ...cell }) => {
      const [low, high] = values.length > 1 ? interval(values) : [null, null];
      return { ...cell, mean: mean(values), low, high, trials: values.length };
    });
  }
  // the page's own means where they are of the same words, so that its numbers are those printed
  const panelOf = (row) => data.panels.findIndex((p) => p.task === row.evaluated_on && p.metric === row.metric);
  function figure3Cells() {
    const delta = chosenDelta() ?? deltas[deltas.length - 1];
    const wanted = (row) => row.delta === delta || (isBaseline(row.trained_for) && row.delta === FREE);
    return subset() ? cellsOf(wanted) : printedCells(wanted);
  }
  function printedCells(wanted) {
    return means
      .filter((row) => ["none", state.method].includes(row.transfer) && row.trials && wanted(row) && keeps(row))
      .map((row) => ({ ...row, panel: panelOf(row) }))
      .filter((row) => row.panel >= 0);
  }
  const wordKey = (w) => `${w.dataset}\n${w.concept}\n${w.anchor}`;
  const constrained = new Set(trained.filter((w) => w.delta !== FREE).map(wordKey));
  const allConstrained = trained.every((w) => constrained.has(wordKey(w)));
  function figure6Cells() {
    const kind = (row) => !isBaseline(row.trained_for) || row.trained_for === "anchor";
    if (allConstrained && !subset()) return printedCells(kind);
    return cellsOf((w) => constrained.has(wordKey(w)) && kind(w));
  }

  // ---- charts: drawn when they come into view ----------------------------------------------

  const waiting = new WeakMap();
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const draw = entry.isIntersecting && waiting.get(entry.target);
        if (draw) {
          waiting.delete(entry.target);
          draw();
        }
      }
    },
    { rootMargin: "300px" },
  );
  function plot(place, label, traces, layout) {
    const chart = element("div", { className: "plot", role: "img", "aria-label": label });
    place.append(chart);
    waiting.set(chart, () =>
      Plotly.newPlot(
        chart,
        traces,
        {
          margin: { l: 42, r: 8, t: 34, b: 36 },
          height: 290,
          font: { size: 12, color: "#1b1f24" },
          title: { text: layout.name, font: { size: 13 }, x: 0.02, xanchor: "left" },
          showlegend: false,
          hovermode: "closest",
          dragmode: false,
          ...layout,
        },
        { responsive: true, displayModeBar: false },
      ),
    );
    if (window.Plotly) watcher.observe(chart);
    else undrawn.push(chart);
  }
  // Plotly takes longer to compile than all else on the page: what can be read and filtered goes first
  const undrawn = [];
  function loadPlotly() {
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
    for (const chart of undrawn) watcher.observe(chart);
  }
  window.addEventListener("load", () => setTimeout(loadPlotly));
  function emptied(place) {
    for (const chart of place.querySelectorAll(".js-plotly-plot")) Plotly.purge(chart);
    place.replaceChildren();
    place.hidden = false;
    return place;
  }
  const said = (cell) =>
    `${origin(cell.trained_for)}<br>${fixed(cell.mean)}` +
    (cell.low === null ? "" : ` [${fixed(cell.low)}, ${fixed(cell.high)}]`) +
    `<br>n = ${cell.trials}`;
  const whiskers = (cells, ink) => ({
    type: "data",
    symmetric: false,
    array: cells.map((c) => (c.high === null ? 0 : c.high - c.mean)),
    arrayminus: cells.map((c) => (c.low === null ? 0 : c.mean - c.low)),
    color: ink,
    thickness: 1.2,
    width: 3,
  });
  function legend(baselines, extra) {
    const items = data.tasks.map((task) => {
      const swatch = element("i");
      swatch.style.background = colour(task);
      return element("li", {}, swatch, `trained for ${task}`);
    });
    for (const name of baselines) {
      const line = element("i");
      line.innerHTML = `<svg width="26" height="12" aria-hidden="true"><path d="M0 6H26" stroke="#555" stroke-width="1.6" stroke-dasharray="${DASHES[GREYS[name]]}"/></svg>`;
      items.push(element("li", {}, line, data.baseline_labels[name]));
    }
    return element("ul", { className: "legend" }, ...items, ...extra.map((text) => element("li", {}, text)));
  }
  function trialsOf(cells) {
    const counts = cells.filter((c) => !isBaseline(c.trained_for)).map((c) => c.trials);
    const [fewest, most] = [Math.min(...counts), Math.max(...counts)];
    return counts.length ? ` over ${fewest === most ? most : `${fewest} to ${most}`} words` : "";
  }
  // published means are of all words: beside some of them they would mislead
  const theirs = (wanted) => (subset() ? [] : published.filter((row) => wanted(row) && keeps(row)));
  const noteOnSubset = () =>
    subset() ? [element("p", { className: "aside" }, "Means of the chosen words alone, with intervals computed here.")] : [];

  function drawFigure3() {
    const place = emptied(document.querySelector("#figure-3 .plots"));
    const cells = figure3Cells();
    const datasets = data.datasets.filter((d) => !state.dataset || d === state.dataset);
    const delta = chosenDelta() ?? deltas[deltas.length - 1];
    const baselines = data.baselines.filter((b) => cells.some((c) => c.trained_for === b));
    const marks = theirs((row) => row.delta === delta);
    place.append(legend(baselines, [`${deltaName(delta)}; black edge: in its own model; hatched: transferred; whiskers: 95 % intervals${trialsOf(cells)}`, ...(marks.length ? ["◇ published"] : [])]), ...noteOnSubset());
    if (!cells.some((c) => !isBaseline(c.trained_for))) place.append(element("p", {}, "No word fits these filters."));
    data.panels.forEach((panel, p) => {
      const here = cells.filter((c) => c.panel === p && datasets.includes(c.dataset));
      const traces = [];
      for (const task of data.tasks) {
        const bars = here.filter((c) => c.trained_for === task);
        if (bars.length) {
          traces.push({
            type: "bar",
            x: bars.map((c) => c.dataset),
            y: bars.map((c) => c.mean),
            offsetgroup: task,
            error_y: whiskers(bars, "#111"),
            marker: {
              color: colour(task),
              line: { color: task === panel.task ? "#000" : "#fff", width: task === panel.task ? 1.5 : 0 },
              pattern: { shape: task === panel.task ? "" : "/", fillmode: "overlay", fgcolor: "#fff", size: 7, solidity: 0.25 },
            },
            customdata: bars.map(said),
            text: bars.map((c) => (c.mean < TOO_LOW ? Number(c.mean.toPrecision(1)) : "")),
            textposition: "outside",
            cliponaxis: false,
            hovertemplate: "%{x}: %{customdata}<extra></extra>",
          });
        }
        const marked = marks.filter((row) => row.metric === panel.metric && row.trained_for === task);
        if (marked.length) {
          traces.push({
            type: "scatter",
            mode: "markers",
            x: marked.map((row) => row.dataset),
            y: marked.map((row) => row.mean),
            offsetgroup: task,
            error_y: whiskers(marked.map((row) => ({ mean: row.mean, low: row.ci_low, high: row.ci_high })), "#000"),
            marker: { symbol: "diamond", size: 8, color: "#fff", line: { color: "#000", width: 1.3 } },
            hovertemplate: `published, trained for ${task}: %{y:.3f}<extra></extra>`,
          });
        }
      }
      const levels = here.filter((c) => isBaseline(c.trained_for));
      traces.push({
        type: "scatter",
        mode: "markers",
        x: levels.map((c) => c.dataset),
        y: levels.map((c) => c.mean),
        marker: { symbol: "line-ew", size: 14, line: { color: "rgba(85,85,85,0)", width: 8 } },
        text: levels.map(said),
        hovertemplate: "%{x}: %{text}<extra></extra>",
      });
      plot(place, `Bars: ${panel.task}, ${panel.label}. The numbers are in the table below.`, traces, {
        name: `${panel.task}: ${panel.label}`,
        barmode: "group",
        scattermode: "group",
        bargap: 0.2,
        xaxis: { type: "category", categoryarray: datasets, categoryorder: "array", range: [-0.5, datasets.length - 0.5], fixedrange: true },
        yaxis: { range: [0, 1.06], fixedrange: true, gridcolor: "#ddd" },
        shapes: levels.map((c) => ({
          type: "line",
          x0: datasets.indexOf(c.dataset) - 0.46,
          x1: datasets.indexOf(c.dataset) + 0.46,
          y0: c.mean,
          y1: c.mean,
          line: { color: "#555", width: 1.4, dash: GREYS[c.trained_for] },
        })),
      });
    });
  }

  function drawFigure6() {
    const place = emptied(document.querySelector("#figure-6 .plots"));
    const finite = deltas.filter((d) => d !== FREE);
    if (!finite.length) {
      place.hidden = true;
      return;
    }
    const cells = figure6Cells();
    const largest = Math.max(...finite);
    const at = (delta) => (delta === FREE ? 2 * largest : delta);
    const datasets = data.datasets.filter((d) => (!state.dataset || d === state.dataset) && cells.some((c) => c.dataset === d));
    place.append(legend(cells.some((c) => c.trained_for === "anchor") ? ["anchor"] : [], [`thick: in its own model; bands: 95 % intervals${trialsOf(cells)}`, ...(theirs(() => true).length ? ["◇ published"] : [])]), ...noteOnSubset());
    if (!datasets.length) place.append(element("p", {}, "No word fits these filters."));
    for (const dataset of datasets) {
      if (data.datasets.length > 1) place.append(element("h3", {}, dataset));
      data.panels.forEach((panel, p) => {
        const here = cells.filter((c) => c.panel === p && c.dataset === dataset).sort((a, b) => a.delta - b.delta);
        const traces = [];
        for (const task of data.tasks) {
          const line = here.filter((c) => c.trained_for === task && c.delta !== FREE);
          const free = here.filter((c) => c.trained_for === task && c.delta === FREE);
          const wide = line.filter((c) => c.low !== null);
          const own = task === panel.task;
          traces.push(
            {
              type: "scatter",
              x: [...wide.map((c) => c.delta), ...wide.map((c) => c.delta).reverse()],
              y: [...wide.map((c) => c.high), ...wide.map((c) => c.low).reverse()],
              fill: "toself",
              fillcolor: colour(task) + "2e",
              line: { width: 0 },
              mode: "lines",
              hoverinfo: "skip",
            },
            {
              type: "scatter",
              mode: "lines+markers",
              x: line.map((c) => c.delta),
              y: line.map((c) => c.mean),
              line: { color: colour(task), width: own ? 3 : 1.5 },
              marker: { size: own ? 8 : 6 },
              text: line.map(said),
              hovertemplate: "delta %{x}: %{text}<extra></extra>",
            },
            {
              type: "scatter",
              mode: "markers",
              x: free.map(() => at(FREE) * 1.1 ** (data.tasks.indexOf(task) - 1)),
              y: free.map((c) => c.mean),
              error_y: whiskers(free, colour(task)),
              marker: { color: colour(task), size: 7 },
              text: free.map(said),
              hovertemplate: "unconstrained: %{text}<extra></extra>",
            },
          );
          const marked = theirs((row) => row.dataset === dataset && row.metric === panel.metric && row.trained_for === task && row.delta !== FREE);
          if (marked.length) {
            traces.push({
              type: "scatter",
              mode: "markers",
              x: marked.map((row) => row.delta),
              y: marked.map((row) => row.mean),
              error_y: whiskers(marked.map((row) => ({ mean: row.mean, low: row.ci_low, high: row.ci_high })), colour(task)),
              marker: { symbol: "diamond", size: 8, color: "#fff", line: { color: colour(task), width: 1.5 } },
              hovertemplate: `published, trained for ${task}: %{y:.3f}<extra></extra>`,
            });
          }
        }
        const anchor = here.find((c) => c.trained_for === "anchor");
        plot(place, `Lines: ${dataset}, ${panel.task}, ${panel.label} against delta. The numbers are in the table above.`, traces, {
          name: `${panel.task}: ${panel.label}`,
          xaxis: {
            type: Math.min(...finite) > 0 ? "log" : "linear",
            tickvals: [...finite, at(FREE)],
            ticktext: [...finite.map(String), "free"],
            fixedrange: true,
            zeroline: false,
          },
          yaxis: { range: [0, 1.06], fixedrange: true, gridcolor: "#ddd" },
          shapes: anchor ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: anchor.mean, y1: anchor.mean, line: { color: "#555", width: 1.3 } }] : [],
        });
      });
    }
  }

  // ---- activations ------------------------------------------------------------------------

  function drawActivations() {
    const place = document.querySelector("#activations .sheets");
    if (!place || !data.activations.length) return;
    emptied(place);
    let first = true;
    for (const sheet of data.activations) {
      const delta = sheet.delta ?? FREE;
      if (state.dataset && sheet.dataset !== state.dataset) continue;
      if (chosenDelta() !== null && delta !== chosenDelta()) continue;
      const open = element("details", { open: first });
      first = false;
      open.append(element("summary", {}, `${sheet.dataset}, ${deltaName(delta)}: text encoder for ${sheet.model}`), mapLegend(sheet));
      for (const o of sheet.origins) {
        if (state.task && o.trained_for !== state.task) continue;
        if (o.transfer !== "none" && o.transfer !== state.method) continue;
        const title = o.transfer === "none" ? `trained for ${o.trained_for}: its own model` : `trained for ${o.trained_for}, transferred by ${o.transfer}`;
        const maps = element("div", { className: "maps" });
        open.append(element("h3", {}, title), maps);
        for (const map of o.maps) drawMap(maps, map, sheet, title);
        for (const measure of ["purity", "silhouette"]) drawCurves(maps, o, measure, sheet, title);
      }
      place.append(open);
    }
  }
  // of all origins of a sheet, so that a concept has one colour in all of its maps
  function marksOf(sheet) {
    const held = (name) => ordered(sheet.origins.flatMap((o) => o.maps.flatMap((map) => map.words[name].names)));
    return [held("concept"), held("anchor")];
  }
  const GLYPHS = { circle: "●", square: "■", "triangle-up": "▲", "triangle-down": "▼", diamond: "◆", cross: "✚", x: "✖", "triangle-left": "◀", "triangle-right": "▶", star: "★" };
  function mapLegend(sheet) {
    const [concepts, anchors] = marksOf(sheet);
    const items = concepts.map((concept, i) => {
      const dot = element("i", { className: "dot" });
      dot.style.background = data.palette.concepts[i % data.palette.concepts.length];
      return element("li", {}, dot, spoken(concept));
    });
    anchors.forEach((anchor, i) => {
      const glyph = GLYPHS[data.palette.anchors[i % data.palette.anchors.length]];
      items.push(element("li", {}, element("b", { "aria-hidden": "true" }, glyph), `from ${anchor}`));
    });
    return element("ul", { className: "legend" }, ...items);
  }
  function drawMap(place, map, sheet, title) {
    const concepts = column(map.words.concept);
    const anchors = column(map.words.anchor);
    const all = marksOf(sheet);
    const lit = concepts.map((c, i) => (!state.concept || c === state.concept) && (!state.anchor || anchors[i] === state.anchor));
    plot(
      place,
      `Map of ${concepts.length} words at layer ${map.layer} of ${sheet.layers}, ${title}`,
      [
        {
          type: "scatter",
          mode: "markers",
          x: map.x,
          y: map.y,
          marker: {
            color: concepts.map((c) => data.palette.concepts[all[0].indexOf(c) % data.palette.concepts.length]),
            symbol: anchors.map((a) => data.palette.anchors[all[1].indexOf(a) % data.palette.anchors.length]),
            opacity: lit.map((on) => (on ? 0.9 : 0.1)),
            size: 7,
          },
          text: concepts.map((c, i) => `${spoken(c)} from ${anchors[i]}`),
          hovertemplate: "%{text}<extra></extra>",
        },
      ],
      {
        name: `layer ${map.layer} of ${sheet.layers}`,
        height: 230,
        margin: { l: 8, r: 8, t: 30, b: 8 },
        xaxis: { visible: false },
        yaxis: { visible: false },
      },
    );
  }
  function drawCurves(place, o, measure, sheet, title) {
    const rows = rowsOf(o.curves).filter((row) => row.measure === measure);
    if (!rows.length) return;
    const traces = [];
    for (const [label, ink] of Object.entries(data.palette.labels)) {
      const line = rows.filter((row) => row.label === label);
      if (!line.length) continue;
      const layers = line.map((row) => row.layer);
      traces.push(
        { type: "scatter", mode: "lines", x: [...layers, ...[...layers].reverse()], y: [...line.map((r) => r.high), ...line.map((r) => r.low).reverse()], fill: "toself", fillcolor: ink + "33", line: { width: 0 }, hoverinfo: "skip" },
        { type: "scatter", mode: "lines+markers", x: layers, y: line.map((r) => r.mean), line: { color: ink }, text: line.map((r) => `by ${label}: ${fixed(r.mean)} [${fixed(r.low)}, ${fixed(r.high)}]`), hovertemplate: "layer %{x}, %{text}<extra></extra>" },
      );
      if (measure === "purity") traces.push({ type: "scatter", mode: "lines", x: layers, y: line.map((r) => r.chance), line: { color: ink, dash: "dot", width: 1 }, hoverinfo: "skip" });
    }
    plot(place, `${measure} by anchor and by concept at each layer, ${title}`, traces, {
      name: `${measure}: <span style="color:${data.palette.labels.anchor}">anchor</span>, <span style="color:${data.palette.labels.concept}">concept</span>`,
      height: 230,
      margin: { l: 36, r: 8, t: 30, b: 30 },
      xaxis: { dtick: sheet.layers > 6 ? 4 : 1, title: { text: "layer", standoff: 2 }, fixedrange: true },
      yaxis: { range: measure === "purity" ? [0, 1.03] : [-1, 1], fixedrange: true, gridcolor: "#ddd" },
    });
  }

  // ---- pictures ---------------------------------------------------------------------------

  function filterGalleries() {
    for (const gallery of document.querySelectorAll(".gallery")) {
      const { dataset, delta, task, method } = gallery.dataset;
      gallery.hidden =
        (state.dataset && dataset !== state.dataset) ||
        (chosenDelta() !== null && (delta === "inf" ? FREE : Number(delta)) !== chosenDelta()) ||
        (state.task && task && task !== state.task) ||
        (method && method !== "none" && method !== state.method);
      const away = (line) =>
        (state.concept && line.dataset.concept && line.dataset.concept !== state.concept) ||
        (state.anchor && line.dataset.anchor && line.dataset.anchor !== state.anchor);
      for (const row of gallery.querySelectorAll("tbody tr, li")) row.hidden = away(row);
      [...gallery.querySelectorAll("thead th")].forEach((head, i) => {
        for (const row of gallery.querySelectorAll("tr")) row.children[i + 1].hidden = away(head);
      });
    }
  }
  const viewer = document.getElementById("viewer");
  let shown = null;
  function show(thumb) {
    const image = thumb.querySelector("img");
    const where = thumb.closest(".gallery").querySelector("summary").textContent;
    shown = thumb;
    const large = viewer.querySelector("img");
    const link = viewer.querySelector("a");
    large.src = image.src;
    large.alt = image.alt;
    large.className = "";
    link.hidden = true;
    // the picture itself, where the page still lies in its study's folder
    const file = new Image();
    file.onload = () => {
      if (shown !== thumb) return;
      large.src = file.src;
      large.className = file.naturalWidth < 200 ? "pixels" : "";
      link.hidden = false;
    };
    file.src = link.href = thumb.getAttribute("href");
    viewer.querySelector("figcaption").textContent = `${image.alt}. ${where}`;
    if (!viewer.open) viewer.showModal();
  }
  function step(by) {
    const all = [...document.querySelectorAll(".gallery:not([hidden])[open] .thumb")].filter((t) => t.offsetParent);
    show(all[(all.indexOf(shown) + by + all.length) % all.length]);
  }
  document.addEventListener("click", (event) => {
    const thumb = event.target.closest(".thumb");
    if (!thumb || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(thumb);
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer || event.target.value === "0") viewer.close();
    else if (event.target.tagName === "BUTTON") step(Number(event.target.value));
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  viewer.addEventListener("close", () => shown?.focus());

  // ---- the table of words -----------------------------------------------------------------

  const COLUMNS = [
    ["dataset", "dataset"],
    ["trained_for", "trained for"],
    ["concept", "concept"],
    ["anchor", "anchor"],
    ["delta", "delta"],
    ...data.panels.map((p, i) => [`value${i}`, `${p.task}: ${p.label}`]),
    ...Object.keys(data.words).filter((n) => n.startsWith("near_")).flatMap((n) => [
      [n, `nearest in ${n.slice(5)}`],
      [`far_${n.slice(5)}`, `from its anchor in ${n.slice(5)}`],
    ]),
    ["unsafe", "unsafe"],
  ];
  const table = document.querySelector("#words .table");
  const sorting = { by: "dataset", down: false };
  let pageNumber = 0;
  const body = element("tbody");
  const place = element("span", { "aria-live": "polite" });
  const back = element("button", { type: "button" }, "Previous");
  const on = element("button", { type: "button" }, "Next");
  const heads = COLUMNS.map(([name, label]) => {
    const head = element("th", { scope: "col" }, element("button", { type: "button" }, label));
    head.firstChild.addEventListener("click", () => {
      sorting.down = sorting.by === name && !sorting.down;
      sorting.by = name;
      pageNumber = 0;
      drawTable();
    });
    return head;
  });
  back.addEventListener("click", () => (pageNumber--, drawTable()));
  on.addEventListener("click", () => (pageNumber++, drawTable()));
  const scroller = element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "All words" });
  scroller.append(element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));
  table.append(element("div", { className: "pager" }, back, on, place), scroller);
  const written = (value) => (value === null || value === undefined ? "–" : value === FREE ? "free" : typeof value === "number" ? String(Math.round(value * 1000) / 1000) : value);
  function compare(a, b) {
    const [x, y] = [a[sorting.by], b[sorting.by]];
    const nothing = (v) => v === null || v === undefined || v === "";
    if (nothing(x) || nothing(y)) return nothing(x) - nothing(y); // what has no value stands last
    return (sorting.down ? -1 : 1) * ((x > y) - (x < y));
  }
  function drawTable() {
    table.hidden = false;
    const found = trained.filter(keepsWord).sort(compare);
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    pageNumber = Math.min(pageNumber, pages - 1);
    const rows = found.slice(pageNumber * PER_PAGE, (pageNumber + 1) * PER_PAGE);
    body.replaceChildren(...rows.map((w) => element("tr", {}, ...COLUMNS.map(([name]) => element("td", { className: typeof w[name] === "number" ? "number" : "" }, written(w[name]))))));
    place.textContent = `${found.length.toLocaleString("en")} rows; page ${pageNumber + 1} of ${pages}`;
    back.disabled = pageNumber === 0;
    on.disabled = pageNumber === pages - 1;
    COLUMNS.forEach(([name], i) => {
      if (name === sorting.by) heads[i].setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      else heads[i].removeAttribute("aria-sort");
    });
    document.getElementById("count").textContent = `${found.length.toLocaleString("en")} of ${trained.length.toLocaleString("en")} words`;
  }

  // ---- small tables that stand in the page --------------------------------------------------

  for (const small of document.querySelectorAll("table.sortable")) {
    [...small.tHead.rows[0].cells].forEach((head, i) => {
      const button = element("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of small.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...small.tBodies[0].rows];
        rows.sort((a, b) => (down ? -1 : 1) * a.cells[i].textContent.localeCompare(b.cells[i].textContent, "en", { numeric: true }));
        small.tBodies[0].append(...rows);
      });
    });
  }

  // ---- all of it --------------------------------------------------------------------------

  function drawAll() {
    drawFigure3();
    drawFigure6();
    drawActivations();
    filterGalleries();
    drawTable();
  }
  form.addEventListener("change", (event) => {
    state[event.target.name] = event.target.value;
    if (event.target.name === "dataset") choices();
    pageNumber = 0;
    drawAll();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    Object.assign(state, { dataset: "", concept: "", anchor: "", delta: "", task: "" });
    for (const name of ["dataset", "delta", "task"]) form.elements[name].value = "";
    choices();
    pageNumber = 0;
    drawAll();
  });
  form.hidden = false;
  for (const printed of document.querySelectorAll(".printed")) printed.open = false;
  drawAll();
  document.documentElement.dataset.ready = "true";
})();
