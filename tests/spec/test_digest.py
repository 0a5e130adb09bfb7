"""Golden digests: an identity that changes, or a default that changes without a raised `recipe`,
turns one of these red.
"""

from typing import Any

import pytest

from scalelab.core.canon import canonical_json, sha256
from scalelab.core.spec import Spec
from scalelab.data.spec import Bytes, Corpus, HuggingFace, SentencePiece, Tiktoken
from scalelab.families.layer_router.spec import (
    Act,
    Gumbel,
    LayerBalance,
    LayerRouter,
    NoHalting,
    Ponder,
    Pretrained,
    Reinforce,
    Router,
    Soft,
    StraightThrough,
    Threshold,
)
from scalelab.families.lstm.spec import Lstm
from scalelab.families.transformer.spec import Transformer
from scalelab.layers.spec import Balance, Ffn, Init, LearnedPositions, Moe, NoPositions, Norm, Rope
from scalelab.spec.budget import Budget, Params
from scalelab.spec.evaluation import Decoding, Evaluation, Stop
from scalelab.spec.experiment import Trial
from scalelab.spec.explain import classes_in, walk
from scalelab.spec.optim import AdamW, Constant, Cosine, Linear, Muon, Wsd
from scalelab.tasks.arithmetic.spec import Arithmetic
from scalelab.tasks.biography.spec import BioD, Biography, BioS, BioSSimple, Junk
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.text.spec import Causal, Masked, Prefix, Text

GOLDEN: list[tuple[dict[str, Any], str]] = [
    (
        {"budget": {"steps": 100}},
        "3023c7ec4373d77e9df8012370b8ceb6a3ea4373953ca1ffa1ac7d8e978c64fd",
    ),
    (
        {"budget": {"steps": 100}, "seed": 1},
        "f7e207bdf87fde20b6843f8b0d396c47f4f66bae0d50eb2a92dd13a67ca97f47",
    ),
    (
        {"budget": {"steps": 100}, "task": {"recall": "in_tool", "people": 64, "dependence": 0.5}},
        "69e6aaced43ed59748f70fbd96f2276c9513ef657b63ea093c67fae619965f0b",
    ),
    (
        {
            "budget": {"steps": 100},
            "model": {
                "width": 32,
                "position": {"kind": "none"},
                "norm": {"kind": "layer", "place": "peri"},
            },
        },
        "7890fef594e99b210e845e4953a38b96c50d8dfd700d7c2900ff03921b9de501",
    ),
    (
        {
            "budget": {"steps": 100},
            "optim": {"lr": "1e-2", "clip": None, "schedule": {"kind": "wsd"}},
            "evaluation": {"stop": {}},
        },
        "830addde60bbd01d738b524bcdb492d08690c5973e89c137ab0c3acacd90146c",
    ),
    (
        {"budget": {"steps": 100}, "task": {"kind": "biography"}},
        "6d4ba05e1d7899d99113760154d29d16c7f4874345aef638379e3ad5b7814868",
    ),
    (
        {
            "budget": {"steps": 100},
            "task": {
                "kind": "biography",
                "people": "1k",
                "text": {"kind": "bioS_simple"},
                "junk": {"people": 1000},
            },
        },
        "93254cc4305345a170566a26afd599ffbdd9cfe8263b16b3b0164d8ec52f26af",
    ),
    (
        {
            "budget": {"steps": 100},
            "task": {"kind": "biography", "text": {"kind": "bioD", "chunks": 3}, "tokens": "bytes"},
        },
        "0c21f61a9da31f07b3d8133e129f23ac1737f9a0178d23876c4f18f4ac1aa900",
    ),
    (
        {
            "budget": {"steps": 100},
            "task": {"kind": "text", "shards": "ab"},
            "evaluation": {"decoding": {"lanes": [1, 8]}},
        },
        "e4f9aef2d81e7a59adc52d70407b162822c7155b581213665f6845634faadc49",
    ),
    (
        {
            "budget": {"steps": 100},
            "task": {"kind": "text", "objective": "masked"},
            "model": {"mask": "full", "window": None},
        },
        "d8701761ee326d38f549964375d011c9b346a368dd587fbdeda3dcc70c1a57f3",
    ),
    (
        {
            "budget": {"steps": 100},
            "task": {"kind": "arithmetic", "operation": "chain"},
            "optim": {"kind": "muon"},
        },
        "6ee0cbf17fed8e1fcd0696eed0ee42ba96e5528230f291543b58755364a250d5",
    ),
    (
        {
            "budget": {"steps": 100},
            "micro_batch": 4,
            "model": {"ffn": {"kind": "moe", "balance": {"loss": "1e-2"}}, "qk_norm": True},
        },
        "62a194932b24e430fa668170ac43ccd78ceaf159c4b579f1ea87e63f34a29b37",
    ),
]


