"""What a search for coefficients says: the answer beside what needs no search, how sure it is,
which networks it cannot tell apart, every training, and what all of it took."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from phiscale.arch.scaling import Scaling, Strategy
from phiscale.planning.budget import INDIFFERENT
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.laws.posterior import Posterior
from phiscale.report.law_report import bootstrap_words
from phiscale.report.page import Section, page_files
from phiscale.search.coefficients.law import MethodResult, Triple, law_error
from phiscale.search.coefficients.law_report import DIMENSIONS, law_sections, useless
from phiscale.search.coefficients.plan import CoefficientSearch, SearchOutcome
from phiscale.search.engine.folder import DatasetInfo, look_notes, machine_notes
from phiscale.search.engine.result import Result, unique_results
from phiscale.search.engine.tuning import edge_rate_notes
from phiscale.search.spaces.lattice import Place
from phiscale.search.spaces.rays import off_ray
from phiscale.search.study.resampling import bootstrap_interval, sign_flip, spread

TITLE = "alpha, beta, gamma from trainings"
UNCONFIRMED = Section(
    title="Not confirmed",
    text=[
        "The networks proposed were not held against those that need no search. The same command "
        "with --seeds 3 goes on with that."
    ],
)


def report(
    plan: CoefficientSearch,
    outcome: SearchOutcome,
    answers: Sequence[Coefficients],
    dataset: DatasetInfo,
    trainings: Iterable[Result],
    looks: Sequence[int],
    command: str,
) -> dict[str, str | bytes]:
    """Files of a finished search, by name. `trainings`: all that it made; `looks`: with how many
    seeds it was read before."""
    lawful = next((found for found in outcome.searched if found.fit), None)
    law = lawful.fit if lawful else None
    sections = [
        _answers(plan, outcome, answers, law),
        *_confirmation(plan, outcome, answers, dataset, looks, law),
        *(law_sections(plan, lawful, answers) if lawful else []),
        _protocol(plan, outcome, dataset, trainings),
        *(_runs(found) for found in outcome.searched),
    ]
    return {
        **page_files(TITLE, command, sections),
        "runs.csv": _csv(outcome),
    }


def _confirmation(
    plan: CoefficientSearch,
    outcome: SearchOutcome,
    answers: Sequence[Coefficients],
    dataset: DatasetInfo,
    looks: Sequence[int],
    law: Posterior | None,
) -> list[Section]:
    if any(found.refused for found in outcome.searched):
        return []  # the answer says so
    if not plan.seeds:
        return [UNCONFIRMED]
    return [_confirmed(plan, outcome, answers, dataset, looks, law)]


def _answers(
    plan: CoefficientSearch,
    outcome: SearchOutcome,
    answers: Sequence[Coefficients],
    law: Posterior | None,
) -> Section:
    rows = []
    for found, each in zip(outcome.searched, answers, strict=True):
        by = found.proposal.by
        row: dict[str, Any] = {
            "method": found.method,
            "trainings": len(found.runs),
            "units": f"{found.units:.1f}",
        }
        row |= each.row()
        row |= {
            "network": f"depth x{by.depth:.2f}, width x{by.width:.2f}, "
            f"{found.proposal.spec.resolution} px"
        }
        rows.append(row)
    text = [
        f"The best scaling of the base to {plan.compute:g} times its {_coin(plan)}, as multipliers "
        "for each doubling. A unit is the cost of one training of the base.",
        *(each.extra["refused"] for each in answers if "refused" in each.extra),
        *(each.extra["symmetric_null"] for each in answers if "symmetric_null" in each.extra),
        *(
            _far(each)
            for each in answers
            if "slopes" in each.extra and law is not None and not useless(law)
        ),
        *(
            bootstrap_words(*each.extra["bootstrap"])
            for each in answers
            if "bootstrap" in each.extra
        ),
        *(_by_loss(each) for each in answers if "by_cross_entropy" in each.extra),
        *(line for each in answers for line in _held(plan, each)),
        *(_as_built(plan, each) for each in answers),
        *(_any_way(plan, law) if law else []),
    ]
    return Section(
        title="Answer",
        text=text,
        rows=rows,
        note="The paper's, of ImageNet: 1.2, 1.1, 1.15. Intervals end where another "
        "dimension would turn back, at 1 and, of MACs, at 2, 1.41 and 1.41: such an end "
        "is that bound, not data. A grid has no interval: it is its winner, blocks and "
        "channels counted as built.",
    )


def _coin(plan: CoefficientSearch) -> str:
    return {"macs": "MACs", "params": "parameters", "latency-ms": "latency"}.get(
        plan.cost, plan.cost.replace("-", " ")
    )


def _far(found: Coefficients) -> str:
    """The path that the law's optimum takes: a line in logs, through the base only if that is
    balanced."""
    paths = [
        f"{name} {math.exp(offset):.2f} T^{slope:.2f}"
        if math.isfinite(offset)
        else f"{name} T^{slope:.2f}"
        for name, slope, offset in zip(
            DIMENSIONS, found.extra["slopes"], found.extra["offsets"], strict=True
        )
    ]
    return f"For large T the law's optimum tends to {', '.join(paths)}."


def _held(plan: CoefficientSearch, found: Coefficients) -> list[str]:
    """An interval of no width is a bound, not certainty."""
    bound = [
        name
        for name, ends in (found.intervals or {}).items()
        if all(math.isclose(end, 1, abs_tol=0.005) for end in ends)
    ]
    ways = ("shrinks while the network grows", "grows while the network shrinks")
    return (
        [
            f"As in the paper, no dimension {ways[plan.compute < 1]}: 19 in 20 of the laws "
            f"that explain the trainings would have it so with {' and '.join(bound)}, held at 1."
        ]
        if bound
        else []
    )


def _any_way(plan: CoefficientSearch, law: Posterior) -> list[str]:
    """What the paper's rule that no dimension turns back keeps the law from."""
    space = plan.lattice()
    held, free = (space.best(law, plan.compute, any_way=any_way) for any_way in (False, True))
    gain = law_error(law, held.by) - law_error(law, free.by)
    if gain <= INDIFFERENT:
        return []
    return [
        f"Were one dimension free to turn back, the law would choose depth x{free.by.depth:.2f}, "
        f"width x{free.by.width:.2f}, {free.spec.resolution} px for the same cost, "
        f"{100 * gain:.1f} points better than the proposal by its own reckoning. That is no "
        "scaling of the base, and nobody confirmed it: a better base to begin with."
    ]


