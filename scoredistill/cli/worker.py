"""The command line for a process that another one has started: it stops when its standard input ends.

    python -m scoredistill.cli.worker resume FOLDER

So nothing is left running when the other process ends, however it ends. A run stops after its step, with a checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from scoredistill.cli.main import main


def watch() -> None:
    """Wait for the end of standard input, then stop this process as SIGTERM does."""
    while os.read(0, 4096):
        pass
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    sys.exit(main())
