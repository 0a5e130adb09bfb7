"""What holds for every test: one thread, and properties drawn the same way each time."""

import os

from hypothesis import settings

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported: two threads on one small model are slower than one

settings.register_profile("scalelab", derandomize=True, deadline=None, database=None)
settings.load_profile("scalelab")
