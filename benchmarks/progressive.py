"""Images that grow during training against images of one size, at equal wall time, on CIFAR-10
(docs/studies/progressive.json).

    python benchmarks/progressive.py CIFAR_FOLDER --runs RUNS_FOLDER [--minutes 8] [--seeds 2]

The two arms train at the same time, one core each, so that other load slows both.
Short trainings first measure the images per second of each arm. The number of epochs follows from
that and the minutes. Killed and run again, it resumes. Validation decides nothing here: the last
EMA weights of each training are evaluated on the test split once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from phiscale.arch.families import get_spec
from phiscale.deploy.inference import evaluate_model
from phiscale.files import read_json, write_json
from phiscale.training.log import read_log
from phiscale.training.recipes.recipe import Growth, Recipe
from phiscale.training.recipes.table import RECIPE_ENTRIES
from phiscale.training.run import TrainRequest, train_run
from phiscale.training.runtime import Runtime

NAME = "small-images"
REPEATS, PILOT_EPOCHS = 3, 0.5
RESULT = Path(__file__).parents[1] / "docs" / "studies" / "progressive.json"


def trained(data: str, run: Path, recipe: Recipe) -> float:
    """Trains `small` on one core in the folder `run`; returns the seconds from the first step to
    the last."""
    import torch

    torch.set_num_threads(1)
    quiet = Runtime(workers=1)
    entry = RECIPE_ENTRIES[NAME]
    request = TrainRequest(spec=get_spec("small"), data=data, recipe=recipe, entry=entry)
    train_run(request, run, quiet, device="cpu")
    steps = [record["seconds"] for record in read_log(run) if "loss" in record]
    return steps[-1] - steps[0]


def both(data: str, runs: Mapping[str, tuple[Path, Recipe]]) -> dict[str, float]:
    """Seconds of each arm, trained side by side."""
    with ProcessPoolExecutor(len(runs), get_context("spawn")) as pool:
        jobs = {arm: pool.submit(trained, data, *job) for arm, job in runs.items()}
        return {arm: job.result() for arm, job in jobs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    named = replace(RECIPE_ENTRIES[NAME].recipe, evaluations=1)
    arms = {"growing": named, "fixed": replace(named, growth=Growth())}

    speeds_file = arguments.runs / "speeds.json"
    if not speeds_file.exists():
        speeds: dict[str, list[float]] = {arm: [] for arm in arms}
        for repeat in range(REPEATS):
            runs = {
                arm: (arguments.runs / f"pilot-{arm}-{repeat}", replace(r, epochs=PILOT_EPOCHS))
                for arm, r in arms.items()
            }
            for arm, seconds in both(arguments.data, runs).items():
                seen = list(read_log(runs[arm][0]))[-1]["images_seen"] - named.batch
                speeds[arm].append(round(seen / seconds, 1))
            print(speeds, file=sys.stderr)
        write_json(speeds_file, speeds)
    speeds = read_json(speeds_file)
    train_images = read_json(arguments.runs / "pilot-fixed-0" / "data.json")["train_images"]

    rows = []
    for seed in range(arguments.seeds):
        runs = {}
        for arm, recipe in arms.items():
            epochs = median(speeds[arm]) * 60 * arguments.minutes / train_images
            runs[arm] = (
                arguments.runs / f"{arm}-seed{seed}",
                replace(recipe, epochs=epochs, seed=seed),
            )
        for arm, seconds in both(arguments.data, runs).items():
            run, _ = runs[arm]
            metrics = evaluate_model(run, arguments.data).metrics
            rows.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "images_seen": list(read_log(run))[-1]["images_seen"],
                    "minutes": round(seconds / 60, 2),
                    "test_top1": round(metrics.top1, 4),
                    "interval": [round(x, 4) for x in metrics.interval],
                }
            )
            print(rows[-1], file=sys.stderr)
    write_json(
        RESULT,
        {
            "what": f"test top-1 on CIFAR-10 of `small`, recipe {NAME}, one core each, with "
            "images that grow (24 to 32 px over the first 60 %) and without, at equal wall time",
            "command": "python benchmarks/progressive.py CIFAR_FOLDER --runs RUNS_FOLDER "
            f"--minutes {arguments.minutes:g} --seeds {arguments.seeds}",
            "images_per_s": speeds,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
