"""From the arguments of the command line to an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scoredistill import __version__
from scoredistill.cli.commands import COMMANDS, PRINTED, command_named
from scoredistill.cli.drive import RunFailedError, StoppedError
from scoredistill.cli.flags import initial_recipe, parse, recipe_of, with_dotted_flags
from scoredistill.cli.generate import Generate, Resume
from scoredistill.cli.output import harmless_output
from scoredistill.cli.reason import out_of_memory, reason, unexpected
from scoredistill.cli.words import check_words
from scoredistill.runs.folder import RunFolder, read_config
from scoredistill.startup import INTERRUPTED, catchable_interrupt

PROG = "scoredistill"
DESCRIPTION = "Score distillation: from a 2D diffusion model to images and 3D models."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an error is one line on stderr and an exit code (SCOREDISTILL_DEBUG=1 shows where)."""
    with catchable_interrupt(), harmless_output() as output:
        _log_to_stderr()
        try:
            command, run = parsed(sys.argv[1:] if arguments is None else arguments)
            run()
            output.flush()
            _check_printed(command, output.lost)
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("SCOREDISTILL_DEBUG"):
                raise
            message, code = verdict(error)
            print("scoredistill: error: " + " ".join(message.split()), file=sys.stderr)
            return code
    return 0


def _log_to_stderr() -> None:
    """Show the package's notes and all warnings, each as a line."""
    logging.addLevelName(logging.INFO, "note")
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")
    logging.basicConfig(format="scoredistill: %(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("scoredistill").setLevel(logging.INFO)


def parsed(arguments: Sequence[str]) -> tuple[Any, Callable[[], None]]:
    """The command of the arguments (None without one), and what runs it; ValueError in one line for unreadable ones."""
    if not arguments or arguments[0].startswith("-"):
        return None, _overview(arguments)
    kind, rest = command_named(arguments[0]), arguments[1:]
    prog = f"{PROG} {arguments[0]}"
    check_words(rest, prog)
    if issubclass(kind, Generate):
        initial = initial_recipe(rest, kind.fixed_scene, read_config)
    elif issubclass(kind, Resume):
        initial = RunFolder.open(Path(_first_path(rest))).recipe if _first_path(rest) else None
    else:
        command = parse(kind, rest, prog, kind.__doc__ or "")
        return command, command
    if initial is None:
        parse(kind, rest, prog, kind.__doc__ or "")
        raise ValueError(f"the folder of the run comes first, as in: {prog} FOLDER --steps 400")
    command = parse(with_dotted_flags(kind, initial), rest, prog, kind.__doc__ or "")
    recipe = recipe_of(command, initial)
    return command, lambda: command.run(recipe)


def verdict(error: BaseException) -> tuple[str, int]:
    """The message and the exit code of an error."""
    match error:
        case KeyboardInterrupt():
            return "interrupted", INTERRUPTED
        case StoppedError():
            return str(error), error.code
        case RunFailedError() | FloatingPointError():
            return str(error), 1
        case _ if out_of_memory(error):
            return reason(error), 1
        case ValueError() | OSError():
            full = getattr(error, "errno", None) == errno.ENOSPC
            return reason(error), 1 if full else 2
    return unexpected(error), 1


def _check_printed(command: Any, lost: Exception | None) -> None:
    """OSError if a command whose only result is what it prints could not print it, unless its reader has left."""
    only = isinstance(command, PRINTED) and not getattr(command, "out", None)
    if (
        (only or getattr(command, "dry_run", False))
        and isinstance(lost, OSError)
        and not isinstance(lost, BrokenPipeError)
    ):
        raise OSError(lost.errno, f"cannot print the result ({lost.strerror})")


def _first_path(arguments: Sequence[str]) -> str:
    """The first argument that is no flag: the folder that `resume` is called with."""
    return arguments[0] if arguments and not arguments[0].startswith("-") else ""


def _overview(arguments: Sequence[str]) -> Callable[[], None]:
    """The list of commands for --help, the version for --version; ValueError for other arguments without a command."""
    if list(arguments) == ["--version"]:
        return lambda: print(PROG, __version__)
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {(kind.__doc__ or '').splitlines()[0]}" for name, kind in COMMANDS.items()]
    usage = f"usage: {PROG} COMMAND ..., or {PROG} --version"
    text = "\n".join([usage, "", DESCRIPTION, "", *lines, "", f"{PROG} COMMAND --help explains a command"])
    if list(arguments) not in (["--help"], ["-h"]):
        raise ValueError(f"expected one of the commands {', '.join(COMMANDS)}; see: {PROG} --help")
    return lambda: print(text)


if __name__ == "__main__":
    sys.exit(main())