def _by_loss(found: Coefficients) -> str:
    said = ", ".join(
        f"{name} {value:.2f} [{low:.2f}, {high:.2f}]"
        for name, (value, low, high) in found.extra["by_cross_entropy"].items()
    )
    return f"By the cross-entropy of the same trainings, which decides nothing: {said}."


def _as_built(plan: CoefficientSearch, found: Coefficients) -> str:
    """What one phi really costs: blocks are rounded up."""
    said = " and ".join(
        f"{cost:.2f} times at phi {phi}" for phi, cost in found.extra["exact_costs"].items()
    )
    return (
        f"{found.method}: as built by alpha^phi, beta^phi, gamma^phi, blocks rounded up, the "
        f"network has the base's {_coin(plan)} {said}."
    )


def _confirmed(
    plan: CoefficientSearch,
    outcome: SearchOutcome,
    answers: Sequence[Coefficients],
    dataset: DatasetInfo,
    looks: Sequence[int],
    law: Posterior | None,
) -> Section:
    """Every proposal and every baseline trained anew with the same seeds, on the test pictures."""
    truth = dataset.test_labels
    correct = {
        name: np.stack([run.correct(truth) for run in outcome.of(name)])
        for name in outcome.confirmed
    }
    first = next(iter(outcome.confirmed))
    rays = {f"{each.method} proposal": each.at(1.0) for each in answers}
    others = len({place.spec for place in outcome.confirmed.values()}) - 1
    rows = []
    for name, place in outcome.confirmed.items():
        tops = correct[name].mean(axis=1)
        off = _off(place, rays[name]) if name in rays else place.off_ray
        row: dict[str, Any] = {
            "network": name,
            "depth": f"x{place.by.depth:.2f}",
            "width": f"x{place.by.width:.2f}",
            "pixels": place.spec.resolution,
            plan.cost: f"x{place.cost:.2f}",
            "off its ray": f"{off:.2f}" if off >= 0.005 else None,
            "predicted error, %": _predicted(law, place),
            "test top-1, %": f"{100 * tops.mean():.2f}",
            "sd": f"{100 * tops.std(ddof=1):.2f}",
            f"{first} minus it": None,
            "95 %": None,
            "p": None,
        }
        if place.spec != outcome.confirmed[first].spec:
            of = spread(correct[first], correct[name])
            low, high = bootstrap_interval(of)
            row |= {
                f"{first} minus it": f"{100 * of.difference:+.2f}",
                "95 %": f"[{100 * low:+.2f}, {100 * high:+.2f}]",
                "p": f"{sign_flip(of.seed_differences):.2f}",
            }
        rows.append(row)
    return Section(
        title="Confirmed",
        rows=rows,
        text=[
            f"Trained anew with {plan.seeds} seeds each, read on the test pictures. With so many "
            f"the least p there can be is {2 / 2**plan.seeds:.2g}, and {others} other networks are "
            "looked at: this tells large differences, no small ones.",
            *look_notes(looks),
            *(
                f"{' and '.join(names)} are one network here: rounding leaves no difference."
                for names in _same(outcome)
            ),
        ],
        note="Predicted errors are of the validation pictures. Off its ray: distance in logs of "
        "the multipliers, by rounding; a proposal's ray is that of its coefficients, whose own "
        "networks may cost more or less than was asked; the proposal itself is in found.json's "
        "extra. The symmetric null here is that of exponents 2.3, known without any training; the "
        "one above takes its exponent from these.",
    )


