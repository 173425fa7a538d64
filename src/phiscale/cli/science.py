"""Commands of scaling as a science: laws fitted to tables and runs, and their predictions."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json, table
from phiscale.cli.parameters import as_flags
from phiscale.cli.values import Count, File, Switch, Times, check_file, parsed
from phiscale.errors import UsageError
from phiscale.planning.laws.tables import PUBLISHED

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
    from phiscale.report.law_fit import fit_law

    if not tables:
        raise UsageError("law fit needs TABLE: a CSV file, folders of runs, or a published table.")
    for flag, path in (("--out", out), ("--plot", plot)):
        if path:
            check_file(flag, path)
    if plot and plot.suffix not in (".png", ".svg"):
        raise UsageError(f"cannot draw {plot.name!r}. Let the name end in .png or .svg.")
    fitted = fit_law(
        tables,
        axes=axes,
        base=base,
        hold_out=hold_out,
        run_sd=_share("--run-sd", run_sd),
        robust=robust,
        compute_ratio=compute,
    )
    if out:
        fitted.law.write(out)
    if plot:
        fitted.draw(plot)
    if json:
        show_json(fitted.to_dict())
    else:
        table(fitted.table())
        print(as_flags(str(fitted)))


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
    from phiscale.planning.budget import parse_count
    from phiscale.report.law_predictions import format_predictions, predict_errors

    if not specs and not phi:
        raise UsageError("law predict needs a network: law predict LAW.json SPEC..., or --phi F.")
    rows = predict_errors(
        law,
        specs,
        phi=phi,
        coefficients=coefficients,
        images_seen=parsed("--images-seen", parse_count, images_seen),
    )
    if json:
        show_json(rows)
    else:
        table(format_predictions(rows))


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
