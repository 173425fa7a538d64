"""A whole family over phi: what each member is predicted to reach, and what those that were trained
did reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from phiscale.analysis.page import Section, page_files
from phiscale.analysis.svg import BLUE, INK, ORANGE, STYLE, svg
from phiscale.costs import cost
from phiscale.laws import ErrorLaw, Row
from phiscale.laws.points import points_of
from phiscale.laws.posterior import Posterior, posterior
from phiscale.scaling import compound, effective, scale
from phiscale.search.trial import Result, Trial, trial_of
from phiscale.search.tuning import Tuning, halved
from phiscale.search.workers import Stages
from phiscale.spec import Spec
from phiscale.train.recipe import Recipe

PHIS = tuple(range(-3, 8))


@dataclass(frozen=True, kw_only=True)
class Family:
    """The plan: members at these phi are trained, each with every seed."""

    data: str
    fingerprint: str
    base: Spec
    alpha: float
    beta: float
    gamma: float
    phis: tuple[float, ...]
    recipe: Recipe
    crop: float
    train_images: int | None
    seeds: int
    tuning: Tuning
    threads: int = 1

    def member(self, phi: float) -> Spec:
        return scale(self.base, compound(phi, self.alpha, self.beta, self.gamma))

    def stages(self) -> Stages[Mapping[tuple[float, int], Result]]:
        names = {f"phi {phi:g}": phi for phi in self.phis}
        chosen = yield from halved(
            list(names), self.recipe, self.tuning,
            lambda name, recipe: self._trial(names[name], recipe, "tuning"),
        )  # fmt: skip
        trials = {
            (phi, seed): self._trial(phi, replace(chosen[name], seed=seed), "family")
            for seed in range(self.seeds)
            for name, phi in names.items()
        }
        results = yield list(trials.values())
        return {name: results[trial.key] for name, trial in trials.items()}

    def _trial(self, phi: float, recipe: Recipe, stage: str) -> Trial:
        name = f"phi {phi:g}, seed {recipe.seed}, rate {recipe.optim.lr_peak:g}"
        return trial_of(self, name, self.member(phi), recipe, stage=stage, test=stage == "family",
                        phi=phi)  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """What the folder says that it is. More phis may be added to it later."""
        plain = {name: getattr(self, name) for name in
                 ("data", "fingerprint", "alpha", "beta", "gamma", "crop", "train_images", "seeds",
                  "threads")}  # fmt: skip
        return {**plain, "base": self.base.to_dict(), "recipe": self.recipe.to_dict(),
                "tuning": asdict(self.tuning)}  # fmt: skip


def report(
    plan: Family, runs: Mapping[tuple[float, int], Result], law: ErrorLaw, command: str,
    all_phis: Sequence[float] = PHIS,
) -> dict[str, str | bytes]:  # fmt: skip
    """Files of the family, by name. `law` predicts where too few members were trained for one of
    their own."""
    members = _members(plan, runs, sorted({*all_phis, *plan.phis}))
    own = _law(members)
    rows = [_row(each, law, own) for each in members]
    said = (
        f"Predicted by a law in MACs through the members that were trained "
        f"({100 * own.run_sd:.2f} points between runs)."
        if own else f"Predicted by {law.source}: its level is that data's, differences mean more."
    )  # fmt: skip
    sections = [
        Section(title="Members", text=[said], rows=rows, figures=[_figure(members, law, own)],
                note="Errors of the test pictures, %; intervals of 95 %, for a new run.")
    ]  # fmt: skip
    title = "A family over phi"
    return page_files(title, command, sections)


@dataclass(frozen=True)
class _Member:
    phi: float
    spec: Spec
    base: Spec
    macs: int
    errors: tuple[float, ...]  # of the test, a seed each


def _members(
    plan: Family, runs: Mapping[tuple[float, int], Result], phis: Sequence[float]
) -> list[_Member]:
    found = []
    for phi in phis:
        spec = plan.member(phi)
        errors = tuple(run.test_error for (other, _), run in sorted(runs.items())
                       if other == phi and run.test_error is not None)  # fmt: skip
        found.append(_Member(phi, spec, plan.base, cost(spec).macs, errors))
    return found


def _law(members: Sequence[_Member]) -> Posterior | None:
    """In MACs alone: along one ray depth, width and resolution cannot be told apart."""
    trained = [each for each in members if each.errors]
    if len(trained) < 3:
        return None
    base = cost(members[0].base).macs
    rows = [Row(name=f"phi {each.phi:g}", depth=each.macs / base, width=1.0, resolution=1.0,
                error=error) for each in trained for error in each.errors]  # fmt: skip
    whole = points_of(rows)
    return posterior(replace(whole, axes=("macs",), x=whole.x[:, :1]), source="this family")


def _predicted(each: _Member, law: ErrorLaw, own: Posterior | None) -> tuple[float, float, float]:
    if own is not None:
        found = own.predict([each.macs / cost(each.base).macs])
        low, high = found.interval
        return float(found.error), float(low), float(high)
    by = effective(each.spec, each.base)
    error = float(law.error(depth=by.depth, width=by.width, resolution=by.resolution))
    return error, error - 1.96 * law.sd, error + 1.96 * law.sd


def _row(each: _Member, law: ErrorLaw, own: Posterior | None) -> dict[str, Any]:
    by, (error, low, high) = effective(each.spec, each.base), _predicted(each, law, own)
    measured = None
    if each.errors:
        spread = f" ± {100 * np.std(each.errors, ddof=1):.2f}" if len(each.errors) > 1 else ""
        measured = f"{100 * np.mean(each.errors):.2f}{spread}"
    return {
        "phi": f"{each.phi:g}", "depth": f"x{by.depth:.2f}", "width": f"x{by.width:.2f}",
        "pixels": each.spec.resolution, "MACs": f"{each.macs / 1e6:.4g}M",
        "predicted": f"{100 * error:.1f} [{100 * max(0.0, low):.1f}, {100 * min(1.0, high):.1f}]",
        "measured": measured, "seeds": len(each.errors) or None,
    }  # fmt: skip


def _figure(members: Sequence[_Member], law: ErrorLaw, own: Posterior | None) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        x = [each.macs / 1e6 for each in members]
        error, low, high = np.array([_predicted(each, law, own) for each in members]).T
        axes.fill_between(x, 100 * low, 100 * high, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(x, 100 * error, "o-", color=BLUE, markersize=3.5, label="predicted")
        trained = [each for each in members if each.errors]
        if trained:
            axes.plot([e.macs / 1e6 for e in trained for _ in e.errors],
                      [100 * error for e in trained for error in e.errors], "D", color=ORANGE,
                      markersize=5, label="measured, a seed each")  # fmt: skip
        for each, y in zip(members, error, strict=True):
            axes.annotate(f"{each.phi:g}", (each.macs / 1e6, 100 * y), (0, 6), color=INK,
                          textcoords="offset points", ha="center", fontsize=7)  # fmt: skip
        axes.set_xscale("log")
        axes.set(xlabel="MACs, millions", ylabel="test error, %")
        axes.legend(frameon=False)
        return svg(figure, "family", "Error against MACs over phi")
