"""The report of `compare_rates`: how far the best rates are from the recipe's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ScalingRates:
    """A scaling of the network, and its validation errors at all rates."""

    depth: float
    width: float
    recipe_rate: float  # the peak rate that the recipe gives for it
    errors: Mapping[int, float]  # fractions, by power of 2 of the rate over the recipe's

    @property
    def name(self) -> str:
        """The scaling, for tables."""
        return f"depth x{self.depth:g}, width x{self.width:g}"

    @property
    def best_step(self) -> float:
        """The power of 2 at the minimum of the parabola through the best rate and its neighbours;
        at an end of the grid, that end."""
        best = min(sorted(self.errors), key=self.errors.__getitem__)
        neighbours = [best - 1, best, best + 1]
        if not self.errors.keys() >= set(neighbours):
            return float(best)
        a, b, _ = np.polyfit(neighbours, [self.errors[step] for step in neighbours], 2)
        return float(-b / (2 * a)) if a > 0 else float(best)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for rates.json."""
        return {
            "depth": self.depth,
            "width": self.width,
            "rule": self.recipe_rate,
            "errors": dict(self.errors),
            "best": round(self.best_step, 3),
        }


def rate_report(results: Sequence[ScalingRates], command: str) -> list[str]:
    """Returns the lines of a table in Markdown, and whether the rule holds."""
    steps = sorted(results[0].errors)
    header = " | ".join(f"x{2.0**step:g}" for step in steps)
    return [
        "# Does the learning rate transfer?",
        "",
        f"Made by `{command}`. Validation errors at the rule's rate times a power of 2.",
        "One seed: the question is whether the best rate is within a step of the rule's.",
        "",
        f"| network | rule | {header} | best, in steps from the rule | drift of the best rate |",
        "|---|---:|" + "---:|" * (len(steps) + 2),
        *(_row(each, results[0]) for each in results),
        "",
        *_conclusion(results),
    ]


def _row(result: ScalingRates, base: ScalingRates) -> str:
    errors = " | ".join(f"{100 * error:.1f} %" for _, error in sorted(result.errors.items()))
    drift = np.log2(result.recipe_rate / base.recipe_rate) + result.best_step - base.best_step
    return (
        f"| {result.name} | {result.recipe_rate:.3g} | {errors} | {result.best_step:+.2f} "
        f"| {drift:+.2f} |"
    )


def _conclusion(results: Sequence[ScalingRates]) -> Iterator[str]:
    worst = max(results, key=lambda result: abs(result.best_step))
    holds = "The rule holds" if abs(worst.best_step) <= 1 else "The rule does not hold"
    yield (
        f"{holds}: the best rate is off by at most {abs(worst.best_step):.2f} steps of factor "
        f"2 ({worst.name})."
    )
    last = max(results[0].errors)
    at_end = [result.name for result in results if abs(result.best_step) == last]
    if at_end:
        yield (
            f"At the end of the grid, so perhaps beyond it: {', '.join(at_end)}; "
            f"use steps={last + 1}."
        )
