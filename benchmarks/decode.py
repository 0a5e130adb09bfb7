"""Decoding tokens a second: with a cache against without, against Hugging Face's `generate`, and
for MHA, GQA and MQA. On one thread.

    taskset -c 1 python benchmarks/decode.py            everything: minutes, half of them to compile
    taskset -c 1 python benchmarks/decode.py --eager    nothing is compiled

The shape: 4 layers, 4 heads, width 128, SwiGLU of 352, vocabulary 257, untied, rope, fp32, a
LlamaForCausalLM of the same sizes beside it. Everything is measured in turns, and medians are
given. Processor time is counted and not that of the clock: on a machine that others use the second
tells about them.

Hugging Face's side has a static cache with the room that is needed. Both sides get the same prompts
and decode the same number of tokens greedily, called as a user calls them (`stream`, `generate`);
the time of two lengths is subtracted, so that the prompt, and whatever is done once, counts on
neither side. Compiled, ours is `compiled_step` and theirs a compiled forward. B lanes, T positions.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from scalelab import families as spec
from scalelab.data.text import mds
from scalelab.data.text.tokenizers import Bytes
from scalelab.families.transformer.model import Transformer
from scalelab.generate import GREEDY, compiled_step, decoding_speed, stream
from scalelab.generate.lanes import Step
from scalelab.generate.vocabulary import Documents
from scalelab.layers.spec import Ffn
from scalelab.train.process import prepare

TOY = "SCALELAB_TOY" in os.environ
LAYERS, HEADS, WIDTH, HIDDEN, CONTEXT, VOCAB = 4, 4, 128, 352, 128 if TOY else 1024, 257
FEW, MANY = (1, 4) if TOY else (8, 64)
"""Tokens that are decoded behind a prompt: twice, to subtract."""
ROUNDS = 1 if TOY else 7
SECONDS = 0.05 if TOY else 1.0
"""Spent on each measurement of our own step."""

Decode = Callable[[int], None]
"""Decodes this many tokens behind the prompts."""


class Endless(Documents):
    """Bytes that no token ends: everybody decodes as many as are asked for."""

    def __init__(self) -> None:
        super().__init__(Bytes())
        self.ends = frozenset[int]()


def ours(kv_heads: int = HEADS) -> Transformer:
    """The model, untrained."""
    given = spec.Transformer(
        layers=LAYERS, heads=HEADS, kv_heads=kv_heads, width=WIDTH, ffn=Ffn(width=HIDDEN)
    )
    return Transformer(given.resolved(), VOCAB, CONTEXT).initialise(0).eval()


def theirs() -> Any:
    """A Llama of the same sizes, untrained."""
    mds.load()  # mends torchvision, which transformers imports too, beside a CPU build of torch
    from transformers import LlamaConfig, LlamaForCausalLM

    nothing: Any = None
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        bos_token_id=nothing,
        eos_token_id=nothing,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def our_decode(model: Transformer, prompts: list[str], step: Step | None = None) -> Decode:
    """Through `stream`, token by token."""
    words = Endless()

    def decode(tokens: int) -> None:
        pieces = stream(model, words, prompts, limit=tokens, sampling=GREEDY, step=step)
        assert sum(1 for _ in pieces) == tokens * len(prompts)

    return decode


def their_decode(model: Any, prompts: list[str]) -> Decode:
    """Through `generate`, with a static cache that serves every call."""
    from transformers import StaticCache

    ids_BT = torch.tensor([list(prompt.encode()) for prompt in prompts])
    cache = StaticCache(model.config, max_cache_len=ids_BT.shape[1] + MANY)

    def decode(tokens: int) -> None:
        cache.reset()
        options = {
            "max_new_tokens": tokens,
            "min_new_tokens": tokens,
            "do_sample": False,
            "past_key_values": cache,
        }
        found_BT = model.generate(
            ids_BT, attention_mask=torch.ones_like(ids_BT), disable_compile=True, **options
        )
        assert found_BT.shape[1] == ids_BT.shape[1] + tokens

    return decode


def against_theirs(compiled: bool) -> None:
    """Ours and theirs at a short and a long text, alone and eight at a time; compiled, alone at a
    long text.
    """
    model, llama = ours(), theirs()
    print(
        f"\nparameters: ours {sum(map(torch.numel, model.parameters())):,}, theirs"
        f" {sum(map(torch.numel, llama.parameters())):,}"
    )
    for length, num in ((64, 1), (CONTEXT - MANY, 1), (64, 8), (CONTEXT - MANY, 8)):
        prompts = [("to be or not " * 100)[:length]] * num
        show(
            f"B {num}, T {length} to {length + MANY}",
            num,
            {"theirs": their_decode(llama, prompts), "ours": our_decode(model, prompts)},
        )
    if compiled:
        prompts, forward = [("to be or not " * 100)[: CONTEXT - MANY]], llama.forward
        llama.forward = torch.compile(forward, dynamic=False)
        sides = {
            "theirs": their_decode(llama, prompts),
            "ours": our_decode(model, prompts, compiled_step()),
        }
        show(f"compiled, B 1, T {CONTEXT - MANY} to {CONTEXT}", 1, sides)


def show(title: str, num: int, sides: dict[str, Decode]) -> None:
    """Measure, and print a line for each side."""
    seconds = in_turns(sides)
    print(f"{title}:")
    for name, taken in seconds.items():
        faster = seconds["theirs"] / taken
        print(
            f"  {name:8}{1e3 * taken:8.2f} ms a step {num / taken:9,.0f} tokens/s {faster:6.2f} x"
            " theirs",
            flush=True,
        )


def in_turns(sides: dict[str, Decode]) -> dict[str, float]:
    """Seconds of a step of each side: the median over the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS + 1):  # the first one warms up
        for name, decode in sides.items():
            few, many = spent(decode, FEW), spent(decode, MANY)
            taken[name].append((many - few) / (MANY - FEW))
    return {name: statistics.median(found[1:]) for name, found in taken.items()}


def spent(decode: Decode, tokens: int) -> float:
    """Processor seconds of decoding so many tokens."""
    began = time.process_time()
    decode(tokens)
    return time.process_time() - began


def with_and_without_cache(compiled: bool) -> None:
    """Our own step at each context, and the bytes of the cache."""
    for kv_heads, name in ((HEADS, "MHA"), (HEADS // 2, "GQA"), (1, "MQA")):
        model = ours(kv_heads)
        for how in (False, True) if compiled else (False,):
            found = decoding_speed(
                model,
                VOCAB,
                [128, CONTEXT],
                [1, 8],
                seconds=SECONDS,
                step=compiled_step() if how else None,
            )
            print(
                f"{name}{', compiled' if how else ''}: {found['cache_bytes_per_token']:,.0f} bytes"
                " of cache a token"
            )
            for case in ("b1_t128", f"b1_t{CONTEXT}", "b8_t128", f"b8_t{CONTEXT}"):
                decode, whole, prefill = (
                    found[f"{what}_tokens_per_second_{case}"]
                    for what in ("decode", "uncached", "prefill")
                )
                print(
                    f"  {case:9}{decode:9,.0f} tokens/s, uncached {whole:7,.1f}"
                    f" ({decode / whole:5.1f} x), prefill {prefill:9,.0f}"
                )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--eager", action="store_true")
    args = parser.parse_args()
    prepare(1)
    torch.manual_seed(0)
    with_and_without_cache(compiled=not args.eager)
    against_theirs(compiled=not args.eager)


if __name__ == "__main__":
    main()
