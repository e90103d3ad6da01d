"""The command line: the only room that knows flags, prints or exits.

Exit codes: 0 done, 1 the run itself failed, 2 a bad argument, 130 after Ctrl-C, 143 after SIGTERM,
129 after SIGHUP (its terminal was closed).
"""

from scoredistill.cli.main import main

__all__ = ["main"]
