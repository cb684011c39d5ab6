// The filters, and which rows they keep.

const form = document.getElementById("filters");
const state = { dataset: "", concept: "", anchor: "", delta: "", source: "", target: "", method: data.methods[0] ?? "none" };
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
fill("source", data.sources.map((m) => [m, modelLabel(m)]));
fill("target", data.targets.map((m) => [m, modelLabel(m)]));
fill("method", (data.methods.length ? data.methods : ["none"]).map((m) => [m, m]), "");
form.elements.method.parentElement.hidden = data.methods.length < 2;
choices();

const chosenDelta = () => (state.delta === "" ? null : Number(state.delta));
const keeps = (row) =>
  (!state.dataset || row.dataset === state.dataset) &&
  (!state.concept || row.concept === state.concept) &&
  (!state.anchor || row.anchor === state.anchor || (row.anchor === "" && !isWord(row))) &&
  (!state.source || !isWord(row) || row.source_model === state.source);
const keepsDelta = (written) => chosenDelta() === null || (written === "inf" ? FREE : Number(written)) === chosenDelta();
const keepsTarget = (model) => !state.target || model === state.target;
const shownPanels = () => data.panels.map((panel, p) => [panel, p]).filter(([panel]) => keepsTarget(panel.model));
const keepsWord = (w) => w.method === state.method && keeps(w) && (chosenDelta() === null || w.delta === chosenDelta());
