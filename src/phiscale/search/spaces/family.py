"""A whole family over phi: what each member is predicted to reach, and what those that were trained
did reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from phiscale.arch.costs import cost
from phiscale.arch.scaling import compound, effective, scale
from phiscale.arch.spec import Spec
from phiscale.planning.laws import ErrorLaw, LawRow
from phiscale.planning.laws.checks import FARTHEST
from phiscale.planning.laws.points import points_of
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.report.page import Drawing, Section, page_files
from phiscale.report.svg import BLUE, INK, ORANGE, STYLE, drawing
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.engine.tuning import Tuning, successive_halving
from phiscale.training.recipes.recipe import Recipe

PHIS = tuple(range(-3, 8))
FEWEST = 3  # members that a law of their own is fitted to
ENOUGH = 5  # members that say where errors level off


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
        return scale(self.base, compound(phi, self.alpha, self.beta, self.gamma))

    def stages(self) -> Stages[Mapping[tuple[float, int], Result]]:
        names = {f"phi {phi:g}": phi for phi in self.phis}
        chosen = yield from successive_halving(
            list(names),
            self.conditions.recipe,
            self.tuning,
            lambda name, recipe: self._trial(names[name], recipe, "tuning"),
        )
        trials = {
            (phi, seed): self._trial(phi, replace(chosen[name], seed=seed), "family")
            for seed in range(self.conditions.seed, self.conditions.seed + self.seeds)
            for name, phi in names.items()
        }
        results = yield list(trials.values())
        return {name: results[trial.key] for name, trial in trials.items()}

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
        """What the folder says that it is. More phis may be added to it later."""
        return {
            **self.conditions.to_dict(
                alpha=self.alpha, beta=self.beta, gamma=self.gamma, seeds=self.seeds
            ),
            "base": self.base.to_dict(),
            "tuning": asdict(self.tuning),
        }


def report(
    plan: FamilyPlan,
    runs: Mapping[tuple[float, int], Result],
    law: ErrorLaw,
    command: str,
    all_phis: Sequence[float] = PHIS,
) -> tuple[dict[str, str | bytes], list[dict[str, Any]]]:
    """Files of the family by name, and its members as numbers. `law` predicts where too few were
    trained for one of their own."""
    members = _members(plan, runs, sorted({*all_phis, *plan.phis}))
    own = _law(members)
    found = [_member(each, law, own) for each in members]
    section = Section(
        title="Members",
        text=list(_said(members, law, own)),
        rows=[_row(each) for each in found],
        figures=[_figure(members, found)],
        note="Errors of the test pictures, %; intervals of 95 %, for a new run.",
    )
    return page_files("A family over phi", command, [section]), found


@dataclass(frozen=True)
class _Member:
    phi: float
    spec: Spec
    base: Spec
    macs: int
    errors: tuple[float, ...]  # of the test, a seed each


def _members(
    plan: FamilyPlan, runs: Mapping[tuple[float, int], Result], phis: Sequence[float]
) -> list[_Member]:
    found = []
    for phi in phis:
        spec = plan.member(phi)
        errors = tuple(
            run.test_error
            for (other, _), run in sorted(runs.items())
            if other == phi and run.test_error is not None
        )
        found.append(_Member(phi, spec, plan.base, cost(spec).macs, errors))
    return found


def _law(members: Sequence[_Member]) -> Posterior | None:
    """In MACs alone: along one ray depth, width and resolution cannot be told apart."""
    trained = [each for each in members if each.errors]
    if len(trained) < FEWEST:
        return None
    base = cost(members[0].base).macs
    rows = [
        LawRow(
            name=f"phi {each.phi:g}", depth=each.macs / base, width=1.0, resolution=1.0, error=error
        )
        for each in trained
        for error in each.errors
    ]
    whole = points_of(rows)
    return posterior(replace(whole, axes=("macs",), x=whole.x[:, :1]), source="this family")


def _said(members: Sequence[_Member], law: ErrorLaw, own: Posterior | None) -> Iterator[str]:
    trained = [each for each in members if each.errors]
    if own is None:
        yield (
            f"Predicted by {law.source}: its level is that data's, differences mean more. With "
            f"{FEWEST} members trained the family has a law of its own: `phi`."
        )
        return
    yield (
        f"Predicted by a law in MACs through the {len(trained)} members that were trained "
        f"({100 * own.run_sd:.2f} points between runs)."
    )
    if len(trained) < ENOUGH:
        yield (
            f"Fewer than {ENOUGH} members hardly tell where errors level off: larger ones are "
            "likely to be worse than this says. EfficientNet's B0 to B3 foretell for B4 to B7 "
            "0.2 to 0.9 points too low an error."
        )
    largest = max(trained, key=lambda each: each.macs)
    yield (
        f"Nothing is predicted beyond {FARTHEST:g} times the MACs of phi {largest.phi:g}, the "
        "largest that was trained: train a larger one with `phi` for that."
    )


def _member(each: _Member, law: ErrorLaw, own: Posterior | None) -> dict[str, Any]:
    """As numbers; `predicted` is the error and its interval, or None where it is too far away."""
    by, predicted = effective(each.spec, each.base), None
    if own is None:
        error = float(law.error(depth=by.depth, width=by.width, resolution=by.resolution))
        predicted = (error, error - 1.96 * law.sd, error + 1.96 * law.sd)
    else:
        at = [each.macs / cost(each.base).macs]
        if float(own.points.beyond(np.array(at))) <= FARTHEST:
            found = own.predict(at)
            predicted = (float(found.error), *map(float, found.interval))
    return {
        "phi": each.phi,
        "depth": by.depth,
        "width": by.width,
        "pixels": each.spec.resolution,
        "macs": each.macs,
        "predicted": predicted,
        "measured": list(each.errors),
    }


def _row(member: Mapping[str, Any]) -> dict[str, Any]:
    errors, predicted, measured = member["measured"], None, None
    if member["predicted"]:
        error, low, high = (100 * min(1.0, max(0.0, e)) for e in member["predicted"])
        predicted = f"{error:.1f} [{low:.1f}, {high:.1f}]"
    if errors:
        spread = f" ± {100 * np.std(errors, ddof=1):.2f}" if len(errors) > 1 else ""
        measured = f"{100 * np.mean(errors):.2f}{spread}"
    return {
        "phi": f"{member['phi']:g}",
        "depth": f"x{member['depth']:.2f}",
        "width": f"x{member['width']:.2f}",
        "pixels": member["pixels"],
        "MACs": f"{member['macs'] / 1e6:.4g}M",
        "predicted": predicted,
        "measured": measured,
        "seeds": len(errors) or None,
    }


def _figure(members: Sequence[_Member], found: Sequence[Mapping[str, Any]]) -> Drawing:
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        told = [each for each in found if each["predicted"]]
        x = [each["macs"] / 1e6 for each in told]
        error, low, high = 100 * np.array([each["predicted"] for each in told]).T
        axes.fill_between(x, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(x, error, "o-", color=BLUE, markersize=3.5, label="predicted")
        trained = [each for each in members if each.errors]
        if trained:
            axes.plot(
                [e.macs / 1e6 for e in trained for _ in e.errors],
                [100 * error for e in trained for error in e.errors],
                "D",
                color=ORANGE,
                markersize=5,
                label="measured, a seed each",
            )
        for each, at, y in zip(told, x, error, strict=True):
            axes.annotate(
                f"{each['phi']:g}",
                (at, y),
                (0, 6),
                color=INK,
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
        axes.set_xscale("log")
        axes.set(xlabel="MACs, millions", ylabel="test error, %")
        axes.legend(frameon=False)
        return drawing(figure, "family", "Error against MACs over phi")
