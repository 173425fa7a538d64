"""The public functions that train many networks: a search of coefficients, and studies."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from phiscale.arch.families import resolve_spec
from phiscale.arch.spec import Spec
from phiscale.data.batches import core_count
from phiscale.errors import UsageError
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.search.coefficients.request import SearchRequest
from phiscale.search.coefficients.search import SearchResult
from phiscale.search.coefficients.search import search_coefficients as run_search
from phiscale.search.engine.database import normalized_url
from phiscale.search.engine.folder import recorded_device_type
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.study.output import StudyOutput
from phiscale.search.study.presets import PRESETS
from phiscale.search.study.request import StudyRequest
from phiscale.search.study.run import run_study
from phiscale.search.study.run_family import run_family
from phiscale.search.study.run_spaces import run_design_spaces
from phiscale.search.tuning import Tuning
from phiscale.text import python_call
from phiscale.training.devices import compute_device

PathOrName = str | os.PathLike[str]

MAX_PHI = 10  # of a family; the paper's has 7


def search_coefficients(
    spec: PathOrName | Spec,
    data: PathOrName | Sequence[PathOrName],
    out: PathOrName,
    *,
    method: Literal["lawscale", "grid", "both"] = "lawscale",
    compute: float = 2.0,
    units: float = 14.0,
    cost: str = "macs",
    device_model: PathOrName | DeviceModel | None = None,
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
    command: str = "",
) -> SearchResult:
    """Searches alpha, beta and gamma for a network on image sets, by trainings. The same call
    resumes.

    `method`: a designed experiment with an error law, the paper's grid search, or both. `compute`:
    cost over the base's at which coefficients are wanted. `units`: cost of a method in trainings of
    the base. `cost`: the metric that is to double. `resolution`: pixels of the base, by default
    half of what the images have. `seeds`: of the confirmation. `rates`: learning rates to choose
    from. Trainings run in `workers` processes of `threads` threads; machines share one `storage`.
    `command`: what the report says made it, by default this call.

    Raises UsageError for arguments out of range, and where the law cannot be trusted at `compute`.
    """
    command = command or python_call(search_coefficients, locals())
    _check_counts(resolution=resolution, train_images=train_images)
    _check_counts(0, seed=seed)
    check_numbers(epochs, rates)
    single = isinstance(data, str | os.PathLike)
    sets = [os.fspath(data)] if single else [os.fspath(each) for each in data]
    if not sets:
        raise UsageError("`data` is empty. Name images to train on.")
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
        device=_device_model(device_model),
        tuning=Tuning(rates=tuple(rates)) if rates else Tuning(),
    )
    base = spec if isinstance(spec, Spec) else resolve_spec(os.fspath(spec))
    runner = runner_for(
        Path(out),
        storage=storage,
        study_name=study_name,
        workers=workers,
        threads=threads,
        device=device,
    )
    return run_search(base, sets, request, runner, command=command)


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
    command: str = "",
) -> StudyOutput:
    """Tests whether scaling all dimensions pays: matched arms, seeds, a verdict. The same call
    resumes.

    What is None or empty is the preset's. `model`: the network to scale. `plan`: only return what
    would be trained, and log its caveats. Trainings run in `workers` processes of `threads`
    threads; machines share one `storage`. `command`: what the report says made it, by default this
    call. Raises UsageError for arguments out of range.
    """
    command = command or python_call(scaling_study, locals())
    if preset not in PRESETS:
        raise UsageError(f"preset={preset!r} is unknown. Use one of {', '.join(PRESETS)}.")
    request = _study_request(
        model=model,
        resolution=resolution,
        seeds=seeds,
        epochs=epochs,
        train_images=train_images,
        rates=rates,
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
    return run_study(os.fspath(data), preset, request, runner, command=command, train=not plan)


def predict_family(
    data: PathOrName,
    out: PathOrName,
    *,
    phi: Sequence[float] = (-1.0, 0.0, 1.0, 2.0),
    coefficients: PathOrName | Coefficients | None = None,
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
    command: str = "",
) -> StudyOutput:
    """Trains the models of a family at a few `phi` and predicts the others. The same call resumes.

    `coefficients`: measured ones, or their found.json; by default the paper's. `model`: the network
    at phi 0, by default `small`. The other arguments are those of `scaling_study`. Raises
    UsageError for arguments out of range.
    """
    command = command or python_call(predict_family, locals())
    for value in phi:
        if not -MAX_PHI <= value <= MAX_PHI:
            raise UsageError(f"phi={value:g} is out of range. Use -{MAX_PHI} to {MAX_PHI}.")
    request = _study_request(
        model=model,
        resolution=resolution,
        seeds=seeds,
        epochs=epochs,
        train_images=train_images,
        rates=rates,
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
    if isinstance(coefficients, str | os.PathLike):
        coefficients = Path(coefficients)
    return run_family(
        os.fspath(data), phi, coefficients, request, runner, command=command, train=not plan
    )


def compare_spaces(
    data: PathOrName,
    out: PathOrName,
    spaces: tuple[str, str] = ("free", "compound"),
    *,
    networks: int = 20,
    model: PathOrName | Spec | None = None,
    resolution: int | None = None,
    epochs: float | None = None,
    train_images: int | None = None,
    plan: bool = False,
    seed: int = 0,
    storage: str | None = None,
    study_name: str = "phiscale",
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
    command: str = "",
) -> StudyOutput:
    """Compares two design spaces by the errors of networks of equal MACs. The same call resumes.

    `spaces`: two of "free", "compound", "depth", "width", "resolution", "uniform", "dWr".
    `networks`: number of networks of each space, all of twice the base's MACs and each trained
    once. The other arguments are those of `scaling_study`. Raises UsageError for unknown or equal
    spaces and for arguments out of range.
    """
    command = command or python_call(compare_spaces, locals())
    _check_counts(networks=networks)
    request = _study_request(
        model=model,
        resolution=resolution,
        seeds=None,
        epochs=epochs,
        train_images=train_images,
        rates=(),
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
    return run_design_spaces(
        os.fspath(data), spaces, networks, request, runner, command=command, train=not plan
    )


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
    _check_counts(workers=workers, threads=threads)
    if not study_name or study_name != study_name.strip():
        raise UsageError("`study_name` is empty or has spaces around it. Use a plain name.")
    if storage is not None:
        normalized_url(storage)  # raises where it is no database
    kind = compute_device(device).type
    if device == "auto" and (earlier := recorded_device_type(out)):
        with suppress(UsageError):  # it may not be on this machine
            kind = compute_device(earlier).type
    usual = max(1, core_count() // threads) if kind == "cpu" else 1
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


def _study_request(
    *,
    model: PathOrName | Spec | None,
    resolution: int | None,
    seeds: int | None,
    epochs: float | None,
    train_images: int | None,
    rates: Sequence[float],
    threads: int,
    seed: int,
) -> StudyRequest:
    """What a study is to do. Raises UsageError for arguments out of range."""
    _check_counts(resolution=resolution, train_images=train_images)
    _check_counts(2, seeds=seeds)
    _check_counts(0, seed=seed)
    check_numbers(epochs, rates)
    return StudyRequest(
        base=model if isinstance(model, Spec) or model is None else resolve_spec(os.fspath(model)),
        resolution=resolution,
        seeds=seeds,
        epochs=epochs,
        train_images=train_images,
        rates=tuple(rates),
        threads=threads,
        seed=seed,
    )


def _check_counts(least: int = 1, **counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and not least <= value < 2**63:
            raise UsageError(f"{name}={value} is out of range. Use {least} or more.")


def _device_model(source: PathOrName | DeviceModel | None) -> DeviceModel | None:
    if isinstance(source, str | os.PathLike):
        return DeviceModel.read(Path(source))
    return source
