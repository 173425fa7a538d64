"""What a search for coefficients says of its law: the law itself, which networks it cannot tell
apart, and which nothing betters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from phiscale.analysis.page import Drawing, Section
from phiscale.analysis.svg import BLUE, GREEN, INK, PURPLE, STYLE, drawing
from phiscale.coefficients import Coefficients
from phiscale.costs import cost
from phiscale.laws.posterior import Posterior
from phiscale.search.discover import Discovery
from phiscale.search.lattice import price
from phiscale.search.searched import law_error

DIMENSIONS = ("depth", "width", "resolution")
MOST_LISTED = 12
LEAST_TERM = 0.001  # of error, 0.1 point: less is no term


def law_sections(plan: Discovery, law: Posterior, answers: Sequence[Coefficients]) -> list[Section]:
    return [_law(plan, law, answers), _indifferent(plan, law), _pareto(plan, law)]


def _law(plan: Discovery, law: Posterior, answers: Sequence[Coefficients]) -> Section:
    e0, terms = law.terms()
    words = " + ".join(f"{100 * term.A:.1f} {name}^-{term.p:.2f}" for name, term in terms.items())
    return Section(
        title="The law",
        text=[
            f"Validation error, % = {100 * e0:.1f} + {words} at the mean of the exponents. A run "
            f"is off the law by {100 * law.run_sd:.2f} points, chance and the law's own misfit "
            f"together ({_NOISE[law.run_sd_from]}); trainings that were left out were off by "
            f"{100 * law.floor:.2f} more.",
            *(each.extra["checks"] for each in answers if "checks" in each.extra),
            *_useless(law),
        ],
        figures=[_law_figure(plan, law)],
    )


def _useless(law: Posterior) -> Iterator[str]:
    """A dimension that does not pay, for which a law can only have no term at all."""
    _, c = law.draws()
    for axis, term in zip(DIMENSIONS, c[:, 1:4].T, strict=True):
        none = float(np.mean(term < LEAST_TERM))
        if none > 0.5:
            yield (
                f"More {axis} does not lower the error of these trainings: {100 * none:.0f} % of "
                "the laws that explain them have no term for it. They may be too short for what "
                f"it adds; --epochs says whether the answer for {axis} holds for longer ones."
            )


_NOISE = {
    "replicates": "from networks that were trained twice", "jackknife": "from leaving runs out",
    "given": "from leaving runs out and the number of validation pictures",
    "assumed": "assumed",
}  # fmt: skip


def _law_figure(plan: Discovery, law: Posterior) -> Drawing:
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        for axes, axis, colour in zip(figure.subplots(1, 3, sharey=True), range(3),
                                      (BLUE, GREEN, PURPLE), strict=True):  # fmt: skip
            known = law.points.x[:, axis]
            at = np.ones((50, 3))
            at[:, axis] = x = np.geomspace(known.min(), known.max(), 50)
            found = law.predict(at)
            low, high = found.expected_interval
            axes.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, 100 * found.error, color=colour)
            # a run brought to the base's other two dimensions by the law
            base = law.points.x.copy()
            base[:, [i for i in range(3) if i != axis]] = 1.0
            moved = law.points.error - law.predict(law.points.x).error + law.predict(base).error
            axes.plot(known, 100 * moved, "o", color=INK, markersize=3.5, alpha=0.7)
            axes.set_xscale("log")
            axes.set(xlabel=f"{DIMENSIONS[axis]} over the base's")
        figure.axes[0].set_ylabel("validation error, %")
        return drawing(figure, "law", "Error against depth, width and resolution by the law")


def _indifferent(plan: Discovery, law: Posterior) -> Section:
    space = plan.lattice()
    near, which = space.indifferent(law, plan.compute), space.at(plan.compute)
    rows = [
        {"depth": f"x{p.by.depth:.2f}", "width": f"x{p.by.width:.2f}", "pixels": p.spec.resolution,
         plan.cost: f"x{p.cost:.2f}"}
        for p in near[:MOST_LISTED]
    ]  # fmt: skip
    return Section(
        title="Not told apart", rows=rows,
        text=[f"{len(near)} of the {len(which)} networks of this cost are within 0.1 point of the "
              "best by the law itself, its own error not counted."],
        note=f"The best {len(rows)}." if len(near) > len(rows) else "",
    )  # fmt: skip


def _pareto(plan: Discovery, law: Posterior) -> Section:
    names = ("macs", "params", "train-memory")
    if plan.device is not None:
        names = (*names, "latency-ms")
    coins = {name: price(name, plan.device) for name in names}
    front = plan.lattice().pareto(law, coins, most=2 * max(1.0, plan.compute))
    errors = [law_error(law, place.by) for place in front]
    step = max(1, len(front) // MOST_LISTED)
    own = cost(plan.base)
    rows = [
        {"predicted error, %": f"{100 * errors[i]:.1f}", "depth": f"x{front[i].by.depth:.2f}",
         "width": f"x{front[i].by.width:.2f}", "pixels": front[i].spec.resolution,
         **{name: f"x{float(coin(cost(front[i].spec)) / coin(own)):.2f}"
            for name, coin in coins.items()}}
        for i in sorted(range(len(front)), key=lambda i: errors[i])[::step]
    ]  # fmt: skip
    return Section(
        title="Better in nothing else",
        text=[f"{len(front)} networks of at most {2 * max(1.0, plan.compute):g} times the base's "
              f"{plan.cost} that no other betters in error and {', '.join(names)} at once."],
        rows=rows, note=f"Every {step}th." if step > 1 else "",
    )  # fmt: skip
