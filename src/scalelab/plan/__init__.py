"""From an experiment to trials: sizes, counts, costs, and the difference against a store. Pure."""
