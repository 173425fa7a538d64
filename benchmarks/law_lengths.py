"""Trains `small` on CIFAR-10 for three lengths and writes the errors that the law's images term is
fitted to (src/phiscale/tables/small_lengths.json).

    python benchmarks/law_lengths.py CIFAR_FOLDER --runs RUNS_FOLDER

Ten minutes on two cores; killed and run again it goes on. Validation errors, one seed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from phiscale.families import get_spec
from phiscale.files import write_json
from phiscale.jobs import train_run
from phiscale.laws import LENGTHS
from phiscale.show import training_progress
from phiscale.train.loop import read_log
from phiscale.train.recipes import RECIPES

EPOCHS = (0.75, 2.0, 4.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--runs", type=Path, required=True)
    asked = parser.parse_args()
    rows = []
    for epochs in EPOCHS:
        run = asked.runs / f"small-{epochs:g}-epochs"
        recipe = replace(RECIPES["small-images"], epochs=epochs, evaluations=1, first_size=1.0)
        with training_progress() as (report, tell):
            train_run(get_spec("small"), asked.data, run, recipe, report=report, tell=tell)
        records = list(read_log(run))
        last = records[-1]
        rows.append({"epochs": epochs, "images_seen": last["images_seen"], "seed": recipe.seed,
                     "error": round(1 - last["validation_top1"], 6)})  # fmt: skip
        print(rows[-1], file=sys.stderr)
    about = {
        "what": "validation error of `small` at 32 px on CIFAR-10 (10 % of train held out by "
                "content hash), recipe small-images with pictures of one size, after three lengths "
                "of training",
        "command": "python benchmarks/law_lengths.py CIFAR_FOLDER --runs RUNS_FOLDER",
        "rows": rows,
    }  # fmt: skip
    write_json(LENGTHS, about)


if __name__ == "__main__":
    main()
