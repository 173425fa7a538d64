"""The command fit: from images and a budget to a deployable model."""

from typing import Literal

from tyro.conf import Positional

from phiscale.cli.values import (
    UNLIMITED,
    Data,
    Device,
    File,
    Limited,
    Member,
    Number,
    Out,
    Range,
    Seed,
    Sources,
    command_line,
    lift_pillow_limit,
    spec_of,
)
from phiscale.files.values import check_at_least


def fit(
    data: Positional[Data],
    /,
    *,
    out: Out,
    limits: Limited = UNLIMITED,
    base: Member = None,
    pretrained: Sources = (),
    from_scratch: bool = True,
    device_model: File = None,
    law: File = None,
    coefficients: File = None,
    on_bad: Literal["stop", "skip"] = "stop",
    min_epochs: Number = None,
    max_megapixels: Number = None,
    range: Range = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """From images and a budget to a deployable model: choose, train, evaluate, export, report.

    The same command resumes where it was stopped.

    Args:
        data: Image folder, CSV table, named set (digits, cifar10, ...), or tar shards.
        out: Folder for the model, its report and the run.
        base: Name of the model whose scalings compete; by default the size of the images decides.
        pretrained: SOURCE of weights that compete: file, folder of files, RUN, hf-hub:NAME,
            torchvision:NAME, a model's name; auto, the default: those at hand, which are
            EfficientNet-Lite0 and what is installed, cached or on the hub; none. May be repeated.
        from_scratch: Let scalings of the base compete, which are trained from random weights.
        device_model: The device.json of `phiscale calibrate` on the target; by default this
            machine is measured.
        law: The law.json of `phiscale law fit`, instead of phiscale's law.
        coefficients: The found.json of `phiscale search coefficients`: of scalings, only those by
            its alpha^phi, beta^phi, gamma^phi compete. Without --law, its law predicts the errors
            if it is over this network.
        on_bad: Stop with the list of unreadable images, or skip and record them.
        min_epochs: Fewest epochs worth training; by default 4, or 2 for pretrained networks.
        max_megapixels: Size above which an image counts as unreadable; by default 64.
        range: Values of black and white in grey images of more than 8 bits; by default those that
            the training images use.
        device: Device that trains; auto uses a GPU where there is one.
        seed: Seed of the whole run.
    """
    from phiscale.pipeline.request import Request, pretrained_sources

    check_at_least(0, seed=seed)
    lift_pillow_limit(max_megapixels)
    if base is not None:
        spec_of(base)
    request = Request(
        data=data,
        budget=limits.budget(),
        base=base,
        pretrained=pretrained_sources(pretrained),
        from_scratch=from_scratch,
        law=str(law) if law else None,
        coefficients=str(coefficients) if coefficients else None,
        device_model=str(device_model) if device_model else None,
        on_bad=on_bad,
        min_epochs=min_epochs,
        max_megapixels=max_megapixels,
        value_range=range,
        device=device,
        seed=seed,
    )
    request.check()

    from phiscale.cli.progress import training_progress
    from phiscale.pipeline.run import FitRuntime, run_fit

    with training_progress() as callbacks:
        run = run_fit(request, out, FitRuntime(callbacks=callbacks, command=command_line()))
    print(run.report)
