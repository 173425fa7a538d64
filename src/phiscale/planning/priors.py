"""The laws that predict errors where the user names no law: priors.

They are fitted to published results, `arch/families/published.py`, and to our own runs in
`tables/small_runs.json`. On other data they are a prior, not a measurement.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from phiscale.arch.families import get_spec
from phiscale.arch.families.published import LAW_ROWS, PublishedLawRow
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import effective, scale
from phiscale.arch.spec import Spec
from phiscale.errors import DataError
from phiscale.files import read_json
from phiscale.planning.laws import ErrorLaw, Law, LawRow, estimate_law, fit_lengths

SMALL_RUNS = Path(__file__).parent / "tables" / "small_runs.json"
PUBLISHED_SOURCE = "B0-B7 and three arms of B0, arXiv:1905.11946v5, ImageNet"
PHOTOS_SOURCE = f"{PUBLISHED_SOURCE}; images seen and level: our runs of small on CIFAR-10"
SMALL_SOURCE = "our runs of small and its scalings on CIFAR-10"
RUN_SD = 0.006  # of an error of a quarter, counted on 5,000 validation images


def _as_built(published: PublishedLawRow) -> LawRow:
    """Returns a row of a published table with its multipliers as built, in four decimals.

    The error is 1 - top-1 / 100 of the top-1 that the table prints in per cent.
    """
    base = get_spec(published.base)
    by = effective(scale(base, published.scaling), base)
    top1 = round(100 * (1 - published.error), 1)
    return LawRow(
        name=_name(published),
        depth=round(by.depth, 4),
        width=round(by.width, 4),
        resolution=round(by.resolution, 4),
        error=1 - top1 / 100,
    )


def _name(published: PublishedLawRow) -> str:
    """Returns a model's name, or the scaled dimension with its factor: depth x4."""
    times = getattr(published.scaling, published.label, None)
    return published.label if times is None else f"{published.label} x{times:g}"


PUBLISHED_ROWS: tuple[LawRow, ...] = tuple(_as_built(row) for row in LAW_ROWS)
"""Top-1 on ImageNet of B0 to B7 and of three networks scaled in one dimension."""


def law_for(base: Spec, *, lengths: bool = True) -> Law:
    """Returns the prior for scalings of `base`; `lengths`: with its term for images seen.

    Networks for small images follow our own runs of `small`: ImageNet's deep and long trainings
    say little about them (docs/decisions/0006-law-of-small.md).
    """
    if base.resolution <= SMALL_PIXELS:
        return small_law()
    return photos_law() if lengths else published_law()


def origin_of(law: ErrorLaw) -> str:
    """Says where the errors that `law` predicts come from, for a sentence."""
    source = getattr(law, "source", "")  # `solve` also takes objects that only predict
    if source in (PUBLISHED_SOURCE, PHOTOS_SOURCE):
        return "estimated from published results"
    if source == SMALL_SOURCE:
        return "estimated from our runs of small on CIFAR-10"
    return "estimated with your law"


def guessing_error_of(law: ErrorLaw) -> float | None:
    """Returns the error of guessing on the images of a prior; None for a law of the user's own.

    A prior's errors are those of its images: 1,000 classes of ImageNet, or 10 of CIFAR-10.
    """
    source = getattr(law, "source", "")
    if source in (PUBLISHED_SOURCE, PHOTOS_SOURCE):
        return 1 - 1 / 1000
    return 1 - 1 / 10 if source == SMALL_SOURCE else None


@cache
def published_law() -> Law:
    """Returns the law of depth, width and resolution that the published EfficientNets follow."""
    return estimate_law(PUBLISHED_ROWS, source=PUBLISHED_SOURCE)


@cache
def photos_law() -> Law:
    """Returns `published_law` with images term and level of our own runs of `small` on CIFAR-10.

    The published runs were all equally long, so they do not determine the term. The error that is
    left at the end depends on the data, not on the network. On other data the level is off, and
    differences between networks less so.
    """
    law = published_law()
    scaled = law.depth.A + law.width.A + law.resolution.A
    e0, images = fit_lengths(
        (run.images_seen or 0, max(0.0, run.error - scaled))
        for run in read_runs(SMALL_RUNS)
        if run.depth == run.width == run.resolution == 1
    )
    return replace(law, e0=e0, images=images, source=PHOTOS_SOURCE)


@cache
def small_law() -> Law:
    """Returns the law of our own runs of `small` on CIFAR-10.

    `small` itself was trained to several lengths, its scalings to one short length.
    """
    return estimate_law(read_runs(SMALL_RUNS), run_sd=RUN_SD, source=SMALL_SOURCE)


def read_runs(path: Path) -> list[LawRow]:
    """Reads runs of `small` and its scalings: multipliers as built and validation errors.

    DataError: the file is missing or has no such rows.
    """
    if not path.exists():
        raise DataError(
            f"{path} is missing, so no law can count images seen. "
            "Use a whole law as `law`, or install phiscale again."
        )
    names = ("depth", "width", "resolution", "images_seen", "error")
    try:
        rows = read_json(path)["rows"]
        runs = [LawRow(**{name: row[name] + 0 for name in names}) for row in rows]
    except (TypeError, KeyError, ValueError):
        raise DataError(
            f"{path} has no rows of numbers {', '.join(names)}. "
            "Create it again with the command in it, or install phiscale again."
        ) from None
    if any((run.images_seen or 0) <= 0 or not 0 <= run.error <= 1 for run in runs):
        raise DataError(
            f"{path} has an error outside 0 to 1 or no images seen. "
            "Create it again with the command in it, or install phiscale again."
        )
    return runs
