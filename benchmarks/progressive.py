"""Pictures that grow during training against pictures of one size, at equal wall time, on CIFAR-10
(docs/studies/progressive.json).

    python benchmarks/progressive.py CIFAR_FOLDER --runs RUNS_FOLDER [--minutes 8] [--seeds 2]

Short trainings, the arms by turns, say how many pictures each arm sees in a second; its length is
what that makes of the minutes, so that a busy machine hurries neither. Killed and run again it goes
on. Validation decides nothing here: the last average of each training meets the test split once.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

from phiscale.families import get_spec
from phiscale.files import read_json, write_json
from phiscale.jobs import evaluate_model
from phiscale.scaling import Scaling, scale
from phiscale.show import training_progress
from phiscale.spec import Spec
from phiscale.train.log import read_log
from phiscale.train.loop import Setup
from phiscale.train.recipe import Growth, Recipe
from phiscale.train.recipes import NAMED
from phiscale.training import train_run

NAME, LANES = "small-images", 2
DEPTH, WIDTH = 0.5, 2.16
REPEATS, PILOT_EPOCHS = 3, 0.5
RESULT = Path(__file__).parents[1] / "docs" / "studies" / "progressive.json"


def trained(spec: Spec, data: str, run: Path, recipe: Recipe) -> float:
    """Trains in the folder `run`; returns the seconds from the first step to the last."""
    with training_progress() as (report, tell):
        train_run(spec, data, run, recipe, Setup(report=report, tell=tell), named=NAMED[NAME])
    steps = [record["seconds"] for record in read_log(run) if "loss" in record]
    return steps[-1] - steps[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    named = replace(NAMED[NAME].recipe, lanes=LANES, evaluations=1)
    arms = {"growing": named, "fixed": replace(named, growth=Growth())}
    spec = scale(get_spec("small"), Scaling(depth=DEPTH, width=WIDTH))

    speeds_file = asked.runs / "speeds.json"
    if not speeds_file.exists():
        speeds: dict[str, list[float]] = {arm: [] for arm in arms}
        for repeat in range(REPEATS):
            for arm, recipe in arms.items():
                run = asked.runs / f"pilot-{arm}-{repeat}"
                seconds = trained(spec, asked.data, run, replace(recipe, epochs=PILOT_EPOCHS))
                images = list(read_log(run))[-1]["images_seen"] - recipe.batch
                speeds[arm].append(round(images / seconds, 1))
        write_json(speeds_file, speeds)
    speeds = read_json(speeds_file)
    train_images = read_json(asked.runs / "pilot-fixed-0" / "data.json")["train_images"]

    rows = []
    for seed in range(asked.seeds):
        for arm, recipe in arms.items():
            epochs = median(speeds[arm]) * 60 * asked.minutes / train_images
            run = asked.runs / f"{arm}-seed{seed}"
            seconds = trained(spec, asked.data, run, replace(recipe, epochs=epochs, seed=seed))
            found, *_ = evaluate_model(str(run), asked.data, "test")
            seen = list(read_log(run))[-1]["images_seen"]
            rows.append({"arm": arm, "seed": seed, "images_seen": seen,
                         "minutes": round(seconds / 60, 2), "test_top1": round(found.top1, 4),
                         "interval": [round(x, 4) for x in found.interval]})  # fmt: skip
            print(rows[-1], file=sys.stderr)
    write_json(RESULT, {
        "what": f"test top-1 on CIFAR-10 of `small` x{DEPTH:g} deep, x{WIDTH:g} wide, recipe "
                f"{NAME}, {LANES} lanes, with pictures that grow (24 to 32 px over the first 60 %) "
                "and without, at equal wall time",
        "command": "python benchmarks/progressive.py CIFAR_FOLDER --runs RUNS_FOLDER "
                   f"--minutes {asked.minutes:g} --seeds {asked.seeds}",
        "images_per_s": speeds, "rows": rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
