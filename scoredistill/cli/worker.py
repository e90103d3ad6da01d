"""The command line for a process that another one has started: it stops when its standard input ends.

    python -m scoredistill.cli.worker resume FOLDER
    python -m scoredistill.cli.worker resume URL SCRATCH SECONDS    a run in a storage (see `cli.stored`)

So nothing is left running when the other process ends, however it ends. A run stops after its step, with a checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence

from scoredistill.cli.main import main
from scoredistill.cli.stored import resume
from scoredistill.sweep.storage import is_url


def watch() -> None:
    """Wait for the end of standard input, then stop this process as SIGTERM does."""
    while os.read(0, 4096):
        pass
    signal.raise_signal(signal.SIGTERM)


def work(words: Sequence[str]) -> int:
    """Run a command, or go on with a run in a storage; returns the exit code."""
    if len(words) > 3 and is_url(words[1]):
        return resume(words[1], words[2], float(words[3]), words[4:])
    return main(words)


if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    sys.exit(work(sys.argv[1:]))
