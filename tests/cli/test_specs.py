"""`specs`, and commands that take a spec by its name."""

from pathlib import Path

from tests.cli.conftest import Command

SPEC = """\
name: mine
about: A spec of one's own.
task: {people: 4}
model: {width: 8}
budget: {steps: 2}
"""


def test_specs_lists_what_can_be_run(command: Command) -> None:
    own = Path("specs/mine.yaml")
    own.parent.mkdir()
    own.write_text(SPEC)
    Path("specs/broken.yaml").write_text("name: [")
    rows = {(row["kind"], row["name"]): row for row in command("specs", "--json").json["specs"]}
    assert rows["spec", "mine"] == {
        "name": "mine",
        "kind": "spec",
        "path": "specs/mine.yaml",
        "shipped": False,
        "about": "A spec of one's own.",
    }
    assert rows["spec", "routers"]["shipped"]
    assert rows["space", "router"]["shipped"]
    assert "specs/broken.yaml:1" in rows["spec", "broken"]["about"]
    assert rows["spec", "facts_vs_params_large"]["about"]  # of what it extends
    shown = command("specs").out
    assert all(name in shown for _, name in rows)


def test_a_spec_is_planned_by_name_and_says_where_it_came_from(command: Command) -> None:
    shipped = command("plan", "fact_capacity", "--json")
    assert shipped.code == 0
    assert shipped.json["experiment"] == "fact_capacity"
    assert "specs copy fact_capacity" in shipped.err
    assert command("plan", "specs/fact_capacity.yaml", "--json").json == shipped.json
    copied = command("specs", "copy", "fact_capacity", "--json")
    assert copied.json == {"written": ["specs/fact_capacity.yaml"], "kept": []}
    own = command("plan", "fact_capacity", "--json")
    assert own.json == shipped.json
    assert own.err == ""
    assert command("specs", "copy", "fact_capacity").code == 2
