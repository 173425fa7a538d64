"""`phiscale.scaling_study`: from images and a preset to a verdict."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from phiscale.arch.spec import Spec
from phiscale.deploy.timing import measure_interleaved_ms
from phiscale.errors import UsageError
from phiscale.files.values import PathOrName
from phiscale.search.engine.folder import DatasetInfo, dataset_info, read_interim_looks
from phiscale.search.engine.run_plan import run_plan
from phiscale.search.engine.runner import RunnerConfig, runner_for
from phiscale.search.study.check_design import check_design
from phiscale.search.study.completed import CompletedStudy
from phiscale.search.study.output import StudyFiles, StudyOutput, measure_once, write_study
from phiscale.search.study.plan import ScalingStudy
from phiscale.search.study.presets import PRESETS, Preset
from phiscale.search.study.replication import describe_flaws
from phiscale.search.study.report import build_report
from phiscale.search.study.request import StudyRequest, base_of, describe_plan, plan_study
from phiscale.text import python_call

logger = logging.getLogger(__name__)

MeasureLatencies = Callable[[Mapping[str, Spec]], Mapping[str, float]]


def scaling_study(  # noqa: PLR0913
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
    return run_study(os.fspath(data), preset, request, runner, command=command, train=not plan)


def run_study(
    data: str,
    preset: str,
    request: StudyRequest,
    runner: RunnerConfig,
    *,
    command: str = "",
    train: bool = True,
    latencies: MeasureLatencies = measure_interleaved_ms,
) -> StudyOutput:
    """Carries out a scaling study in `runner.out` and writes its report. The same call resumes.

    `train=False`: only log what would be trained, and its caveats. `command`: what the report says
    made it. `latencies`: measures the milliseconds of an image, by arm; the first start calls it.
    UsageError: the folder belongs to another study, or no arm fits the images.
    """
    dataset = dataset_info(data, runner.out)
    if preset == "cifar10-replication":
        for line in describe_flaws(data, dataset):
            logger.info(line)
    plan = plan_study(data, PRESETS[preset], request, dataset)
    _log_plan(plan, preset, PRESETS[preset], dataset)
    if not train:
        return StudyOutput(data={"plan": plan.to_dict()})
    runner = runner.begin_or_resume("study", dataset, plan.to_dict())
    outcome = run_plan(plan, runner)
    times = measure_once(
        runner.out / "latencies.json",
        lambda: dict(latencies({arm.name: arm.network.spec for arm in plan.arms})),
    )
    completed = CompletedStudy(
        plan=plan,
        outcome=outcome,
        dataset=dataset,
        runner=runner,
        latencies_ms=times,
        interim_looks=read_interim_looks(runner.out),
    )
    report = build_report(completed, command)
    files = StudyFiles(json_name="study.json", data=report.to_dict(), report=report.files)
    return write_study(runner.out, files, report.summary(), report.verdict)


def _log_plan(plan: ScalingStudy, name: str, preset: Preset, dataset: DatasetInfo) -> None:
    logger.info(f"{name}: {preset.summary}")
    for line in describe_plan(plan, preset.seed_sd, len(dataset.test_labels)):
        logger.info(line)
    for line in check_design(plan, dataset):
        logger.info(f"note: {line}")
