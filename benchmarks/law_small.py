"""Trains `small` for three lengths and scalings of it for one of them, on CIFAR-10, and writes the
errors that the law of small pictures is fitted to (src/phiscale/planning/tables/small_runs.json).

    python benchmarks/law_small.py CIFAR_FOLDER --runs RUNS_FOLDER

An hour and a quarter on two cores; killed and run again it goes on. Validation errors.
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

LANES = 2  # an answer depends on them, so they are not this machine's
EQUAL = 4.0
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
    asked = parser.parse_args()
    base, rows = get_spec("small"), []
    for seed in range(asked.seeds):
        for depth, width, pixels, epochs in RUNS:
            wanted = Scaling(depth=depth, width=width, resolution=pixels / base.resolution)
            spec = scale(base, wanted)
            run = asked.runs / f"d{depth:g}-w{width:g}-{pixels}px-{epochs:g}-epochs-seed{seed}"
            recipe = replace(
                RECIPES["small-images"], epochs=epochs, evaluations=1, lanes=LANES, seed=seed
            )
            with training_progress() as callbacks:
                entry = RECIPE_ENTRIES["small-images"]
                request = TrainRequest(spec=spec, data=asked.data, recipe=recipe, entry=entry)
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
    about = {
        "what": "validation error of `small` (depth, width and resolution 1: 32 px) and scalings "
        "of it, as built, on CIFAR-10 (10 % of train held out), recipe small-images, "
        f"{LANES} lanes",
        "command": "python benchmarks/law_small.py CIFAR_FOLDER --runs RUNS_FOLDER",
        "rows": rows,
    }
    write_json(SMALL_RUNS, about)


if __name__ == "__main__":
    main()
