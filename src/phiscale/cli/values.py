"""The values of flags: what the help calls them, and what they must be.

tyro reads the flags off the commands' annotations, so they are values here, not strings.
"""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg

from phiscale.errors import UsageError
from phiscale.text import without_passwords

if TYPE_CHECKING:
    from phiscale.arch.spec import Spec
    from phiscale.planning.budget import Budget

# What the help calls a value; it does not print a default of `None`.
Count = Annotated[str | None, arg(metavar="COUNT", help_behavior_hint="")]
Size = Annotated[str | None, arg(metavar="BYTES", help_behavior_hint="")]
Number = Annotated[float | None, arg(metavar="NUMBER", help_behavior_hint="")]
Whole = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Range = Annotated[tuple[float, float] | None, arg(metavar="LOW HIGH", help_behavior_hint="")]
Pixels = Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Folder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
Member = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]
OptionalData = Annotated[str | None, arg(metavar="DATA", help_behavior_hint="")]
Times = Annotated[float, arg(metavar="FACTOR")]
SpecName = Annotated[str, arg(metavar="SPEC")]
OptionalSpec = Annotated[str | None, arg(metavar="SPEC", help_behavior_hint="")]
Data = Annotated[str, arg(metavar="DATA")]
Run = Annotated[Path, arg(metavar="RUN|FILE")]
Model = Annotated[str, arg(metavar="MODEL")]
Out = Annotated[Path, arg(metavar="DIR")]
Source = Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="")]
Sources = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="SOURCE", help_behavior_hint="")]
Images = Annotated[tuple[Path, ...], arg(metavar="IMAGES", help_behavior_hint="")]
Seed = Annotated[int, arg(metavar="N")]
Device = Literal["auto", "cpu", "cuda", "mps"]
Switch = FlagCreatePairsOff[bool]


@dataclass(frozen=True, kw_only=True)
class BudgetFlags:
    """What the network may cost. Counts: 400M or 1.8G; sizes: 20MB or 20MiB."""

    macs: Count = None
    """Maximum multiply-adds for one image."""
    params: Count = None
    """Maximum number of parameters."""
    latency_ms: Number = None
    """Maximum latency of one image on the device, exported, in milliseconds."""
    weight_bytes: Size = None
    """Maximum size of the weights in float32, in bytes."""
    train_memory: Size = None
    """Maximum memory of training in float32, in bytes: activations of a whole batch, parameters,
    gradients and the optimizer's state."""
    train_minutes: Number = None
    """Training time in minutes, planned from the measured speed."""

    def budget(self) -> "Budget":
        """The limits as numbers. Raises UsageError for what is none."""
        from phiscale.planning.budget.limits import budget_of

        return budget_of(
            {
                "macs": self.macs,
                "params": self.params,
                "latency_ms": self.latency_ms,
                "weight_bytes": self.weight_bytes,
                "train_memory_bytes": self.train_memory,
                "train_minutes": self.train_minutes,
            }
        )


Limited = Annotated[BudgetFlags, arg(name="")]
UNLIMITED = BudgetFlags()


def spec_of(text: str) -> "Spec":
    """The spec of a model's name, a spec.json or a file.py:NAME."""
    from phiscale.arch.families import resolve_spec

    return resolve_spec(text)


def parsed(flag: str, parse: Callable[[str], int], text: str | None) -> int | None:
    """The number of a count or size; an error names the flag."""
    try:
        return None if text is None else parse(text)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None


def command_line() -> str:
    """The command as it was typed, without the passwords of databases, to keep with its results."""
    return without_passwords(shlex.join(["phiscale", *sys.argv[1:]]))


def check_file(flag: str, path: Path) -> None:
    """Raises UsageError for a file that cannot be written, before the work and not after it.

    Missing folders are made when it is written, as those of runs are.
    """
    if path.is_dir():
        raise UsageError(f"{flag} {path} is a folder. Name a file in it.")
    above = next((folder for folder in path.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise UsageError(f"{flag} {path}: {above} is no folder. Name another.")


def lift_pillow_limit(megapixels: float | None) -> None:
    """Lets Pillow read images of so many megapixels in this process, which is ours."""
    from PIL import Image

    pixels = min(megapixels or 0, 1e9) * 1e6
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = round(pixels)


def lines_of(flag: str, path: Path) -> tuple[str, ...]:
    """The lines of a text file that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{flag} {path} cannot be read as text ({error}). Use a UTF-8 file."
        ) from None
    return tuple(line.strip() for line in lines if line.strip())
