"""The page: self-contained, escaped, the same bytes each time; in a real browser, its marks, its
themes and its table.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import polars as pl
import pytest

from scalelab.fit.warned import Warned
from scalelab.report.figure import Drawing, Rows
from scalelab.report.html.markup import prose
from scalelab.report.html.page import to_page
from scalelab.report.registry import find

Browse = Callable[..., tuple[str, str]]
HOSTILE = """</script><img src=x onerror="document.title='taken'"><!--"""


def page(rows: Rows) -> str:
    return to_page(find(1), find(1).draw(rows), rows)


@pytest.fixture(scope="module")
def plain(rows: Rows) -> str:
    return page(rows)


def test_the_same_rows_give_the_same_bytes(rows: Rows, plain: str) -> None:
    assert plain == page(rows)
    assert plain == page(Rows(rows.trials.reverse(), rows.specs, rows.environments))


def test_it_asks_no_host_for_anything(plain: str) -> None:
    assert (
        re.findall(
            r"""(?:src|href|action)\s*=\s*["'](?!data:)""",
            re.sub(r"<script>.*?</script>", "", plain, flags=re.DOTALL),
        )
        == []
    )
    assert "default-src 'none'" in plain
    assert "cdn.jsdelivr" not in plain
    assert plain.count("window.vegaEmbed=") == 1
    assert len(plain) < 1_200_000


def test_text_from_data_is_escaped(rows: Rows) -> None:
    taken = rows.trials.with_columns(
        pl.lit(HOSTILE).alias("commit"), pl.lit(HOSTILE).alias("model.norm.kind")
    )
    hostile = Rows(
        taken,
        {HOSTILE: {"about": HOSTILE}},
        {"e": {"commit": HOSTILE, "argv": [HOSTILE], "packages": {HOSTILE: HOSTILE}}},
    )
    text = page(hostile)
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    spec = re.search(
        r'<script type="application/json" id="chart-cost">(.*?)</script>', text, flags=re.DOTALL
    )
    assert spec is not None
    assert "<" not in spec[1]
    assert set(json.loads(spec[1])["datasets"]) == {"means", "answers", "laws", "published"}


def test_a_filter_is_escaped_and_stands_as_it_was_typed(rows: Rows) -> None:
    text = page(replace(rows, filter=f"state == '{HOSTILE} %' and x^2 < `1`", before=1234))
    assert "<img src=x" not in text
    said = re.search(
        r"<h2>Methods</h2><div class=\"box\"><ul><li>Only rows that match <code>(.*?)</code>: 100"
        r" of 1,234 rows\.</li>",
        text,
    )
    assert said is not None
    assert unescape(said[1]) == f"state == '{HOSTILE} %' and x^2 < `1`"


def test_numbers_methods_runs_and_environments_stand_in_plain_html(rows: Rows, plain: str) -> None:
    for said in (
        "The numbers",
        "The fits",
        "How to read it",
        "Methods",
        "Every run (100)",
        "Environments (1)",
        "8.138 ",
        "torch 2.13.0",
    ):
        assert said in plain
    for row in rows.trials.head(3).iter_rows(named=True):
        assert row["digest"] in plain
        assert row["commit"] in plain
    assert "The same in every run: task.kind facts" in plain


def test_queued_trials_are_not_among_the_runs(rows: Rows) -> None:
    waiting = rows.trials.with_columns(
        pl.when(pl.col("model.width") == 24)
        .then(pl.lit("queued"))
        .otherwise("state")
        .alias("state")
    )
    assert "Every run (80)" in page(Rows(waiting, rows.specs))


