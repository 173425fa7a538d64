"""A family of networks over phi: some members are trained, the errors of all are predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.scaling import Scaling, compound, effective, scale
from phiscale.arch.spec import Spec
from phiscale.planning.laws import ErrorLaw, LawRow
from phiscale.planning.laws.checks import MAX_EXTRAPOLATION
from phiscale.planning.laws.points import points_of
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.tuning import Tuning, successive_halving
from phiscale.training.recipes.recipe import Recipe

PHIS = tuple(range(-3, 8))
FEWEST = 3  # trained members that a law is fitted to

FamilyRuns = Mapping[tuple[float, int], Result]
"""Results by phi and seed."""
Prediction = tuple[float, float, float]  # an error and the ends of its 95 % interval, fractions


@dataclass(frozen=True, kw_only=True)
class FamilyPlan:
    """The plan: members at these phi are trained, each with every seed."""

    conditions: TrialConditions
    base: Spec
    alpha: float
    beta: float
    gamma: float
    phis: tuple[float, ...]
    seeds: int
    tuning: Tuning

    def member(self, phi: float) -> Spec:
        """Returns the network at `phi`."""
        return scale(self.base, compound(phi, self.alpha, self.beta, self.gamma))

    def stages(self) -> Stages[FamilyRuns]:
        """Yields the trainings that tune learning rates, then those of the members."""
        names = {f"phi {phi:g}": phi for phi in self.phis}
        recipes = yield from successive_halving(
            list(names),
            self.conditions.recipe,
            self.tuning,
            lambda name, recipe: self._trial(names[name], recipe, "tuning"),
        )
        trials = {
            (phi, seed): self._trial(phi, replace(recipes[name], seed=seed), "family")
            for seed in range(self.conditions.seed, self.conditions.seed + self.seeds)
            for name, phi in names.items()
        }
        results = yield list(trials.values())
        return {phi_and_seed: results[trial.key] for phi_and_seed, trial in trials.items()}

    def _trial(self, phi: float, recipe: Recipe, stage: str) -> Trial:
        name = f"phi {phi:g}, seed {recipe.seed}, rate {recipe.optim.lr_peak:g}"
        return self.conditions.trial(
            name,
            self.member(phi),
            recipe,
            stage=stage,
            test=stage == "family",
            attrs={"phi": phi},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for plan.json. `phis` are left out: more may be added to a folder later."""
        return {
            **self.conditions.to_dict(
                alpha=self.alpha, beta=self.beta, gamma=self.gamma, seeds=self.seeds
            ),
            "base": self.base.to_dict(),
            "tuning": asdict(self.tuning),
        }


@dataclass(frozen=True, kw_only=True)
class FamilyMember:
    """A member of a family, with its measured errors and its predicted one."""

    phi: float
    spec: Spec
    by: Scaling  # multipliers of the base, as built
    macs: int
    errors: tuple[float, ...]  # of the test images, one for each seed; fractions
    predicted: Prediction | None = None  # None: too far beyond what was trained

    def to_dict(self) -> dict[str, Any]:
        """Plain data for family.json."""
        return {
            "phi": self.phi,
            "depth": self.by.depth,
            "width": self.by.width,
            "pixels": self.spec.resolution,
            "macs": self.macs,
            "predicted": self.predicted,
            "measured": list(self.errors),
        }


def family_members(
    plan: FamilyPlan, runs: FamilyRuns, law: ErrorLaw, phis: Sequence[float] = PHIS
) -> tuple[list[FamilyMember], Posterior | None]:
    """Returns the members at `phis` and at the trained phis, and the law fitted to the latter.

    There is no such law where fewer than three members were trained: then `law` predicts.
    """
    members = [_measured(plan, runs, phi) for phi in sorted({*phis, *plan.phis})]
    base_macs = cost(plan.base).macs
    fitted = _fit_law(members, base_macs)
    return [
        replace(
            member,
            predicted=_law_prediction(member, law)
            if fitted is None
            else _fitted_prediction(member, fitted, base_macs),
        )
        for member in members
    ], fitted


def _measured(plan: FamilyPlan, runs: FamilyRuns, phi: float) -> FamilyMember:
    spec = plan.member(phi)
    errors = tuple(
        result.test_error
        for (trained_phi, _), result in sorted(runs.items(), key=lambda item: item[0])
        if trained_phi == phi and result.test_error is not None
    )
    return FamilyMember(
        phi=phi, spec=spec, by=effective(spec, plan.base), macs=cost(spec).macs, errors=errors
    )


def _fit_law(members: Sequence[FamilyMember], base_macs: int) -> Posterior | None:
    """Fits a law in MACs alone: depth, width and resolution cannot be told apart along one ray."""
    trained = [member for member in members if member.errors]
    if len(trained) < FEWEST:
        return None
    rows = [
        LawRow(
            name=f"phi {member.phi:g}",
            depth=member.macs / base_macs,
            width=1.0,
            resolution=1.0,
            error=error,
        )
        for member in trained
        for error in member.errors
    ]
    points = points_of(rows)
    return posterior(replace(points, axes=("macs",), x=points.x[:, :1]), source="this family")


def _law_prediction(member: FamilyMember, law: ErrorLaw) -> Prediction:
    by = member.by
    error = float(law.error(depth=by.depth, width=by.width, resolution=by.resolution))
    return error, error - 1.96 * law.sd, error + 1.96 * law.sd


def _fitted_prediction(
    member: FamilyMember, fitted: Posterior, base_macs: int
) -> Prediction | None:
    """Predicts by the fitted law; None where that is too far beyond the trained members."""
    at = [member.macs / base_macs]
    if float(fitted.points.beyond(np.array(at))) > MAX_EXTRAPOLATION:
        return None
    prediction = fitted.predict(at)
    low, high = map(float, prediction.interval)
    return float(prediction.error), low, high
