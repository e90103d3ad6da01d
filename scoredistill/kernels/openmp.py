"""How long OpenMP's threads wait awake: said before torch is imported, since OpenMP asks once.

After each of torch's parallel operations its threads spin, for milliseconds by default, on the cores that the helper
threads of `kernels` then need; main thread and helper share one core, one after the other, while the other core spins.
5000 rounds are about the time that waking a thread takes. Who imports torch first sets the variable themselves.
"""

import os
import sys

VARIABLE, ROUNDS = "GOMP_SPINCOUNT", "5000"

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault(VARIABLE, ROUNDS)
