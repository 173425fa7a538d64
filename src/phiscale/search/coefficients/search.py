"""`search coefficients`: from pictures and a base to alpha, beta, gamma, and how sure they are."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec, name_of
from phiscale.arch.scaling import scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.files import write_atomic
from phiscale.planning.coefficients import NAMES, Coefficients, Interval
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws.optimum import bootstrap_intervals, optimum
from phiscale.report.page import Section, page_files
from phiscale.search.coefficients.law import Method, MethodResult, Triple, fitted, law_checks, noise
from phiscale.search.coefficients.plan import CoefficientSearch
from phiscale.search.coefficients.report import report
from phiscale.search.engine.carry_out import carry_out
from phiscale.search.engine.folder import DatasetInfo, dataset_info, read_looks
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.trial import TrialConditions
from phiscale.search.engine.tuning import Tuning
from phiscale.search.spaces.lattice import COSTS, Lattice, cost_metric
from phiscale.search.study.critique import few_pictures
from phiscale.search.study.plan import RECIPE
from phiscale.search.study.run import base_pixels, crop_for
from phiscale.training.recipes.recipe import Recipe

logger = logging.getLogger(__name__)

DRAWS = 300  # of the law, for intervals on the lattice
FOUND, BASE = "found.json", "base.json"
SAME = 1 + 1e-6  # a ratio of two coefficients that every law agrees on


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a search is to do."""

    methods: tuple[Method, ...] = ("lawscale",)
    units: float = 14.0  # trainings of the base that a method may spend
    compute: float = 2.0  # where the coefficients are wanted: times the base's cost
    cost: str = "macs"
    device: DeviceModel | None = None
    resolution: int | None = None  # of the base; None: half of what the pictures have
    epochs: float = 6.0
    train_images: int | None = None
    seeds: int = 3
    recipe: Recipe = RECIPE
    tuning: Tuning = field(default_factory=Tuning)
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise UsageError(f"--cost {self.cost} is unknown. Use one of {', '.join(COSTS)}.")
        cost_metric(self.cost, self.device)  # can it be told?
        if not (0.05 <= self.compute <= 64) or abs(math.log(self.compute)) < 0.05:
            raise UsageError(f"--compute {self.compute:g} scales nothing. Use 2, or 0.5 to shrink.")
        if not 4 <= self.units < math.inf:
            raise UsageError(f"--units {self.units:g} cannot teach a law. Use 7 or more.")
        if self.seeds not in (0, *range(2, 1000)):
            raise UsageError(
                f"--seeds {self.seeds} has no spread. Use 3 or more, or 0 to leave "
                "the confirmation for later."
            )


def search_coefficients(
    base: Spec,
    data: str,
    asked: Asked,
    runner: RunnerConfig,
    *,
    command: str,
) -> Coefficients:
    """Trains, fits, proposes, confirms; leaves found.json and a report in `crew.out`.

    Of several methods the first one's answer is found.json's. Begun again it goes on. UsageError:
    the folder is of another search; or, once all is written but found.json, its law is not to be
    trusted at `asked.compute`.
    """
    found = _searched(base, data, asked, runner, command=command)
    if why := found.extra.get("refused"):
        raise UsageError(f"no {FOUND}: {why} See {runner.out / 'report.html'}.")
    return found


def _searched(
    base: Spec,
    data: str,
    asked: Asked,
    runner: RunnerConfig,
    *,
    command: str,
) -> Coefficients:
    dataset = dataset_info(data, runner.out)
    plan = plan_for(base, data, asked, dataset)
    plan.lattice().at(plan.compute)  # is there any such network? told before anything is trained
    if "grid" in plan.methods:
        plan.grid(plan.lattice())
    runner = runner.pinned("search for coefficients", dataset, plan.to_dict())
    for line in few_pictures(trained_on(dataset, asked), len(dataset.classes)):
        logger.info(f"note: {line}")
    outcome = carry_out(plan, runner)
    answers = [answer(plan, found, command) for found in outcome.searched]
    trainings = runner.results.read(sorted(outcome.keys)).values()
    for name, text in report(
        plan, outcome, answers, dataset, trainings, read_looks(runner.out), command
    ).items():
        write_atomic(runner.out / name, text)
    for each in answers if len(answers) > 1 else ():
        if "refused" not in each.extra:
            each.write(runner.out / f"{each.method}.json")
    write_atomic(runner.out / BASE, plan.base.to_json() + "\n")
    if "refused" not in answers[0].extra:
        answers[0].write(runner.out / FOUND)
    return answers[0]


