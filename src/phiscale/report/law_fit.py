"""`phiscale.fit_law`: an error law of a table or of runs, checked against other models."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from phiscale.arch.families import as_spec
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.laws.checks import check
from phiscale.planning.laws.file import FittedLaw, fewest_rows
from phiscale.planning.laws.optimum import bootstrap_intervals, optimum
from phiscale.planning.laws.points import Points, require_fittable
from phiscale.planning.laws.posterior import posterior
from phiscale.planning.laws.sheet import DIMENSIONS, Sheet
from phiscale.planning.laws.sheet_file import read_sheet
from phiscale.planning.laws.tables import published_sheet
from phiscale.report.gp import gp_left_out
from phiscale.report.law_report import LawReport
from phiscale.text import did_you_mean

PathOrName = str | os.PathLike[str]


def fit_law(
    table: PathOrName | Sequence[PathOrName] | Sheet,
    *,
    axes: str | Sequence[str] = (),
    base: Spec | str | None = None,
    hold_out: str | Sequence[str] = (),
    run_sd: float | None = None,
    robust: bool = False,
    compute_ratio: float = 2.0,
) -> LawReport:
    """Fits an error law to a table or to runs, and checks how far to trust it.

    Args:
        table: a CSV file, folders of runs, the name of a published table, or a Sheet.
        axes: of the law, such as `"macs"` or `"depth,width,resolution"`; by default the table's.
        base: network that multipliers are over; by default the one with the fewest MACs.
        hold_out: names of rows to predict instead of fitting.
        run_sd: seed standard deviation of an error as a fraction; by default from the rows.
        robust: gives rows that are far off the others less weight.
        compute_ratio: cost over the base's at which alpha, beta and gamma are optimal.

    `print` shows it as sentences, `.law.write("law.json")` writes the law, `.draw` a figure.

    Raises UsageError where rows lack an axis or are too few, and for an unknown name of a table, a
    row or a model. DataError: a file or a run cannot be read.
    """
    if not (math.isfinite(compute_ratio) and compute_ratio > 0 and compute_ratio != 1):
        raise UsageError(
            f"compute_ratio={compute_ratio:g} scales nothing. Use 2, or 0.5 to shrink."
        )
    sheet = table if isinstance(table, Sheet) else read_table(table)
    origin = None if base is None else as_spec(base)
    names = _listed(axes) or sheet.choose_axes(origin)
    scaled = sheet.axes_over(names, origin)
    points = sheet.points(scaled)
    held = [_row_of(name, points.names) for name in _listed(hold_out)]
    kept = [row for row in range(len(points)) if row not in held]
    fitted = require_fittable(points.select(kept), fewest_rows(names))
    fit = posterior(
        fitted,
        run_sd=sheet.run_sd if run_sd is None else run_sd,
        robust=robust,
        source=sheet.source,
    )
    by_gp = gp_left_out(fit)
    checks = check(fit, _macs(sheet, kept), {} if by_gp is None else {"gp": by_gp})
    best = optimum(fit, compute_ratio) if set(DIMENSIONS) <= set(names) else None
    return LawReport(
        law=FittedLaw(fit, scaled, checks),
        held_out=points.select(held) if held else None,
        optimum=best,
        bootstrap=bootstrap_intervals(fit, compute_ratio) if best else None,
    )


def read_table(table: PathOrName | Sequence[PathOrName]) -> Sheet:
    """Reads a CSV file, the runs in folders, or the published table of a name.

    UsageError: the table does not exist, or there are several that are not all folders. DataError,
    PhiscaleError: a file or a run cannot be read.
    """
    names = [table] if isinstance(table, str | os.PathLike) else table
    words = [os.fspath(each) for each in names]
    if not words:
        raise UsageError("`table` is empty. Name a CSV file, folders of runs or a published table.")
    paths = [Path(word) for word in words]
    if all(path.is_dir() for path in paths):
        from phiscale.report.trained_networks import sheet_of_runs  # it loads matplotlib

        return sheet_of_runs(paths)
    if len(paths) > 1:
        stray = next(word for word, path in zip(words, paths, strict=True) if not path.is_dir())
        raise UsageError(f"{stray} is not a folder of runs. Use folders, or one table.")
    if paths[0].is_file():
        return read_sheet(paths[0])
    if paths[0].suffix or len(paths[0].parts) > 1:
        raise UsageError(f"{words[0]} does not exist. Name a CSV file, runs or a published table.")
    return published_sheet(words[0])


def _listed(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names, or those of a text with commas between them."""
    if isinstance(names, str):
        return tuple(word.strip() for word in names.split(",") if word.strip())
    return tuple(names)


def _macs(sheet: Sheet, kept: Sequence[int]) -> Points | None:
    try:
        return sheet.points(sheet.axes_over(("macs",))).select(kept)
    except UsageError:
        return None


def _row_of(name: str, names: Sequence[str]) -> int:
    if name not in names:
        advice = did_you_mean(name, names, f"Rows are {', '.join(names)}.")
        raise UsageError(f"hold_out={name} is no row of the table. {advice}")
    return names.index(name)
