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
for (const printed of document.querySelectorAll(".printed")) printed.open = false;
drawAll();
document.documentElement.dataset.ready = "true";