@pytest.mark.parametrize(("data", "digest"), GOLDEN)
def test_golden(data: dict[str, Any], digest: str) -> None:
    assert Trial.model_validate(data).digest() == digest


BEFORE = {
    2: ("104e702e1cacae27bc5970723cc9336ba1e192402349e3209df17815065e9e05", ["task"]),
    4: ("58e58db4865a421e6f2a395d7cac6e34f5bfbc21a551bff6b11e06a58c0af23f", ["optim.schedule"]),
    7: ("08234387e77336a4c2f17891593dbc4aa363d36fd8224926e62cdbed1583cd8d", ["task.text"]),
    9: ("db3c43ec316fa0e0c82c54bf8c50ec521c9140d50a4b201b6d267639cd5a14fb", ["task.corpus"]),
    10: ("d66f22f3bc0d8b9b9abae8719f8ad00d8596ceeebf626f55f3becddebf8a1cf9", ["optim"]),
}
"""Place in GOLDEN -> the digest before a recipe was raised for some trials, and the parts whose
recipe it was. All others kept theirs.
"""


@pytest.mark.parametrize("place", range(len(GOLDEN)))
def test_a_raised_recipe_changes_the_digests_of_the_trials_whose_numbers_change(place: int) -> None:
    older = Trial.model_validate(GOLDEN[place][0]).older_digests()
    digest, parts = BEFORE.get(place, (None, []))
    assert older == ({} if digest is None else {digest: parts})


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"optim": {"schedule": {"kind": "cosine", "floor": 0}}}, ["optim.schedule"]),
        ({"optim": {"schedule": {"kind": "linear"}}}, ["optim.schedule"]),
        ({"optim": {"schedule": {"kind": "wsd", "decay": 0}}}, ["optim.schedule"]),
        ({"optim": {"schedule": {"kind": "wsd", "warmup": 100}}}, ["optim.schedule"]),
        ({"optim": {"schedule": {"kind": "linear"}}, "budget": {"flops": 1e9}}, ["optim.schedule"]),
        ({"optim": {"schedule": {"kind": "linear", "warmup": 98}}}, ["optim.schedule"]),
        # nothing falls where no update comes after the warm-up
        ({"optim": {"schedule": {"kind": "linear", "warmup": 99}}}, []),
        ({"optim": {"schedule": {"kind": "cosine", "floor": 0, "warmup": 200}}}, []),
        ({"optim": {"schedule": {"kind": "constant"}}}, []),
        ({"optim": {"schedule": {"kind": "cosine", "floor": 1e-9}}}, []),
        ({"optim": {"schedule": {"kind": "linear", "floor": 0.1}}}, []),
        ({"optim": {"schedule": {"kind": "wsd", "floor": 0.1, "decay": 0}}}, []),
        ({"optim": {"kind": "muon"}}, ["optim"]),
        ({"optim": {"kind": "muon"}, "precision": "bf16"}, []),
        ({"precision": "bf16"}, []),
        ({"task": {"dependence": 1}}, ["task"]),
        ({"task": {"dependence": 0}}, []),
        ({"task": {"kind": "biography", "text": {"kind": "bioD"}}}, ["task.text"]),
        ({"task": {"kind": "biography", "text": {"kind": "bioD"}, "people": 10_000}}, []),
        ({"task": {"kind": "biography", "people": 1}}, []),
    ],
)
def test_a_recipe_is_raised_where_numbers_change_and_nowhere_else(
    data: dict[str, Any], parts: list[str]
) -> None:
    made = Trial.model_validate({"budget": {"steps": 100}} | data)
    assert list(made.older_digests().values()) == ([parts] if parts else [])
    assert ("recipe" in canonical_json(made.identity())) == bool(parts)


def test_every_mix_of_older_recipes_has_its_digest() -> None:
    changes = {
        "task": {"dependence": 0.5},
        "optim": {"kind": "muon", "schedule": {"kind": "linear"}},
    }
    older = Trial.model_validate({"budget": {"steps": 100}} | changes).older_digests()
    assert sorted(older.values()) == [
        ["optim"],
        ["optim", "optim.schedule"],
        ["optim.schedule"],
        ["task"],
        ["task", "optim"],
        ["task", "optim", "optim.schedule"],
        ["task", "optim.schedule"],
    ]


def test_a_default_written_down_is_the_same_trial() -> None:
    short = Trial.model_validate({"budget": {"steps": 100}})
    assert Trial.model_validate(short.model_dump()).digest() == short.digest()


def test_where_prepared_text_came_from_is_no_part_of_a_trial() -> None:
    texts = [
        {"corpus": "a.txt", "tokens": "bytes"},
        {"corpus": "/elsewhere/a.txt", "tokens": {"kind": "tiktoken", "folder": "/here"}},
    ]
    for shards, trials in (("ab", 1), (None, 2)):
        made = [
            Trial.model_validate(
                {"budget": {"steps": 9}, "task": {"kind": "text", "shards": shards, **text}}
            )
            for text in texts
        ]
        assert len({trial.digest() for trial in made}) == trials


