"""Set how long idle OpenMP threads spin. OpenMP reads the variable once, so it is set before torch is imported.

After each parallel operation of torch, or kernel (`kernels.team`), its threads spin, for milliseconds by default, on
cores that other processes may need. 20000 rounds bridge the time between two operations of a step: 5000 cost 5 % of a
step on two threads, and 100000 gain nothing more. A program that imports torch first sets the variable itself.
"""

import os
import sys

VARIABLE, ROUNDS = "GOMP_SPINCOUNT", "20000"

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault(VARIABLE, ROUNDS)
