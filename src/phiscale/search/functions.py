"""`phiscale.search_coefficients` and `phiscale.scaling_study`, as Python calls."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from phiscale.arch.families import resolve_spec
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.device import DeviceModel
from phiscale.search.coefficients.request import SearchRequest
from phiscale.search.coefficients.search import SearchResult
from phiscale.search.coefficients.search import search_coefficients as run_search
from phiscale.search.engine.database import normalized_url
from phiscale.search.engine.folder import recorded_device_type
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.tuning import Tuning
from phiscale.search.study.output import StudyOutput
from phiscale.search.study.request import StudyRequest
from phiscale.search.study.run import run_study
from phiscale.training.devices import compute_device

PathOrName = str | os.PathLike[str]


def search_coefficients(
    spec: PathOrName | Spec,
    data: PathOrName | Sequence[PathOrName],
    out: PathOrName,
    *,
    method: Literal["lawscale", "grid", "both"] = "lawscale",
    compute: float = 2.0,
    units: float = 14.0,
    cost: str = "macs",
    device_model: DeviceModel | None = None,
    resolution: int | None = None,
    epochs: float = 6.0,
    train_images: int | None = None,
    seeds: int = 3,
    rates: Sequence[float] = (),
    seed: int = 0,
    storage: str | None = None,
    study_name: str = "phiscale",
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
) -> SearchResult:
    """Searches alpha, beta and gamma for a network on image sets, by trainings. The same call
    resumes.

    `method`: a designed experiment with an error law, the paper's grid search, or both. `compute`:
    cost over the base's at which coefficients are wanted. `units`: cost of a method in trainings of
    the base. `cost`: the metric that is to double. `resolution`: pixels of the base, by default
    half of what the images have. `seeds`: of the confirmation. `rates`: learning rates to choose
    from. Trainings run in `workers` processes of `threads` threads; machines share one `storage`.

    Raises UsageError for arguments out of range, and where the law cannot be trusted at `compute`.
    """
    check_numbers(epochs, rates)
    request = SearchRequest(
        methods=("lawscale", "grid") if method == "both" else (method,),
        units=units,
        compute=compute,
        cost=cost,
        resolution=resolution,
        epochs=epochs,
        seeds=seeds,
        train_images=train_images,
        threads=threads,
        seed=seed,
        device=device_model,
        tuning=Tuning(rates=tuple(rates)) if rates else Tuning(),
    )
    runner = runner_for(
        Path(out),
        storage=storage,
        study_name=study_name,
        workers=workers,
        threads=threads,
        device=device,
    )
    base = spec if isinstance(spec, Spec) else resolve_spec(os.fspath(spec))
    single = isinstance(data, str | os.PathLike)
    sets = [os.fspath(data)] if single else [os.fspath(each) for each in data]
    return run_search(base, sets, request, runner)


def scaling_study(
    data: PathOrName,
    out: PathOrName,
    *,
    preset: Literal["smoke", "standard", "gpu", "cifar10-replication"] = "smoke",
    model: PathOrName | Spec | None = None,
    resolution: int | None = None,
    seeds: int | None = None,
    epochs: float | None = None,
    train_images: int | None = None,
    rates: Sequence[float] = (),
    plan: bool = False,
    seed: int = 0,
    storage: str | None = None,
    study_name: str = "phiscale",
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
) -> StudyOutput:
    """Tests whether scaling all dimensions pays: matched arms, seeds, a verdict. The same call
    resumes.

    What is None or empty is the preset's. `model`: the network to scale. `plan`: only return what
    would be trained, and log its caveats. Trainings run in `workers` processes of `threads`
    threads; machines share one `storage`. Raises UsageError for arguments out of range.
    """
    check_numbers(epochs, rates)
    request = StudyRequest(
        base=model if isinstance(model, Spec) or model is None else resolve_spec(os.fspath(model)),
        resolution=resolution,
        seeds=seeds,
        epochs=epochs,
        train_images=train_images,
        rates=tuple(rates),
        threads=threads,
        seed=seed,
    )
    runner = runner_for(
        Path(out),
        storage=storage,
        study_name=study_name,
        workers=workers,
        threads=threads,
        device=device,
    )
    return run_study(os.fspath(data), preset, request, runner, command="", train=not plan)


def runner_for(
    out: Path,
    *,
    storage: str | None,
    study_name: str,
    workers: int | None,
    threads: int,
    device: str,
) -> RunnerConfig:
    """How trainings run. `workers` is by default one for each core, or one on a GPU; the device
    "auto" is that of the earlier start in `out`."""
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name}={value} is out of range. Use 1 or more.")
    if not study_name or study_name != study_name.strip():
        raise UsageError("`study_name` is empty or has spaces around it. Use a plain name.")
    if storage is not None:
        normalized_url(storage)  # raises where it is no database
    kind = compute_device(device).type
    if device == "auto" and (earlier := recorded_device_type(out)):
        with suppress(UsageError):  # it may not be on this machine
            kind = compute_device(earlier).type
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    usual = max(1, cores // threads) if kind == "cpu" else 1
    return RunnerConfig(
        out=out, storage=storage, name=study_name, device=kind, workers=workers or usual
    )


def check_numbers(epochs: float | None, rates: Sequence[float]) -> None:
    """Raises UsageError for epochs or learning rates that train nothing."""
    if epochs is not None and not 0 < epochs < math.inf:
        raise UsageError(f"epochs={epochs:g} trains nothing. Use a number above 0.")
    for rate in rates:
        if not 0 < rate < math.inf:
            raise UsageError(f"rates={rate:g} trains nothing. Use finite numbers above 0.")
