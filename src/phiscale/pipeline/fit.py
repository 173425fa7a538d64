"""`phiscale.fit`: from images and a budget to a deployable model, as a Python call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from phiscale.errors import UsageError
from phiscale.files.values import PathOrName
from phiscale.pipeline.notebook import default_callbacks
from phiscale.pipeline.request import (
    InMemoryInputs,
    Request,
    content_name,
    pretrained_sources,
)
from phiscale.pipeline.run import FitRuntime, run_fit
from phiscale.pipeline.run_folder import Run
from phiscale.planning.budget import Budget
from phiscale.planning.budget.limits import budget_of
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import Law
from phiscale.text import python_call
from phiscale.training.callbacks import AnyCallback, check_callbacks


def fit(
    data: PathOrName,
    out: PathOrName,
    *,
    train_minutes: float | None = None,
    latency_ms: float | None = None,
    macs: float | str | None = None,
    params: float | str | None = None,
    weight_bytes: float | str | None = None,
    train_memory_bytes: float | str | None = None,
    budget: Budget | None = None,
    base: str | None = None,
    pretrained: PathOrName | Sequence[PathOrName] | None = "auto",
    from_scratch: bool = True,
    device_model: PathOrName | DeviceModel | None = None,
    law: PathOrName | Law | None = None,
    coefficients: PathOrName | Coefficients | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    min_epochs: float | None = None,
    max_megapixels: float | None = None,
    value_range: tuple[float, float] | None = None,
    device: str = "auto",
    seed: int = 0,
    callbacks: Sequence[AnyCallback] = (),
) -> Run:
    """Chooses the best network within a budget, trains it, evaluates it once, exports it and writes
    a report. The same call resumes a `fit` that was stopped.

    `data`: image folder, named set (`digits`, `cifar10`, ...) or tar shards. `out`: folder of the
    result. Limits: training in minutes, latency of one image in milliseconds, multiply-adds,
    parameters, bytes; counts and sizes may be text such as "400M" or "20MB". `budget` holds the
    same limits as one value.

    `base`: model whose scalings compete. `pretrained`: weights that compete: a file, a folder of
    files, a `Run`, "hf-hub:NAME", "torchvision:NAME", a model's name; "auto": those at hand, which
    are EfficientNet-Lite0 and what is installed, cached or on the hub; None: none.
    `from_scratch`: whether scalings of the base compete. `device_model`, `law`, `coefficients`:
    values, or the files of `calibrate`, `law fit` and `search coefficients`. `on_bad`: what happens
    to unreadable images. `min_epochs`: the fewest epochs worth training. `max_megapixels`: size
    above which an image counts as unreadable, by default 64. `value_range`: values of
    black and white in grey images of more than eight bits, by default those that the training
    images use. `callbacks` receive the progress.

    Raises UsageError for contradicting arguments, DataError for images that cannot be used,
    BudgetError where no network fits, CheckpointError where `out` holds the result of different
    arguments.
    """
    command = python_call(fit, {**locals(), "callbacks": ()})
    check_callbacks(callbacks)
    request = Request(
        data=os.fspath(data),
        budget=budget_of(
            {
                "train_minutes": train_minutes,
                "latency_ms": latency_ms,
                "macs": macs,
                "params": params,
                "weight_bytes": weight_bytes,
                "train_memory_bytes": train_memory_bytes,
            },
            budget,
        ),
        base=base,
        pretrained=_sources(pretrained),
        from_scratch=from_scratch,
        law=_name(law),
        coefficients=_name(coefficients),
        device_model=_name(device_model),
        on_bad=on_bad,
        min_epochs=min_epochs,
        max_megapixels=max_megapixels,
        value_range=value_range,
        device=device,
        seed=seed,
    )
    runtime = FitRuntime(
        callbacks=callbacks or default_callbacks(),
        command=command,
        in_memory=InMemoryInputs(
            device_model=device_model if isinstance(device_model, DeviceModel) else None,
            law=law if isinstance(law, Law) else None,
            coefficients=coefficients if isinstance(coefficients, Coefficients) else None,
        ),
    )
    return run_fit(request, Path(out), runtime)


def _sources(pretrained: PathOrName | Sequence[PathOrName] | None) -> tuple[str, ...]:
    if pretrained is None:
        return ()
    if isinstance(pretrained, str | os.PathLike):
        return pretrained_sources((os.fspath(pretrained),))
    return tuple(os.fspath(source) for source in pretrained)


def _name(source: PathOrName | DeviceModel | Law | Coefficients | None) -> str | None:
    """Returns the name that the request has for it: of a file its path."""
    if source is None or isinstance(source, str):
        return source
    if isinstance(source, os.PathLike):
        return os.fspath(source)
    if not isinstance(source, DeviceModel | Law | Coefficients):
        raise UsageError(
            f"{source!r} is neither a file nor a DeviceModel, Law or Coefficients. "
            "Use one for `device_model`, `law` or `coefficients`."
        )
    return content_name(source)