@pytest.fixture(scope="module")
def written(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the rows up to width 16, where a cell is censored."""
    path = tmp_path_factory.mktemp("page") / "fig-1.html"
    path.write_text(
        page(Rows(rows.trials.filter(pl.col("model.width") < 24), rows.specs, rows.environments)),
        encoding="utf-8",
    )
    return path


def with_script(page: Path, script: str) -> Path:
    """The page with a script that acts when the chart stands, and then writes what it finds into
    the title.
    """
    drawn = "document.documentElement.dataset.drawn"
    wait = f"const wait=setInterval(()=>{{if({drawn}){{clearInterval(wait);act();}}}},50);"
    before, _, after = page.read_text(encoding="utf-8").rpartition("</body>")
    path = page.with_name("acted.html")
    path.write_text(
        f"{before}<script>const act=()=>{{{script}}};{wait}</script></body>{after}",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 420)])
def test_the_browser_draws_the_marks_without_an_error(
    written: Path, browse: Browse, dark: bool, width: int
) -> None:
    document, console = browse(written, dark=dark, width=width)
    assert console == ""
    assert f'data-drawn="{"dark" if dark else "light"}"' in document
    chart = document[document.index('class="live') : document.index("<figcaption>")]
    groups = re.findall(
        r'<g class="(mark-\w+) role-mark (layer_\d+)_marks"[^>]*>(.*?)</g>', chart, flags=re.DOTALL
    )
    drawn = {
        layer: (kind, body.count("<path") + body.count("<line") + body.count("<text"))
        for kind, layer, body in groups
    }
    assert drawn["layer_6"] == ("mark-symbol", 9)  # means: every cell but the censored one
    assert drawn["layer_7"] == ("mark-symbol", 1)  # the censored one
    assert drawn["layer_8"] == ("mark-text", 1)  # and its arrow
    assert drawn["layer_5"][1] >= 9  # the replicates' answers
    for text in ("in-weight", "in-tool", "published line", "10K", "1,024"):
        assert f">{text}</text>" in chart


def test_a_click_on_a_mark_names_its_trials_and_finds_their_rows(
    written: Path, browse: Browse
) -> None:
    script = """
        const mark = document.querySelector("g.layer_6_marks path");
        mark.dispatchEvent(new MouseEvent("click", {bubbles: true}));
        const said = [...document.querySelectorAll("#picked code")].map((code) => code.textContent);
        document.querySelector("#picked button[data-find]").click();
        const found = [...document.querySelectorAll("#runs tr.found")];
        const digests = found.map((row) => row.cells[0].textContent);
        document.title = JSON.stringify([document.getElementById("runs").open, said, digests]);
    """
    document, console = browse(with_script(written, script))
    assert console == ""
    title = re.search(r"<title>(.*?)</title>", document)
    assert title is not None
    is_open, said, found = json.loads(title[1])
    spec = re.search(r'id="chart-cost">(.*?)</script>', written.read_text(encoding="utf-8"))
    assert spec is not None
    assert is_open
    digests = json.loads(spec[1])["datasets"]["means"][0]["digests"]
    assert sorted(found) == sorted(digests)
    assert said == [f"scalelab show {digest[:10]}" for digest in digests]


def test_the_table_of_runs_sorts_and_the_theme_turns(written: Path, browse: Browse) -> None:
    script = """
        const heads = [...document.querySelectorAll("#runs th")];
        const column = heads.findIndex((head) => head.textContent === "params.total");
        const rows = () => [...document.querySelectorAll("#runs tbody tr")];
        const read = () => rows().map((row) => Number(row.cells[column].textContent));
        const press = () => { heads[column].querySelector("button").click(); return read(); };
        const up = press(), down = press();
        document.getElementById("theme").click();
        document.title = JSON.stringify([up, down, document.documentElement.dataset.theme]);
    """
    document, console = browse(with_script(written, script))
    title = re.search(r"<title>(.*?)</title>", document)
    assert console == ""
    assert title is not None
    up, down, theme = json.loads(title[1])
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert len(up) == 80
    assert theme == "dark"
    assert 'data-drawn="dark"' in document


def test_a_panel_is_saved_as_a_picture_and_its_numbers_as_csv(
    written: Path, browse: Browse
) -> None:
    script = """
        const saved = [];
        HTMLAnchorElement.prototype.click = function () {
            saved.push([this.download, this.href.slice(0, 21)]);
        };
        const texts = [];
        URL.createObjectURL = (blob) => {
            blob.text().then((text) => texts.push(text));
            return "blob:x";
        };
        for (const button of document.querySelectorAll("figure button"))
            if (!button.closest("th")) button.click();
        setTimeout(() => { document.title = JSON.stringify([saved, texts]); }, 1500);
    """
    document, console = browse(with_script(written, script))
    assert console == ""
    title = re.search(r"<title>(.*?)</title>", document, flags=re.DOTALL)
    assert title is not None
    saved, texts = json.loads(unescape(title[1]))
    names = dict(saved)
    assert set(names) == {"fig-1-cost.svg", "fig-1-cost.png", "fig-1-numbers-cost.csv"}
    assert names["fig-1-cost.png"].startswith("data:image/png;base64")
    (svg,) = [text for text in texts if text.startswith("<svg")]
    assert ">in-tool<" in svg
    (csv,) = [text for text in texts if not text.startswith("<svg")]
    assert csv.splitlines()[0].startswith('"recall","people","facts","mean size"')
    assert '"in-weight","8","32","6248"' in csv


def test_warnings_stand_before_the_charts_with_their_codes(
    rows: Rows, drawing: Drawing, plain: str
) -> None:
    assert 'class="warnings"' not in plain
    warned = replace(
        drawing,
        warnings=[
            Warned("few_levels", "D takes <2> values."),
            Warned("at_bound", "alpha stands at 1."),
        ],
    )
    text = to_page(find(1), warned, rows)
    assert "<code>few_levels</code> D takes &lt;2&gt; values." in text
    assert text.index('class="verdict"') < text.index("2 warnings") < text.index("<figure")


def test_prose_has_code_powers_and_per_cents_that_stay_together() -> None:
    said = prose("`scalelab ls` <b>: N^\N{MINUS SIGN}0.34. grows by 5 %")
    assert (
        said == "<code>scalelab ls</code> &lt;b&gt;: N<sup>\N{MINUS SIGN}0.34</sup>. grows by"
        " 5\N{NO-BREAK SPACE}%"
    )


def test_several_panels_are_drawn_and_narrow_ones_stand_side_by_side(
    rows: Rows, drawing: Drawing, tmp_path: Path, browse: Browse
) -> None:
    (panel,) = drawing.panels
    small = [
        replace(panel, name=name, title=name, chart={**panel.chart, "width": 380})
        for name in ("left", "right")
    ]
    path = tmp_path / "several.html"
    path.write_text(
        to_page(find(1), replace(drawing, panels=[panel, *small]), rows), encoding="utf-8"
    )
    script = """
        const at = (name) => document.getElementById(name).getBoundingClientRect();
        const pictures = [...document.querySelectorAll(".live svg")];
        const drawn = pictures.map((svg) => svg.querySelectorAll("path").length > 20);
        const wide = at("cost").width > 2 * at("left").width;
        document.title = JSON.stringify([drawn, at("left").top === at("right").top, wide]);
    """
    document, console = browse(with_script(path, script))
    title = re.search(r"<title>(.*?)</title>", document)
    assert console == ""
    assert title is not None
    assert json.loads(title[1]) == [[True, True, True], True, True]


def test_hostile_text_runs_nothing_in_the_browser(
    rows: Rows, tmp_path: Path, browse: Browse
) -> None:
    path = tmp_path / "hostile.html"
    taken = rows.trials.with_columns(pl.lit(HOSTILE).alias("commit"))
    path.write_text(
        page(Rows(taken, {HOSTILE: {"about": HOSTILE}}, rows.environments)), encoding="utf-8"
    )
    document, console = browse(path)
    assert console == ""
    assert "<title>Fig. 1: How many parameters" in document


def test_a_screenshot_in_each_theme(written: Path, browse: Browse, tmp_path: Path) -> None:
    pictures = []
    for dark in (False, True):
        picture = tmp_path / f"{dark}.png"
        browse(written, dark=dark, picture=picture)
        pictures.append(picture.read_bytes())
        assert pictures[-1][:4] == b"\x89PNG"
        assert len(pictures[-1]) > 30_000  # an empty page of this size has a tenth of that
    assert pictures[0] != pictures[1]
