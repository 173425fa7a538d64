"""`study`: from pictures and a preset to a verdict; to a family; to two design spaces compared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.deploy.timing import measure_interleaved_ms
from phiscale.errors import PhiscaleError, UsageError
from phiscale.files import read_checked, write_atomic, write_checked, write_json
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.priors import law_for
from phiscale.search.engine.carry_out import carry_out
from phiscale.search.engine.folder import DatasetInfo, dataset_info, read_looks
from phiscale.search.engine.result import Results
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.trial import TrialConditions
from phiscale.search.engine.tuning import Tuning
from phiscale.search.spaces.compare_spaces import SpaceComparison
from phiscale.search.spaces.compare_spaces_report import comparison_report
from phiscale.search.spaces.family import FamilyPlan
from phiscale.search.spaces.family_report import family_report
from phiscale.search.study import replication
from phiscale.search.study.critique import critique
from phiscale.search.study.plan import ScalingStudy, arms_for
from phiscale.search.study.presets import PRESETS, Preset
from phiscale.search.study.report import report, seeds_words
from phiscale.search.study.resampling import detectable, expected_error, seeds_to_detect
from phiscale.search.study.verdict import FEWEST_SEEDS

logger = logging.getLogger(__name__)

Latencies = Callable[[Mapping[str, Spec]], Mapping[str, float]]


class StudyOutput(NamedTuple):
    """What a study has come to: in lines, and as its JSON file has it."""

    lines: list[str]
    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """What the user may set beside the preset."""

    base: Spec | None = None  # None: the preset's
    resolution: int | None = None  # of the base; None: the preset's, else half the pictures'
    seeds: int | None = None
    epochs: float | None = None
    train_images: int | None = None
    rates: tuple[float, ...] = ()  # to choose from; empty: the preset's
    threads: int = 1
    seed: int = 0

    def tuned(self, preset: Preset) -> Tuning:
        return replace(preset.tuning, rates=self.rates) if self.rates else preset.tuning

    def sized(self, dataset: DatasetInfo, preset: Preset) -> Spec:
        """The base on these pictures: below their own pixels, so that more of them are real."""
        base = self.base or get_spec(preset.base)
        own = preset.resolution if self.base is None else None
        pixels = self.resolution or own or base_pixels(base, dataset.native_pixels)
        spec = replace(base, classes=len(dataset.classes), resolution=pixels)
        wide = preset.base_width
        return spec if wide == 1 else scale(spec, Scaling(width=wide))

    def images(self, dataset: DatasetInfo, usual: int | None) -> int | None:
        """So many of the training pictures as was asked for; None: all."""
        return dataset.limit(self.train_images or usual)


def base_pixels(base: Spec, native: int) -> int:
    """Half of what the pictures have, so that twice as many are real; no more than the base's."""
    step = 8 if native > SMALL_PIXELS else 4
    return max(step, min(base.resolution, native // 2 // step * step))


def crop_for(dataset: DatasetInfo) -> float:
    """Small pictures are taken whole, of photographs the centre."""
    return 1.0 if dataset.native_pixels <= SMALL_PIXELS else 0.875


def study(
    data: str,
    preset: str,
    asked: StudyRequest,
    runner: RunnerConfig,
    *,
    command: str,
    train: bool = True,
    latencies: Latencies = measure_interleaved_ms,
) -> StudyOutput:
    """Carries out the study in `crew.out`, begun anew or gone on with, and writes its report.

    `latencies` measures milliseconds of the arms' networks, once. `train=False`: only says what
    would be trained, and what speaks against it. UsageError: the folder is of another study, or no
    arm fits the pictures.
    """
    dataset = dataset_info(data, runner.out)
    if preset == "cifar10-replication":
        for line in replication.what_was_wrong(data, dataset):
            logger.info(line)
    plan = plan_for(data, PRESETS[preset], asked, dataset)
    if plan.seeds < 2:
        raise UsageError(
            f"seeds={plan.seeds} has no spread. Use {FEWEST_SEEDS} or more; fewer "
            "only say how many it takes."
        )
    logger.info(f"{preset}: {PRESETS[preset].says}")
    for line in plan_lines(plan, PRESETS[preset].seed_sd, len(dataset.test_labels)):
        logger.info(line)
    for line in critique(plan, dataset):
        logger.info(f"note: {line}")
    if not train:
        return StudyOutput([], {"plan": plan.to_dict()})
    runner = runner.pinned("study", dataset, plan.to_dict())
    outcome = carry_out(plan, runner)
    times = _once(
        runner.out / "latencies.json",
        lambda: dict(latencies({arm.name: arm.spec for arm in plan.arms})),
    )
    found = report(plan, outcome, dataset, runner, times, read_looks(runner.out), command)
    first = found.settled.primary
    lines = [
        f"{found.settled.verdict}: compound minus {found.settled.best_single} is "
        f"{100 * first.difference:+.2f} points [{100 * first.low:+.2f}, {100 * first.high:+.2f}]",
    ]
    if found.settled.verdict.startswith("undecided"):
        lines.append(f"a difference like this would take {seeds_words(found.settled)}")
    return _left(runner.out, "study.json", found.files, found.to_dict(), lines)


def plan_for(data: str, preset: Preset, asked: StudyRequest, dataset: DatasetInfo) -> ScalingStudy:
    """The preset on these pictures."""
    epochs = asked.epochs or preset.epochs
    native = dataset.native_pixels
    return ScalingStudy(
        conditions=TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            recipe=replace(preset.recipe, epochs=epochs),
            crop=crop_for(dataset),
            train_images=asked.images(dataset, preset.train_images),
            threads=asked.threads,
            seed=asked.seed,
        ),
        arms=arms_for(
            asked.sized(dataset, preset),
            compute=preset.compute,
            epochs=epochs,
            names=preset.arms,
            native_pixels=native if preset.real_pixels else None,
        ),
        seeds=asked.seeds or preset.seeds,
        tuning=asked.tuned(preset),
    )


def plan_lines(plan: ScalingStudy, seed_sd: tuple[float, float], test_images: int) -> Iterator[str]:
    """The arms, and what they can tell if accuracies vary so much between seeds, for a terminal."""
    for arm in plan.arms:
        yield (
            f"{arm.name:<11} depth x{arm.by.depth:<5.3g} width x{arm.by.width:<5.3g} "
            f"{arm.spec.resolution:>3} px  {arm.compute:5.2f}x the base's MACs  "
            f"{arm.epochs:g} epochs"
        )
    units = [arm.compute * arm.epochs / plan.conditions.recipe.epochs for arm in plan.arms]
    yield f"{plan.seeds} seeds: {_bill(plan.seeds, units)}"
    enough = seeds_to_detect(0.01, seed_sd[1], test_images)
    takes = f"up to {max(enough, FEWEST_SEEDS)} seeds" if enough else "more test pictures"
    vary = f"if seeds vary by {100 * seed_sd[0]:g} to {100 * seed_sd[1]:g} points"
    if plan.seeds < FEWEST_SEEDS:
        yield f"{vary}, a difference of 1 point takes {takes}"
        return
    low, high = (
        100 * detectable(expected_error(sd, plan.seeds, test_images), seeds=plan.seeds)
        for sd in seed_sd
    )
    yield (
        f"{vary}, {plan.seeds} of them and {test_images:,} test pictures find a difference of "
        f"{low:.1f} to {high:.1f} points between compound and the best single dimension four "
        f"times in five; 1 point takes {takes}"
    )


def _bill(seeds: int, units: Sequence[float]) -> str:
    """What trainings take, each of so many of the base's, with every seed."""
    return (
        f"{seeds * len(units)} trainings, the compute of {seeds * sum(units):,.0f} of the base; "
        "choosing rates comes on top"
    )


def family(
    data: str,
    phis: tuple[float, ...],
    coefficients: Path | None,
    asked: StudyRequest,
    runner: RunnerConfig,
    *,
    command: str,
    train: bool = True,
) -> StudyOutput:
    """Trains the members at `phis`, predicts all from -3 to 7."""
    found = Coefficients.read(coefficients) if coefficients else None
    powers = found.powers if found else {"alpha": 1.2, "beta": 1.1, "gamma": 1.15}
    dataset = dataset_info(data, runner.out)
    preset = PRESETS["smoke"]
    epochs = asked.epochs or preset.epochs
    plan = FamilyPlan(
        conditions=TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            recipe=replace(preset.recipe, epochs=epochs),
            crop=crop_for(dataset),
            train_images=asked.images(dataset, preset.train_images),
            threads=asked.threads,
            seed=asked.seed,
        ),
        base=asked.sized(dataset, preset),
        phis=tuple(sorted(set(phis))),
        seeds=asked.seeds or 3,
        tuning=asked.tuned(preset),
        **powers,
    )
    units = {phi: cost(plan.member(phi)).macs / cost(plan.base).macs for phi in plan.phis}
    for phi in plan.phis:
        member = plan.member(phi)
        real = "" if member.resolution <= dataset.native_pixels else " (more than the pictures')"
        logger.info(
            f"phi {phi:g}: {member.blocks} blocks, {member.resolution} px{real}, "
            f"{units[phi]:.2f}x the base's MACs"
        )
    logger.info(f"{plan.seeds} seeds, {epochs:g} epochs: {_bill(plan.seeds, [*units.values()])}")
    if not train:
        return StudyOutput([], {"plan": plan.to_dict()})
    runner = runner.pinned("family", dataset, plan.to_dict())
    runs = carry_out(plan, runner)
    law = (found and found.law_over(plan.base)) or law_for(plan.base)
    files, members = family_report(plan, runs, law, command)
    return _left(runner.out, "family.json", files, {"members": members})


