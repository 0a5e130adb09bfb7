(() => {
  "use strict";
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const themes = read("themes");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const figure = document.querySelector("main").dataset.figure;
  const picked = document.getElementById("picked");
  const panels = [...document.querySelectorAll("figure")].map((place) => ({ place, spec: read(`chart-${place.id}`), shown: null }));
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  // The charts are drawn again for another theme; a drawing that was overtaken by the next is thrown away.
  let turn = 0;
  async function draw() {
    const mine = ++turn;
    const theme = isDark() ? "dark" : "light";
    for (const panel of panels) {
      const live = panel.place.querySelector(".live");
      const found = await vegaEmbed(live, fitted(panel.spec, live.clientWidth), {
        renderer: "svg", actions: false, config: themes[theme], tooltip: { theme },
      });
      if (mine !== turn) {
        found.finalize();
        return;
      }
      if (panel.shown) panel.shown.finalize();
      panel.shown = found;
      found.view.addEventListener("click", (event, item) => item && item.datum && item.datum.digests && pick(item.datum.digests));
    }
    root.dataset.drawn = theme;
  }

  // A chart takes the width of its place; several parts keep theirs, and stand in as many columns as there is room for.
  function fitted(spec, room) {
    if (typeof spec.width === "number") return { ...spec, width: "container", autosize: { type: "fit-x", contains: "padding" } };
    if (!spec.concat) return spec;
    const [part] = spec.concat;
    return { ...spec, columns: Math.max(1, Math.min(spec.columns, Math.floor(room / (part.width + 70)))) };
  }

  // A click on a mark names the trials behind it, and marks their rows in the table of runs.
  function pick(digests) {
    const wanted = new Set(digests);
    const rows = [...document.querySelectorAll("#runs tbody tr")];
    rows.forEach((row) => row.classList.toggle("found", wanted.has(row.cells[0].textContent)));
    const shown = digests.slice(0, 5);
    const lines = shown.map((digest) => {
      const line = element("li");
      line.append(element("code", `scalelab show ${digest.slice(0, 10)}`), " ", element("button", "Copy", { copy: digest }));
      return line;
    });
    const list = element("ul");
    list.append(...lines);
    const title = digests.length === 1 ? "1 trial behind this mark" : `${digests.length} trials behind this mark`;
    const more = digests.length > shown.length ? [element("p", `and ${digests.length - shown.length} more`)] : [];
    const tools = element("div");
    tools.className = "tools";
    if (rows.some((row) => row.classList.contains("found"))) tools.append(element("button", "Find among the runs", { find: "runs" }));
    tools.append(element("button", "Close", { close: "picked" }));
    picked.replaceChildren(element("strong", title), list, ...more, tools);
    picked.hidden = false;
  }

  function element(name, text = "", data = {}) {
    const made = document.createElement(name);
    made.textContent = text;
    if (name === "button") made.type = "button";
    Object.assign(made.dataset, data);
    return made;
  }

  function reveal() {
    const first = document.querySelector("#runs tr.found");
    first.closest("details").open = true;
    first.scrollIntoView({ block: "center" });
  }

  async function copy(button) {
    const line = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(`scalelab show ${button.dataset.copy}`);
      button.textContent = "Copied";
    } catch {
      window.getSelection().selectAllChildren(line);
      button.textContent = "Selected";
    }
  }

  function value(row, column) {
    const text = plain(row.cells[column]);
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  }

  // Numbers without what is only there to read them by.
  function plain(cell) {
    const text = cell.textContent;
    return cell.classList.contains("number") ? text.replaceAll(",", "").replaceAll("\u2212", "-") : text;
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

  function csv(table) {
    const line = (cells) => [...cells].map((cell) => `"${plain(cell).replaceAll('"', '""')}"`).join(",");
    return [...table.rows].map((row) => line(row.cells)).join("\r\n") + "\r\n";
  }

  function download(name, url) {
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    if (url.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  function saveText(name, text, type) {
    download(name, URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` })));
  }

  async function save(button) {
    const { place, shown } = panels.find((panel) => panel.place === button.closest("figure"));
    const name = `${figure}-${place.id}.${button.dataset.save}`;
    if (button.dataset.save === "svg") saveText(name, await shown.view.toSVG(), "image/svg+xml");
    else download(name, await shown.view.toImageURL("png", 2));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { csv: table, copy: digest, save: kind } = button.dataset;
    if (button.closest("th")) sort(button.closest("th"));
    else if (table) saveText(`${figure}-${table}.csv`, csv(document.querySelector(`#${table} table`)), "text/csv");
    else if (digest) copy(button);
    else if (kind) save(button);
    else if (button.dataset.find) reveal();
    else if (button.dataset.close) picked.hidden = true;
    else if (button.id === "theme") {
      root.dataset.theme = isDark() ? "light" : "dark";
      draw();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") picked.hidden = true;
  });
  system.addEventListener("change", draw);
  draw().catch((error) => {
    root.classList.remove("js");
    console.error(error);
  });
})();
