// Means with their intervals: the printed ones, or those of the words that the filters keep.

const RESAMPLES = 2000;

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
// how many words there are to be, of those that the filters keep
function planOf(keep) {
  const counts = new Map();
  for (const w of planned) {
    if (!keeps(w) || !keep(w)) continue;
    const key = `${w.dataset}\n${w.delta}\n${w.trained_for}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return (cell) => ({ ...cell, planned: counts.get(`${cell.dataset}\n${cell.delta}\n${cell.trained_for}`) ?? 0 });
}
const partial = (cell) => cell.planned > cell.trials;
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
  return (subset() ? cellsOf(wanted) : printedCells(wanted)).map(planOf(() => true));
}
function printedCells(wanted) {
  return means
    .filter((row) => ["none", state.method].includes(row.transfer) && row.trials && wanted(row) && keeps(row))
    .map((row) => ({ ...row, panel: panelOf(row) }))
    .filter((row) => row.panel >= 0);
}
const wordKey = (w) => `${w.dataset}\n${w.concept}\n${w.anchor}`;
const constrained = new Set(planned.filter((w) => w.delta !== FREE).map(wordKey));
const isConstrained = (w) => constrained.has(wordKey(w));
function figure6Cells() {
  const kind = (row) => !isBaseline(row.trained_for) || row.trained_for === "anchor";
  const cells = planned.every(isConstrained) && !subset() ? printedCells(kind) : cellsOf((w) => isConstrained(w) && kind(w));
  return cells.map(planOf(isConstrained));
}
