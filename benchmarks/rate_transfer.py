"""Does a learning rate that is best for one network serve its scalings? Trains `small` and networks
deeper and wider at rates a factor 2 apart, and writes where each one's best rate lies
(docs/rate_transfer.json and .md).

    python benchmarks/rate_transfer.py CIFAR_FOLDER --runs RUNS_FOLDER [--epochs N]

Twenty trainings of about a minute on two cores; killed and run again it goes on. One seed: what is
asked is whether the optimum moves by more than a step of the grid, not where it is exactly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.budget import effective
from phiscale.families import get_spec
from phiscale.files import write_atomic, write_json
from phiscale.scaling import Scaling, scale
from phiscale.show import training_progress
from phiscale.train.log import read_log
from phiscale.train.loop import Setup
from phiscale.train.recipes import NAMED, RECIPES
from phiscale.training import train_run

DOCS = Path(__file__).parents[1] / "docs"
NETWORKS = ((1.0, 1.0), (1.0, 2.0), (3.0, 1.0), (3.0, 2.0))  # depth, width
STEPS = (-2, -1, 0, 1, 2)  # powers of 2 around the recipe's rate
PIXELS, LANES = 24, 2
NAME = "small-images"


def best_step(errors: Mapping[int, float]) -> float:
    """The power of 2 at the bottom of the parabola through the best rate and its neighbours; at the
    edge of the grid, the edge."""
    steps = sorted(errors)
    best = min(steps, key=errors.__getitem__)
    place = steps.index(best)
    if place in (0, len(steps) - 1):
        return float(best)
    x, y = np.array(steps[place - 1 : place + 2]), [errors[s] for s in steps[place - 1 : place + 2]]
    a, b, _ = np.polyfit(x, y, 2)
    return float(-b / (2 * a)) if a > 0 else float(best)


def report(rows: Sequence[Mapping[str, Any]], peak: float, command: str) -> str:
    lines = [
        "# Does the learning rate transfer?", "",
        f"Made by `{command}`. Validation errors, one seed, {PIXELS} px;",
        f"rates are multiples of the recipe's {peak:g}.", "",
        "| network | " + " | ".join(f"x{2.0**s:g}" for s in STEPS) + " | best | moved by |",
        "|---|" + "---:|" * (len(STEPS) + 2),
    ]  # fmt: skip
    nets: dict[tuple[float, float], dict[int, float]] = {}
    for row in rows:
        nets.setdefault((row["depth"], row["width"]), {})[row["step"]] = row["error"]
    optima = {net: best_step(errors) for net, errors in nets.items()}
    base = optima[min(optima)]
    for (depth, width), errors in nets.items():
        cells = " | ".join(f"{100 * errors[s]:.1f} %" if s in errors else "-" for s in STEPS)
        best = optima[depth, width]
        lines.append(f"| depth x{depth:g}, width x{width:g} | {cells} | x{2**best:.2f} "
                     f"| {best - base:+.2f} steps |")  # fmt: skip
    most = max(abs(best - base) for best in optima.values())
    verdict = "serves all of them" if most <= 1 else "does not serve all of them"
    lines += ["", f"One rate {verdict}: the optimum moves by at most {most:.2f} steps of factor 2."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=1.5)
    parser.add_argument("--optimizer", default=RECIPES[NAME].optim.name)
    asked = parser.parse_args()
    base, rows = get_spec("small"), []
    named = RECIPES[NAME]
    optim = replace(named.optim, name=asked.optimizer)
    for depth, width in NETWORKS:
        shape = Scaling(depth=depth, width=width, resolution=PIXELS / base.resolution)
        spec = scale(base, shape)
        built = effective(spec, base)
        for step in STEPS:
            recipe = replace(
                named, epochs=asked.epochs, evaluations=1, lanes=LANES,
                optim=replace(optim, lr_peak=optim.lr_peak * 2.0**step),
            )  # fmt: skip
            run = asked.runs / f"{asked.optimizer}-d{depth:g}-w{width:g}-x{2.0**step:g}"
            with training_progress() as (say, tell):
                train_run(spec, asked.data, run, recipe, Setup(report=say, tell=tell),
                          named=NAMED[NAME])  # fmt: skip
            tops = [r["validation_top1"] for r in read_log(run) if "validation_top1" in r]
            rows.append({"depth": depth, "width": width, "built_depth": built.depth,
                         "built_width": round(built.width, 4), "step": step,
                         "rate": recipe.lr_peak, "error": round(1 - tops[-1], 6)})  # fmt: skip
            print(rows[-1], log2(recipe.lr_peak), file=sys.stderr)
    command = ("python benchmarks/rate_transfer.py CIFAR_FOLDER --runs RUNS_FOLDER "
               f"--epochs {asked.epochs:g} --optimizer {asked.optimizer}")  # fmt: skip
    write_json(DOCS / "rate_transfer.json", {"command": command, "rows": rows})
    write_atomic(DOCS / "rate_transfer.md", report(rows, optim.lr_peak, command))


if __name__ == "__main__":
    main()
