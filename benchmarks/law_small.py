"""Trains `small` and scalings of it on CIFAR-10: the rows of the law of small images.

`small` itself is trained to three lengths, each scaling to one. Writes their validation errors to
src/phiscale/planning/tables/small_runs.json.

    python benchmarks/law_small.py CIFAR_FOLDER --runs RUNS_FOLDER

An hour and a quarter on two cores. It resumes when it is run again.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.cli.output import training_progress
from phiscale.files import write_json
from phiscale.planning.budget import effective
from phiscale.planning.priors import SMALL_RUNS
from phiscale.training.log import read_log
from phiscale.training.recipes.table import RECIPE_ENTRIES, RECIPES
from phiscale.training.run import TrainRequest, train_run
from phiscale.training.runtime import Runtime

LANES = 2  # results depend on it, so it does not follow the machine
EQUAL = 4.0  # epochs of every scaling
RUNS: tuple[tuple[float, float, int, float], ...] = (
    # depth, width, pixels, epochs
    (1.0, 1.00, 32, 2.0),
    (1.0, 1.00, 32, EQUAL),
    (1.0, 1.00, 32, 12.0),
    (1.0, 1.40, 32, EQUAL),
    (1.0, 2.00, 32, EQUAL),
    (1.5, 1.00, 32, EQUAL),
    (0.5, 1.40, 32, EQUAL),
    (1.0, 1.40, 24, EQUAL),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    base, rows = get_spec("small"), []
    for seed in range(arguments.seeds):
        for depth, width, pixels, epochs in RUNS:
            by = Scaling(depth=depth, width=width, resolution=pixels / base.resolution)
            spec = scale(base, by)
            run = arguments.runs / f"d{depth:g}-w{width:g}-{pixels}px-{epochs:g}-epochs-seed{seed}"
            recipe = replace(
                RECIPES["small-images"], epochs=epochs, evaluations=1, lanes=LANES, seed=seed
            )
            with training_progress() as callbacks:
                entry = RECIPE_ENTRIES["small-images"]
                request = TrainRequest(spec=spec, data=arguments.data, recipe=recipe, entry=entry)
                train_run(request, run, Runtime(callbacks=callbacks))
            last = list(read_log(run))[-1]
            built = effective(spec, base)
            rows.append(
                {
                    "depth": built.depth,
                    "width": round(built.width, 4),
                    "resolution": built.resolution,
                    "epochs": epochs,
                    "images_seen": last["images_seen"],
                    "seed": seed,
                    "error": round(1 - last["validation_top1"], 6),
                }
            )
            print(rows[-1], file=sys.stderr)
    payload = {
        "what": "validation error of `small` (depth, width and resolution 1: 32 px) and scalings "
        "of it, as built, on CIFAR-10 (10 % of train held out), recipe small-images, "
        f"{LANES} lanes",
        "command": "python benchmarks/law_small.py CIFAR_FOLDER --runs RUNS_FOLDER",
        "rows": rows,
    }
    write_json(SMALL_RUNS, payload)


if __name__ == "__main__":
    main()
