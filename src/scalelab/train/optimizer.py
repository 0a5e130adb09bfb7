"""Optimizers, built from their spec: which parameter is updated how is told by its role, and roles
are declared by the modules.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scalelab.families import Model
from scalelab.families.language_model import LanguageModel
from scalelab.layers.parameters import Linear, Stack, roles
from scalelab.layers.spec import Role
from scalelab.spec.experiment import Precision
from scalelab.spec.optim import AdamW, Muon
from scalelab.train import muon
from scalelab.train.schedule import share_of_peak


class Treatment(NamedTuple):
    """How a parameter is updated. Parameters that are treated alike stand in one group."""

    by_muon: bool
    lr: float
    """The peak of its learning rate."""
    weight_decay: float
    """Decoupled, and multiplied by that learning rate."""


class Optimizer:
    """What updates a model: one AdamW, or Muon for the matrices and AdamW for the rest.

    What is frozen (it requires no gradient) stays.

    The learning rates are tensors on the device, so that a compiled step sees no new constant and
    an update waits for nothing. Parameters and moments are fp32; `precision` is the arithmetic of
    Muon's Newton-Schulz steps.
    """

    def __init__(
        self,
        given: AdamW | Muon,
        model: LanguageModel,
        device: torch.device,
        precision: Precision = "fp32",
    ) -> None:
        self.given, self.weights = (
            given,
            [weight for weight in model.parameters() if weight.requires_grad],
        )
        self._parts, self._peaks = [], list[list[float]]()
        treated = _treated(given, model)
        for by_muon in (True, False):
            chosen = {
                treatment: weights
                for treatment, weights in treated.items()
                if treatment.by_muon == by_muon
            }
            if chosen:
                groups = [
                    {
                        "params": weights,
                        "lr": torch.tensor(treatment.lr, device=device),
                        "weight_decay": treatment.weight_decay,
                    }
                    for treatment, weights in chosen.items()
                ]
                self._parts.append(
                    _muon(groups, given, model, precision)
                    if by_muon
                    else torch.optim.AdamW(
                        groups, lr=groups[0]["lr"], betas=given.betas, eps=given.eps, fused=True
                    )
                )
                self._peaks.append([treatment.lr for treatment in chosen])

    def update(self, step: int, steps: float) -> None:
        """The update number `step` (from 0) out of `steps`, from the gradients that are there; they
        are gone afterwards.
        """
        if self.given.clip is not None:
            nn.utils.clip_grad_norm_(self.weights, self.given.clip)
        share = share_of_peak(self.given.schedule, step, steps)
        for part, peaks in zip(self._parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"].fill_(peak * share)
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """What a checkpoint holds."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Go on from a checkpoint. Raises ValueError where it is another optimizer's."""
        for part, content in zip(self._parts, state, strict=True):
            part.load_state_dict(content)


def treatment(given: AdamW | Muon, model: Model, role: Role) -> Treatment:
    """How a parameter of this role is updated.

    Under muP (arXiv 2203.03466, table 8) the learning rate of a hidden matrix or a router under
    Adam goes as 1 / width, and that of embeddings, gains and the head (whose logits are scaled
    instead) stays. Under Muon's `original` scaling an update's spectral norm is what muP asks for
    already; `match_rms_adamw` lets it grow as sqrt(width), which is taken back.

    The base model is taken to be this one made narrower in proportion, since a resolved spec does
    not tell which sizes follow the width: the feed-forward hidden width and heads * head_width are
    assumed to grow with it, so that the fan-in of every hidden matrix is width / base times that of
    the base. Where one of them is held fixed or solved apart, the matrices that read it (`down` and
    `out`) get a rate that is too small (it fell behind the width) or too large (it ran ahead of
    it).
    """
    decay = given.weight_decay if role in given.decayed else 0.0
    wider = model.mup_factor
    if isinstance(given, Muon):
        if role == "matrix":
            return Treatment(
                True, given.lr / (1.0 if given.scaling == "original" else wider**0.5), decay
            )
        return Treatment(False, given.adamw_lr / (wider if role == "router" else 1.0), decay)
    return Treatment(False, given.lr / (wider if role in ("matrix", "router") else 1.0), decay)


def _treated(given: AdamW | Muon, model: LanguageModel) -> dict[Treatment, list[Tensor]]:
    """The parameters in groups, in the model's order; frozen ones are in none."""
    found: dict[Treatment, list[Tensor]] = {}
    role_of = roles(model)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            found.setdefault(treatment(given, model.config, role_of[name]), []).append(weight)
    return found


def _muon(
    groups: list[dict[str, Any]], given: AdamW | Muon, model: LanguageModel, precision: Precision
) -> torch.optim.Optimizer:
    assert isinstance(given, Muon)
    parts: dict[Tensor, tuple[int, ...]] = {
        module.weight: module.outputs
        for module in model.modules()
        if isinstance(module, Linear | Stack)
    }
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return muon.Muon(groups, given, parts, dtype)
