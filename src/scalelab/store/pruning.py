"""In SQL: which trials have a result, and which a search ended early
(`scalelab.core.events.is_pruned`).
"""

from sqlalchemy import Text, and_, not_, type_coerce

from scalelab.core.events import FINISHED, PRUNED
from scalelab.store.database import table_of
from scalelab.store.tables import Trials

_trials = table_of(Trials)

# Metrics are compact JSON: the same text on every database, and a quoted name with a colon stands
# nowhere but as a key.
_TOLD = type_coerce(_trials.c.metrics, Text).contains(f'"{PRUNED}":', autoescape=True)

IS_PRUNED = and_(_trials.c.state == "stopped", _TOLD)
"""Whether a search ended the trial early."""

HAS_RESULT = and_(_trials.c.state.in_(FINISHED), not_(IS_PRUNED))
"""Whether the trial has a result for everybody."""
