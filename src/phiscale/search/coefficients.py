"""`search coefficients`: from pictures and a base to alpha, beta, gamma, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from phiscale.coefficients import Coefficients, Interval
from phiscale.device import DeviceModel
from phiscale.errors import UsageError
from phiscale.families import get_spec, name_of
from phiscale.files import write_atomic
from phiscale.laws.optimum import optimum
from phiscale.search.discover import Discovery, Method, Searched, Triple
from phiscale.search.discover_report import report
from phiscale.search.folder import Pictures, pictures_of, pin
from phiscale.search.lattice import COSTS, Lattice, price
from phiscale.search.settle import RECIPE
from phiscale.search.studies import base_pixels, crop_for
from phiscale.search.tuning import Tuning
from phiscale.search.workers import Crew, carry_out
from phiscale.spec import Spec
from phiscale.train.recipe import Recipe

DRAWS = 300  # of the law, for intervals on the lattice
FOUND = "found.json"


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

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise UsageError(f"--cost {self.cost} is unknown. Use one of {', '.join(COSTS)}.")
        price(self.cost, self.device)  # can it be told?
        if not (0.05 <= self.compute <= 64) or abs(math.log(self.compute)) < 0.05:
            raise UsageError(f"--compute {self.compute:g} scales nothing. Use 2, or 0.5 to shrink.")
        if not 4 <= self.units < math.inf:
            raise UsageError(f"--units {self.units:g} cannot teach a law. Use 7 or more.")
        if self.seeds < 2:
            raise UsageError(f"--seeds {self.seeds} has no spread. Use 3 or more.")


def search_coefficients(
    base: Spec, data: str, asked: Asked, crew: Crew, *, command: str,
    tell: Callable[[str], None] = print,
) -> Coefficients:  # fmt: skip
    """Trains, fits, proposes, confirms; leaves found.json and a report in `crew.out`.

    Of several methods the first one's answer is found.json's. Begun again it goes on. UsageError:
    the folder is of another search.
    """
    pictures = pictures_of(data, crew.out)
    plan = plan_for(base, data, asked, pictures)
    plan.lattice().at(plan.compute)  # is there any such network? told before anything is trained
    about = pin(crew.out, "search for coefficients", pictures, plan.to_dict())
    crew = replace(crew, about=about)
    outcome = carry_out(plan, crew, tell)
    answers = [answer(plan, found, command) for found in outcome.searched]
    for found, each in zip(outcome.searched, answers, strict=True):
        each.write(crew.out / f"{found.method}.json")
    answers[0].write(crew.out / FOUND)
    for name, text in report(plan, outcome, answers, pictures, command).items():
        write_atomic(crew.out / name, text)
    return answers[0]


def plan_for(base: Spec, data: str, asked: Asked, pictures: Pictures) -> Discovery:
    native = pictures.native_pixels
    pixels = asked.resolution or base_pixels(base, native)
    images = asked.train_images
    return Discovery(
        data=data, fingerprint=pictures.fingerprint,
        base=replace(base, classes=len(pictures.classes), resolution=pixels),
        methods=asked.methods, recipe=replace(asked.recipe, epochs=asked.epochs),
        crop=crop_for(pictures), units=asked.units, compute=asked.compute,
        cost=asked.cost, device=asked.device, native_pixels=native,
        train_images=None if images is None or images >= pictures.train else images,
        validation_images=pictures.validation, seeds=asked.seeds, tuning=asked.tuning,
        threads=asked.threads,
    )  # fmt: skip


def answer(plan: Discovery, found: Searched, command: str) -> Coefficients:
    """What a method says of alpha, beta and gamma at `plan.compute` times the base's cost.

    Of a law in MACs: its optimum before rounding. In another coin: the slope of the best networks
    of the lattice over a range of costs. Of the grid: the candidate that won, whose interval no
    grid gives.
    """
    extra = {"compute": plan.compute, "units": round(found.units, 3)}
    name = name_of(plan.base)
    base = name if name and get_spec(name).resolution == plan.base.resolution else plan.base
    common = {"base": base, "data": plan.data, "cost": plan.cost, "method": found.method,
              "source": command}  # fmt: skip
    if found.fit is None:
        assert found.coefficients is not None
        alpha, beta, gamma = found.coefficients
        return Coefficients(alpha=alpha, beta=beta, gamma=gamma, extra=extra, **common)
    if plan.cost == "macs":
        ray = optimum(found.fit, plan.compute)
        values, low, high = ray.values, ray.low, ray.high
        extra |= {"symmetric_null": ray.verdict(), "slopes": ray.slopes, "offsets": ray.offsets}
    else:
        values, low, high = on_lattice(plan.lattice(), found, plan.compute)
    alpha, beta, gamma = values
    intervals: dict[str, Interval] = {
        name: (a, b) for name, a, b in zip(("alpha", "beta", "gamma"), low, high, strict=True)
    }
    return Coefficients(alpha=alpha, beta=beta, gamma=gamma, intervals=intervals,
                        law=found.fit.law(), extra=extra, **common)  # fmt: skip


def on_lattice(space: Lattice, found: Searched, compute: float) -> tuple[Triple, Triple, Triple]:
    """alpha, beta, gamma per doubling of the lattice's cost, with the interval of 95 % over laws
    as likely as the trainings say: ln x of the best network against log2 of its cost, through the
    base."""
    assert found.fit is not None
    targets = [t for t in _around(compute) if _exists(space, t)]
    p, c = found.fit.draws(DRAWS)
    logs = space.path(c[:, 1:4], p[:, :3], targets)  # laws, targets, 3
    phi = np.log2(targets)
    each = np.exp(np.einsum("t,ltd->ld", phi, logs) / np.sum(phi**2))
    middle = np.exp(np.log(each).mean(axis=0))
    low, high = np.quantile(each, [0.025, 0.975], axis=0)
    return _triple(middle), _triple(low), _triple(high)


def _around(compute: float) -> Sequence[float]:
    """Up to `compute` and twice as far, never beyond what eight times it would be."""
    phi = math.log2(compute)
    return [2 ** (phi * share) for share in (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)]


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
    lines = [f"{data}, {found.method}: for each doubling of {found.cost}"]
    for name, value in found.powers.items():
        between = (found.intervals or {}).get(name)
        said = f" [{between[0]:.2f}, {between[1]:.2f}]" if between else " (a grid has no interval)"
        lines.append(f"  {name:<5} {value:.3f}{said}")
    return lines


def compare(answers: Mapping[str, Coefficients]) -> list[str]:
    """Do the coefficients of several sets differ by more than their trainings leave open? Lines.

    Logs of alpha, beta and gamma are taken for normal within their intervals, sets for independent.
    """
    said: list[str] = []
    for (one, a), (other, b) in combinations(answers.items(), 2):
        for name in ("alpha", "beta", "gamma"):
            if not (a.intervals and b.intervals):
                said.append(f"{one} and {other}: a grid has no intervals, so nothing can be said")
                break
            gap = math.log(getattr(b, name) / getattr(a, name))
            half = math.hypot(*(math.log(each[1] / each[0]) / 2
                                for each in (a.intervals[name], b.intervals[name])))  # fmt: skip
            low, high = math.exp(gap - half), math.exp(gap + half)
            differ = "differ" if low > 1 or high < 1 else "are not told apart"
            said.append(f"{name} of {other} over that of {one}: {math.exp(gap):.3f} "
                        f"[{low:.2f}, {high:.2f}]: they {differ}")  # fmt: skip
    return said
