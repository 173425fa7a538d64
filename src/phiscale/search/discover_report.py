"""What a search for coefficients says: the answer beside what needs no search, how sure it is,
which networks it cannot tell apart, every training, and what all of it took."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from phiscale.analysis.page import Section, page_files
from phiscale.analysis.resampling import bootstrap_interval, sign_flip, spread
from phiscale.analysis.svg import BLUE, GREEN, INK, PURPLE, STYLE, svg
from phiscale.coefficients import Coefficients
from phiscale.costs import cost
from phiscale.laws.posterior import Posterior
from phiscale.search.discover import Discovered, Discovery
from phiscale.search.folder import Pictures
from phiscale.search.lattice import Place, price
from phiscale.search.searched import Searched, Triple

TITLE = "alpha, beta, gamma from trainings"
DIMENSIONS = ("depth", "width", "resolution")
MOST_LISTED = 12


def report(
    plan: Discovery, outcome: Discovered, answers: Sequence[Coefficients], pictures: Pictures,
    command: str,
) -> dict[str, str | bytes]:  # fmt: skip
    """Files of a finished search, by name."""
    law = next((found.fit for found in outcome.searched if found.fit), None)
    sections = [
        _answers(plan, outcome, answers),
        _confirmed(plan, outcome, pictures, law),
        *([_law(plan, law, answers)] if law else []),
        *([_indifferent(plan, law), _pareto(plan, law)] if law else []),
        _protocol(plan, outcome, pictures),
        *(_runs(found) for found in outcome.searched),
    ]
    return {
        **page_files(TITLE, command, sections),
        "runs.csv": _csv(outcome),
    }


def _answers(plan: Discovery, outcome: Discovered, answers: Sequence[Coefficients]) -> Section:
    rows = []
    for found, each in zip(outcome.searched, answers, strict=True):
        by = found.proposal.by
        row: dict[str, Any] = {"method": found.method, "trainings": len(found.runs),
                               "units": f"{found.units:.1f}"}  # fmt: skip
        for name in ("alpha", "beta", "gamma"):
            value = f"{getattr(each, name):.3f}"
            if each.intervals:
                low, high = each.intervals[name]
                value += f" [{low:.2f}, {high:.2f}]"
            row[name] = value
        row |= {"network": f"depth x{by.depth:.2f}, width x{by.width:.2f}, "
                           f"{found.proposal.spec.resolution} px"}  # fmt: skip
        rows.append(row)
    text = [
        f"The best scaling of the base to {plan.compute:g} times its {_coin(plan)}, as multipliers "
        "for each doubling. A unit is the cost of one training of the base.",
        *(each.extra["symmetric_null"] for each in answers if "symmetric_null" in each.extra),
        *(_far(each) for each in answers if "slopes" in each.extra),
        *(_by_loss(each) for each in answers if "by_cross_entropy" in each.extra),
        *(line for each in answers for line in _held(plan, each)),
        *(_as_built(plan, each) for each in answers),
    ]
    return Section(title="Answer", text=text, rows=rows,
                   note="The paper's, of ImageNet: 1.2, 1.1, 1.15. A grid has no interval: it is "
                   "its winner, blocks and channels counted as built.")  # fmt: skip


def _coin(plan: Discovery) -> str:
    return {"macs": "MACs", "params": "parameters", "latency-ms": "latency"}.get(
        plan.cost, plan.cost.replace("-", " ")
    )


def _far(found: Coefficients) -> str:
    """The path that the law's optimum takes: a line in logs, through the base only if that is
    balanced."""
    paths = [
        f"{name} {math.exp(offset):.2f} T^{slope:.2f}" if math.isfinite(offset) else
        f"{name} T^{slope:.2f}"
        for name, slope, offset in zip(DIMENSIONS, found.extra["slopes"], found.extra["offsets"],
                                       strict=True)
    ]  # fmt: skip
    return f"For large T the law's optimum tends to {', '.join(paths)}."


def _held(plan: Discovery, found: Coefficients) -> list[str]:
    """An interval of no width is a bound, not certainty."""
    bound = [name for name, ends in (found.intervals or {}).items()
             if all(math.isclose(end, 1, abs_tol=0.005) for end in ends)]  # fmt: skip
    ways = ("shrinks while the network grows", "grows while the network shrinks")
    return [
        f"As in the paper, no dimension {ways[plan.compute < 1]}: every law that explains the "
        f"trainings would have it so with {' and '.join(bound)}, held at 1."
    ] if bound else []  # fmt: skip


def _by_loss(found: Coefficients) -> str:
    said = ", ".join(
        f"{name} {value:.2f} [{low:.2f}, {high:.2f}]"
        for name, (value, low, high) in found.extra["by_cross_entropy"].items()
    )
    return f"By the cross-entropy of the same trainings, which decides nothing: {said}."


def _as_built(plan: Discovery, found: Coefficients) -> str:
    """What one phi really costs: blocks are rounded up."""
    said = " and ".join(
        f"{cost:.2f} times at phi {phi}" for phi, cost in found.extra["exact_costs"].items()
    )
    return (
        f"{found.method}: as built by alpha^phi, beta^phi, gamma^phi, blocks rounded up, the "
        f"network has the base's {_coin(plan)} {said}."
    )


def _confirmed(
    plan: Discovery, outcome: Discovered, pictures: Pictures, law: Posterior | None
) -> Section:
    """Every proposal and every baseline trained anew with the same seeds, on the test pictures."""
    truth = pictures.test_labels
    correct = {
        name: np.stack([run.correct(truth) for run in outcome.of(name)])
        for name in outcome.confirmed
    }
    first = next(iter(outcome.confirmed))
    rows = []
    for name, place in outcome.confirmed.items():
        tops = correct[name].mean(axis=1)
        row: dict[str, Any] = {
            "network": name, "depth": f"x{place.by.depth:.2f}", "width": f"x{place.by.width:.2f}",
            "pixels": place.spec.resolution, plan.cost: f"x{place.cost:.2f}",
            "off its ray": f"{place.off_ray:.2f}" if place.off_ray else None,
            "predicted error, %": _predicted(law, place),
            "test top-1, %": f"{100 * tops.mean():.2f}", "sd": f"{100 * tops.std(ddof=1):.2f}",
            f"{first} minus it": None, "95 %": None, "p": None,
        }  # fmt: skip
        if place.spec != outcome.confirmed[first].spec:
            of = spread(correct[first], correct[name])
            low, high = bootstrap_interval(of)
            row |= {f"{first} minus it": f"{100 * of.difference:+.2f}",
                    "95 %": f"[{100 * low:+.2f}, {100 * high:+.2f}]",
                    "p": f"{sign_flip(of.seed_differences):.2f}"}  # fmt: skip
        rows.append(row)
    return Section(
        title="Confirmed", rows=rows,
        text=[
            f"Trained anew with {plan.seeds} seeds each, read on the test pictures. With so many "
            f"the least p there can be is {2 / 2**plan.seeds:.2g}, and {len(rows) - 1} are looked "
            "at: this tells large differences, no small ones.",
            *(f"{' and '.join(names)} are one network here: rounding leaves no difference."
              for names in _same(outcome)),
        ],
        note="Predicted errors are of the validation pictures. Off its ray: distance in logs of "
        "the multipliers, by rounding.",
    )  # fmt: skip


def _same(outcome: Discovered) -> list[list[str]]:
    names: dict[Any, list[str]] = {}
    for name, place in outcome.confirmed.items():
        names.setdefault(place.spec, []).append(name)
    return [each for each in names.values() if len(each) > 1]


def _predicted(law: Posterior | None, place: Place) -> str | None:
    if law is None:
        return None
    by = place.by
    found = law.predict([by.depth, by.width, by.resolution])
    low, high = found.interval
    return f"{100 * found.error:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


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
        ],
        figures=[_law_figure(plan, law)],
    )


_NOISE = {
    "replicates": "from networks that were trained twice", "jackknife": "from leaving runs out",
    "given": "from leaving runs out and the number of validation pictures",
    "assumed": "assumed",
}  # fmt: skip


def _law_figure(plan: Discovery, law: Posterior) -> str:
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
        return svg(figure, "law", "Error against depth, width and resolution by the law")


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
    errors = [float(law.error(depth=p.by.depth, width=p.by.width, resolution=p.by.resolution))
              for p in front]  # fmt: skip
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


def _protocol(plan: Discovery, outcome: Discovered, pictures: Pictures) -> Section:
    images = plan.train_images or pictures.train
    rates = outcome.rates
    spent = sum(run.cpu_seconds for run in {r.key: r for r in outcome.runs.values()}.values())
    return Section(
        title="How it was done",
        text=[
            f"{pictures.source}: {images} of {pictures.train} training pictures, "
            f"{plan.recipe.epochs:g} epochs of batches of {plan.recipe.batch}, "
            f"{plan.recipe.optim.name}; the base sees {plan.base.resolution} px. Searches read the "
            f"{pictures.validation} validation pictures, confirmation the "
            f"{len(pictures.test_labels)} test pictures.",
            f"Learning rates: halving in the base and four corners of depth and width "
            f"({outcome.tuning_units:.1f} units), then log2 rate = {rates.a:.2f} "
            f"{rates.b:+.2f} ln depth {rates.c:+.2f} ln width for all methods.",
            f"The confirmation took {spent:,.0f} core seconds.",
        ],
    )  # fmt: skip


def _runs(found: Searched) -> Section:
    rows = [
        {
            "depth": f"x{run.by.depth:.2f}", "width": f"x{run.by.width:.2f}",
            "resolution": f"x{run.by.resolution:.2f}", "units": f"{run.cost:.2f}",
            "of the grid": _candidates(run.candidates),
            "rate": f"{run.rate:.3g}", "validation error, %": f"{100 * run.error:.2f}",
        }
        for run in found.runs
    ]  # fmt: skip
    return Section(title=f"Trainings of {found.method}", rows=rows,
                   note=f"{found.units:.2f} units together.")  # fmt: skip


def _candidates(triples: Sequence[Triple]) -> str | None:
    """alpha, beta, gamma as the grid has them, of which several round to one network."""
    words = [", ".join(f"{value:g}" for value in triple) for triple in triples]
    return " = ".join(words) or None


def _csv(outcome: Discovered) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["method", "depth", "width", "resolution", "units", "rate", "error", "key"])
    for found in outcome.searched:
        for run in found.runs:
            by = run.by
            rows.writerow([found.method, by.depth, by.width, by.resolution, run.cost, run.rate,
                           run.error, run.key])  # fmt: skip
    for (name, seed), run in sorted(outcome.runs.items()):
        by = outcome.confirmed[name].by
        rows.writerow([f"confirmation: {name}, seed {seed}", by.depth, by.width, by.resolution,
                       outcome.confirmed[name].macs, run.trial["recipe"]["optim"]["lr_peak"],
                       run.test_error, run.key])  # fmt: skip
    return text.getvalue()
