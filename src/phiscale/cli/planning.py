"""Verbs that plan: which networks there are, what they cost, what fits, what the pictures are."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json, table, to_stderr
from phiscale.cli.values import (
    UNLIMITED,
    Data,
    Device,
    File,
    Limited,
    Number,
    SpecName,
    Switch,
    Times,
    Whole,
    a_file,
    command_line,
    in_range,
    spec_of,
)
from phiscale.errors import SpecError, UsageError
from phiscale.text import printable

if TYPE_CHECKING:
    from phiscale.arch.scaling import Scaling
    from phiscale.arch.spec import Spec
    from phiscale.planning.coefficients import Coefficients

MOST_BLOCKS, MOST_TIMES = 5_000, 1_000  # what `describe` still scales to


def models(
    pattern: Positional[Annotated[str, arg(metavar="PATTERN")]] = "*",
    /,
    *,
    json: Switch = False,
    markdown: Switch = False,
    plot: File = None,
) -> None:
    """List the networks: size, cost, published accuracy, where each is meant to live.

    Of a single one, the known pretrained weights and their preprocessing too.

    Args:
        pattern: part of the names, such as "*lite*".
        json: print JSON, with the paper's headline ratios.
        markdown: print the README's table.
        plot: draw accuracy against size beside the paper's rivals (.png, .svg).
    """
    from phiscale.report.models import markdown_table, pretrained_rows, ratios, rows
    from phiscale.report.models import plot as draw

    if json + markdown + (plot is not None) > 1:
        raise UsageError("--json, --markdown and --plot exclude each other. Give one of them.")
    if plot and pattern != "*":
        raise UsageError(f"--plot draws the paper's figures, not {pattern!r}. Leave the one out.")
    found = rows(pattern)
    if plot:
        a_file("--plot", plot)
        draw(plot)
        print(f"wrote {plot}")
    elif json:
        show_json({"models": found, "ratios": ratios()})
    elif markdown:
        print(markdown_table(pattern))
    else:
        table([{**row, "pretrained": len(row["pretrained"])} for row in found])
        if len(found) == 1 and (known := pretrained_rows(found[0]["name"])):
            print()
            table(known)


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
    """Show one network layer by layer, scaled if asked.

    Args:
        spec: a member's name, a spec.json, or file.py:NAME.
        phi: scale depth, width and resolution together by 1.2^phi, 1.1^phi, 1.15^phi.
        coefficients: found.json whose coefficients take the place of 1.2, 1.1 and 1.15.
        depth: scale the number of blocks by this factor.
        width: scale the number of channels by this factor.
        resolution: scale the pixels a side by this factor.
        classes: of the classifier; the member's own if left out.
        json: print JSON.
        save: write the spec.json of what is shown.
    """
    from phiscale.arch.scaling import scale
    from phiscale.files import write_atomic
    from phiscale.planning.coefficients import Coefficients
    from phiscale.report.describe import described, lines

    base = spec_of(spec)
    if coefficients and phi is None:
        raise UsageError("--coefficients are powers of phi. Give --phi too, such as --phi 1.")
    found = Coefficients.read(coefficients) if coefficients else None
    by = _scaling(base, phi, found, depth, width, resolution)
    in_range("--classes", classes)
    if classes is not None:
        base = replace(base, classes=classes)
    network = scale(base, by)
    if save:
        a_file("--save", save)
        write_atomic(save, network.to_json() + "\n")
    if json:
        used = {"coefficients": found.to_dict()} if found else {}
        show_json(described(base, by) | used)
    else:
        print("\n".join(lines(base, by)))
        if found:
            print(f"coefficients of {coefficients}: {found.summary()}")


def solve(
    spec: Positional[SpecName],
    /,
    *,
    limits: Limited = UNLIMITED,
    device_model: File = None,
    law: File = None,
    coefficients: File = None,
    train_images: Whole = None,
    native_pixels: Whole = None,
    json: Switch = False,
    save: File = None,
) -> None:
    """Find the best scalings of a network within limits.

    Args:
        spec: a member's name, a spec.json, or file.py:NAME.
        device_model: device.json of `phiscale calibrate`, for --latency-ms and --train-minutes.
        law: another error law (JSON) instead of phiscale's own.
        coefficients: found.json: only the scalings by its alpha^phi, beta^phi, gamma^phi compete;
            its law predicts where no other is given and it is over this network.
        train_images: training pictures of an epoch, for --train-minutes.
        native_pixels: shorter side of the pictures: more pixels are not tried.
        json: print JSON.
        save: write the best network's spec.json.
    """
    from phiscale.arch.families.small import SMALL_PIXELS
    from phiscale.files import write_atomic
    from phiscale.planning.budget import PlanningTask, explain
    from phiscale.planning.budget import solve as search
    from phiscale.planning.coefficients import Coefficients
    from phiscale.planning.device import DeviceModel
    from phiscale.planning.laws import Law

    if limits.train_minutes is not None and device_model and train_images is None:
        raise UsageError("--train-minutes needs the number of pictures. Give --train-images N.")
    in_range("--train-images", train_images)
    in_range("--native-pixels", native_pixels)
    if save:
        a_file("--save", save)
    along = Coefficients.read(coefficients) if coefficients else None
    base = spec_of(spec)
    if along and along.law and not law and not along.law_over(base):
        to_stderr(
            f"the law in {coefficients} is not over {spec} at {base.resolution} px, so "
            "phiscale's own predicts. A search leaves the network it is over beside "
            "it: base.json"
        )
    found = search(
        base,
        limits.budget(),
        task=PlanningTask(
            train_images=train_images,
            native_pixels=native_pixels,
            device=DeviceModel.read(device_model) if device_model else None,
            law=Law.read(law) if law else None,
            coefficients=along,
        ),
        name=spec,
    )
    if found.considered == 1 and native_pixels is None and base.resolution <= SMALL_PIXELS:
        to_stderr(
            f"pictures are taken to have {base.resolution} px, as the base does: "
            "--native-pixels N where they have more"
        )
    if save:
        write_atomic(save, found.best.spec.to_json() + "\n")
    rows = [c.to_dict() for c in found.pareto]
    if json:
        show_json(
            {
                "best": {**found.best.to_dict(), "spec": found.best.spec.to_dict()},
                "pareto": rows,
                "pareto_total": found.pareto_total,
                "why": explain(found),
                "considered": found.considered,
                "fitting": found.fitting,
                "coefficients": along and along.to_dict(),
            }
        )
    else:
        table(rows)
        print(explain(found))


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
    """Say how wrong FLOPS ~ d w^2 r^2 is: MACs by cause, memory, parameters, measured time.

    Args:
        networks: patterns of members, each against its family's base, or a SPEC whose scalings
            by phi are looked at; EfficientNet-B1 to B7 if left out.
        phi: scale one network by these; 1 to 7 where no member scales it.
        coefficients: found.json whose coefficients take the place of 1.2, 1.1 and 1.15.
        device_model: device.json of `phiscale calibrate`: add what it says of latency.
        measure: time all of the networks on this machine, in turns.
        timings: JSON file of measured times: written by --measure, else read.
        rounds: turns of each network; its time is their median.
        json: print JSON.
        markdown: print the page as Markdown.
        html: write the page, with figures, to this file.
    """
    from phiscale.planning.coefficients import Coefficients
    from phiscale.planning.device import DeviceModel
    from phiscale.report import deviation as counted
    from phiscale.report.deviation import timings_of
    from phiscale.report.latencies import Timings

    if json and markdown:
        raise UsageError("--json and --markdown exclude each other. Give one of them.")
    in_range("--rounds", rounds)
    for flag, path in (("--html", html), ("--timings", timings if measure else None)):
        if path:
            a_file(flag, path)
    if coefficients and not networks:
        raise UsageError(
            "--coefficients scale one network. Name it: deviation efficientnet_b0 "
            "--coefficients FILE."
        )
    along = Coefficients.read(coefficients) if coefficients else None
    try:
        found = counted.scaled_networks(networks, phi, along, spec_of)
    except SpecError as error:
        if not str(error).startswith("phi="):
            raise
        raise UsageError(f"--{error}") from None
    for number, each in zip(phi, found, strict=False):
        _refuse_huge(each.base, each.by, f"--phi {number:g}")
    times = Timings.read(timings) if timings and not measure else None
    if measure:
        times = timings_of(found, rounds, command_line())
        if timings:
            times.write(timings)
    device = DeviceModel.read(device_model) if device_model else None
    rows = counted.rows(found, device, times and times.by_name)
    if json:
        show_json(counted.plain(rows, times))
        return
    from phiscale.files import write_atomic
    from phiscale.report.deviation_page import TITLE, conclusions, sections
    from phiscale.report.page import as_html, as_markdown

    if html:
        write_atomic(html, as_html(TITLE, command_line(), sections(rows, times)))
    if markdown:
        print(as_markdown(TITLE, command_line(), sections(rows, times)), end="")
    else:
        table(counted.table(rows))
        print("\n" + "\n".join(conclusions(rows, times)))


def calibrate(*, out: Annotated[Path, arg(metavar="FILE")], device: Device = "auto") -> None:
    """Measure this machine, in under a minute, so that `solve` and `fit` can plan for it.

    Args:
        out: the device.json to write.
        device: where torch trains; auto takes a GPU where there is one.
    """
    from phiscale.deploy.calibrate import calibrate as measure
    from phiscale.training.devices import compute_device

    a_file("--out", out)
    found = measure(compute_device(device))
    found.write(out)
    for name, (median, largest) in found.errors.items():
        print(f"{name}: median error {100 * median:.0f} %, largest {100 * largest:.0f} %")
    print(f"wrote {out}")


def check(data: Positional[Data], /, *, json: Switch = False) -> None:
    """Audit an image set: every bad file, balance, sizes, duplicates, leaks between splits.

    Args:
        data: image folder, named set (digits, cifar10, ...), or tar shards.
        json: print JSON.
    """
    from phiscale.data.audit import audit
    from phiscale.data.datasets.open import open_dataset
    from phiscale.errors import DataError
    from phiscale.text import count_of

    found = audit(open_dataset(data))
    if json:
        show_json(found.to_dict())
    else:
        print(found.summary())
    if found.bad:
        raise DataError(
            f"{count_of(len(found.bad), 'file')} of {printable(data)} cannot be read. Fix or "
            "remove them, or train without them: --on-bad skip."
        )


def _scaling(
    base: "Spec",
    phi: float | None,
    found: "Coefficients | None",
    depth: float,
    width: float,
    resolution: float,
) -> "Scaling":
    from phiscale.arch.scaling import Scaling, compound

    single = {"depth": depth, "width": width, "resolution": resolution}
    if phi is not None and set(single.values()) != {1.0}:
        raise UsageError("--phi sets depth, width and resolution. Give --phi or those, not both.")
    try:
        by = Scaling(**single) if phi is None else compound(phi, **found.powers if found else {})
    except SpecError as error:
        raise UsageError(f"--{error}") from None
    _refuse_huge(base, by, None if phi is None else f"--phi {phi:g}")
    return by


def _refuse_huge(base: "Spec", by: "Scaling", flag: str | None) -> None:
    """`flag`: what asked for it; that of the dimension itself if None."""
    most = {"depth": MOST_BLOCKS / base.blocks, "width": MOST_TIMES, "resolution": MOST_TIMES}
    for name, limit in most.items():
        if (value := getattr(by, name)) > limit:
            asked = flag or f"--{name} {value:g}"
            raise UsageError(f"{asked} makes {name} x{value:.3g}. Use at most x{limit:.3g}.")
