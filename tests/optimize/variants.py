"""The samplers and pruners that the guided search is tested with. A new one goes through all of its
tests by being added here.
"""

SAMPLERS = ["tpe", "random", "cmaes", "nsga2", "{kind: gp, startup: 4}"]
"""As a space writes them."""

PRUNERS = ["none", "{kind: asha, reduction: 2}", "hyperband", "{kind: median, startup: 2}"]
"""As a space writes them."""
