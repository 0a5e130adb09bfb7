"""The text test: how well a model predicts text that it was not trained on.

R windows, B of them in a batch, T positions, S = T + 1 tokens, M targets of a window, N
predictions, n of them in a block, P probes, D width, V vocabulary, L layers with experts, E experts
of a layer.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab.core.events import Interrupted
from scalelab.core.seeds import derive
from scalelab.data.hashing import words
from scalelab.evaluate.excerpt import BYTES, excerpt, texts_of
from scalelab.evaluate.mode import evaluating
from scalelab.evaluate.routes import Tally, routes
from scalelab.evaluate.token_kinds import kinds
from scalelab.families.cost import forward_flops
from scalelab.families.language_model import LanguageModel
from scalelab.families.objective import Batch
from scalelab.generate import decoding_speed
from scalelab.tasks.task import Test
from scalelab.tasks.text.data import TextData
from scalelab.tasks.text.device import put
from scalelab.tasks.text.objectives import Examples, Ids, alone, examples

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial

SAMPLE = 2**14
"""Positions of the validation split that are scored, about: the same at every evaluation of every
trial.
"""

TEST = 2**20
"""Most positions of the test split that are scored; of a longer one windows that are spread evenly
over it.
"""

PROBE = 1024
"""Tokens that a masked model predicts one at a time."""

_POSITIONS = {"cpu": 2**11, "cuda": 2**16}
"""Positions of a forward pass."""

_LOGITS = {"cpu": 2**22, "cuda": 2**26}
"""Logits that stand in memory at once."""

Split = Literal["validation", "test"]


def open_test(
    trial: "Trial", data: TextData, device: torch.device, stopping: Callable[[], bool]
) -> "TextTest":
    """The test of a trial."""
    return TextTest(trial, data, device, stopping)


class TextTest(Test):
    """Loss of a model on held-out text, on one device.

    Raises Interrupted where `stopping()` turns true on the way.

    What is given or hidden is drawn once, and the same for every trial. The model is evaluated at
    its trial's precision: under `bf16` its matrix products are bf16, as they were in training;
    losses are computed from its logits in fp32 and summed in fp64.
    """

    def __init__(
        self,
        trial: "Trial",
        data: TextData,
        device: torch.device | str = "cpu",
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.trial, self.data, self.device, self.stopping = (
            trial,
            data,
            torch.device(device),
            stopping,
        )
        self._exact = torch.float32 if self.device.type == "mps" else torch.float64
        # What is missing of a tokenizer is missed here, before anything is trained.
        self._kind_V = kinds(data.tokenizer, data.shape.vocab) if trial.model.layer_pool else None

    def quick(self, model: LanguageModel) -> dict[str, float]:
        """`validation_loss`, on windows spread evenly over the validation split, whatever the
        batch.
        """
        return {"validation_loss": self._loss(model, self._passages("validation", self._sample))}

    def full(self, model: LanguageModel) -> dict[str, float]:
        """The final metrics of a model.

        `validation_loss` (of the windows of `quick`) and `test_loss` (of the whole test split, or
        `TEST` positions spread over it): mean nats of a predicted token. `perplexity`: e to the
        test loss. `bits_per_byte`: bits of the test loss by the bytes that a token of the split
        stands for, where every token is predicted; elsewhere (prefix and masked objectives,
        documents apart) it would be no length of a code. `test_loss_floor` (the corpus `tales`):
        the test loss of the grammar that wrote the text. `pseudo_perplexity` (masked): the
        perplexity of tokens that are hidden one at a time (arXiv 1910.14659). With experts, of the
        same passes as the test loss: `test_load_{layer}_{expert}`, the share of the layer's
        assignments, and `test_max_vio`, by how much the busiest expert exceeds an even load, as a
        mean over layers (MaxVio_global, arXiv 2408.15664). `flops_per_token`: forward FLOPs by
        positions; of a router over layers those that were run, with its routes over the whole
        validation split (see `routes.Tally`), and `loss_step_{step}`: the loss there, were it
        predicted after that step. Where the trial asks for it, how fast the model decodes (see
        `generate.decoding_speed`).
        """
        windows_RS, loads = self.data.held_out("test", self._windows(TEST)), list[Tensor]()
        test = self._loss(model, self._passages("test", windows_RS), loads)
        found = self.quick(model) | {
            "test_loss": test,
            "perplexity": _exp(test),
            **_of_experts(loads),
        }
        if self.data.task.predicts_all:
            found["bits_per_byte"] = test / math.log(2) / self.data.bytes_per_token("test")
            if (floor := self.data.floor("test")) is not None:
                found["test_loss_floor"] = floor
        if self.data.task.objective.kind == "masked":
            found["pseudo_perplexity"] = _exp(self._loss(model, self._one_at_a_time(windows_RS)))
        return found | self._of_routes(model) | self._decoding_speed(model)

    def notes(self, model: LanguageModel) -> dict[str, str]:
        """Texts that stay with the trial, as `data:` URLs: of a router over layers an excerpt of
        the validation split, `routes`.
        """
        pool = self.trial.model.layer_pool
        if pool is None:
            return {}
        windows_RS, found = (
            self.data.held_out("validation")[: -(-BYTES // self.data.shape.context)],
            dict[str, str](),
        )

        def drawn(seen: Batch) -> Sequence[Tensor]:
            texts = texts_of(self.data.tokenizer, seen.tokens_BT.tolist())
            output = model.run_steps(seen.tokens_BT, seen.layout)
            found["routes"] = excerpt(pool, texts, routes(output, seen.tokens_BT.shape))
            return ()

        self._losses(model, self._passages("validation", windows_RS), drawn)
        return found

    def _windows(self, positions: int) -> int:
        return max(1, positions // self.data.shape.context)

    def _of_routes(self, model: LanguageModel) -> dict[str, float]:
        """FLOPs of a token; of a router over layers what they went to, and the loss after each
        step.
        """
        given, shape = self.trial.model, self.data.shape
        if given.layer_pool is None:
            return {
                "flops_per_token": (
                    forward_flops(given, shape.vocab, shape.context, shape.targets) / shape.context
                )
            }
        assert self._kind_V is not None
        tally = Tally(given.layer_pool, self._kind_V, self._exact)

        def counted(seen: Batch) -> Sequence[Tensor]:
            output = model.run_steps(seen.tokens_BT, seen.layout, each_step=True)
            tally.add(output, seen.tokens_BT)
            return output.each_step

        after = self._losses(
            model, self._passages("validation", self.data.held_out("validation")), counted
        )
        return tally.values() | {f"loss_step_{step}": loss for step, loss in enumerate(after, 1)}

    def _decoding_speed(self, model: LanguageModel) -> dict[str, float]:
        """See `generate.decoding_speed`; nothing where the trial does not ask for it."""
        asked = self.trial.evaluation.decoding
        if asked is None:
            return {}
        contexts = asked.contexts or (self.data.shape.context,)
        with (
            evaluating(model),
            torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.trial.precision == "bf16"
            ),
        ):
            return decoding_speed(model, self.data.shape.vocab, contexts, asked.lanes, self.device)

    def _passages(self, split: Split, windows_RS: Ids) -> Iterator[Examples]:
        """The windows under the objective; drawn as they are asked for, so that a long split takes
        no more memory.
        """
        seed = derive(0, "held out", split)
        for at in self._batches(len(windows_RS)):
            yield examples(
                self.data.task,
                self.data.manifest,
                windows_RS[at],
                np.arange(at.start, at.stop),
                seed,
            )

    def _one_at_a_time(self, windows_RS: Ids) -> Iterator[Examples]:
        """Windows of which one token is hidden, each time another one."""
        row_P, position_P = _places(len(windows_RS), self.data.shape.context, PROBE)
        for at in self._batches(len(row_P)):
            yield alone(self.data.task, self.data.manifest, windows_RS[row_P[at]], position_P[at])

    def _batches(self, rows: int) -> Iterator[slice]:
        return (
            slice(start, min(start + self._lanes, rows)) for start in range(0, rows, self._lanes)
        )

    @property
    def _lanes(self) -> int:
        return max(1, _POSITIONS.get(self.device.type, 2**11) // self.data.shape.context)

    @cached_property
    def _sample(self) -> Ids:
        return self.data.held_out("validation", self._windows(SAMPLE))

    def _loss(
        self, model: LanguageModel, batches: Iterable[Examples], loads: list[Tensor] | None = None
    ) -> float:
        """Mean nats of a prediction.

        Where the model has experts, `loads` is given their loads [L, E], batch by batch.
        """
        return self._losses(model, batches, lambda seen: (self._features(model, seen, loads),))[0]

    @torch.inference_mode()
    def _losses(
        self,
        model: LanguageModel,
        batches: Iterable[Examples],
        read: Callable[[Batch], Sequence[Tensor]],
    ) -> list[float]:
        """Mean nats of a prediction from each of the features that `read` finds in some windows."""
        nats, targets = list[Tensor](), 0
        with (
            evaluating(model),
            torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.trial.precision == "bf16"
            ),
        ):
            for batch in batches:
                if self.stopping():
                    raise Interrupted
                seen = put(batch, self.device)
                found = [self._nats(model, x_BMD, seen) for x_BMD in read(seen)]
                nats = (
                    [total + more for total, more in zip(nats, found, strict=True)]
                    if nats
                    else found
                )
                targets += batch.targets
        return [total.item() / targets for total in nats]

    def _nats(self, model: LanguageModel, x_BMD: Tensor, seen: Batch) -> Tensor:
        """Sum over the predictions of some windows, block by block: the logits never stand in
        memory at once.
        """
        x_ND, label_N = x_BMD.flatten(0, 1), seen.labels_BM.flatten()
        if seen.weights_BM is not None:
            bears_N = seen.weights_BM.flatten() > 0
            x_ND, label_N = x_ND[bears_N], label_N[bears_N]
        size, nats = (
            max(1, _LOGITS.get(self.device.type, 2**22) // self.data.shape.vocab),
            torch.zeros((), dtype=self._exact, device=self.device),
        )
        for x_nD, label_n in zip(x_ND.split(size), label_N.split(size), strict=True):
            logits_nV = model.head(x_nD)
            logits_nV = logits_nV.to(torch.promote_types(logits_nV.dtype, torch.float32))
            nats += F.cross_entropy(logits_nV, label_n, reduction="none").sum(dtype=self._exact)
        return nats

    def _features(self, model: LanguageModel, seen: Batch, loads: list[Tensor] | None) -> Tensor:
        """[B, T, D], or [B, M, D] at the targets.

        Where loads are asked for a short batch stays short: what fills it would be counted.
        """
        if loads is None or self.trial.model.mixture is None:
            # A short batch is filled with its first window: one shape is compiled once.
            tokens_BT, layout, windows = seen.tokens_BT, seen.layout, len(seen.tokens_BT)
            if windows < self._lanes:
                index_B = torch.arange(self._lanes, device=self.device)
                index_B = index_B.where(index_B < windows, 0)
                tokens_BT, layout = tokens_BT[index_B], layout.rows(index_B)
            return model.trunk(tokens_BT, layout)[:windows]
        x_BMD, routings = model.run(seen.tokens_BT, seen.layout)
        loads.append(torch.stack([routing.load_E for routing in routings]).to(self._exact))
        return x_BMD


def _exp(nats: float) -> float:
    """e to the nats, and a number all the same where a model is wrong beyond what a
    number holds.
    """
    return math.exp(min(nats, 700.0))


def _of_experts(loads: list[Tensor]) -> dict[str, float]:
    """How the experts were used by all batches together; nothing where there are none."""
    if not loads:
        return {}
    load_LE = torch.stack(loads).sum(0)
    share_LE = load_LE / load_LE.sum(1, keepdim=True).clamp(min=1)
    max_vio_L = share_LE.amax(1) * share_LE.shape[1] - 1
    shares = (
        (layer, expert, share)
        for layer, share_E in enumerate(share_LE.tolist())
        for expert, share in enumerate(share_E)
    )
    return {"test_max_vio": max_vio_L.mean().item()} | {
        f"test_load_{layer}_{expert}": share for layer, expert, share in shares
    }


def _places(
    rows: int, positions: int, most: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """At most `most` places in a table, as rows and positions, spread over the rows; all of them
    where there are no more.
    """
    if rows * positions <= most:
        return np.divmod(np.arange(rows * positions), positions)
    drawn = words(0, "one at a time", at=np.arange(most)) % np.uint64(positions)
    return np.arange(most) * rows // most, drawn.astype(np.int64)
