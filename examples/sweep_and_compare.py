"""Compare methods over seeds: a notebook that runs a small sweep and reads its table, minutes on a CPU.

    python examples/sweep_and_compare.py

The runs are written to sweep/; if the command is repeated, finished runs are not.
"""

# %% [markdown]
# # Sweep and compare
#
# A single run of a method is an anecdote. Here three methods generate the same captions with the same seeds, and we ask
# whether the difference between them is larger than its error.

# %%
from __future__ import annotations

import csv
import shlex
from pathlib import Path

from scoredistill.cli import main

PRIOR = "toybox"
STEPS = 60
SEEDS = "0..3"
METHODS = "sds sdi dsd"


def command(line: str) -> None:
    """A command as in a terminal."""
    print("$", line)
    if main(shlex.split(line)[1:]):
        raise SystemExit(f"failed: {line}")


# %% [markdown]
# ## The cost
#
# `--dry-run` counts the runs and the denoiser calls, and runs nothing.

# %%
SWEEP = (
    f"scoredistill sweep --prompts captions.txt --methods {METHODS} --seeds {SEEDS}"
    f" --set scene=image prior={PRIOR} steps={STEPS} scene.count=1 --out sweep"
)
Path("captions.txt").write_text("a red car\n")
command(f"{SWEEP} --dry-run")

# %% [markdown]
# ## The runs
#
# Each is an ordinary run folder in `sweep/`. If you interrupt the cell and execute it again, the sweep continues.

# %%
command(SWEEP)

# %% [markdown]
# ## One page, one table
#
# `compare` writes `sweep/compare.html`, which works offline, and `sweep/compare.csv` with one row per run.

# %%
command("scoredistill compare sweep")
with Path("sweep/compare.csv").open() as table:
    rows = list(csv.DictReader(table))

# %% [markdown]
# ## Is the difference larger than its error?
#
# Runs with the same prompt and seed form pairs. The paired test uses the mean of their differences and its standard
# error; the page shows the same with 95 % intervals.

# %%
METRIC = "sharpness"
values = {(row["method"], row["prompt"], row["seed"]): float(row[METRIC]) for row in rows if row[METRIC]}
first, *others = METHODS.split()
for other in others:
    pairs = [key[1:] for key in values if key[0] == other and (first, *key[1:]) in values]
    gaps = [values[(other, *key)] - values[(first, *key)] for key in pairs]
    mean = sum(gaps) / len(gaps)
    error = (sum((gap - mean) ** 2 for gap in gaps) / max(len(gaps) - 1, 1) / len(gaps)) ** 0.5
    print(f"{METRIC} of {other} minus that of {first}: {mean:+.3f} +- {error:.3f} (n = {len(gaps)})")
