"""Why a command failed, in a sentence."""

from __future__ import annotations

import re

from scoredistill import own
from scoredistill.runs.finish import DivergedError

BUG = "this is a bug (SCOREDISTILL_DEBUG=1 shows where)"
NO_MEMORY = re.compile(
    "out of memory|not enough memory|can(?:'|no)t allocate memory|(?:failed|unable) to allocate"
    "|bad_alloc|alloc_failed|can't start new thread",
    re.IGNORECASE,
)
AMOUNT = re.compile(r"allocate ([\d.]+ (?:bytes|[KMGTPE]iB))", re.IGNORECASE)
ADVICE = "--preset low-vram, a smaller --resolution or a smaller --batch takes less"


def reason(error: BaseException) -> str:
    """The message of an error, without the system's numbers; advice where memory was short."""
    if out_of_memory(error):
        amount = AMOUNT.search(str(error))
        return f"out of memory{f', {amount[1]} more were asked for' if amount else ''}: {ADVICE}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return str(error)


def run_reason(error: Exception) -> str:
    """The same for an error of a run: the first line of what torch or code of one's own raises."""
    if isinstance(error, DivergedError | FloatingPointError | OSError | ValueError) or out_of_memory(error):
        return reason(error)
    first = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, RuntimeError) and first:
        return first
    return unexpected(error)


def unexpected(error: BaseException) -> str:
    """What to say of an error that nobody expects: where code of one's own raised it, or that it is a bug."""
    what = f"{type(error).__name__}: {error}"
    place = own.raised_in(error)
    return f"{place}: {what}" if place else f"{what}; {BUG}"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory of the processor or the GPU was short; torch and warp raise RuntimeError then."""
    if isinstance(error, RuntimeError | OSError):
        return NO_MEMORY.search(str(error)) is not None
    return isinstance(error, MemoryError)
