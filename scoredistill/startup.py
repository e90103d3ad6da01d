"""The first second of the command line: before the imports, Ctrl-C and closed streams are made harmless.

Imported first of all, it acts only in a process that was started as `scoredistill` or `python -m scoredistill`.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130  # exit code after Ctrl-C
SCRIPTS = ("scoredistill", "scoredistill.exe", "scoredistill-script.py")


def prepare() -> None:
    """Let Ctrl-C end this process in one line, and closed standard streams lead nowhere."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # else the next file to be opened would take the number, and printed text
            os.open(os.devnull, os.O_RDWR)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


@contextlib.contextmanager
def catchable_interrupt() -> Iterator[None]:
    """Within the block Ctrl-C is a KeyboardInterrupt, which can be caught, as Python has it by default."""
    if signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: an exception that passes through a library's import may be caught there, or change its meaning."""
    with contextlib.suppress(OSError):
        os.write(2, b"scoredistill: error: interrupted\n")
    os._exit(INTERRUPTED)


def _is_command_line() -> bool:
    """Whether this process was started as the command."""
    if sys.argv[:1] == ["-m"]:  # while Python still searches the module
        words = sys.orig_argv
        return words[words.index("-m") + 1 :][:1] == ["scoredistill"] if "-m" in words else False
    return bool(sys.argv) and os.path.basename(sys.argv[0]) in SCRIPTS


if _is_command_line():
    prepare()
