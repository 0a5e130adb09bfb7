"""Gaps in a text, filled by a model that sees both of their sides.

B lanes, T positions, V vocabulary.
"""

from collections.abc import Sequence

import torch

from scalelab.core.errors import UserError
from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.generate.sampling import Sampling, choose, keys
from scalelab.generate.streaming import Continuation
from scalelab.generate.vocabulary import Vocabulary


@torch.inference_mode()
def fill(
    model: LanguageModel,
    vocabulary: Vocabulary,
    ids: Sequence[int],
    num: int,
    *,
    limit: int,
    sampling: Sampling,
    device: torch.device | str = "cpu",
) -> list[Continuation]:
    """The text of `ids` with its gaps filled, `num` times.

    At most `limit` gaps are filled, one after the other from left to right: each token is chosen
    given all others, those before it filled and those behind it hidden. Raises UserError where the
    text is longer than the model's context.
    """
    if len(ids) > model.context:
        what = f"the prompt has {len(ids):,} tokens, and the model's context {model.context:,}"
        raise UserError(what, cure="take a shorter prompt")
    text_BT = torch.tensor([list(ids)] * num, device=device)
    key_B2 = keys(sampling.seed, range(num)).to(device)
    gaps = [at for at, token in enumerate(ids) if token == vocabulary.gap]
    for at in gaps[:limit]:
        at_B1 = torch.full((num, 1), at, device=device)
        logits_BV = model.head(model.run(text_BT, Layout(targets_BM=at_B1))[0])[:, 0]
        logits_BV[:, [vocabulary.gap, *vocabulary.ends]] = -torch.inf  # neither fills a gap
        seen_BV = torch.zeros_like(logits_BV, dtype=torch.bool).scatter_(1, text_BT, True)
        text_BT[:, at] = choose(logits_BV, sampling, key_B2, at_B1[:, 0], seen_BV)
    filled, end = min(limit, len(gaps)), "limit" if limit < len(gaps) else "end"
    return [Continuation(vocabulary.decode(text_T), filled, end) for text_T in text_BT.tolist()]
