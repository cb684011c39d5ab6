// The table of words, and small tables that stand in the page: sorted by a click on a head.

const PER_PAGE = 50;
const COLUMNS = [
  ["dataset", "dataset"],
  ["source_model", "trained in"],
  ["concept", "concept"],
  ["anchor", "anchor"],
  ["delta", "delta"],
  ...data.panels.map((p, i) => [`value${i}`, `${p.model}: ${p.label}`]),
  ...Object.keys(data.words).filter((n) => n.startsWith("near_")).flatMap((n) => [
    [n, `nearest in ${n.slice(5)}`],
    [`far_${n.slice(5)}`, `from its anchor in ${n.slice(5)}`],
  ]),
  ["unsafe", "unsafe"],
];
const table = document.querySelector("#words .table");
const sorting = { by: "dataset", down: false };
let pageNumber = 0;
const body = element("tbody");
const place = element("span", { "aria-live": "polite" });
const back = element("button", { type: "button" }, "Previous");
const on = element("button", { type: "button" }, "Next");
const heads = COLUMNS.map(([name, label]) => {
  const head = element("th", { scope: "col" }, element("button", { type: "button" }, label));
  head.firstChild.addEventListener("click", () => {
    sorting.down = sorting.by === name && !sorting.down;
    sorting.by = name;
    pageNumber = 0;
    drawTable();
  });
  return head;
});
back.addEventListener("click", () => (pageNumber--, drawTable()));
on.addEventListener("click", () => (pageNumber++, drawTable()));
const scroller = element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "All words" });
const className = COLUMNS.length > 18 ? "many" : ""; // more than a page is wide
scroller.append(element("table", { className }, element("thead", {}, element("tr", {}, ...heads)), body));
table.append(element("div", { className: "pager" }, back, on, place), scroller);
function written(value, name) {
  if (value === null || value === undefined || value === "") return "–";
  if (value === FREE) return "free";
  return name.startsWith("value") || name.startsWith("far_") ? value.toFixed(3) : String(value);
}
function compare(a, b) {
  const [x, y] = [a[sorting.by], b[sorting.by]];
  const nothing = (v) => v === null || v === undefined || v === "";
  if (nothing(x) || nothing(y)) return nothing(x) - nothing(y); // what has no value stands last
  return (sorting.down ? -1 : 1) * ((x > y) - (x < y));
}
function drawTable() {
  table.hidden = false;
  const found = trained.filter(keepsWord).sort(compare);
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  pageNumber = Math.min(pageNumber, pages - 1);
  const rows = found.slice(pageNumber * PER_PAGE, (pageNumber + 1) * PER_PAGE);
  body.replaceChildren(...rows.map((w) => element("tr", {}, ...COLUMNS.map(([name]) => element("td", { className: typeof w[name] === "number" ? "number" : "" }, written(w[name], name))))));
  place.textContent = `${found.length.toLocaleString("en")} rows; page ${pageNumber + 1} of ${pages}`;
  back.disabled = pageNumber === 0;
  on.disabled = pageNumber === pages - 1;
  COLUMNS.forEach(([name], i) => {
    if (name === sorting.by) heads[i].setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
    else heads[i].removeAttribute("aria-sort");
  });
  document.getElementById("count").textContent = `${found.length.toLocaleString("en")} of ${trained.length.toLocaleString("en")} words`;
}

function filterComparison() {
  for (const row of document.querySelectorAll("#comparison tbody tr")) {
    const { dataset, source, target, delta } = row.dataset;
    row.hidden = !keeps({ kind: "word", dataset, source_model: source, concept: state.concept, anchor: state.anchor }) || !keepsTarget(target) || !keepsDelta(delta);
  }
}
for (const small of document.querySelectorAll("table.sortable")) {
  [...small.tHead.rows[0].cells].forEach((head, i) => {
    const button = element("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of small.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...small.tBodies[0].rows];
      rows.sort((a, b) => (down ? -1 : 1) * a.cells[i].textContent.localeCompare(b.cells[i].textContent, "en", { numeric: true }));
      small.tBodies[0].append(...rows);
    });
  });
}
