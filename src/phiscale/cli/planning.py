"""Commands that plan: what fits, how fast this machine is, what the images are."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from phiscale.cli.output import show_json, to_stderr
from phiscale.cli.parameters import as_flags
from phiscale.cli.values import (
    UNLIMITED,
    Data,
    Device,
    File,
    Limited,
    Number,
    Pixels,
    Range,
    SpecName,
    Switch,
    Whole,
    check_file,
    lift_pillow_limit,
    spec_of,
)
from phiscale.errors import UsageError
from phiscale.files.values import check_at_least, check_range
from phiscale.text import printable


def solve(
    spec: Positional[SpecName],
    /,
    *,
    limits: Limited = UNLIMITED,
    device_model: File = None,
    law: File = None,
    coefficients: File = None,
    train_images: Whole = None,
    native_pixels: Pixels = None,
    json: Switch = False,
    save: File = None,
) -> None:
    """Find the best scalings of a network within limits.

    Args:
        spec: A model's name, a spec.json, or file.py:NAME.
        device_model: The device.json of `phiscale calibrate`, for --latency-ms and --train-minutes.
        law: The law.json of `phiscale law fit`, instead of phiscale's law.
        coefficients: The found.json of `phiscale search coefficients`: only scalings by its
            alpha^phi, beta^phi, gamma^phi compete. Without --law, its law predicts the errors if it
            was fitted with this network as its base.
        train_images: Number of training images, for --train-minutes.
        native_pixels: Shorter side of the images in pixels; more pixels are not tried.
        json: Print JSON.
        save: Write the spec.json of the best network.
    """
    from phiscale.arch.families.small import SMALL_PIXELS
    from phiscale.files import write_atomic
    from phiscale.planning.budget import PlanningTask, explain
    from phiscale.planning.budget import solve as search
    from phiscale.planning.coefficients import Coefficients
    from phiscale.planning.device import DeviceModel
    from phiscale.planning.laws import Law

    if limits.train_minutes is not None and device_model and train_images is None:
        raise UsageError(
            "--train-minutes needs the number of training images. Add --train-images N."
        )
    check_at_least(1, train_images=train_images, native_pixels=native_pixels)
    if save:
        check_file("--save", save)
    powers = Coefficients.read(coefficients) if coefficients else None
    base = spec_of(spec)
    predicts = powers is None or not powers.law or law or powers.law_over(base)
    if powers and not predicts:
        to_stderr(
            f"warning: the law in {coefficients} is not over {spec} at {base.resolution} px, so "
            "phiscale's law predicts. Use the base.json that the search wrote."
        )
    solution = search(
        base,
        limits.budget(),
        task=PlanningTask(
            train_images=train_images,
            native_pixels=native_pixels,
            device_model=DeviceModel.read(device_model) if device_model else None,
            law=Law.read(law) if law else None,
            coefficients=powers,
        ),
        name=spec,
    )
    if solution.considered == 1 and native_pixels is None and base.resolution <= SMALL_PIXELS:
        to_stderr(
            f"images are assumed to have {base.resolution} px, as the base does. Use "
            "--native-pixels N where they have more."
        )
    if save:
        write_atomic(save, solution.best.spec.to_json() + "\n")
    if json:
        show_json(
            {
                "best": {**solution.best.to_dict(), "spec": solution.best.spec.to_dict()},
                "pareto": [candidate.to_dict() for candidate in solution.pareto],
                "pareto_total": solution.pareto_total,
                "why": as_flags(explain(solution)),
                "considered": solution.considered,
                "fitting": solution.fitting,
                "coefficients": powers and powers.to_dict(),
            }
        )
    else:
        print(as_flags(str(solution)))


def calibrate(*, out: Annotated[Path, arg(metavar="FILE")], device: Device = "auto") -> None:
    """Measure this machine, in under a minute, so that `solve` and `fit` can plan for it.

    Args:
        out: The device.json to write.
        device: Device that torch trains on; auto uses a GPU where there is one.
    """
    from phiscale.deploy.calibrate import calibrate as measure
    from phiscale.training.devices import compute_device

    check_file("--out", out)
    model = measure(compute_device(device))
    model.write(out)
    for name, (median, largest) in model.errors.items():
        print(f"{name}: median error {100 * median:.0f} %, largest {100 * largest:.0f} %")
    print(f"wrote {out}")


def check(
    data: Positional[Data],
    /,
    *,
    max_megapixels: Number = None,
    range: Range = None,
    json: Switch = False,
) -> None:
    """Audit an image set: every bad file, balance, sizes, duplicates, leaks between splits.

    Args:
        data: Image folder, CSV table, named set (digits, cifar10, ...), or tar shards.
        max_megapixels: Size above which an image counts as unreadable; by default 64.
        range: Values of black and white in grey images of more than 8 bits; by default those that
            the training images use.
        json: Print JSON.
    """
    from phiscale.data.audit import audit
    from phiscale.data.datasets.open import open_dataset
    from phiscale.errors import DataError
    from phiscale.text import count_of

    lift_pillow_limit(max_megapixels)
    check_range(value_range=range)
    audited = audit(open_dataset(data, max_megapixels=max_megapixels))
    audited = replace(audited, value_range=range or audited.value_range)
    if json:
        show_json(audited.to_dict())
    else:
        print(as_flags(audited.summary()))
    if audited.bad:
        raise DataError(
            f"{count_of(len(audited.bad), 'file')} of {printable(data)} cannot be read. Fix or "
            "remove them; `fit` and `train` leave them out with --on-bad skip."
        )
