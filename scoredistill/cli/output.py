"""What is printed: it never ends a run, and no text from elsewhere controls the terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and line ends, changes of the writing direction, and bytes that were no UTF-8."""


class Output:
    """A text stream that escapes control characters, and loses its text where it cannot be written.

    `stream` is a text stream, or None where it was closed before Python began.
    A pipe that nobody reads, a full disk and a closed terminal or stream thus do not end a run; `lost` is the error.
    """

    def __init__(self, stream: Any, *, escaped: bool = True) -> None:
        self.stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115 (for the process's life)
        self.escaped = escaped
        self.lost: Exception | None = None

    @property
    def unescaped(self) -> Output:
        """The same stream for what draws with control characters itself."""
        return Output(self.stream, escaped=False)

    def write(self, text: str) -> int:
        """Write or lose a text; returns its length."""
        shown = CONTROL.sub(lambda found: repr(found[0])[1:-1], text) if self.escaped else text
        with self._losing():
            try:
                self.stream.write(shown)
            except UnicodeEncodeError:
                encoding = self.stream.encoding
                self.stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write or lose what is still in memory."""
        with self._losing():
            self.stream.flush()

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        with self._losing():
            return self.stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """Remember the first error of the block; after one of the system everything further goes nowhere."""
        try:
            yield
        except (ValueError, RuntimeError) as error:  # a closed stream; a signal that prints within a print
            self.lost = self.lost or error
        except OSError as error:
            self.lost = self.lost or error
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())


@contextlib.contextmanager
def harmless_output() -> Iterator[Output]:
    """Standard output and standard error as `Output`, for the block; yields the former."""
    before = sys.stdout, sys.stderr
    output, errors = Output(sys.stdout), Output(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before
