"""What a scaling study says: the verdict, the arms, the paper's table beside ours, figures, power,
cost; and the raw runs, so that others can do the statistics again."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.families.published import TABLE_7
from phiscale.arch.scaling import scale
from phiscale.errors import PhiscaleError
from phiscale.report.page import Section, page_files
from phiscale.search.engine.folder import DatasetInfo, look_notes, machine_notes
from phiscale.search.engine.result import Result, unique_results
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.tuning import edge_rate_notes
from phiscale.search.study.cams import cams
from phiscale.search.study.critique import afterthoughts, critique
from phiscale.search.study.csv_files import predictions_csv, runs_csv
from phiscale.search.study.figures import contrasts_figure, figure_sections
from phiscale.search.study.plan import OTHER, Outcome, ScalingStudy
from phiscale.search.study.resampling import bootstrap_interval, spread
from phiscale.search.study.verdict import (
    FEWEST_SEEDS,
    MOST_SEEDS,
    ArmResults,
    Contrast,
    StudyVerdict,
    settle,
)

TITLE = "Does compound scaling pay on these pictures?"


@dataclass(frozen=True, eq=False)
class Report:
    """The outcome and the files that tell it."""

    settled: StudyVerdict
    others: Mapping[str, Contrast]  # compound minus the arms of another compute
    files: Mapping[str, str | bytes]  # by name

    def to_dict(self) -> dict[str, Any]:
        return {
            "settled": self.settled.to_dict(),
            "others": {name: vars(each) for name, each in self.others.items()},
        }


def report(
    plan: ScalingStudy,
    outcome: Outcome,
    dataset: DatasetInfo,
    runner: RunnerConfig,
    latencies: Mapping[str, float],
    looks: Sequence[int],
    command: str,
) -> Report:
    """All files of a finished study but its plan and its results. `latencies`: milliseconds of a
    picture, by arm. `looks`: with how many seeds it was read before."""
    whole = whole_seeds(plan, outcome)
    answers = {
        arm.name: _answers([outcome.runs[arm.name, seed] for seed in whole], dataset, arm.compute)
        for arm in plan.arms
    }
    equal = {name: each for name, each in answers.items() if name not in OTHER}
    target = float(np.mean([arm.compute for arm in plan.arms if arm.name in equal][1:]))
    settled = settle(equal, target_compute=target)
    others = {
        name: _plain(name, answers["compound"], answers[name]) for name in OTHER if name in answers
    }
    maps = cams(plan, outcome, runner)
    sections = [
        _verdict(plan, settled, dataset, [*look_notes(looks), *_failures(outcome, len(whole))]),
        _arms(plan, outcome, answers, latencies),
        _contrasts(settled, others),
        _paper(plan, settled),
        *figure_sections(plan, outcome, settled),
        *([maps.section] if maps else []),
        _power(settled),
        _protocol(plan, outcome, dataset),
    ]
    files = {
        **page_files(TITLE, command, sections),
        "runs.csv": runs_csv(outcome),
        "predictions.csv": predictions_csv(outcome, dataset),
    }
    if maps:
        files["cams.html"] = maps.page
    return Report(settled, others, files)


def whole_seeds(plan: ScalingStudy, outcome: Outcome) -> list[int]:
    """Those of which no arm's training failed: a failed one has no accuracy, and 0 % for it would
    decide the verdict. PhiscaleError: too few are left for any statistics."""
    seeds = range(plan.conditions.seed, plan.conditions.seed + plan.seeds)
    failed = {seed for (_, seed), run in outcome.runs.items() if run.failed}
    whole = [seed for seed in seeds if seed not in failed]
    if len(whole) < 2:
        why = next(run.failed for run in outcome.runs.values() if run.failed)
        raise PhiscaleError(
            f"trainings of {len(failed)} of {plan.seeds} seeds failed ({why}). "
            "Look at results/, and use more `seeds`."
        )
    return whole


def _failures(outcome: Outcome, left: int) -> list[str]:
    failed = [
        f"{name}, seed {seed} ({run.failed})"
        for (name, seed), run in sorted(outcome.runs.items())
        if run.failed
    ]
    if not failed:
        return []
    return [
        f"{len(failed)} trainings failed: {'; '.join(failed)}. Their seeds count for no arm, which "
        f"leaves {left}: an arm that fails now and then is worse than this says."
    ]


def _answers(runs: Sequence[Result], dataset: DatasetInfo, compute: float) -> ArmResults:
    correct = [run.correct(dataset.test_labels) for run in runs]
    return ArmResults(
        correct=np.stack(correct), validation=[1 - run.error for run in runs], compute=compute
    )


def _plain(name: str, ours: ArmResults, other: ArmResults) -> Contrast:
    of = spread(ours.correct, other.correct)
    low, high = bootstrap_interval(of)
    return Contrast(
        name=name,
        difference=of.difference,
        low=low,
        high=high,
        p_value=None,
        p_holm=None,
        standard_error=of.standard_error,
    )


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _between(contrast: Contrast) -> str:
    return f"[{_points(contrast.low)}, {_points(contrast.high)}]"


def _verdict(
    plan: ScalingStudy, settled: StudyVerdict, dataset: DatasetInfo, further: Sequence[str]
) -> Section:
    first = settled.primary
    return Section(
        title=f"Verdict: {settled.verdict}",
        text=[
            f"Compound minus {settled.best_single}, the best single dimension on validation, at "
            f"{settled.target_compute:.2f} times the base's MACs: {_points(first.difference)} "
            f"points of test accuracy, 95 % interval {_between(first)}, p = {first.p_value:.3f} "
            f"({settled.seeds} seeds, {settled.images} test pictures).",
            "The rule stood before the numbers: fewer than 7 seeds: undecided; interval above 0: "
            "benefit; below 0: harm; within 0.3 points of 0: no benefit; else undecided.",
            *(f"To be held against it: {line}." for line in critique(plan, dataset)),
            *(f"To be held against it: {line}." for line in afterthoughts(settled)),
            *further,
        ],
    )


def _arms(
    plan: ScalingStudy,
    outcome: Outcome,
    answers: Mapping[str, ArmResults],
    latencies: Mapping[str, float],
) -> Section:
    rows = []
    for arm in plan.arms:
        counted, runs = cost(arm.spec), outcome.of(arm.name)
        tops = np.mean(answers[arm.name].correct, axis=1)
        recipe = outcome.chosen.get(arm.name, outcome.chosen["base"])
        rows.append(
            {
                "arm": arm.name,
                "depth": f"x{arm.by.depth:.3g}",
                "width": f"x{arm.by.width:.3g}",
                "pixels": arm.spec.resolution,
                "MACs": f"{counted.macs / 1e6:.2f}M",
                "over base": f"x{arm.compute:.2f}",
                "activations": f"{counted.activations / 1e3:.0f}k",
                "params": f"{counted.params / 1e3:.0f}k",
                "ms": f"{latencies[arm.name]:.2f}",
                "epochs": f"{arm.epochs:g}",
                "rate": f"{recipe.optim.lr_peak:g}",
                **(
                    {"drop path": f"{recipe.drop_path:g}"}
                    if len(plan.tuning.drop_paths) > 1
                    else {}
                ),
                "test top-1, %": f"{100 * tops.mean():.2f}",
                "sd": f"{100 * tops.std(ddof=1):.2f}",
                "valid., %": f"{100 * float(np.mean(answers[arm.name].validation)):.2f}",
                "core s a run": f"{statistics.fmean(run.cpu_seconds for run in runs):.0f}",
            }
        )
    same = _same_networks(plan)
    return Section(
        title="The arms",
        rows=rows,
        text=[
            f"{' and '.join(names)} are one network here: rounding leaves no difference, and "
            "their runs are the same runs."
            for names in same
        ],
        note="Depth, width: real blocks and root mean square of channels over the base's. MACs are "
        "exact; ms: one picture exported, ONNX Runtime on this machine's CPU, median of "
        "interleaved rounds. Longer is the base, trained for more epochs.",
    )


def _same_networks(plan: ScalingStudy) -> list[list[str]]:
    names: dict[Any, list[str]] = {}
    for arm in plan.arms:
        names.setdefault((arm.spec, arm.epochs), []).append(arm.name)
    return [each for each in names.values() if len(each) > 1]


def _contrasts(settled: StudyVerdict, others: Mapping[str, Contrast]) -> Section:
    rows = [
        {
            "compound minus": each.name,
            "points": _points(each.difference),
            "95 %": _between(each),
            "p": f"{each.p_value:.3f}" if each.p_value is not None else None,
            "p, Holm": f"{each.p_holm:.3f}" if each.p_holm is not None else None,
        }
        for each in (*settled.contrasts, *others.values())
    ]
    text = []
    if longer := others.get("longer"):
        better = (
            "beats" if longer.low > 0 else "loses to" if longer.high < 0 else "is not told from"
        )
        few = "" if settled.seeds >= FEWEST_SEEDS else f", by {settled.seeds} seeds, which are few"
        text = [
            f"At equal training compute, compound {better} the base trained "
            f"{settled.target_compute:.1f} times as long{few}: {_points(longer.difference)} "
            f"points {_between(longer)}."
        ]
    return Section(
        title="Equal epochs and equal compute",
        rows=rows,
        text=text,
        figures=[contrasts_figure([*settled.contrasts, *others.values()])],
        note="Two-level bootstrap over seeds and test pictures with Student's quantile for the few "
        "seeds; paired permutation of seeds; Holm over depth, width and resolution. Arms are "
        f"brought to equal MACs ({settled.target_compute:.2f} times the base's) by the slope of a "
        "law in MACs; arms of other compute are as they are.",
    )


def _paper(plan: ScalingStudy, settled: StudyVerdict) -> Section:
    ours = {arm.name: arm for arm in settled.arms}
    specs = {arm.name: arm for arm in plan.arms}
    theirs = {arm.name: arm for arm in TABLE_7}
    base = get_spec("efficientnet_b0")
    rows = []
    for name, of in theirs.items():
        mine = ours.get("base" if name == "baseline" else name)
        if mine is None or of.scaling is None:
            continue
        exact = cost(scale(base, of.scaling)).macs
        arm = specs[mine.name]
        rows.append(
            {
                "arm": name,
                "paper: MACs": f"{of.macs / 1e9:.1f}G",
                "exact": f"{exact / 1e9:.2f}G",
                "paper: top-1, %": f"{100 * of.top1:.1f}",
                "gain": _points(of.top1 - theirs["baseline"].top1),
                "ours: MACs": f"{cost(arm.spec).macs / 1e6:.2f}M",
                "ours: top-1, %": f"{100 * mine.accuracy:.2f}",
                "our gain": _points(mine.accuracy - ours["base"].accuracy),
            }
        )
    return Section(
        title="The paper's table 7 beside ours",
        rows=rows,
        note="Paper: EfficientNet-B0 on ImageNet (arXiv:1905.11946v5, table 7), one run each; its "
        "arms differ by up to 24 % of exact MACs. Ours: each within 3 % of its target, other "
        "pictures, shorter training.",
    )


def seeds_words(settled: StudyVerdict) -> str:
    """The seeds that would settle the difference seen, and how sure that number is."""
    low, high = settled.seeds_needed_range
    if low == high:
        return f"{settled.seeds_needed} seeds"
    most = f"{MOST_SEEDS} or more" if high == MOST_SEEDS else f"{high}"
    return (
        f"{settled.seeds_needed} seeds ({low} to {most} in 8 of 10 cases: {settled.seeds} seeds "
        "tell their own variance no better)"
    )


def _power(settled: StudyVerdict) -> Section:
    return Section(
        title="What this study can tell",
        text=[
            f"Between seeds the accuracy varies by {100 * settled.seed_sd:.2f} points (sd, pooled "
            f"over arms; of calibrated classifiers of this error one expects "
            f"{100 * settled.expected_seed_sd:.2f}). With {settled.seeds} seeds the main contrast "
            f"has a standard error of {100 * settled.primary.standard_error:.2f} points: it "
            + ("finds " if settled.seeds >= FEWEST_SEEDS else "would find, if so few were read, ")
            + f"a difference of {100 * settled.detectable:.2f} points four times in five, and each "
            f"of the three with Holm's correction one of {100 * settled.detectable_holm:.2f}.",
            f"A difference like the one seen would take {seeds_words(settled)}"
            + (
                f" and {settled.images_needed} test pictures"
                if settled.images_needed > settled.images
                else ""
            )
            + " to settle with that certainty.",
            *(
                [f"With fewer than {FEWEST_SEEDS} seeds the rule decides nothing."]
                if settled.seeds < FEWEST_SEEDS
                else []
            ),
        ],
    )


def _protocol(plan: ScalingStudy, outcome: Outcome, dataset: DatasetInfo) -> Section:
    cpu = sum(run.cpu_seconds for run in unique_results(outcome.runs.values()))
    rates = {name: recipe.optim.lr_peak for name, recipe in outcome.chosen.items()}
    drops = ", ".join(f"{each:g}" for each in plan.tuning.drop_paths)
    recipe, first = plan.conditions.recipe, plan.conditions.seed
    optim = recipe.optim
    images = plan.conditions.train_images or dataset.train
    return Section(
        title="How it was done",
        text=[
            f"{dataset.source}: {images} of {dataset.train} training pictures, the same in all "
            f"runs; {dataset.validation} validate, {len(dataset.test_labels)} test. Pictures of "
            f"{dataset.native_pixels} px are resampled (antialiased) to each arm's size.",
            f"{recipe.epochs:g} epochs of batches of {recipe.batch}, {optim.name} with "
            f"Nesterov's momentum {optim.momentum:g}, warm-up over "
            f"{100 * recipe.schedule.warmup_fraction:.0f} %, cosine to 0, weight decay "
            f"{optim.weight_decay:g}. Each arm chose its rate from "
            f"{', '.join(f'{rate:g}' for rate in plan.tuning.rates)}"
            + (f" and its drop path from {drops}" if len(plan.tuning.drop_paths) > 1 else "")
            + " on validation, "
            f"{plan.tuning}, with a seed of its own; never across arms. Longer takes the base's.",
            *edge_rate_notes(rates, plan.tuning),
            f"Seeds {first} to {first + plan.seeds - 1}; a seed sets weights, order and "
            f"augmentation alike in all arms. The runs that count took {cpu:,.0f} core seconds, "
            "of those that were stopped the last start alone.",
            *machine_notes(outcome.runs.values()),
        ],
        note="runs.csv has every run, predictions.csv the answer of every run to every test "
        "picture; results/ the same as JSON, plan.json the plan.",
    )
