"""What one method of a search has trained, and the error law fitted to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from phiscale.arch.scaling import ScaledNetwork, Scaling
from phiscale.planning.laws import LawRow
from phiscale.planning.laws.checks import MAX_EXTRAPOLATION, Checks, check
from phiscale.planning.laws.optimum import Triple
from phiscale.planning.laws.points import Points, points_of
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.search.study.power import expected_seed_sd

Method = Literal["lawscale", "grid"]


@dataclass(frozen=True, kw_only=True)
class TrainedPoint:
    """One training of a search: where its network lies, and its validation error."""

    by: Scaling  # multipliers over the base, as built
    compute_ratio: float  # exact MACs over the base's: what the training took of the units
    rate: float
    error: float
    loss: float | None  # cross-entropy of the validation images; None where it failed
    key: str
    name: str  # for people
    candidates: tuple[Triple, ...] = ()  # alpha, beta, gamma of the grid that round to it


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Why trainings deviate from the law, as standard deviations."""

    run_sd: float  # seed standard deviation of an error
    source: Literal["replicates", "jackknife", "images"]  # how that is known
    degrees_of_freedom: float  # behind it; infinite where nothing was estimated
    misfit_sd: float  # how far held-out trainings are off beyond that

    @property
    def sd(self) -> float:
        """Both together."""
        return math.hypot(self.run_sd, self.misfit_sd)

    @property
    def misfit(self) -> bool:
        """Whether the law is off by more than twice chance: it then needs trainings everywhere."""
        return self.sd > 2 * self.run_sd


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """The result of one method, before it is confirmed."""

    method: Method
    runs: tuple[TrainedPoint, ...]
    proposal: ScaledNetwork
    fit: Posterior | None = None  # the law, if the method has one
    noise: Noise | None = None  # of its trainings, if it has a law
    explored_everywhere: bool = False  # whether the second round trained networks of all costs
    refused: str = ""  # why its law cannot be trusted at the proposal
    candidates: tuple[Triple, ...] = ()  # alpha, beta, gamma of the grid that round to its winner

    @property
    def units(self) -> float:
        """Computes spent, in trainings of the base."""
        return sum(run.compute_ratio for run in self.runs)


def estimate_noise(
    runs: Sequence[TrainedPoint], validation_images: int, *, of_loss: bool = False
) -> Noise:
    """Estimates the noise of trainings that were evaluated on so many validation images.

    Few trainings may show too little of it by chance. It is at least what the error of a calibrated
    classifier varies by.
    """
    points = _points(runs, of_loss=of_loss)
    fit = posterior(points)
    source = fit.run_sd_from if fit.run_sd_from in ("replicates", "jackknife") else "images"
    error = float(np.mean([run.error for run in runs if run.error < 1.0]))
    error = max(error, 1 / (2 * validation_images))  # none was wrong: less than one is
    least = expected_seed_sd(error, validation_images) * float(np.mean(points.error)) / error
    if source == "images" or fit.run_sd < least:
        source, fit = "images", posterior(points, run_sd=max(fit.run_sd, least))
    return Noise(
        run_sd=fit.run_sd,
        source=source,
        degrees_of_freedom=fit.freedom,
        misfit_sd=fit.floor,
    )  # type: ignore[arg-type]


def fit_law(runs: Sequence[TrainedPoint], noise: Noise, *, of_loss: bool = False) -> Posterior:
    """Fits the law of depth, width and resolution to all runs that did not fail: to their error, or
    to their cross-entropy, which chance moves less.

    How far held-out trainings are off counts as noise beside chance. Coefficients would look surer
    than the law is without it.
    """
    points = _points(runs, of_loss=of_loss)
    source = f"{len(points)} trainings of a designed experiment"
    return replace(
        posterior(points, run_sd=noise.sd, source=source),
        freedom=noise.degrees_of_freedom,
    )


def law_checks(result: MethodResult) -> Checks:
    """Compares the law of a search with other models on held-out trainings."""
    from phiscale.report.gp import gp_left_out  # scikit-learn, for the report alone

    assert result.fit is not None
    whole = _points(result.runs)
    macs = np.array([[run.compute_ratio] for run in result.runs if run.error < 1.0])
    alone = Points(("macs",), macs, whole.error, whole.runs, whole.names)
    gp = gp_left_out(result.fit)
    return check(result.fit, alone, {} if gp is None else {"gp": gp})


def refusal_reason(result: MethodResult, compute: float) -> str:
    """Says why a law cannot be trusted at its proposal; empty where it can.

    The proposal is then far beyond all trainings, and another model clearly predicts held-out
    trainings better.
    """
    largest = max(run.compute_ratio for run in result.runs if run.error < 1.0)
    beyond = result.proposal.compute_ratio / largest
    if beyond <= MAX_EXTRAPOLATION or not (winners := law_checks(result).better_models):
        return ""
    return (
        f"compute={compute:g}: the proposed network has {beyond:.3g}x the compute of the largest "
        f"training, and {winners[0]} predicts held-out trainings better than the law. The law "
        f"cannot be trusted beyond {MAX_EXTRAPOLATION:g}x then. Use a smaller `compute`, in "
        f"another `out`: its network may have {MAX_EXTRAPOLATION * largest:.2g} times the base's "
        "MACs."
    )


def _points(runs: Sequence[TrainedPoint], *, of_loss: bool = False) -> Points:
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
    """The error that the law predicts for a network `by` times the base."""
    return float(fit.error(depth=by.depth, width=by.width, resolution=by.resolution))


def most_uncertain(
    fit: Posterior, best: ScaledNetwork, near: Sequence[ScaledNetwork], units: float
) -> list[ScaledNetwork]:
    """Selects what could refute the law: its proposal, then the networks near its cost of which it
    is least sure for what they cost, as long as the units last."""
    selected = [best]
    if near:
        x = np.array([(p.by.depth, p.by.width, p.by.resolution) for p in near])
        sd = np.asarray(fit.predict(x).sd) / np.sqrt([p.compute_ratio for p in near])
        selected += [near[i] for i in np.argsort(-sd, kind="stable")]
    kept: list[ScaledNetwork] = []
    for point in selected:
        if point.compute_ratio <= units + 1e-9 and point.spec not in {p.spec for p in kept}:
            kept.append(point)
            units -= point.compute_ratio
    return kept
