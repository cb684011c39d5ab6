// All of it, at first and whenever a filter changes.

function drawAll() {
  drawFigure3();
  drawFigure6();
  drawRetention();
  drawActivations();
  filterComparison();
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
  Object.assign(state, { dataset: "", concept: "", anchor: "", delta: "", source: "", target: "" });
  for (const name of ["dataset", "delta", "source", "target"]) form.elements[name].value = "";
  choices();
  pageNumber = 0;
  drawAll();
});
form.hidden = false;
// on paper charts are as printed, whether they have been in view or not
const printed = [...document.querySelectorAll(".printed")];
const drawsCharts = Boolean(window.DecompressionStream); // old browsers do not
let former = printed.map(() => !drawsCharts);
const leave = () => printed.forEach((each, i) => (each.open = former[i]));
leave();
window.addEventListener("beforeprint", () => {
  former = printed.map((each) => each.open);
  for (const each of printed) each.open = true;
});
window.addEventListener("afterprint", leave);
drawAll();
document.documentElement.dataset.ready = "true";
