"""Verbs of scaling as a science: laws fitted to tables and runs, and their predictions."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json, table, to_stderr
from phiscale.cli.parameters import as_flags
from phiscale.cli.values import Count, File, Switch, Times, check_file, parsed, spec_of
from phiscale.errors import UsageError
from phiscale.planning.laws.tables import PUBLISHED

if TYPE_CHECKING:
    from phiscale.planning.laws.sheet import Sheet

Table = Annotated[tuple[str, ...], arg(metavar="TABLE", help_behavior_hint="")]
Specs = Annotated[tuple[str, ...], arg(metavar="SPEC", help_behavior_hint="")]
Names = Annotated[str, arg(metavar="NAME,...", help_behavior_hint="")]
Base = Annotated[str | None, arg(metavar="SPEC", help_behavior_hint="")]
Share = Annotated[str | None, arg(metavar="SHARE", help_behavior_hint="")]
Phis = Annotated[tuple[float, ...], arg(metavar="F", help_behavior_hint="")]

MOST_RUN_SD = 0.05  # a larger one was meant in per cent


def law_fit(
    tables: Positional[Table] = (),
    /,
    *,
    axes: Names = "",
    base: Base = None,
    hold_out: Names = "",
    run_sd: Share = None,
    robust: Switch = False,
    compute: Times = 2.0,
    out: File = None,
    plot: File = None,
    json: Switch = False,
) -> None:
    from phiscale.report.law_report import fit_sheet, name_base

    for flag, path in (("--out", out), ("--plot", plot)):
        if path:
            check_file(flag, path)
    if not (math.isfinite(compute) and compute > 0 and compute != 1):
        raise UsageError(f"--compute {compute:g} scales nothing. Use 2, or 0.5 to shrink.")
    if plot and plot.suffix not in (".png", ".svg"):
        raise UsageError(f"cannot draw {plot.name!r}. Let the name end in .png or .svg.")
    fitted = fit_sheet(
        _sheet(tables),
        axes=_listed(axes),
        base=None if base is None else spec_of(base),
        hold_out=_listed(hold_out),
        run_sd=_share("--run-sd", run_sd),
        robust=robust,
        compute_ratio=compute,
    )
    if out:
        fitted.law.write(out)
    if plot:
        from phiscale.report.law_plot import draw_law

        draw_law(plot, fitted.law.fit, fitted.held_out, name_base(fitted.law.axes.base))
    if json:
        show_json(fitted.to_dict())
    else:
        table(fitted.table())
        print(as_flags("\n".join(fitted.summary())))


law_fit.__doc__ = f"""Fit an error law to a table or to runs, and show how far to trust it.

    A CSV file has a column error or top1 (fractions, or per cent with a % after each number), and a
    column model (a SPEC) or axes: depth, width and resolution over the base's, or amounts such as
    macs. Columns name, runs and images_seen are optional.

    Published tables: {", ".join(PUBLISHED)}.

    Args:
        tables: CSV file, folders of runs, or the name of a published table.
        axes: Axes of the law, such as macs, or depth,width,resolution; by default the table's.
        base: Network that multipliers are over; by default the one with the fewest MACs.
        hold_out: Names of rows to predict instead of fitting.
        run_sd: Seed standard deviation of an error: 0.15% or 0.0015; by default from the rows.
        robust: Give rows that are far off the others less weight.
        compute: Cost over the base's at which alpha, beta and gamma are optimal.
        out: Write the law, for `law predict` and for --law of solve and fit.
        plot: Draw the law, its 95 % band and the rows (.png, .svg).
        json: Print JSON.
    """


def law_predict(
    law: Positional[Annotated[Path, arg(metavar="LAW.json")]],
    specs: Positional[Specs] = (),
    /,
    *,
    phi: Phis = (),
    coefficients: File = None,
    images_seen: Count = None,
    json: Switch = False,
) -> None:
    """Predict errors of networks by a fitted law, and what they gain over its base.

    Args:
        law: The law.json that `law fit --out` wrote.
        specs: Names of models, spec.json files or file.py:NAME; by default the law's base.
        phi: Scale depth, width and resolution of each by 1.2^phi, 1.1^phi, 1.15^phi.
        coefficients: A found.json whose coefficients replace 1.2, 1.1 and 1.15.
        images_seen: Images seen in training, for a law that counts them.
        json: Print JSON.
    """
    from phiscale.arch.scaling import compound
    from phiscale.planning.budget import parse_count
    from phiscale.planning.coefficients import Coefficients
    from phiscale.planning.laws.file import FittedLaw
    from phiscale.report.law_report import (
        format_predictions,
        has_same_blocks,
        predict_errors,
        scale_by_phi,
    )

    if not specs and not phi:
        raise UsageError("law predict needs a network: law predict LAW.json SPEC..., or --phi F.")
    if coefficients and not phi:
        raise UsageError("--coefficients are powers of phi. Add --phi, such as --phi 1.")
    if infinite := [value for value in phi if not math.isfinite(value)]:
        raise UsageError(f"--phi {infinite[0]} is out of range. Use finite numbers.")
    fitted = FittedLaw.read(law)
    by = Coefficients.read(coefficients).at if coefficients else compound
    networks = scale_by_phi([(name, spec_of(name)) for name in specs], phi, fitted.axes.base, by)
    for name, spec in networks:
        if not has_same_blocks(spec, fitted.axes.base):
            to_stderr(
                f"warning: {name} is of another family than the law's base. The law says little "
                "of it."
            )
    rows = predict_errors(fitted, networks, parsed("--images-seen", parse_count, images_seen))
    if json:
        show_json(rows)
    else:
        table(format_predictions(rows))


def _sheet(tables: tuple[str, ...]) -> "Sheet":
    """The rows of a file, a published table, or runs."""
    from phiscale.planning.laws.sheet_file import read_sheet
    from phiscale.planning.laws.tables import published_sheet

    if not tables:
        raise UsageError("law fit needs TABLE: a CSV file, folders of runs, or a published table.")
    paths = [Path(word) for word in tables]
    if all(path.is_dir() for path in paths):
        from phiscale.report.trained_networks import sheet_of_runs

        return sheet_of_runs(paths)
    if len(paths) > 1:
        stray = next(word for word, path in zip(tables, paths, strict=True) if not path.is_dir())
        raise UsageError(f"{stray} is not a folder of runs. Use folders, or one table.")
    if paths[0].is_file():
        return read_sheet(paths[0])
    if paths[0].suffix or len(paths[0].parts) > 1:
        raise UsageError(f"{tables[0]} does not exist. Name a CSV file, runs or a published table.")
    return published_sheet(tables[0])


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _share(flag: str, text: str | None) -> float | None:
    """The fraction of a text such as 0.15% or 0.0015."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"{flag}: {text!r} is not a number. Use 0.15% or 0.0015.") from None
    if not 0 < value <= MOST_RUN_SD:
        raise UsageError(f"{flag} {text} is {100 * value:g} points. Use 0.15% or 0.0015.")
    return value
