"""`phiscale study`: from images and a preset to a verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from phiscale.arch.spec import Spec
from phiscale.deploy.timing import measure_interleaved_ms
from phiscale.search.engine.folder import DatasetInfo, dataset_info, read_interim_looks
from phiscale.search.engine.run_plan import run_plan
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.study.check_design import check_design
from phiscale.search.study.completed import CompletedStudy
from phiscale.search.study.output import StudyFiles, StudyOutput, measure_once, write_study
from phiscale.search.study.plan import ScalingStudy
from phiscale.search.study.presets import PRESETS, Preset
from phiscale.search.study.replication import describe_flaws
from phiscale.search.study.report import build_report
from phiscale.search.study.request import StudyRequest, describe_plan, plan_study

logger = logging.getLogger(__name__)

MeasureLatencies = Callable[[Mapping[str, Spec]], Mapping[str, float]]


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
