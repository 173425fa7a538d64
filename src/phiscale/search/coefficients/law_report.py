"""Sections of a search's report on its law: the law, statistically tied networks, Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from phiscale.arch.costs import cost
from phiscale.planning.budget import NEAR_BEST_ERROR
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.laws.posterior import Posterior
from phiscale.planning.laws.sheet import DIMENSIONS
from phiscale.report.page import Drawing, Section
from phiscale.report.svg import BLUE, GREEN, INK, PURPLE, STYLE, drawing
from phiscale.search.coefficients.law import MethodResult, law_error
from phiscale.search.coefficients.plan import CoefficientSearch
from phiscale.search.spaces.lattice import Lattice, cost_metric

MAX_LISTED = 12
DRAWS = 500
MIN_TERM = 0.001  # of error, 0.1 point: less is no term


def law_sections(
    plan: CoefficientSearch, result: MethodResult, answers: Sequence[Coefficients]
) -> list[Section]:
    """The sections on the law that a method fitted."""
    law = result.fit
    assert law is not None
    return [_law(result, law, answers), _indifferent(plan, law), _pareto(plan, law)]


def _law(result: MethodResult, law: Posterior, answers: Sequence[Coefficients]) -> Section:
    e0, terms = law.terms()
    words = " + ".join(f"{100 * term.A:.1f} {name}^-{term.p:.2f}" for name, term in terms.items())
    return Section(
        title="The law",
        text=[
            f"Validation error, % = {100 * e0:.1f} + {words} at the mean of the exponents.",
            *_noise(result),
            *(each.extra["checks"] for each in answers if "checks" in each.extra),
            *_useless(law),
        ],
        figures=[_law_figure(law)],
    )


def _noise(result: MethodResult) -> Iterator[str]:
    """The seed standard deviation, the misfit beyond it, and where the second round went."""
    noise = result.noise
    assert noise is not None
    source = {
        "replicates": "from networks that were trained twice",
        "jackknife": "from held-out trainings",
        "images": "the least that so few validation images allow",
    }[noise.source]
    yield (
        f"The seed standard deviation is {100 * noise.run_sd:.2f} points ({source}). "
        f"Held-out trainings are off by {100 * noise.misfit_sd:.2f} points beyond that. "
        f"Both count as noise here: {100 * noise.sd:.2f} points together."
    )
    if result.explored_everywhere:
        yield (
            "After the design the law was off by more than twice chance. The second round "
            "therefore trained networks of all costs where the law was least sure, not only of the "
            "requested cost."
        )


def useless_dimensions(law: Posterior) -> dict[str, float]:
    """Returns dimensions that do not lower the error, with the share of laws that have no term for
    them."""
    _, c = law.draws()
    none = np.mean(c[:, 1:4] < MIN_TERM, axis=0)
    return {axis: float(share) for axis, share in zip(DIMENSIONS, none, strict=True) if share > 0.5}


def _useless(law: Posterior) -> Iterator[str]:
    for axis, none in useless_dimensions(law).items():
        yield (
            f"More {axis} does not lower the error of these trainings: {100 * none:.0f} % of the "
            "laws that explain them have no term for it. They may be too short for what it adds. "
            f"More `epochs` show whether the answer for {axis} holds for longer ones."
        )


def _law_figure(law: Posterior) -> Drawing:
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        for axes, axis, colour in zip(
            figure.subplots(1, 3, sharey=True), range(3), (BLUE, GREEN, PURPLE), strict=True
        ):
            known = law.points.x[:, axis]
            at = np.ones((50, 3))
            at[:, axis] = x = np.geomspace(known.min(), known.max(), 50)
            predicted = law.predict(at)
            low, high = predicted.expected_interval
            axes.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, 100 * predicted.error, color=colour)
            # a run brought to the base's other two dimensions by the law
            base = law.points.x.copy()
            base[:, [i for i in range(3) if i != axis]] = 1.0
            moved = law.points.error - law.predict(law.points.x).error + law.predict(base).error
            axes.plot(known, 100 * moved, "o", color=INK, markersize=3.5, alpha=0.7)
            axes.set_xscale("log")
            axes.set(xlabel=f"{DIMENSIONS[axis]} over the base's")
        figure.axes[0].set_ylabel("validation error, %")
        return drawing(figure, "law", "Error against depth, width and resolution by the law")


def _indifferent(plan: CoefficientSearch, law: Posterior) -> Section:
    space = plan.lattice()
    near, which = space.indifferent(law, plan.compute), space.at(plan.compute)
    rows = [
        {
            "depth": f"x{p.by.depth:.2f}",
            "width": f"x{p.by.width:.2f}",
            "pixels": p.spec.resolution,
            plan.cost: f"x{p.cost_ratio:.2f}",
        }
        for p in near[:MAX_LISTED]
    ]
    return Section(
        title="Statistically tied",
        rows=rows,
        text=[
            f"{len(near)} of the {len(which)} networks of this cost are predicted within 0.1 point "
            f"of the best. Given the law's uncertainty, {_tied(space, law, which)} may be (95 %)."
        ],
        note=f"The best {len(rows)}." if len(near) > len(rows) else "",
    )


def _tied(space: Lattice, law: Posterior, which: np.ndarray) -> int:
    """Counts the networks that at least one in forty of the laws that explain the runs predicts
    within 0.1 point of the overall best."""
    x = np.exp(space.logs[which])
    p, c = law.draws(DRAWS)
    errors = np.einsum("lnd,ld->ln", x[None] ** -p[:, None], c[:, 1:])
    more = errors - errors[:, [int(space.errors(law, which).argmin())]]
    return int(np.sum(np.quantile(more, 0.025, axis=0) <= NEAR_BEST_ERROR))


def _pareto(plan: CoefficientSearch, law: Posterior) -> Section:
    names = ("macs", "params", "train-memory")
    if plan.device is not None:
        names = (*names, "latency-ms")
    metrics = {name: cost_metric(name, plan.device) for name in names}
    front = plan.lattice().pareto(law, metrics, most=2 * max(1.0, plan.compute))
    errors = [law_error(law, place.by) for place in front]
    step = max(1, len(front) // MAX_LISTED)
    own = cost(plan.base)
    rows = [
        {
            "predicted validation error, %": f"{100 * errors[i]:.1f}",
            "depth": f"x{front[i].by.depth:.2f}",
            "width": f"x{front[i].by.width:.2f}",
            "pixels": front[i].spec.resolution,
            **{
                name: f"x{float(metric(cost(front[i].spec)) / metric(own)):.2f}"
                for name, metric in metrics.items()
            },
        }
        for i in sorted(range(len(front)), key=lambda i: errors[i])[::step]
    ]
    return Section(
        title="Pareto front",
        text=[
            f"{len(front)} networks of at most {2 * max(1.0, plan.compute):g} times the base's "
            f"{plan.cost}: no other network is better in error and {', '.join(names)} at once."
        ],
        rows=rows,
        note=f"Every {step}th network." if step > 1 else "",
    )
