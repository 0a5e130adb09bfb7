"""Choosers for the tests of routers over layers, and what they choose."""

import torch
from torch import Tensor, nn

from scalelab.families.layer_router.chooser import Choice, Chooser
from scalelab.families.layer_router.routing_noise import draw
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.layers.parameters import Embedding, initialise

LANES, LENGTH, WIDTH, STEPS, POOL = 4, 6, 16, 3, 4

POLICIES = ["random", "learned", "closed", "open"]
KINDS = ["linear", "mlp", "lstm", "gru"]
SELECTIONS = ["straight_through", "gumbel", "soft", "reinforce"]

Given = dict[str, object]


def built(given: Given) -> Chooser:
    spec = LayerRouter.model_validate(
        {"layers": 3, "identity": 1, "steps": STEPS, **given}
    ).resolved()
    chooser = Chooser(spec)
    initialise(chooser, spec.init, spec.layers, seed=0)
    generator = torch.Generator().manual_seed(2)
    for module in chooser.modules():
        if isinstance(module, Embedding):
            nn.init.normal_(module.weight, generator=generator)
    return chooser


def states(lanes: int = LANES, length: int = LENGTH) -> Tensor:
    return torch.randn(lanes, length, WIDTH, generator=torch.Generator().manual_seed(1))


def choices(
    chooser: Chooser, x_BTD: Tensor, position_BT: Tensor | None = None, seed: int = 0
) -> list[Choice]:
    """The choices of all steps for the same states."""
    torch.manual_seed(seed)
    draws = draw(chooser.config, len(x_BTD), x_BTD.shape[1], "cpu") if chooser.training else None
    state, made = chooser.start(x_BTD.shape[0], x_BTD.shape[1], x_BTD), []
    for step in range(chooser.config.num_steps):
        choice, state = chooser(x_BTD, step, state, draws, position_BT)
        made.append(choice)
    return made


def hard(chooser: Chooser, x_BTD: Tensor, position_BT: Tensor | None = None) -> list[Choice]:
    chooser.eval()
    found = choices(chooser, x_BTD, position_BT)
    chooser.train()
    return found


def of(
    policy: str, kind: str = "linear", selection: str = "straight_through", **given: object
) -> Given:
    """A spec of what has a meaning under the policy."""
    router = {"router": {"kind": kind}} if policy in ("closed", "open") else {}
    return {
        "policy": policy,
        **router,
        **({} if policy == "random" else {"selection": {"kind": selection}}),
        **given,
    }


def part_of(choice: Choice, lanes: slice, positions: slice = slice(None)) -> Choice:
    """The choice of some lanes and positions."""
    chosen, weight, probability, log_prob, logits = (part[lanes, positions] for part in choice[:-1])
    return Choice(chosen, weight, probability, log_prob, logits, choice.step)
