// What charts share. A chart is drawn when it comes into view.

const BASELINE_DASH = { anchor: "solid", name: "dash", random: "dot", chance: "dashdot" };
const DASHES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3" };
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
async function loadPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
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
  `${origin(cell)}<br>${fixed(cell.mean)}` +
  (cell.low === null ? "" : ` [${fixed(cell.low)}, ${fixed(cell.high)}]`) +
  `<br>n = ${cell.trials}${partial(cell) ? ` of ${cell.planned}` : ""}`;
const PALE = 0.35; // where words are missing
const ink = (cell) => colour(cell.source_model) + (partial(cell) ? "59" : "");
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
  const items = data.sources.map((model) => {
    const swatch = element("i");
    swatch.style.background = colour(model);
    return element("li", {}, swatch, `trained in ${modelLabel(model)}`);
  });
  for (const name of baselines) {
    const line = element("i");
    line.innerHTML = `<svg width="26" height="12" aria-hidden="true"><path d="M0 6H26" stroke="#555" stroke-width="1.6" stroke-dasharray="${DASHES[BASELINE_DASH[name]]}"/></svg>`;
    items.push(element("li", {}, line, data.baseline_labels[name]));
  }
  return element("ul", { className: "legend" }, ...items, ...extra.map((text) => element("li", {}, text)));
}
function trialsOf(cells) {
  const counts = cells.filter(isWord).map((c) => c.trials);
  const [fewest, most] = [Math.min(...counts), Math.max(...counts)];
  return counts.length ? ` over ${fewest === most ? most : `${fewest} to ${most}`} words` : "";
}
// published means are of all words: beside some of them they would mislead
const theirs = (wanted) => (subset() ? [] : published.filter((row) => wanted(row) && keeps(row)));
const publishedMarks = (rows, x, ink, symbol) => ({
  type: "scatter",
  mode: "markers",
  x,
  y: rows.map((row) => row.mean),
  error_y: whiskers(rows.map((row) => ({ mean: row.mean, low: row.ci_low, high: row.ci_high })), ink),
  marker: { symbol, size: 8, color: "#fff", line: { color: ink, width: 1.4 } },
  text: rows.map((row) => `${row.dataset}: published, of words like those trained in ${modelLabel(row.source_model)}<br>${fixed(row.mean)} [${fixed(row.ci_low)}, ${fixed(row.ci_high)}]`),
  hovertemplate: "%{text}<extra></extra>",
});
function notes(cells) {
  const shown = cells.filter(isWord);
  const lines = [
    subset() && "Means of the chosen words alone, with intervals computed here.",
    shown.some(partial) && "Incomplete: what is pale is over some of its words only.",
    !shown.length && "No word fits these filters.",
  ];
  return lines.filter(Boolean).map((line) => element("p", { className: "aside" }, line));
}
