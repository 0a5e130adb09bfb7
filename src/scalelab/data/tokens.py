"""Arrays of tokens."""

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.uint16]
