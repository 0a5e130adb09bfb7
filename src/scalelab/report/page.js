(() => {
  "use strict";
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const spec = read("chart");
  const themes = read("themes");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const place = document.querySelector(".live");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  let shown = null;

  // The chart is drawn again for another theme; a drawing that was overtaken by the next is thrown away.
  let turn = 0;
  async function draw() {
    const mine = ++turn;
    const theme = isDark() ? "dark" : "light";
    const wide = { ...spec, width: "container", autosize: { type: "fit-x", contains: "padding" } };
    const found = await vegaEmbed(place, wide, { renderer: "svg", actions: false, config: themes[theme], tooltip: { theme } });
    if (mine !== turn) {
      found.finalize();
      return;
    }
    if (shown) shown.finalize();
    shown = found;
    shown.view.addEventListener("click", (event, item) => item && item.datum && item.datum.digests && reveal(item.datum.digests));
    root.dataset.drawn = theme;
  }

  // A click on a mark opens the table of runs at the trials behind it.
  function reveal(digests) {
    const wanted = new Set(digests);
    const rows = [...document.querySelectorAll("#runs tbody tr")];
    rows.forEach((row) => row.classList.toggle("found", wanted.has(row.cells[0].textContent)));
    const first = rows.find((row) => row.classList.contains("found"));
    if (!first) return;
    first.closest("details").open = true;
    first.scrollIntoView({ block: "center" });
  }

  function value(row, column) {
    const text = row.cells[column].textContent;
    const number = Number(text.replaceAll(",", ""));
    return text !== "" && Number.isFinite(number) ? number : text;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  }

  function sort(header) {
    const column = header.cellIndex;
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const body = header.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    rows.sort((a, b) => sign * compare(a[0], b[0]));
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    body.append(...rows.map((row) => row[1]));
  }

  function save(table, name) {
    const line = (cells) => [...cells].map((cell) => `"${cell.textContent.replaceAll('"', '""')}"`).join(",");
    const text = [...table.rows].map((row) => line(row.cells)).join("\r\n") + "\r\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.closest("th")) sort(button.closest("th"));
    if (button.dataset.csv) save(document.querySelector(`#${button.dataset.csv} table`), `${button.dataset.csv}.csv`);
    if (button.id === "theme") {
      root.dataset.theme = isDark() ? "light" : "dark";
      draw();
    }
  });
  system.addEventListener("change", draw);
  draw().catch((error) => {
    root.classList.remove("js");
    console.error(error);
  });
})();
