"""The command line: one short function for each command. Heavy modules are imported inside them."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from phiscale.cli.exchanging import convert, import_, push
from phiscale.cli.fitting import fit
from phiscale.cli.flags import call, near
from phiscale.cli.inference import evaluate, export, predict
from phiscale.cli.networks import describe, deviation, models
from phiscale.cli.output import log_to, to_stderr
from phiscale.cli.planning import calibrate, check, solve
from phiscale.cli.science import law_fit, law_predict
from phiscale.cli.searching import search_coefficients, study
from phiscale.cli.training import rates, runs, train
from phiscale.errors import PhiscaleError, UsageError, full_install, is_out_of_memory
from phiscale.text import printable
from phiscale.training.ownership import is_first_process, own_process
from phiscale.training.signals import Interrupted

_OUT_OF_MEMORY = "out of memory. Use a smaller network, a smaller batch or fewer pixels."

COMMANDS: dict[str, Callable[..., None]] = {
    "models": models,
    "describe": describe,
    "solve": solve,
    "deviation": deviation,
    "calibrate": calibrate,
    "check": check,
    "train": train,
    "runs": runs,
    "rates": rates,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "fit": fit,
    "law fit": law_fit,
    "law predict": law_predict,
    "search coefficients": search_coefficients,
    "study": study,
    "import": import_,
    "convert": convert,
    "push": push,
}
"""Commands of one word or two. The first word of two alone lists what may follow."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command. A mistake ends with one line: exit 2 for the command line, else 1."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _escape_unprintable_names()
    try:
        with (
            own_process(),
            log_to(to_stderr if is_first_process() else lambda line: None),
            full_install(f"phiscale {command_of(arguments)[0]}"),
        ):
            _run(arguments)
        sys.stdout.flush()
    except PhiscaleError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except Interrupted as stop:
        _leave(stop)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _fail(_OUT_OF_MEMORY, 1)
    except OSError as error:
        problem = f"{error.filename or 'output'}: {error.strerror or error}"
        _fail(f"{problem}. Check it and the free space.", 1)


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return
    if arguments[0] == "--version":
        from phiscale import __version__

        print(f"phiscale {__version__}")
        return
    command, rest = command_of(arguments)
    group = _of_group(command)
    if group and rest[:1] in ([], ["-h"], ["--help"], ["help"]):
        print(_help(group))
        return
    if command not in COMMANDS:
        raise _unknown_command(command, rest)
    if command != "train" and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            f"torchrun starts several processes, but phiscale {command} needs one. Run it without "
            "torchrun."
        )
    if command == "train":
        train(rest)
    else:
        others = _of_group(command.partition(" ")[0]).values()
        call(COMMANDS[command], rest, f"phiscale {command}", others)


def _unknown_command(command: str, rest: Sequence[str]) -> UsageError:
    group = _of_group(command)
    typed = " ".join([command, *rest[:1]]) if group else command
    problem = "a flag, not a command" if command.startswith("-") else "an unknown command"
    return UsageError(
        f"{typed!r} is {problem}.{near(typed, COMMANDS)} Use one of {', '.join(group or COMMANDS)}."
    )


def command_of(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command, which has one word or two, and the arguments that follow it."""
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    return " ".join(arguments[:words]), list(arguments[words:])


def _of_group(word: str) -> dict[str, Callable[..., None]]:
    """The commands of two words that begin with this one."""
    return {name: function for name, function in COMMANDS.items() if name.startswith(f"{word} ")}


def _help(commands: Mapping[str, Callable[..., None]] = COMMANDS) -> str:
    width = max(map(len, commands))
    lines = "\n".join(
        f"  {name:<{width}}  {(function.__doc__ or '').splitlines()[0]}"
        for name, function in commands.items()
    )
    first = (
        " A first model of a folder with images by class:\n"
        "  phiscale fit photos/ --out run --train-minutes 30"
    )
    return (
        "phiscale: from images, a device and a budget to the best ConvNet that fits.\n\n"
        f"usage: phiscale COMMAND ...\n\n{lines}\n\n"
        f"phiscale COMMAND --help explains a command.{first if commands is COMMANDS else ''}"
    )


def _escape_unprintable_names() -> None:
    """Escapes names that the terminal's encoding lacks; a closed output is no error either."""
    if sys.stdout is None:  # `>&-`
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (to the end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(stop: Interrupted) -> None:
    """Ends the process at once: all is saved, and threads may still wait for a disk or network."""
    with contextlib.suppress(SystemExit):
        _fail(stop.message, stop.status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(stop.status)


def _fail(message: str, code: int) -> None:
    """Prints one line for each line of the message; no name in it can forge another."""
    text = "\n".join(printable(line) for line in message.split("\n"))
    if is_first_process():
        print(f"phiscale: {text}", file=sys.stderr)
    elif code == 1:  # what all processes see alike, the first one prints
        print(f"phiscale: process {os.environ['RANK']}: {text}", file=sys.stderr)
    raise SystemExit(code)
