"""Correct inputs of every kind, small ones, and what reads each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scalelab.core.filter import compile_filter
from scalelab.fit.formula import evaluate
from scalelab.fit.laws import find

SPEC = """\
name: tiny
about: Does it?
task: {kind: facts, people: 8, recall: in_weight, templates: 2}
model: {kind: transformer, layers: 1, width: 8, heads: 2, ffn: {kind: swiglu, ratio: 4}}
budget: {exposures: 20}
optim: {kind: adamw, lr: 1e-2, betas: [0.9, 0.95], schedule: {kind: wsd, warmup: 5, decay: 0.2}}
batch: 4
evaluation: {first: 10, ratio: 1.5, stop: {metric: recall, at_least: 0.95}}
axes:
  task.people: [4, 8]
  model.width: {range: [8, 16, 4]}
  zip: {optim.lr: [1e-3, 1e-2], seed: [0, 1]}
replicates: 2
execution: {threads: 1, retries: 0}
"""

SOLVED = """\
name: solved
task: {kind: arithmetic, length: 2, longest: 3}
model: &m {layers: 2, width: solve, heads: 2, position: {kind: rope, theta: 1e4}}
budget: {tokens: 20k, params: {target: 16k, tolerance: 0.3}}
optim: {kind: muon, lr: 2e-2}
arms:
  base: {}
  experts: {model.ffn: {kind: moe, experts: 4, chosen: 2, width: 16}}
  router: {model.kind: layer_router, model.policy: open, model.halting: {kind: act, cost: 0.01}}
search: {kind: grid}
"""

FRONTIER = """\
name: frontier
task: {kind: biography, people: 20, context: 128, text: {kind: bioD, attributes: 2}}
model: {layers: 1, width: 8, heads: 2}
budget: {steps: 10}
axes:
  task.people: {logspace: [10, 40, 3]}
  model.width: [4, 8, 12]
search: {kind: frontier, metric: recall, at_least: 0.95}
"""

SPACE = """\
name: small
base:
  task: {people: 8}
  model: {layers: 1, width: 8, heads: 2}
  budget: {steps: 20}
search:
  optim.lr: {float: [1e-3, 1e-1], log: true}
  model.layers: {int: [1, 7], step: 2}
  model.ffn.kind: {choice: [gelu, swiglu]}
  model.ffn.ratio: {int: [1, 4], when: {model.ffn.kind: [gelu]}}
objectives: {recall: maximize}
sampler: {kind: tpe}
pruner: {kind: asha}
trials: 5
"""

MAPPING = """\
experiment: published
columns:
  params.total: params
  budget.tokens: tokens
  optim.lr: {column: lr, values: {low: 1e-3, high: 1e-2}}
  metrics.loss: loss
  seed: seed
  extra.group: group
"""

TABLE = """\
params,tokens,lr,loss,seed,group,notes
10000000,200M,low,4.9,0,a,
10000000,1e9,high,4.2,0,a,"x, y"
30000000,200M,low,4.5,0,b,
30000000,1e9,high,3.9,1,b,z
90000000,200M,low,4.1,1,c,
90000000,1e9,high,3.5,1,c,
270000000,1e9,low,3.2,2,c,
270000000,4e9,low,2.9,2,c,
"""

LAW = """\
name: mine
formula: E + A*N^-alpha + B*M^-beta
columns: {N: params.total, D: budget.tokens}
let: {M: D/N}
bounds: {alpha: [0, 1]}
fixed: {E: 1.7}
tied: {beta: alpha}
residual: log
loss: huber:1e-3
source: nobody
"""

FILES = {"spec.yaml": SPEC, "mapping.yaml": MAPPING, "table.csv": TABLE}
"""What lies beside the mutated input."""

ROW = {"params.total": 30e6, "tokens": 1e9, "metrics.loss": 3.1, "optim.lr": 1e-3, "seed": 1}
"""What a mutated filter is asked about."""

_STORE = ("--store", "x.db")
_FIT = ("--csv", "table.csv", "--mapping", "mapping.yaml", "--bootstrap", "0", "--starts", "4")


@dataclass(frozen=True)
class Kind:
    """A kind of input: correct ones, and who reads one."""

    name: str
    inputs: list[str]
    command: list[str]
    """The command line; `{}` stands for the input itself."""
    file: str = ""
    """Where the input is written, if it is a file."""
    read: Callable[[str], object] | None = None
    """What reads the input, where the command would take seconds."""


def read_law(text: str) -> object:
    """Find a law (by its formula, or in the input's file) and evaluate it."""
    law = find("input.yaml" if "\n" in text else text)
    values = {**dict.fromkeys(law.coefficients, 0.5), **dict.fromkeys(law.columns, np.array(2.0))}
    return evaluate(law.reduced, values)


KINDS = [
    Kind("spec", [SPEC, SOLVED, FRONTIER], ["plan", "input.yaml", *_STORE], "input.yaml"),
    Kind(
        "space",
        [SPACE],
        ["optimize", "--space", "input.yaml", "--dry-run", *_STORE],
        "input.yaml",
    ),
    Kind(
        "mapping",
        [MAPPING],
        ["import", "table.csv", "--mapping", "input.yaml", *_STORE],
        "input.yaml",
    ),
    Kind(
        "table",
        [TABLE, TABLE.replace(",", ";"), TABLE.replace(",", "\t")],
        ["import", "input.csv", "--mapping", "mapping.yaml", *_STORE],
        "input.csv",
    ),
    Kind("law", [LAW], ["fit", "input.yaml", *_FIT], "input.yaml", read_law),
    Kind(
        "formula",
        ["E + A*N^-alpha + B*D^-beta", "((Nc/N)^(a/b) + Dc/D)^b", "log(1 + A*exp(-N/D)) + E"],
        ["fit", "{}", *_FIT],
        read=read_law,
    ),
    Kind(
        "filter",
        [
            "params.total >= 30M and seed in [0, 1]",
            "not metrics.loss < 4 or optim.lr == 1e-3",
            "1M < params.total <= 90000000",
        ],
        ["fit", "power_offset", *_FIT, "--filter", "{}"],
        read=lambda text: compile_filter(text)(ROW),
    ),
    Kind("only", ["task.people <= 4 or seed == 1"], ["plan", "spec.yaml", "--only", "{}"]),
    Kind(
        "setting",
        ["optim.clip=0.5", "axes.model.width=[8, 16]", "budget={steps: 10}", "model.ffn.kind=gelu"],
        ["plan", "spec.yaml", *_STORE, "--set", "{}"],
    ),
]
