"""The tasks that the conformance suite runs on. A new task goes through all of it by being added
here.
"""

from scalelab.data.spec import Corpus
from scalelab.tasks import Task
from scalelab.tasks.arithmetic.spec import Arithmetic
from scalelab.tasks.biography.spec import BioD, Biography, Junk
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.text.spec import Masked, Prefix, Text

TALES = Corpus(tokens=20_000)

TASKS: dict[str, Task] = {
    "in_weight": Facts(people=3, templates=2),
    "in_tool": Facts(people=3, templates=1, recall="in_tool"),
    "bioS": Biography(people=8, context=200),
    "bioD": Biography(people=8, context=200, text=BioD(), junk=Junk(useful=0.5, people=20)),
    "text": Text(corpus=TALES, context=32),
    "apart": Text(corpus=TALES, context=32, documents="apart"),
    "prefix": Text(corpus=TALES, context=32, objective=Prefix()),
    "masked": Text(corpus=TALES, context=32, objective=Masked()),
    "addition": Arithmetic(length=2, longest=3),
    "chain": Arithmetic(operation="chain", length=2, longest=2),
}
