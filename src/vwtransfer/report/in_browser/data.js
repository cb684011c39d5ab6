// What the page carries: columns of names and numbers, made into rows; and elements to show them.

const data = JSON.parse(document.getElementById("data").textContent);
const FREE = Infinity;

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
const planned = rowsOf(data.planned).map((row) => ({ ...row, kind: "word" }));
const published = data.published ? rowsOf(data.published).map((row) => ({ ...row, kind: "word" })) : [];
const printedRetention = rowsOf(data.retention);
const isWord = (row) => row.kind === "word";
const trained = words.filter(isWord);
const unique = (values) => [...new Set(values)];
const ordered = (values) => unique(values).sort((a, b) => (a > b) - (a < b));
const deltas = ordered(trained.map((w) => w.delta));
const spoken = (text) => text.replaceAll("_", " ");
const deltaName = (delta) => (delta === FREE ? "unconstrained" : `delta ${delta}`);
const fixed = (value, digits = 3) => (value === null || Number.isNaN(value) ? "–" : value.toFixed(digits));
// colour and marker are those of the model that words were trained in
const colour = (model) => data.palette.models[data.sources.indexOf(model) % data.palette.models.length];
const marker = (model) => data.palette.markers[data.sources.indexOf(model) % data.palette.markers.length];
const modelLabel = (model) => data.labels[model] ?? model;
const origin = (row) => (isWord(row) ? `trained in ${modelLabel(row.source_model)}` : data.baseline_labels[row.kind]);

function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
