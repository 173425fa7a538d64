"""The section of a search's report that says how the proposals did against scalings that need no
search, trained anew and evaluated on the test images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.arch.scaling import ScaledNetwork, Scaling, Strategy
from phiscale.planning.laws.posterior import Posterior
from phiscale.report.page import Section
from phiscale.search.caveats import interim_look_notes
from phiscale.search.coefficients.completed import CompletedSearch
from phiscale.search.coefficients.plan import SearchOutcome
from phiscale.search.spaces.rays import ray_distance
from phiscale.search.study.resampling import bootstrap_interval, measure_spread, sign_flip_test

UNCONFIRMED = Section(
    title="Not confirmed",
    text=[
        "The proposed networks were not compared with scalings that need no search. To confirm "
        "them, run the same command with seeds=3."
    ],
)
_NOTE = (
    "Predicted errors are of the validation images. Off its ray: distance in logs of the "
    "multipliers, from rounding. A proposal's ray is that of its coefficients, whose own networks "
    "may cost more or less than requested; the proposal itself is in found.json under `extra`. "
    "The equal-split baseline here (arm `symmetric` of a study) has exponents of 2.3 and needs no "
    "training; the one above takes its exponent from these trainings."
)

Correct = Mapping[str, NDArray[np.bool_]]  # by network: (seeds, images)


def confirmation_sections(search: CompletedSearch) -> list[Section]:
    """The confirmation; a note where it is still missing; nothing where a method was refused."""
    if any(result.refused for result in search.outcome.searched):
        return []  # the answer says so
    return [_confirmed(search)] if search.plan.seeds else [UNCONFIRMED]


def _confirmed(search: CompletedSearch) -> Section:
    """Every proposal and every baseline, trained anew with the same seeds."""
    outcome, seeds = search.outcome, search.plan.seeds
    labels = search.dataset.test_labels
    correct = {
        name: np.stack([run.correct(labels) for run in outcome.of(name)])
        for name in outcome.confirmed
    }
    others = len({network.spec for network in outcome.confirmed.values()}) - 1
    return Section(
        title="Confirmed",
        rows=[_row(search, name, correct) for name in outcome.confirmed],
        text=[
            f"Trained anew with {seeds} seeds each, evaluated on the test images. With so many "
            f"seeds the smallest possible p is {2 / 2**seeds:.2g}, and {others} other networks are "
            "compared: this can show large differences, but no small ones.",
            *interim_look_notes(search.interim_looks),
            *(
                f"{' and '.join(names)} are one network here: rounding leaves no difference."
                for names in _equal_networks(outcome)
            ),
        ],
        note=_NOTE,
    )


def _row(search: CompletedSearch, name: str, correct: Correct) -> dict[str, Any]:
    outcome = search.outcome
    network, first = outcome.confirmed[name], next(iter(outcome.confirmed))
    rays = {f"{each.method} proposal": each.at(1.0) for each in search.answers}
    top1 = correct[name].mean(axis=1)
    off = _off_ray(network, rays[name]) if name in rays else network.off_ray
    row: dict[str, Any] = {
        "network": name,
        "depth": f"x{network.by.depth:.2f}",
        "width": f"x{network.by.width:.2f}",
        "pixels": network.spec.resolution,
        search.plan.cost: f"x{network.cost_ratio:.2f}",
        "off its ray": f"{off:.2f}" if off >= 0.005 else None,
        "predicted error, %": _predicted(search.law, network),
        "test top-1, %": f"{100 * top1.mean():.2f}",
        "sd": f"{100 * top1.std(ddof=1):.2f}",
        f"{first} minus it": None,
        "95 %": None,
        "p": None,
    }
    if network.spec != outcome.confirmed[first].spec:
        difference = measure_spread(correct[first], correct[name])
        low, high = bootstrap_interval(difference)
        row |= {
            f"{first} minus it": f"{100 * difference.difference:+.2f}",
            "95 %": f"[{100 * low:+.2f}, {100 * high:+.2f}]",
            "p": f"{sign_flip_test(difference.seed_differences):.2f}",
        }
    return row


def _off_ray(network: ScaledNetwork, ray: Scaling) -> float:
    by = network.by
    logs = np.log([[by.depth, by.width, by.resolution]])
    return float(ray_distance(logs, Strategy.of(ray))[0])


def _equal_networks(outcome: SearchOutcome) -> list[list[str]]:
    names: dict[Any, list[str]] = {}
    for name, network in outcome.confirmed.items():
        names.setdefault(network.spec, []).append(name)
    return [each for each in names.values() if len(each) > 1]


def _predicted(law: Posterior | None, network: ScaledNetwork) -> str | None:
    if law is None:
        return None
    by = network.by
    prediction = law.predict([by.depth, by.width, by.resolution])
    low, high = np.clip(prediction.interval, 0, 1)
    return f"{100 * prediction.error:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
