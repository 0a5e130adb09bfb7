"""The excerpts of fig. 11: text in which each token is coloured by how many layers it
went through.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from scalelab.report.figure import Passage, Piece
from scalelab.report.figures.routes.arms import halts, identities
from scalelab.report.figures.routes.data import Routed, named


def passages(found: Sequence[Routed], settings: Sequence[str]) -> list[Passage]:
    """One for each arm in these settings whose tokens may take fewer layers than there are steps,
    and that left an excerpt.
    """
    shown = [
        one
        for one in found
        if one.arm.setting in settings and (halts(one.arm) or identities(one.arm))
    ]
    return [_passage(one, one.excerpt) for one in shown if one.excerpt]


def _passage(one: Routed, excerpt: Mapping[str, Any]) -> Passage:
    routes: Sequence[Sequence[int]] = excerpt["routes"]
    applied = [sum(layer <= one.pool.layers for layer in route) for route in routes]
    titles = [
        f"{len(route)} step{'' if len(route) == 1 else 's'}: "
        + ", ".join(named(layer, one.pool) for layer in route)
        for route in routes
    ]
    shown = sorted({applied[at] for row in excerpt["rows"] for at in row["route"]})
    # From no colour for the fewest layers to the deepest for the most.
    levels = {
        count: (count - shown[0]) / (shown[-1] - shown[0]) if len(shown) > 1 else 0.5
        for count in shown
    }
    level = [levels.get(count, 0.0) for count in applied]
    rows = [_pieces(row["tokens"], row["route"], level, titles) for row in excerpt["rows"]]
    legend = [
        Piece(f"{count} layer{'' if count == 1 else 's'}", levels[count], "") for count in shown
    ]
    caption = (
        f"Held-out tokens of `{one.arm.label}` by the layers that they went through, of at most"
        f" {one.pool.steps} (identity layers do nothing); point at one to read its route. One"
        " trial. A new paragraph begins where the model begins anew."
    )
    heading = f"{one.arm.name}: how many layers each token went through"
    return Passage(f"text-{_anchor(one.arm.label)}", heading, rows, legend, caption)


def _pieces(
    tokens: Sequence[str], route: Sequence[int], level: Sequence[float], titles: Sequence[str]
) -> list[Piece]:
    """The tokens of a row; neighbours of one route are one piece."""
    pieces: list[Piece] = []
    before = -1
    for text, at in zip(tokens, route, strict=True):
        shown = text or "\N{LOZENGE}"
        if at == before:
            pieces[-1] = Piece(pieces[-1].text + shown, pieces[-1].level, pieces[-1].title)
        else:
            pieces.append(Piece(shown, level[at], titles[at]))
        before = at
    return pieces


def _anchor(label: str) -> str:
    return "-".join(
        "".join(character if character.isalnum() else " " for character in label).split()
    )