def search_several(
    base: Spec,
    sets: Sequence[str],
    asked: Asked,
    runner: RunnerConfig,
    *,
    command: str,
) -> dict[str, Coefficients]:
    """The same search on several sets, in a folder of `crew.out` each, and a page that compares
    them; the answers by set.

    `asked.epochs` are the first set's: trainings on the others see as many images. UsageError: two
    sets have one name.
    """
    runners = {
        each: replace(runner, out=out, name=f"{runner.name}-{out.name}")
        for each, out in folders(runner.out, sets).items()
    }
    images = {each: trained_on(dataset_info(each, runners[each].out), asked) for each in sets}
    answers = {}
    for each in sets:
        as_long = asked.epochs * images[sets[0]] / images[each]
        answers[each] = _searched(
            base,
            each,
            replace(asked, epochs=round(as_long, 4)),
            runners[each],
            command=command,
        )
    refused = {
        each: found.extra["refused"] for each, found in answers.items() if "refused" in found.extra
    }
    answers = {each: found for each, found in answers.items() if each not in refused}
    none = [f"{each} has no answer. {why}" for each, why in refused.items()]
    rows = [{"set": runners[each].out.name, **found.row()} for each, found in answers.items()]
    section = Section(
        title="Do they differ?",
        text=[*none, *compare(answers)],
        rows=rows,
        note=f"For each doubling of {asked.cost} of the base, around {asked.compute:g} times it, "
        "with intervals of 95 %; all trainings see as many images. The searches are in the sets' "
        "own folders.",
    )
    for name, content in page_files("Coefficients of several sets", command, [section]).items():
        write_atomic(runner.out / name, content)
    if none:
        raise UsageError(f"{' '.join(none)} See {runner.out / 'report.html'}.")
    return answers


def folders(out: Path, sets: Sequence[str]) -> dict[str, Path]:
    """Where the search on each set is: in `out`, or, of several, in folders named like them.
    UsageError: two sets have one name."""
    if len(sets) == 1:
        return {sets[0]: out}
    found = {each: out / Path(each).name for each in sets}
    if len(set(found.values())) < len(sets):
        raise UsageError("two DATA have one name. Give folders of different names.")
    return found


def trained_on(dataset: DatasetInfo, asked: Asked) -> int:
    """How many pictures an epoch has."""
    return dataset.some(asked.train_images) or dataset.train


def plan_for(base: Spec, data: str, asked: Asked, dataset: DatasetInfo) -> CoefficientSearch:
    native = dataset.native_pixels
    pixels = asked.resolution or base_pixels(base, native)
    if pixels > native and asked.resolution:
        raise UsageError(
            f"--resolution {pixels}: the pictures have {native} px, and more would be invented. "
            f"Use {base_pixels(base, native)}, so that larger networks see real ones."
        )
    return CoefficientSearch(
        conditions=TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            recipe=replace(asked.recipe, epochs=asked.epochs),
            crop=crop_for(dataset),
            train_images=dataset.some(asked.train_images),
            threads=asked.threads,
            seed=asked.seed,
        ),
        base=replace(base, classes=len(dataset.classes), resolution=pixels),
        methods=asked.methods,
        units=asked.units,
        compute=asked.compute,
        cost=asked.cost,
        device=asked.device,
        native_pixels=native,
        validation_images=dataset.validation,
        seeds=asked.seeds,
        tuning=asked.tuning,
    )


def answer(plan: CoefficientSearch, found: MethodResult, command: str) -> Coefficients:
    """What a method says of alpha, beta and gamma at `plan.compute` times the base's cost.

    Of a law in MACs: its optimum before rounding, under depth * width^2 * resolution^2. In another
    coin: the slope of its best networks of the lattice. Of the grid: where the network that won
    stands, blocks and channels counted; no grid gives an interval.
    """
    name = name_of(plan.base)
    base = name if name and get_spec(name).resolution == plan.base.resolution else plan.base
    values, law = _of_place(found, plan.compute), None
    intervals: dict[str, Interval] | None = None
    extra: dict[str, Any] = {
        "compute": plan.compute,
        "units": round(found.units, 3),
        "proposal": found.proposal.spec.to_dict(),
    }
    if found.candidates:
        extra["candidates"] = found.candidates
    if found.refused:
        extra["refused"] = f"{found.refused} Nothing was confirmed" + (
            "; what the grid says is in grid.json." if len(plan.methods) > 1 else "."
        )
    if found.fit is not None:
        law = found.fit.law()
        checks = law_checks(found)
        extra["checks"] = " ".join(
            [checks.summary(), *map(str, checks.flags), *_guessing(found, plan.base.classes)]
        )
        if plan.cost == "macs":
            ray = optimum(found.fit, plan.compute)
            values, low, high = ray.values, ray.low, ray.high
            extra |= {
                "symmetric_null": ray.verdict(),
                "slopes": ray.slopes,
                "offsets": ray.offsets,
                "by_cross_entropy": _by_loss(plan, found),
            }
            if again := bootstrap_intervals(found.fit, plan.compute):
                extra["bootstrap"] = again
        else:
            p, c = found.fit.draws(DRAWS)
            each = on_lattice(plan.lattice(), p[:, :3], c[:, 1:4], plan.compute)
            values = _triple(np.exp(np.log(each).mean(axis=0)))
            low, high = map(_triple, np.quantile(each, [0.025, 0.975], axis=0))
        intervals = {each: (a, b) for each, a, b in zip(NAMES, low, high, strict=True)}
    alpha, beta, gamma = values
    said = Coefficients(
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        intervals=intervals,
        law=law,
        base=base,
        extra=extra,
        data=plan.conditions.data,
        cost=plan.cost,
        method=found.method,
        source=command,
    )
    return replace(said, extra={**extra, "exact_costs": _exact_costs(plan, said)})


