// Maps of words in each layer of a text encoder, and the purity of clusters.

function drawActivations() {
  const place = document.querySelector("#activations .sheets");
  if (!place || !data.activations.length) return;
  emptied(place);
  let first = true;
  for (const sheet of data.activations) {
    const delta = sheet.delta ?? FREE;
    if ((state.dataset && sheet.dataset !== state.dataset) || !keepsTarget(sheet.model)) continue;
    if (chosenDelta() !== null && delta !== chosenDelta()) continue;
    const open = element("details", { open: first });
    first = false;
    open.append(element("summary", {}, `${sheet.dataset}, ${deltaName(delta)}: ${sheet.encoder}`), mapLegend(sheet));
    for (const o of sheet.origins) {
      if (state.source && o.source_model !== state.source) continue;
      if (o.transfer !== "none" && o.transfer !== state.method) continue;
      const title = o.transfer === "none" ? `trained in ${modelLabel(o.source_model)}: its own model` : `trained in ${modelLabel(o.source_model)}, transferred by ${o.transfer}`;
      const maps = element("div", { className: "maps" });
      open.append(element("h3", {}, `${title}, ${wordsIn(sheet, o)}`), maps);
      for (const map of o.maps) drawMap(maps, map, sheet, title);
      for (const measure of ["purity", "silhouette"]) drawCurves(maps, o, measure, sheet, title);
    }
    place.append(open);
  }
}
function wordsIn(sheet, o) {
  const count = o.maps[0].x.length;
  const all = planned.filter((w) => w.dataset === sheet.dataset && w.source_model === o.source_model && w.delta === (sheet.delta ?? FREE) && w.seed === sheet.seed);
  return `${count}${all.length > count ? ` of ${all.length}` : ""} words`;
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
  for (const [label, { ink, symbol }] of Object.entries(data.palette.labels)) {
    const line = rows.filter((row) => row.label === label);
    if (!line.length) continue;
    const layers = line.map((row) => row.layer);
    traces.push(
      { type: "scatter", mode: "lines", x: [...layers, ...[...layers].reverse()], y: [...line.map((r) => r.high), ...line.map((r) => r.low).reverse()], fill: "toself", fillcolor: ink + "33", line: { width: 0 }, hoverinfo: "skip" },
      { type: "scatter", mode: "lines+markers", x: layers, y: line.map((r) => r.mean), line: { color: ink }, marker: { symbol, size: 7 }, text: line.map((r) => `by ${label}: ${fixed(r.mean)} [${fixed(r.low)}, ${fixed(r.high)}]`), hovertemplate: "layer %{x}, %{text}<extra></extra>" },
    );
    if (measure === "purity") traces.push({ type: "scatter", mode: "lines", x: layers, y: line.map((r) => r.chance), line: { color: ink, dash: "dot", width: 1 }, hoverinfo: "skip" });
  }
  plot(place, `${measure} by anchor and by concept at each layer, ${title}`, traces, {
    name: `${measure}: ${Object.entries(data.palette.labels).map(([label, { ink, symbol }]) => `<span style="color:${ink}">${GLYPHS[symbol]}</span> ${label}`).join(", ")}`,
    height: 230,
    margin: { l: 36, r: 8, t: 30, b: 30 },
    xaxis: { dtick: sheet.layers > 6 ? 4 : 1, title: { text: "layer", standoff: 2 }, fixedrange: true },
    yaxis: { range: measure === "purity" ? [0, 1.03] : [-1, 1], fixedrange: true, gridcolor: "#ddd" },
  });
}