def test_two_kinds_with_equal_fields_are_two_trials() -> None:
    trials = [
        Trial.model_validate({"budget": {"steps": 9}, "model": {"position": {"kind": kind}}})
        for kind in ("learned", "none")
    ]
    assert trials[0].digest() != trials[1].digest()
    assert trials[0].identity()["model"]["position"] == {"kind": "learned"}


def defaults(part: type[Spec]) -> dict[str, Any]:
    """Field -> default; a part as its class and what it changes there, since its own defaults stand
    under its own name.
    """
    found = {
        name: field.default for name, field in part.model_fields.items() if not field.is_required()
    }
    parts = {
        name: [type(value).__name__, value.model_dump(exclude_defaults=True)]
        for name, value in found.items()
        if isinstance(value, Spec)
    }
    return found | parts


DEFAULTS: dict[type[Spec], tuple[int, str]] = {
    Trial: (1, "1b06d2d94419ad5c"),
    Facts: (1, "2a7f29ce10bdcc09"),
    Biography: (1, "d952dc3f011966fc"),
    Text: (1, "ff8b33014e5c8a4d"),
    Arithmetic: (1, "7928a3f578491c15"),
    BioS: (1, "946c57e14d7fd9b7"),
    BioSSimple: (1, "255746877b6789b2"),
    BioD: (1, "f54412d58110b91d"),
    Junk: (1, "4d9aabf227f4d5ed"),
    Corpus: (2, "c4142bf1f3c8acea"),
    Bytes: (1, "1b5ec18e75637aa7"),
    Tiktoken: (1, "35543ebb91140c4e"),
    HuggingFace: (1, "6daf1cf03bf5c045"),
    SentencePiece: (1, "8b75e683717d14e4"),
    Causal: (1, "6c5842fa092c9107"),
    Prefix: (1, "53ca22348a593f4e"),
    Masked: (1, "ff71b0353a9ad462"),
    Transformer: (1, "c200efd8a30e0fce"),
    Ffn: (1, "60222cdac9f92932"),
    Moe: (1, "40fef5144cba76bd"),
    Balance: (1, "05f025479599d4fa"),
    Norm: (1, "c9fb9869c549ca8e"),
    Rope: (1, "bb81db349317578e"),
    LearnedPositions: (1, "78fc13de01cb504b"),
    NoPositions: (1, "2ff9cdff091aef6f"),
    Init: (1, "53d26086b0ff7965"),
    AdamW: (1, "ed6f9633f9c89621"),
    Muon: (1, "bc0cfd553a877aae"),
    Constant: (1, "236052bf785f6309"),
    Cosine: (1, "6a1e7deb3fc4592e"),
    Linear: (1, "3050c1682fff55cc"),
    Wsd: (1, "e158cc4ada45c533"),
    Evaluation: (1, "22b051f895ba224e"),
    Decoding: (1, "abdda5bd1175b2c1"),
    Stop: (1, "16f70f54fa8d3683"),
    LayerRouter: (1, "7bdd4b8d65ed342b"),
    Lstm: (1, "e843ceb4bf8532b8"),
    Router: (1, "56bf6601ac5644f8"),
    StraightThrough: (1, "384a56a962320eb4"),
    Gumbel: (1, "4c95decba99e4c9b"),
    Soft: (1, "deb46304573ebf5f"),
    Reinforce: (1, "d27ef7fe905f484e"),
    NoHalting: (1, "2ff9cdff091aef6f"),
    Act: (1, "6b7698a7b9b89c78"),
    Ponder: (1, "f3404b6976db9511"),
    Threshold: (1, "1f73cbe5e6f10ba5"),
    LayerBalance: (1, "36b6932841e57a2d"),
    Pretrained: (1, "7f0e2f4afaa4d68f"),
}
"""Class -> its recipe and a digest of its defaults.

A trial's digest leaves defaults out, so a changed one must raise the recipe.
"""


@pytest.mark.parametrize("part", DEFAULTS)
def test_defaults_are_those_of_the_recipe(part: type[Spec]) -> None:
    assert (part.recipe, sha256(defaults(part))[:16]) == DEFAULTS[part], (
        f"raise {part.__name__}.recipe, then write both down here"
    )


def test_every_part_of_a_trial_has_its_defaults_written_down() -> None:
    # A budget is resolved to steps, so its defaults enter no digest.
    assert {
        Trial,
        *(child for _, _, field in walk(Trial) for child in classes_in(field.annotation)),
    } - {Budget, Params} == DEFAULTS.keys()
