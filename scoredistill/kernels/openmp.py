"""Set how long idle OpenMP threads spin. OpenMP reads the variable once, so it is set before torch is imported.

After each parallel operation of torch, or kernel (`kernels.team`), its threads spin, for milliseconds by default, on
cores that other processes may need. 5000 rounds take about as long as waking a thread, and longer spins gain nothing
here. A program that imports torch first sets the variable itself.
"""

import os
import sys

VARIABLE, ROUNDS = "GOMP_SPINCOUNT", "5000"

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault(VARIABLE, ROUNDS)
