"""What one way of searching has trained, and what an error law makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from phiscale.arch.scaling import Scaling
from phiscale.planning.laws import LawRow
from phiscale.planning.laws.checks import FARTHEST, Checks, check
from phiscale.planning.laws.points import Points, points_of
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.search.coefficients.design import Point
from phiscale.search.spaces.lattice import Place
from phiscale.search.study.resampling import expected_seed_sd

Method = Literal["lawscale", "grid"]
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training that a search has made: where the network stands, and its validation error."""

    by: Scaling
    cost: float  # over the base's, in MACs: what the training took of the units
    rate: float
    error: float
    loss: float | None  # cross-entropy of the validation pictures; None where it failed
    key: str
    name: str  # for a reader
    candidates: tuple[Triple, ...] = ()  # of the grid, that round to it


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Why a training is off the law, as standard deviations."""

    of_runs: float  # chance
    told: Literal["replicates", "jackknife", "pictures"]  # how that is known
    freedom: float  # degrees behind it; infinite where nothing was estimated
    beyond: float  # what trainings that were left out are off by more than chance explains

    @property
    def sd(self) -> float:
        return math.hypot(self.of_runs, self.beyond)

    @property
    def misfit(self) -> bool:
        """Whether the law is off by more than twice chance, so that it needs runs all over."""
        return self.sd > 2 * self.of_runs


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """What one method has found, before it is confirmed."""

    method: Method
    runs: tuple[Run, ...]
    proposal: Place
    fit: Posterior | None = None  # the law, if the method has one
    noise: Noise | None = None  # of its trainings
    everywhere: bool = False  # whether the second round looked at networks of all costs
    refused: str = ""  # why its law is not to be trusted at the proposal
    candidates: tuple[Triple, ...] = ()  # of the grid, that round to its winner

    @property
    def units(self) -> float:
        return sum(run.cost for run in self.runs)


def noise(runs: Sequence[Run], validation_images: int, *, of_loss: bool = False) -> Noise:
    """Of trainings read on so many validation pictures. What few trainings say of chance may be
    too little by chance: it is at least what a calibrated classifier's error varies by."""
    points = _points(runs, of_loss=of_loss)
    fit = posterior(points)
    told = fit.run_sd_from if fit.run_sd_from in ("replicates", "jackknife") else "pictures"
    error = float(np.mean([run.error for run in runs if run.error < 1.0]))
    error = max(error, 1 / (2 * validation_images))  # none was wrong: less than one is
    least = expected_seed_sd(error, validation_images) * float(np.mean(points.error)) / error
    if told == "pictures" or fit.run_sd < least:
        told, fit = "pictures", posterior(points, run_sd=max(fit.run_sd, least))
    return Noise(of_runs=fit.run_sd, told=told, freedom=fit.freedom, beyond=fit.floor)  # type: ignore[arg-type]


def fitted(runs: Sequence[Run], of: Noise, *, of_loss: bool = False) -> Posterior:
    """The law of depth, width and resolution through all runs that came to an end: of their error,
    or of their cross-entropy, which chance moves less.

    What trainings that were left out are off by counts as noise beside chance: else coefficients
    would look surer than the law is.
    """
    points = _points(runs, of_loss=of_loss)
    source = f"{len(points)} trainings of a designed experiment"
    return replace(posterior(points, run_sd=of.sd, source=source), freedom=of.freedom)


def law_checks(found: MethodResult) -> Checks:
    """How the law of a search stands against other models on trainings left out."""
    from phiscale.report.gp import gp_left_out  # scikit-learn, for the report alone

    assert found.fit is not None
    whole = _points(found.runs)
    macs = np.array([[run.cost] for run in found.runs if run.error < 1.0])
    alone = Points(("macs",), macs, whole.error, whole.runs, whole.names)
    gp = gp_left_out(found.fit)
    return check(found.fit, alone, {} if gp is None else {"gp": gp})


def refusal(found: MethodResult, compute: float) -> str:
    """Why a law says nothing of its proposal: that is far beyond all trainings, and another model
    predicts trainings that were left out clearly better. Empty where that is not so."""
    largest = max(run.cost for run in found.runs if run.error < 1.0)
    beyond = found.proposal.macs / largest
    if beyond <= FARTHEST or not (winners := law_checks(found).better_models):
        return ""
    return (
        f"--compute {compute:g}: the network proposed has {beyond:.3g}x the compute of the largest "
        f"training, and {winners[0]} predicts trainings left out better than the law, which is "
        f"then not to be trusted beyond {FARTHEST:g}x. Use a smaller --compute, in another --out: "
        f"its network may have {FARTHEST * largest:.2g} times the base's MACs."
    )


def _points(runs: Sequence[Run], *, of_loss: bool = False) -> Points:
    rows = (
        LawRow(
            name=run.name,
            depth=run.by.depth,
            width=run.by.width,
            resolution=run.by.resolution,
            error=(run.loss or 0.0) if of_loss else run.error,
        )
        for run in runs
        if run.error < 1.0
    )
    return points_of(rows)


def law_error(fit: Posterior, by: Scaling) -> float:
    return float(fit.error(depth=by.depth, width=by.width, resolution=by.resolution))


def doubtful(fit: Posterior, best: Place, near: Sequence[Point], units: float) -> list[Point]:
    """What would speak against the law: its proposal itself, then the networks near its cost that
    it is least sure of for what they take, as long as the units last."""
    chosen = [Point(spec=best.spec, by=best.by, cost=best.macs)]
    if near:
        x = np.array([(p.by.depth, p.by.width, p.by.resolution) for p in near])
        doubt = np.asarray(fit.predict(x).sd) / np.sqrt([p.cost for p in near])
        chosen += [near[i] for i in np.argsort(-doubt, kind="stable")]
    kept: list[Point] = []
    for point in chosen:
        if point.cost <= units + 1e-9 and point.spec not in {p.spec for p in kept}:
            kept.append(point)
            units -= point.cost
    return kept
