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
// Units are words (a concept and an anchor); of each the sum and the count of its values in M columns.
function unitsOf(rows, columns, keys) {
  const units = new Map(keys.map(({ concept, anchor }) => [`${concept}\n${anchor}`, { concept, sum: Array(columns).fill(0), count: Array(columns).fill(0) }]));
  for (const { concept, anchor, column, value } of rows) {
    const unit = units.get(`${concept}\n${anchor}`);
    if (!unit || value === null) continue;
    unit.sum[column] += value;
    unit.count[column] += 1;
  }
  return [...units.values()];
}
function columnMeans(units, columns) {
  return Array.from({ length: columns }, (_, m) => {
    let [sum, count] = [0, 0];
    for (const unit of units) {
      sum += unit.sum[m];
      count += unit.count[m];
    }
    return sum / count;
  });
}
// as vwtransfer.results.bootstrap: concepts are drawn, then as many of each one's words as it has
function resampledMeans(units, columns) {
  if (units.length < 2) return [];
  const concepts = new Map();
  for (const unit of units) concepts.set(unit.concept, [...(concepts.get(unit.concept) ?? []), unit]);
  const groups = [...concepts.values()];
  const random = stream(units.length);
  const one = (values) => values[Math.floor(random() * values.length)];
  return Array.from({ length: RESAMPLES }, () => {
    const drawn = [];
    for (let i = 0; i < groups.length; i++) {
      const group = one(groups);
      for (let j = 0; j < group.length; j++) drawn.push(one(group));
    }
    return columnMeans(drawn, columns);
  });
}
function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}
// an estimate: its value, the ends of its interval (null where there is none), and its draws
function estimate(value, draws) {
  if (!Number.isFinite(value)) return { mean: null, low: null, high: null, draws: [] };
  const defined = draws.filter(Number.isFinite).sort((a, b) => a - b);
  const ends = defined.length ? [0.025, 0.975].map((share) => quantile(defined, share)) : [null, null];
  return { mean: value, low: ends[0], high: ends[1], draws };
}
function meanOf(rows) {
  const units = unitsOf(rows.map((row) => ({ ...row, column: 0 })), 1, rows);
  return estimate(columnMeans(units, 1)[0], resampledMeans(units, 1).map(([mean]) => mean));
}
// how many words there are to be, of those that the filters keep
function planOf(keep) {
  const counts = new Map();
  for (const w of planned) {
    if (!keeps(w) || !keep(w)) continue;
    const key = `${w.dataset}\n${w.delta}\n${w.source_model}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return (cell) => ({ ...cell, planned: counts.get(`${cell.dataset}\n${cell.delta}\n${cell.source_model}`) ?? 0 });
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
      const key = JSON.stringify([w.dataset, String(w.delta), w.kind, w.source_model, p]);
      const { dataset, delta, kind, source_model } = w;
      if (!groups.has(key)) groups.set(key, { dataset, delta, kind, source_model, panel: p, values: [] });
      groups.get(key).values.push({ concept: w.concept, anchor: w.anchor, value });
    });
  }
  return [...groups.values()].map(({ values, ...cell }) => ({ ...cell, ...meanOf(values), trials: values.length }));
}
// the page's own means where they are of the same words, so that its numbers are those printed
const panelOf = (row) => data.panels.findIndex((p) => p.model === row.target_model && p.metric === row.metric);
function figure3Cells() {
  const delta = chosenDelta() ?? deltas[deltas.length - 1];
  const wanted = (row) => row.delta === delta || (!isWord(row) && row.delta === FREE);
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
  const kind = (row) => isWord(row) || row.kind === "anchor";
  const cells = planned.every(isConstrained) && !subset() ? printedCells(kind) : cellsOf((w) => isConstrained(w) && kind(w));
  return cells.map(planOf(isConstrained));
}