def design_spaces(
    data: str,
    spaces: tuple[str, str],
    networks: int,
    asked: StudyRequest,
    runner: RunnerConfig,
    *,
    command: str,
    train: bool = True,
) -> StudyOutput:
    """Draws networks of equal MACs from two spaces and compares the distributions of their
    errors."""
    dataset = dataset_info(data, runner.out)
    preset = PRESETS["smoke"]
    plan = SpaceComparison(
        conditions=TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            crop=crop_for(dataset),
            recipe=replace(preset.recipe, epochs=asked.epochs or preset.epochs / 2),
            threads=asked.threads,
            seed=asked.seed,
            train_images=asked.images(dataset, preset.train_images),
        ),
        base=asked.sized(dataset, preset),
        spaces=spaces,
        networks=networks,
        compute=2.0,
        native_pixels=dataset.native_pixels,
    )
    logger.info(
        f"{networks} networks of {spaces[0]} and of {spaces[1]}, "
        f"{plan.conditions.recipe.epochs:g} epochs: "
        f"{2 * networks} trainings, the compute of {plan.compute * 2 * networks:,.0f} of the base "
        "for as many epochs"
    )
    for line in plan.caveats():
        logger.info(f"note: {line}")
    if not train:
        return StudyOutput([], {"plan": plan.to_dict()})
    runner = runner.pinned("comparison of design spaces", dataset, plan.to_dict())
    runs = carry_out(plan, runner)
    files, found = comparison_report(plan, runs, command)
    return _left(runner.out, "spaces.json", files, found)


def _once(path: Path, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """A measurement that another start of the same does not make again."""
    with suppress(PhiscaleError):  # missing or damaged: measured anew
        return read_checked(path, "")
    write_checked(path, measure())
    return read_checked(path, "")


def _left(
    out: Path,
    name: str,
    files: Mapping[str, str | bytes],
    data: dict[str, Any],
    lines: Sequence[str] = (),
) -> StudyOutput:
    """Writes the files of a report, and `data` as JSON of that name."""
    Results(out / "results").publish()
    write_json(out / name, data)
    for each, content in files.items():
        write_atomic(out / each, content)
    page = str(out / "report.html")
    return StudyOutput([*lines, page], {**data, "report": page})
