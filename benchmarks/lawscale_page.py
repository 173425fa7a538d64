"""The page of a lawscale study, written from its JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from lawscale_problems import KINDS

SHIPPED = "search coefficients"
COMPARED = (SHIPPED, "grid, same compute")
LABELS = {
    "law, star": "law, one dimension at a time",
    "symmetric null": "equal-split baseline",
}  # of methods whose keys in the JSON are other words
COMMAND = "python benchmarks/lawscale.py --out docs/studies"


def markdown(study: dict[str, Any]) -> str:
    """The page of a study, from its JSON."""
    computes = [f"{T:g}x" for T in study["computes"]]
    heads = " | ".join(computes)
    per_kind = study["truths"] // len(KINDS)
    lines = [
        "# Coefficients from a designed experiment and a law, on synthetic problems",
        "",
        wrapped(
            f"`{COMMAND}`: {study['truths']} error surfaces, {per_kind} of each kind, first seed "
            f"{study['first_seed']} (other seeds served development). Their optimum "
            "is known. Methods train networks of EfficientNet-B0's lattice. The unit is B0's MACs; "
            "the seed standard deviation is 0.15 or 0.30 points. Each method names a network for "
            "2, 4 and 16 times B0's MACs, none of whose dimensions is below B0's. Regret: points "
            "of error above the best network there."
        ),
        "",
        f"| method | runs | units | {heads} | worst 5 % at 4x |",
        "|---|---:|---:|" + "---:|" * (len(study["computes"]) + 1),
    ]
    for name, score in study["methods"].items():
        means = " | ".join(f"{value:.3f}" for value in score["mean_regret_points"])
        lines.append(
            f"| {LABELS.get(name, name)} | {score['runs']} | {score['units']:g} | {means} | "
            f"{score['worst_twentieth_points'][1]:.2f} |"
        )
    level, margin = study["intervals"].values()
    lines += [
        "",
        wrapped(
            "By kind of problem: mean regret at 4x of the whole search (`phiscale search "
            "coefficients`) and of the grid for the same compute. The search tunes learning rates, "
            "trains a design and then a second round. The last columns say how often the law's 95 "
            f"% intervals hold the true value ({', '.join(computes)}): the error of the selected "
            "network, and its margin over the paper's ray."
        ),
        "",
        "| problem | search | grid | error inside | margin inside |",
        "|---|---:|---:|---|---|",
    ]
    for kind in level["coverage_by_kind"]:
        search, grid = (
            study["methods"][name]["mean_regret_points_by_kind"][kind][1] for name in COMPARED
        )
        inside = (_shares(of["coverage_by_kind"][kind]) for of in (level, margin))
        lines.append(f"| {kind} | {search:.3f} | {grid:.3f} | {' | '.join(inside)} |")
    better = _shares(study["better_than_grid_of_same_compute"])
    widths = (
        ", ".join(f"{width:.1f}" for width in of["median_half_width_points"])
        for of in (level, margin)
    )
    lines += [
        "",
        wrapped(
            f"The search's network is better than the grid's in {better} of problems "
            f"({', '.join(computes)}). Intervals are wide: half of them reach "
            f"{next(widths)} points to each side for the error and "
            f"{next(widths)} for the margin. Trained "
            "networks are small, so the error of a large one is uncertain; which one is best is "
            "less so."
        ),
        "",
        wrapped(
            "The best learning rate depends on the size, and twice or half of it costs 0.3 points. "
            "The whole search tunes it, in short trainings that take "
            f"{study['tuning_units']:.1f} "
            "further units. The other methods use the best rate without tuning. Caveats: noise is "
            "the same at every size, and problems are separable or nearly so. Real trainings "
            "test that."
        ),
        "",
    ]
    return "\n".join(lines)


def wrapped(text: str) -> str:
    return textwrap.fill(text, 130, break_long_words=False, break_on_hyphens=False)


def _shares(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0%}" for value in values)
