"""`phiscale.compare_spaces`: two design spaces, compared by the errors of their networks."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from phiscale.arch.spec import Spec
from phiscale.files.values import PathOrName, check_at_least
from phiscale.search.engine.folder import DatasetInfo, dataset_info
from phiscale.search.engine.run_plan import run_plan
from phiscale.search.engine.runner import RunnerConfig, runner_for
from phiscale.search.spaces.compare_spaces import SpaceComparison
from phiscale.search.spaces.compare_spaces_report import comparison_report
from phiscale.search.study.output import StudyFiles, StudyOutput, write_study
from phiscale.search.study.presets import PRESETS
from phiscale.search.study.request import StudyRequest, base_of
from phiscale.text import python_call

logger = logging.getLogger(__name__)

COMPUTE_RATIO = 2.0  # of all networks, over the base


def compare_spaces(  # noqa: PLR0913
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
    check_at_least(1, networks=networks)
    request = StudyRequest(
        base=base_of(model),
        resolution=resolution,
        epochs=epochs,
        train_images=train_images,
        threads=threads,
        seed=seed,
    )
    runner = runner_for(Path(out), storage, study_name, workers, threads, device)
    return run_design_spaces(
        os.fspath(data), spaces, networks, request, runner, command=command, train=not plan
    )


def run_design_spaces(
    data: str,
    spaces: tuple[str, str],
    networks: int,
    request: StudyRequest,
    runner: RunnerConfig,
    *,
    command: str = "",
    train: bool = True,
) -> StudyOutput:
    """Trains networks of equal MACs from two design spaces and compares the distributions of their
    errors. The same call resumes.

    `networks`: of each space. `train=False`: only log what would be trained.
    UsageError: unknown or equal spaces, or the folder belongs to another study.
    """
    dataset = dataset_info(data, runner.out)
    plan = plan_comparison(data, spaces, networks, request, dataset)
    _log_plan(plan)
    if not train:
        return StudyOutput(data={"plan": plan.to_dict()})
    runner = runner.begin_or_resume("comparison of design spaces", dataset, plan.to_dict())
    runs = run_plan(plan, runner)
    report, results = comparison_report(plan, runs, command)
    files = StudyFiles(json_name="spaces.json", data=results, report=report)
    return write_study(runner.out, files)


def plan_comparison(
    data: str,
    spaces: tuple[str, str],
    networks: int,
    request: StudyRequest,
    dataset: DatasetInfo,
) -> SpaceComparison:
    """Turns a request into a plan on these images."""
    preset = PRESETS["smoke"]
    return SpaceComparison(
        conditions=request.conditions(data, dataset, preset, request.epochs or preset.epochs / 2),
        base=request.base_spec(dataset, preset),
        spaces=spaces,
        networks=networks,
        compute=COMPUTE_RATIO,
        native_pixels=dataset.native_pixels,
    )


def _log_plan(plan: SpaceComparison) -> None:
    first, second = plan.spaces
    count = 2 * plan.networks
    logger.info(
        f"{plan.networks} networks of {first} and of {second}, "
        f"{plan.conditions.recipe.epochs:g} epochs: {count} trainings, the compute of "
        f"{plan.compute * count:,.0f} trainings of the base for as many epochs"
    )
    for line in plan.caveats():
        logger.info(f"note: {line}")
