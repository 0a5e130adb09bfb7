"""Parameters and FLOPs of an LSTM, in closed form.

D width, L layers, V vocabulary, T positions.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalelab.families.lstm.spec import Lstm


def parameter_groups(model: "Lstm", vocab: int) -> dict[str, int]:
    """Each layer has four gates, which read the input and the last output: 4 D (D + D), and two
    biases of 4 D.
    """
    width = _width(model)
    return {
        "embedding": vocab * width,
        "recurrent": model.layers * (8 * width**2 + 8 * width),
        "head": 0 if model.tied else vocab * width,
    }


def forward_flops(model: "Lstm", vocab: int, context: int, targets: int) -> int:
    """The gates of every layer at every position, 2 T L 8 D^2, and the head at the targets."""
    width = _width(model)
    return 2 * context * model.layers * 8 * width**2 + 2 * targets * width * vocab


def _width(model: "Lstm") -> int:
    assert isinstance(model.width, int), "a resolved model is counted"
    return model.width
