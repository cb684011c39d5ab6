// Retention: (transferred - anchor) / (target's own words - anchor), of means over words.

// The printed one where it is of the same words; of chosen words it is computed here in the same way.
function retentionOf(source, target, delta) {
  if (!subset()) {
    const wanted = (row) => row.method === state.method && row.delta === delta && row.source_model === source && row.target_model === target;
    return printedRetention.find((row) => wanted(row) && row.dataset === state.dataset);
  }
  const cells = data.datasets.filter((d) => !state.dataset || d === state.dataset).map((d) => retentionOn(d, source, target, delta));
  return meanOfEstimates(cells.filter(Boolean));
}
// on one dataset; undefined where no such transfer was measured
function retentionOn(dataset, source, target, delta) {
  const value = (w) => w[`value${data.headline[target]}`] ?? null;
  const here = words.filter((w) => w.method === state.method && w.dataset === dataset && keepsChoice(w));
  const ofWords = here.filter((w) => isWord(w) && w.delta === delta);
  const column = (rows, number) => rows.map((w) => ({ concept: w.concept, anchor: w.anchor, column: number, value: value(w) }));
  const transferred = column(ofWords.filter((w) => w.source_model === source), 0);
  if (!transferred.some((row) => row.value !== null)) return undefined;
  const own = column(ofWords.filter((w) => w.source_model === target), 1);
  const anchors = column(here.filter((w) => w.kind === "anchor"), 2);
  const units = unitsOf([...transferred, ...own, ...anchors], 3, ofWords);
  const ratio = ([moved, best, anchor]) => (best - anchor >= data.least_gain ? (moved - anchor) / (best - anchor) : NaN);
  return estimate(ratio(columnMeans(units, 3)), resampledMeans(units, 3).map(ratio));
}
// the mean of those that are defined; in a draw, of those that are defined in it
function meanOfEstimates(cells) {
  if (!cells.length) return undefined;
  const defined = cells.filter((cell) => cell.mean !== null);
  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const whole = defined.every((cell) => cell.draws.some(Number.isFinite));
  const draws = whole ? (defined[0]?.draws ?? []).map((_, i) => average(defined.map((cell) => cell.draws[i]).filter(Number.isFinite))) : [];
  return estimate(average(defined.map((cell) => cell.mean)), draws);
}
// concept and anchor alone: the words of all models are needed
const keepsChoice = (w) => (!state.concept || w.concept === state.concept) && (!state.anchor || w.anchor === state.anchor);

function drawRetention() {
  const place = document.querySelector("#retention .table");
  if (!place) return;
  place.hidden = false;
  const delta = chosenDelta() ?? deltas[deltas.length - 1];
  const sources = data.sources.filter((model) => !state.source || model === state.source);
  const targets = data.targets.filter(keepsTarget);
  const head = element("tr", {}, element("th", { scope: "col" }, "trained in"), ...targets.map((model) => element("th", { scope: "col" }, `in ${modelLabel(model)}`)));
  const rows = sources.map((source) => element("tr", {}, element("th", { scope: "row" }, modelLabel(source)), ...targets.map((target) => element("td", {}, retentionText(source, target, delta)))));
  const over = state.dataset || (data.datasets.length > 1 ? "mean over datasets" : data.datasets[0]);
  const chosen = subset() ? "; of the chosen words alone, computed here" : "";
  const caption = element("caption", {}, `${state.method}, ${deltaName(delta)}, ${over}${chosen}`);
  place.replaceChildren(element("table", {}, caption, element("thead", {}, head), element("tbody", {}, ...rows)));
}
function retentionText(source, target, delta) {
  if (source === target) return "own";
  const found = retentionOf(source, target, delta);
  if (!found) return "–";
  if (found.mean === null) return "undefined";
  return fixed(found.mean, 2) + (found.low === null ? "" : ` [${fixed(found.low, 2)}, ${fixed(found.high, 2)}]`);
}