def _off(place: Place, ray: Scaling) -> float:
    by = place.by
    logs = np.log([[by.depth, by.width, by.resolution]])
    return float(off_ray(logs, Strategy.of(ray))[0])


def _same(outcome: SearchOutcome) -> list[list[str]]:
    names: dict[Any, list[str]] = {}
    for name, place in outcome.confirmed.items():
        names.setdefault(place.spec, []).append(name)
    return [each for each in names.values() if len(each) > 1]


def _predicted(law: Posterior | None, place: Place) -> str | None:
    if law is None:
        return None
    by = place.by
    found = law.predict([by.depth, by.width, by.resolution])
    low, high = np.clip(found.interval, 0, 1)
    return f"{100 * found.error:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _protocol(
    plan: CoefficientSearch,
    outcome: SearchOutcome,
    dataset: DatasetInfo,
    trainings: Iterable[Result],
) -> Section:
    images = plan.conditions.train_images or dataset.train
    recipe = plan.conditions.recipe
    rates = outcome.rates.surface
    spent = sum(run.cpu_seconds for run in unique_results(outcome.runs.values()))
    return Section(
        title="How it was done",
        text=[
            f"{dataset.source}: {images} of {dataset.train} training pictures, "
            f"{recipe.epochs:g} epochs of batches of {recipe.batch}, "
            f"{recipe.optim.name}; the base sees {plan.base.resolution} px. Searches read the "
            f"{dataset.validation} validation pictures, confirmation the "
            f"{len(dataset.test_labels)} test pictures.",
            "Learning rates: chosen in the base and four corners of depth and width, "
            f"{plan.tuning} ({outcome.rates.units:.1f} units), then log2 rate = {rates.a:.2f} "
            f"{rates.b:+.2f} ln depth {rates.c:+.2f} ln width for all methods.",
            *edge_rate_notes(outcome.rates.chosen, plan.tuning),
            *([f"The confirmation took {spent:,.0f} core seconds."] if outcome.runs else []),
            *machine_notes(trainings),
        ],
    )


def _runs(found: MethodResult) -> Section:
    rows = [
        {
            "depth": f"x{run.by.depth:.2f}",
            "width": f"x{run.by.width:.2f}",
            "resolution": f"x{run.by.resolution:.2f}",
            "units": f"{run.cost:.2f}",
            "of the grid": _candidates(run.candidates),
            "rate": f"{run.rate:.3g}",
            "validation error, %": f"{100 * run.error:.2f}",
        }
        for run in found.runs
    ]
    return Section(
        title=f"Trainings of {found.method}", rows=rows, note=f"{found.units:.2f} units together."
    )


def _candidates(triples: Sequence[Triple]) -> str | None:
    """alpha, beta, gamma as the grid has them, of which several round to one network."""
    words = [", ".join(f"{value:g}" for value in triple) for triple in triples]
    return " = ".join(words) or None


def _csv(outcome: SearchOutcome) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        [
            "method",
            "depth",
            "width",
            "resolution",
            "units",
            "rate",
            "validation_error",
            "test_error",
            "key",
        ]
    )
    for found in outcome.searched:
        for run in found.runs:
            by = run.by
            rows.writerow(
                [
                    found.method,
                    by.depth,
                    by.width,
                    by.resolution,
                    run.cost,
                    run.rate,
                    run.error,
                    None,
                    run.key,
                ]
            )
    for (name, seed), run in sorted(outcome.runs.items()):
        by = outcome.confirmed[name].by
        rows.writerow(
            [
                f"confirmation: {name}, seed {seed}",
                by.depth,
                by.width,
                by.resolution,
                outcome.confirmed[name].macs,
                run.trial["recipe"]["optim"]["lr_peak"],
                run.validation_error,
                run.test_error,
                run.key,
            ]
        )
    return text.getvalue()
