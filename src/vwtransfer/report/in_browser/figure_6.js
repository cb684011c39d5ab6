// Performance against delta.

// as in the printed figure: a model's points beside the next one's, published ones to the right of ours
const APART = 1.07;
const BESIDE = 1.29;

function drawFigure6() {
  const place = emptied(document.querySelector("#figure-6 .plots"));
  const finite = deltas.filter((d) => d !== FREE);
  if (!finite.length) {
    place.hidden = true;
    return;
  }
  const cells = figure6Cells();
  const free = 2.4 * Math.max(...finite);
  const positive = Math.min(...finite) > 0;
  const ends = [0.8 * Math.min(...finite), 1.5 * free];
  const at = (row) => (row.delta === FREE ? free : row.delta) * (positive ? APART ** (data.sources.indexOf(row.source_model) - (data.sources.length - 1) / 2) : 1);
  const datasets = data.datasets.filter((d) => (!state.dataset || d === state.dataset) && planned.some((w) => w.dataset === d && isConstrained(w) && keeps(w)));
  const marks = theirs(() => true);
  place.append(
    legend(cells.some((c) => c.kind === "anchor") ? ["anchor"] : [], [
      `thick: in its own model; bands: 95 % intervals${trialsOf(cells)}`,
      ...(marks.length ? ["hollow: published; its intervals resample single words"] : []),
    ]),
    ...notes(cells),
  );
  for (const dataset of datasets) {
    if (data.datasets.length > 1) place.append(element("h3", {}, dataset));
    for (const [panel, p] of shownPanels()) {
      const here = cells.filter((c) => c.panel === p && c.dataset === dataset).sort((a, b) => a.delta - b.delta);
      const traces = data.sources.flatMap((model) => {
        const own = here.filter((c) => c.source_model === model);
        const theirs = marks.filter((row) => row.dataset === dataset && row.metric === panel.metric && row.target_model === panel.model && row.source_model === model);
        const places = theirs.map((row) => BESIDE * at(row));
        return [...lines(own, at, model === panel.model, marker(model)), publishedMarks(theirs, places, colour(model), marker(model))];
      });
      const anchor = here.find((c) => c.kind === "anchor");
      const whole = { type: "line", xref: "paper", x0: 0, x1: 1, y0: anchor?.mean, y1: anchor?.mean, line: { color: "#555", width: 1.3 } };
      const apart = { type: "line", yref: "paper", x0: 0.7 * free, x1: 0.7 * free, y0: 0, y1: 1, line: { color: "#999", width: 1, dash: "dot" } };
      plot(place, `Lines: ${dataset}, in ${modelLabel(panel.model)}, ${panel.label} against delta. The numbers are in the table above.`, traces, {
        name: `${panel.model}: ${panel.label}`,
        xaxis: {
          type: positive ? "log" : "linear",
          tickvals: [...finite, free],
          ticktext: [...finite.map(String), "free"],
          range: positive ? ends.map(Math.log10) : [-0.05 * free, 1.1 * free],
          fixedrange: true,
          zeroline: false,
          showgrid: false,
        },
        yaxis: { range: [0, 1.06], fixedrange: true, gridcolor: "#ddd" },
        shapes: anchor ? [whole, apart] : [apart],
        annotations: here.some(isWord) ? [] : [{ text: "none", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, font: { color: "#555" } }],
      });
    }
  }
}
// the words of one model: a band and a line, broken where a delta is missing, and the same words unconstrained
function lines(cells, at, own, symbol) {
  const free = cells.filter((c) => c.delta === FREE);
  const runs = [[]];
  for (const delta of deltas.filter((d) => d !== FREE)) {
    const cell = cells.find((c) => c.delta === delta);
    if (cell) runs.at(-1).push(cell);
    else runs.push([]);
  }
  return [
    ...runs.filter((run) => run.length).flatMap((run) => [band(run, at), line(run, at, own, symbol)]),
    {
      type: "scatter",
      mode: "markers",
      x: free.map(at),
      y: free.map((c) => c.mean),
      error_y: whiskers(free, free.length ? ink(free[0]) : ""),
      marker: { symbol, color: free.map(ink), size: 8 },
      text: free.map((c) => `unconstrained: ${said(c)}`),
      hovertemplate: "%{text}<extra></extra>",
    },
  ];
}
function band(cells, at) {
  const wide = cells.filter((c) => c.low !== null);
  return {
    type: "scatter",
    x: [...wide.map(at), ...wide.map(at).reverse()],
    y: [...wide.map((c) => c.high), ...wide.map((c) => c.low).reverse()],
    fill: "toself",
    fillcolor: colour(cells[0].source_model) + "2e",
    line: { width: 0 },
    mode: "lines",
    hoverinfo: "skip",
  };
}
const line = (cells, at, own, symbol) => ({
  type: "scatter",
  mode: "lines+markers",
  x: cells.map(at),
  y: cells.map((c) => c.mean),
  line: { color: ink(cells.find(partial) ?? cells[0]), width: own ? 3 : 1.5 },
  marker: { symbol, size: own ? 9 : 7, color: cells.map(ink), line: { width: 0 } },
  text: cells.map((c) => `delta ${c.delta}: ${said(c)}`),
  hovertemplate: "%{text}<extra></extra>",
});