def _guessing(found: MethodResult, classes: int) -> list[str]:
    """Trainings that are hardly better than a guess tell nothing of networks."""
    typical = float(np.median([run.error for run in found.runs]))
    if typical < 1 - 1.5 / classes:
        return []
    return [
        f"Half of the trainings are off by {100 * typical:.1f} % or more, where guessing is by "
        f"{100 * (1 - 1 / classes):.1f} %: they say nothing of networks yet. Train longer: "
        "--epochs."
    ]


def _by_loss(plan: CoefficientSearch, found: MethodResult) -> dict[str, list[float]]:
    """value, low, high by the law of the same trainings' cross-entropy: a look from another side,
    which decides nothing."""
    of = noise(found.runs, plan.validation_images, of_loss=True)
    ray = optimum(fitted(found.runs, of, of_loss=True), plan.compute)
    return {
        name: [round(number, 4) for number in each]
        for name, *each in zip(NAMES, ray.values, ray.low, ray.high, strict=True)
    }


def _of_place(found: MethodResult, compute: float) -> Triple:
    by, power = found.proposal.by, 1 / math.log2(compute)
    return by.depth**power, by.width**power, by.resolution**power


def _exact_costs(plan: CoefficientSearch, found: Coefficients) -> dict[str, float]:
    """By phi: the cost of the network that `compound` rounds to, over the base's. Its blocks are
    rounded up, so that it takes more than its coefficients say."""
    metric = cost_metric(plan.cost, plan.device)
    own = float(metric(cost(plan.base)))
    phis = sorted({math.copysign(1.0, math.log(plan.compute)), round(math.log2(plan.compute), 4)})
    return {
        f"{phi:g}": round(float(metric(cost(scale(plan.base, found.at(phi))))) / own, 4)
        for phi in phis
    }


def on_lattice(space: Lattice, p: np.ndarray, a: np.ndarray, compute: float) -> np.ndarray:
    """alpha, beta, gamma per doubling of the lattice's cost, of laws with exponents p and terms a
    (laws, 3): ln x of the best network against log2 of its cost, through the base. (laws, 3)"""
    targets = [t for t in _around(compute) if _exists(space, t)]
    logs = space.path(a, p, targets)  # laws, targets, 3
    phi = np.log2(targets)
    return np.exp(np.einsum("t,ltd->ld", phi, logs) / np.sum(phi**2))


def _around(compute: float) -> Sequence[float]:
    """From half of log `compute` to a doubling, or halving, beyond it."""
    phi, further = math.log2(compute), math.copysign(1.0, math.log(compute))
    return [2**each for each in (phi / 2, 0.75 * phi, phi, phi + further / 2, phi + further)]


def _exists(space: Lattice, target: float) -> bool:
    try:
        return len(space.at(target)) > 0
    except UsageError:
        return False


def _triple(values: np.ndarray) -> Triple:
    alpha, beta, gamma = map(float, values)
    return alpha, beta, gamma


def summary(data: str, found: Coefficients) -> list[str]:
    """The answer for a terminal: each coefficient with its interval of 95 %."""
    none = "" if found.intervals else " (a grid has no interval)"
    return [
        f"{data}, {found.method}: for each doubling of {found.cost}{none}",
        *(f"  {name:<5} {value}" for name, value in found.row().items()),
        *([found.extra["checks"]] if "checks" in found.extra else []),
    ]


def compare(answers: Mapping[str, Coefficients]) -> list[str]:
    """Do the coefficients of several sets differ by more than their trainings leave open? Lines.

    The interval of a ratio comes from those of its parts, end by end in logs, for an answer is
    often at an end of its own (MOVER: Zou and Donner, Statistics in Medicine 27 (2008), 1693-1702).
    Sets are taken for independent.
    """
    said: list[str] = []
    for (one, a), (other, b) in combinations(answers.items(), 2):
        for name in ("alpha", "beta", "gamma"):
            if not (a.intervals and b.intervals):
                said.append(f"{one} and {other}: a grid has no intervals, so nothing can be said")
                break
            gap = math.log(getattr(b, name) / getattr(a, name))
            (a_down, a_up), (b_down, b_up) = _arms(a, name), _arms(b, name)
            low = math.exp(gap - math.hypot(b_down, a_up))
            high = math.exp(gap + math.hypot(b_up, a_down))
            differ = "differ" if low > SAME or high < 1 / SAME else "are not told apart"
            said.append(
                f"{name} of {other} over that of {one}: {math.exp(gap):.3f} "
                f"[{low:.2f}, {high:.2f}]: they {differ}"
            )
    return said


def _arms(found: Coefficients, name: str) -> tuple[float, float]:
    """How far a coefficient's interval reaches below and above it, in logs."""
    value = getattr(found, name)
    low, high = (found.intervals or {})[name]
    return max(0.0, math.log(value / low)), max(0.0, math.log(high / value))
