// Pictures: which of them are shown, and one of them large.

function filterGalleries() {
  for (const gallery of document.querySelectorAll(".gallery")) {
    const { dataset, delta, source, target, method } = gallery.dataset;
    gallery.hidden =
      (state.dataset && dataset !== state.dataset) ||
      !keepsDelta(delta) ||
      (state.source && source && source !== state.source) ||
      (target && !keepsTarget(target)) ||
      (method && method !== "none" && method !== state.method);
    const away = (line) =>
      (state.source && line.dataset.source && line.dataset.source !== state.source) ||
      (line.dataset.target && !keepsTarget(line.dataset.target)) ||
      (state.concept && line.dataset.concept && line.dataset.concept !== state.concept) ||
      (state.anchor && line.dataset.anchor && line.dataset.anchor !== state.anchor);
    for (const row of gallery.querySelectorAll("tbody tr, li")) row.hidden = away(row);
    [...gallery.querySelectorAll("thead th")].forEach((head, i) => {
      for (const row of gallery.querySelectorAll("tr")) row.children[i + 1].hidden = away(head);
    });
  }
}
const viewer = document.getElementById("viewer");
let shown = null;
function show(thumb) {
  const image = thumb.querySelector("img");
  const where = thumb.closest(".gallery").querySelector("summary").textContent;
  shown = thumb;
  const large = viewer.querySelector("img");
  const link = viewer.querySelector("a");
  large.src = image.src;
  large.alt = image.alt;
  large.className = "";
  link.hidden = true;
  // the picture itself, where the page still lies in its study's folder
  const file = new Image();
  file.onload = () => {
    if (shown !== thumb) return;
    large.src = file.src;
    large.className = file.naturalWidth < 200 ? "pixels" : "";
    link.hidden = false;
  };
  file.src = link.href = thumb.getAttribute("href");
  viewer.querySelector("figcaption").textContent = `${image.alt}. ${where}`;
  if (!viewer.open) viewer.showModal();
}
function step(by) {
  const all = [...document.querySelectorAll(".gallery:not([hidden])[open] .thumb")].filter((t) => t.offsetParent);
  show(all[(all.indexOf(shown) + by + all.length) % all.length]);
}
document.addEventListener("click", (event) => {
  const thumb = event.target.closest(".thumb");
  if (!thumb || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  show(thumb);
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer || event.target.value === "0") viewer.close();
  else if (event.target.tagName === "BUTTON") step(Number(event.target.value));
});
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
viewer.addEventListener("close", () => shown?.focus());
