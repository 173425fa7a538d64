"""Verbs of scaling as a science: laws fitted to tables and runs, and what they predict."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json, table, to_stderr
from phiscale.cli.values import Count, File, Switch, Times, a_file, parsed, spec_of
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

MOST_RUN_SD = 0.05  # above it, somebody wrote per cent


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
    from phiscale.report.law_report import fit_sheet, unit_of

    for flag, path in (("--out", out), ("--plot", plot)):
        if path:
            a_file(flag, path)
    if not (math.isfinite(compute) and compute > 0 and compute != 1):
        raise UsageError(f"--compute {compute:g} scales nothing. Use 2, or 0.5 to shrink.")
    if plot and plot.suffix not in (".png", ".svg"):
        raise UsageError(f"cannot draw {plot.name!r}. Let the name end in .png or .svg.")
    found = fit_sheet(
        _sheet(tables),
        axes=_listed(axes),
        base=None if base is None else spec_of(base),
        hold_out=_listed(hold_out),
        run_sd=_share("--run-sd", run_sd),
        robust=robust,
        compute=compute,
    )
    if out:
        found.law.write(out)
    if plot:
        from phiscale.report.law_plot import law_plot

        law_plot(plot, found.law.fit, found.held, unit_of(found.law.axes.base))
    if json:
        show_json(found.to_dict())
    else:
        table(found.table())
        print("\n".join(found.lines()))


law_fit.__doc__ = f"""Fit an error law to a table or to runs; say how far to trust it.

    A CSV file has a column error or top1 (fractions, or per cent with a % after each), and model (a
    SPEC) or axes of its own: depth, width and resolution over the base's, or amounts such as macs;
    if wanted name, runs, images_seen.

    Published tables: {", ".join(PUBLISHED)}.

    Args:
        tables: CSV file, folders of runs, or the name of a published table.
        axes: such as macs, or depth,width,resolution; the table's own if left out.
        base: the network that multipliers are over; the one with fewest MACs if left out.
        hold_out: rows to predict instead of fitting.
        run_sd: of an error between equal trainings: 0.15% or 0.0015; from the rows if left out.
        robust: count rows less that are far off the others.
        compute: how many times the base's, for alpha, beta and gamma.
        out: write the law: for `law predict`, and for --law of solve and fit.
        plot: draw the law, its 95 % band and the rows (.png, .svg).
        json: print JSON.
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
        law: what `law fit --out` wrote.
        specs: networks: members' names, spec.json, file.py:NAME; the law's base if left out.
        phi: scale each of them by 1.2^phi, 1.1^phi, 1.15^phi.
        coefficients: found.json, whose powers replace those three.
        images_seen: in training, where the law counts them.
        json: print JSON.
    """
    from phiscale.arch.scaling import compound
    from phiscale.planning.budget import parse_count
    from phiscale.planning.coefficients import Coefficients
    from phiscale.planning.laws.file import FittedLaw
    from phiscale.report.law_report import akin, predicted, predicted_table, scaled_networks

    if not specs and not phi:
        raise UsageError("law predict needs a network: law predict LAW.json SPEC..., or --phi F.")
    if coefficients and not phi:
        raise UsageError("--coefficients are powers of phi. Give --phi too, such as --phi 1.")
    if strange := [each for each in phi if not math.isfinite(each)]:
        raise UsageError(f"--phi {strange[0]} is out of range. Use finite numbers.")
    fitted = FittedLaw.read(law)
    by = Coefficients.read(coefficients).at if coefficients else compound
    networks = scaled_networks([(name, spec_of(name)) for name in specs], phi, fitted.axes.base, by)
    for name, spec in networks:
        if not akin(spec, fitted.axes.base):
            to_stderr(f"{name} is of another family than the law's base: it says little of it.")
    rows = predicted(fitted, networks, parsed("--images-seen", parse_count, images_seen))
    if json:
        show_json(rows)
    else:
        table(predicted_table(rows))


def _sheet(tables: tuple[str, ...]) -> "Sheet":
    """A file, a published table, or runs."""
    from phiscale.planning.laws.sheet import read_sheet
    from phiscale.planning.laws.tables import published_sheet

    if not tables:
        raise UsageError("law fit needs TABLE: a CSV file, folders of runs, or a published table.")
    paths = [Path(word) for word in tables]
    if all(path.is_dir() for path in paths):
        from phiscale.report.trained import sheet_of_runs

        return sheet_of_runs(paths)
    if len(paths) > 1:
        strange = next(word for word, path in zip(tables, paths, strict=True) if not path.is_dir())
        raise UsageError(f"{strange} is no folder of runs. Give folders, or one table.")
    if paths[0].is_file():
        return read_sheet(paths[0])
    if paths[0].suffix or len(paths[0].parts) > 1:
        raise UsageError(f"{tables[0]} does not exist. Name a CSV file, runs or a published table.")
    return published_sheet(tables[0])


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _share(flag: str, text: str | None) -> float | None:
    """0.15% or 0.0015."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"{flag}: {text!r} is no number. Write 0.15% or 0.0015.") from None
    if not 0 < value <= MOST_RUN_SD:
        raise UsageError(f"{flag} {text} is {100 * value:g} points. Write 0.15% or 0.0015.")
    return value
