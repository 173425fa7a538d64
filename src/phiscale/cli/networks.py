"""Commands that show networks: which there are, what each consists of, how costs deviate."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json, table
from phiscale.cli.values import (
    File,
    Number,
    SpecName,
    Switch,
    Times,
    Whole,
    check_file,
    command_line,
    spec_of,
)
from phiscale.errors import SpecError, UsageError
from phiscale.files.values import check_at_least
from phiscale.text import printable

if TYPE_CHECKING:
    from phiscale.arch.scaling import Scaling
    from phiscale.arch.spec import Spec
    from phiscale.planning.coefficients import Coefficients


def models(
    pattern: Positional[Annotated[str, arg(metavar="PATTERN")]] = "*",
    /,
    *,
    json: Switch = False,
    markdown: Switch = False,
    plot: File = None,
) -> None:
    """List the models: size, cost, published accuracy, deployment target.

    For a single model, its known pretrained weights and their preprocessing are listed too.

    Args:
        pattern: Pattern of the names, such as "*lite*".
        json: Print JSON, with the paper's headline ratios.
        markdown: Print the table of docs/models.md.
        plot: Draw accuracy against size, with the networks the paper compares (.png, .svg).
    """
    from phiscale.report.models import markdown_table, pretrained_rows, ratios, rows
    from phiscale.report.models_plot import plot as draw

    if json + markdown + (plot is not None) > 1:
        raise UsageError("--json, --markdown and --plot exclude each other. Use one of them.")
    if plot and pattern != "*":
        raise UsageError(
            f"--plot draws the paper's figures, not {pattern!r}. Leave one of them out."
        )
    models = rows(pattern)
    if plot:
        check_file("--plot", plot)
        draw(plot)
        print(f"wrote {plot}")
    elif json:
        show_json({"models": models, "ratios": ratios()})
    elif markdown:
        print(markdown_table(pattern))
    else:
        table([{**row, "pretrained": len(row["pretrained"])} for row in models])
        if len(models) == 1 and (weights := pretrained_rows(models[0]["name"])):
            print()
            table(weights)


def describe(
    spec: Positional[SpecName],
    /,
    *,
    phi: Number = None,
    coefficients: File = None,
    depth: Times = 1.0,
    width: Times = 1.0,
    resolution: Times = 1.0,
    classes: Whole = None,
    json: Switch = False,
    save: File = None,
) -> None:
    """Show one network layer by layer, as it is or scaled.

    Args:
        spec: A model's name, a spec.json, or file.py:NAME.
        phi: Scale depth, width and resolution together, by 1.2^phi, 1.1^phi, 1.15^phi.
        coefficients: A found.json whose coefficients replace 1.2, 1.1 and 1.15.
        depth: Factor of the number of blocks.
        width: Factor of the number of channels.
        resolution: Factor of the pixels of a side, not their number.
        classes: Number of classes; by default the model's.
        json: Print JSON.
        save: Write the spec.json of the network that is shown.
    """
    from phiscale.arch.scaling import scale
    from phiscale.files import write_atomic
    from phiscale.planning.coefficients import Coefficients
    from phiscale.report.describe import format_lines, to_json

    base = spec_of(spec)
    if coefficients and phi is None:
        raise UsageError("--coefficients are powers of phi. Add --phi, such as --phi 1.")
    powers = Coefficients.read(coefficients) if coefficients else None
    single = {"depth": depth, "width": width, "resolution": resolution}
    by = _scaling(base, phi, powers, single)
    check_at_least(1, classes=classes)
    if classes is not None:
        base = replace(base, classes=classes)
    network = scale(base, by)
    if save:
        check_file("--save", save)
        write_atomic(save, network.to_json() + "\n")
    if json:
        used = {"coefficients": powers.to_dict()} if powers else {}
        show_json(to_json(base, by) | used)
    else:
        print("\n".join(format_lines(base, by)))
        if powers:
            print(f"coefficients of {coefficients}: {printable(powers.summary())}")


def deviation(
    networks: Positional[Annotated[tuple[str, ...], arg(metavar="PATTERN|SPEC")]] = (),
    /,
    *,
    phi: Annotated[tuple[float, ...], arg(metavar="F", help_behavior_hint="")] = (),
    coefficients: File = None,
    device_model: File = None,
    measure: Switch = False,
    timings: File = None,
    rounds: Annotated[int, arg(metavar="N")] = 7,
    json: Switch = False,
    markdown: Switch = False,
    html: File = None,
) -> None:
    """Show how far costs depart from MACs ~ d w^2 r^2: MACs by cause, memory, measured time.

    Args:
        networks: Patterns of models, each compared with its family's base, or one SPEC that is
            scaled by phi; by default EfficientNet-B1 to B7.
        phi: Values of phi to scale one network by; by default 1 to 7 where no model scales it.
        coefficients: A found.json whose coefficients replace 1.2, 1.1 and 1.15.
        device_model: The device.json of `phiscale calibrate`, to add predicted latencies.
        measure: Time all of the networks on this machine, in turns.
        timings: JSON file of measured times: written with --measure, read without.
        rounds: Measurements of each network; its time is their median.
        json: Print JSON.
        markdown: Print the page as Markdown.
        html: Write the page, with figures, to this file.
    """
    from phiscale.files import write_atomic
    from phiscale.report.deviation_report import deviation as compare

    if json and markdown:
        raise UsageError("--json and --markdown exclude each other. Use one of them.")
    for flag, path in (("--html", html), ("--timings", timings if measure else None)):
        if path:
            check_file(flag, path)
    report = compare(
        networks,
        phi=phi,
        coefficients=coefficients,
        device_model=device_model,
        measure=measure,
        timings=timings,
        rounds=rounds,
        command=command_line(),
    )
    if html:
        write_atomic(html, report.to_html())
    if json:
        show_json(report.to_dict())
    elif markdown:
        print(report.to_markdown(), end="")
    else:
        print(report)


def _scaling(
    base: "Spec",
    phi: float | None,
    coefficients: "Coefficients | None",
    single: Mapping[str, float],
) -> "Scaling":
    """The scaling by phi, or by a factor for each single dimension."""
    from phiscale.arch.scaling import Scaling, compound
    from phiscale.report.describe import refuse_huge

    if phi is not None and set(single.values()) != {1.0}:
        raise UsageError("--phi sets depth, width and resolution. Use --phi or those, not both.")
    try:
        powers = coefficients.powers if coefficients else {}
        by = Scaling(**single) if phi is None else compound(phi, **powers)
    except SpecError as error:
        raise UsageError(str(error)) from None
    refuse_huge(base, by, phi)
    return by
