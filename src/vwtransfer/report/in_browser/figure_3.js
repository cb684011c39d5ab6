// In-domain and transferred performance.

const TOO_LOW = 0.01; // bars beneath are not seen: their value is written

function drawFigure3() {
  const place = emptied(document.querySelector("#figure-3 .plots"));
  const cells = figure3Cells();
  const datasets = data.datasets.filter((d) => !state.dataset || d === state.dataset);
  const delta = chosenDelta() ?? deltas[deltas.length - 1];
  const baselines = data.baselines.filter((b) => cells.some((c) => c.kind === b));
  const marks = theirs((row) => row.delta === delta);
  place.classList.toggle("wide", datasets.length > 2);
  place.append(
    legend(baselines, [
      `${deltaName(delta)}; black edge: in its own model; hatched: transferred; whiskers: 95 % intervals${trialsOf(cells)}`,
      ...(marks.length ? ["◇ published; its intervals resample single words"] : []),
    ]),
    ...notes(cells),
  );
  const sources = data.sources.filter((model) => !state.source || model === state.source);
  const width = 0.8 / sources.length;
  const at = (row) => datasets.indexOf(row.dataset) + (sources.indexOf(row.source_model) - (sources.length - 1) / 2) * width;
  for (const [panel, p] of shownPanels()) {
    const here = cells.filter((c) => c.panel === p && datasets.includes(c.dataset));
    const traces = sources.map((model) => {
      const bars = here.filter((c) => c.source_model === model);
      const own = model === panel.model;
      return {
        type: "bar",
        name: model,
        x: bars.map(at),
        y: bars.map((c) => c.mean),
        width: 0.9 * width,
        error_y: whiskers(bars, "#111"),
        marker: {
          color: colour(model),
          opacity: bars.map((c) => (partial(c) ? PALE : 1)),
          line: { color: own ? "#000" : "#fff", width: own ? 1.5 : 0 },
          pattern: { shape: own ? "" : "/", fillmode: "overlay", fgcolor: "#fff", size: 7, solidity: 0.25 },
        },
        customdata: bars.map((c) => `${c.dataset}: ${said(c)}`),
        hovertemplate: "%{customdata}<extra></extra>",
      };
    });
    const marked = marks.filter((row) => row.metric === panel.metric && row.target_model === panel.model && sources.includes(row.source_model));
    const levels = here.filter((c) => !isWord(c));
    traces.push(
      publishedMarks(marked, marked.map((row) => at(row) + 0.3 * width), "#000", "diamond"),
      {
        type: "scatter",
        mode: "markers",
        x: levels.map((c) => datasets.indexOf(c.dataset)),
        y: levels.map((c) => c.mean),
        marker: { symbol: "line-ew", size: 14, line: { color: "rgba(85,85,85,0)", width: 8 } },
        text: levels.map((c) => `${c.dataset}: ${said(c)}`),
        hovertemplate: "%{text}<extra></extra>",
      },
    );
    plot(place, `Bars: in ${modelLabel(panel.model)}, ${panel.label}. The numbers are in the table below.`, traces, {
      name: `${panel.model}: ${panel.label}`,
      barmode: "overlay",
      xaxis: { tickvals: datasets.map((_, i) => i), ticktext: datasets, range: [-0.55, datasets.length - 0.45], fixedrange: true, zeroline: false, showgrid: false },
      yaxis: { range: [0, 1.06], fixedrange: true, gridcolor: "#ddd" },
      annotations: datasets.flatMap((dataset) => sources.map((model) => writtenOn(here, dataset, model, at))).filter(Boolean),
      shapes: levels.map((c) => ({
        type: "line",
        x0: datasets.indexOf(c.dataset) - 0.46,
        x1: datasets.indexOf(c.dataset) + 0.46,
        y0: c.mean,
        y1: c.mean,
        line: { color: "#555", width: 1.4, dash: BASELINE_DASH[c.kind] },
      })),
    });
  }
}
// at the foot of a bar: that there is none, over how many words it is, a value too low to be seen
function writtenOn(cells, dataset, model, at) {
  const cell = cells.find((c) => c.dataset === dataset && c.source_model === model);
  const low = cell && cell.mean < TOO_LOW ? String(Number(cell.mean.toPrecision(1))) : "";
  const words = cell && partial(cell) ? `${cell.trials} of ${cell.planned}` : "";
  const text = !cell ? "none" : low && words ? `${low} (${words})` : low || words;
  const turned = text && text !== low;
  return (
    text && {
      x: at({ dataset, source_model: model }),
      y: 0.01,
      text,
      textangle: turned ? -90 : 0,
      yanchor: "bottom",
      showarrow: false,
      borderpad: 0,
      font: { size: 10, color: cell ? "#1b1f24" : "#555" },
      bgcolor: "rgba(255,255,255,0.75)",
    }
  );
}
