"""The best learning rate for every size of a base: tuned at a few sizes, interpolated between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from phiscale.arch.costs import cost
from phiscale.arch.scaling import Scaling, effective, scale
from phiscale.arch.spec import Spec
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.tuning import Tuning, successive_halving
from phiscale.training.recipes.recipe import Recipe

SIZES = ((1.0, 1.0), (0.5, 0.71), (0.5, 1.41), (2.0, 0.71), (2.0, 1.41))  # depth, width


@dataclass(frozen=True, kw_only=True)
class RateSurface:
    """The best rate between tuned sizes: log2 rate = a + b ln depth + c ln width, within the rates
    tried. Resolution has no term: batch norms take up what it changes."""

    a: float
    b: float
    c: float
    least: float
    most: float

    def at(self, by: Scaling) -> float:
        """The rate for a network `by` times the base."""
        log2 = self.a + self.b * math.log(by.depth) + self.c * math.log(by.width)
        return min(self.most, max(self.least, 2.0**log2))


@dataclass(frozen=True, kw_only=True)
class TunedRates:
    """The rates of all sizes, and what tuning them took."""

    surface: RateSurface
    tuned: Mapping[str, float]  # the rates it goes through, by size
    units: float  # compute spent, in trainings of the base
    keys: tuple[str, ...]  # of the trainings


def rate_surface(tuned: Mapping[Scaling, float], tuning: Tuning) -> RateSurface:
    """Fits a surface to the best rates of some sizes, by least squares."""
    import numpy as np

    rows = [[1.0, math.log(by.depth), math.log(by.width)] for by in tuned]
    log2 = [math.log2(rate) for rate in tuned.values()]
    (a, b, c), *_ = np.linalg.lstsq(np.array(rows), np.array(log2), rcond=None)
    return RateSurface(
        a=float(a), b=float(b), c=float(c), least=min(tuning.rates), most=max(tuning.rates)
    )


def tune_rates(conditions: TrialConditions, base: Spec, tuning: Tuning) -> Stages[TunedRates]:
    """Tunes the rate of the base and of four corners of depth and width, at half the resolution.

    A rate hardly depends on the resolution, but the cost of tuning it does.
    """
    pixels = max(2 * base.reduction, base.resolution // 2)
    low = replace(base, resolution=min(pixels, base.resolution))
    specs = {f"depth x{d:g}, width x{w:g}": scale(low, Scaling(depth=d, width=w)) for d, w in SIZES}
    sizes = {name: effective(spec, low) for name, spec in specs.items()}  # as rounded
    units: dict[str, float] = {}  # by key of the training

    def trial(name: str, recipe: Recipe) -> Trial:
        label = f"{name}, rate {recipe.optim.lr_peak:g}"
        described = conditions.trial(
            label, specs[name], recipe, stage="tuning", attrs=asdict(sizes[name])
        )
        macs = cost(specs[name]).macs / cost(base).macs
        units[described.key] = macs * recipe.epochs / conditions.recipe.epochs
        return described

    recipes = yield from successive_halving(list(sizes), conditions.recipe, tuning, trial)
    tuned = {name: recipe.optim.lr_peak for name, recipe in recipes.items()}
    surface = rate_surface({sizes[name]: rate for name, rate in tuned.items()}, tuning)
    return TunedRates(surface=surface, tuned=tuned, units=sum(units.values()), keys=tuple(units))
