"""`phiscale.predict_family`: trains models of a ray and predicts the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from phiscale.arch.costs import cost
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.files.values import PathOrName
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.priors import law_for
from phiscale.search.engine.folder import DatasetInfo, dataset_info
from phiscale.search.engine.run_plan import run_plan
from phiscale.search.engine.runner import RunnerConfig, runner_for
from phiscale.search.spaces.family import FamilyPlan
from phiscale.search.spaces.family_report import family_report
from phiscale.search.study.output import StudyFiles, StudyOutput, write_study
from phiscale.search.study.presets import PRESETS
from phiscale.search.study.request import StudyRequest, base_of, describe_compute
from phiscale.text import python_call

logger = logging.getLogger(__name__)

PAPER_POWERS = {"alpha": 1.2, "beta": 1.1, "gamma": 1.15}
SEEDS = 3
MAX_PHI = 10  # the paper's family has 7


def predict_family(  # noqa: PLR0913
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
    request = StudyRequest(
        base=base_of(model),
        resolution=resolution,
        seeds=seeds,
        epochs=epochs,
        train_images=train_images,
        rates=tuple(rates),
        threads=threads,
        seed=seed,
    )
    runner = runner_for(Path(out), storage, study_name, workers, threads, device)
    if isinstance(coefficients, str | os.PathLike):
        coefficients = Coefficients.read(Path(coefficients))
    return run_family(
        os.fspath(data), phi, coefficients, request, runner, command=command, train=not plan
    )


def run_family(
    data: str,
    phis: Sequence[float],
    coefficients: Coefficients | None,
    request: StudyRequest,
    runner: RunnerConfig,
    *,
    command: str = "",
    train: bool = True,
) -> StudyOutput:
    """Trains the models at `phis` and predicts all from phi -3 to 7. The same call resumes.

    `coefficients`: measured ones; None: the paper's. `train=False`: only log what would be trained.
    UsageError: the folder belongs to another study.
    """
    powers = coefficients.powers if coefficients else PAPER_POWERS
    dataset = dataset_info(data, runner.out)
    plan = plan_family(data, phis, powers, request, dataset)
    _log_plan(plan, dataset)
    if not train:
        return StudyOutput(data={"plan": plan.to_dict()})
    runner = runner.begin_or_resume("family", dataset, plan.to_dict())
    runs = run_plan(plan, runner)
    law = (coefficients and coefficients.law_over(plan.base)) or law_for(plan.base)
    report, members = family_report(plan, runs, law, command)
    files = StudyFiles(json_name="family.json", data={"members": members}, report=report)
    return write_study(runner.out, files)


def plan_family(
    data: str,
    phis: Sequence[float],
    powers: dict[str, float],
    request: StudyRequest,
    dataset: DatasetInfo,
) -> FamilyPlan:
    """Turns a request into a plan on these images. `powers`: alpha, beta and gamma."""
    preset = PRESETS["smoke"]
    return FamilyPlan(
        conditions=request.conditions(data, dataset, preset, request.epochs or preset.epochs),
        base=request.base_spec(dataset, preset),
        phis=tuple(sorted(set(phis))),
        seeds=request.seeds or SEEDS,
        tuning=request.tuning(preset),
        **powers,
    )


def _log_plan(plan: FamilyPlan, dataset: DatasetInfo) -> None:
    units = {phi: cost(plan.member(phi)).macs / cost(plan.base).macs for phi in plan.phis}
    for phi, unit in units.items():
        spec = plan.member(phi)
        upsampled = " (more than the images')" if spec.resolution > dataset.native_pixels else ""
        logger.info(
            f"phi {phi:g}: {spec.blocks} blocks, {spec.resolution} px{upsampled}, "
            f"{unit:.2f}x the base's MACs"
        )
    compute = describe_compute(plan.seeds, [*units.values()])
    logger.info(f"{plan.seeds} seeds, {plan.conditions.recipe.epochs:g} epochs: {compute}")
