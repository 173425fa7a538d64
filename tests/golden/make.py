"""Writes the golden files anew: one of every kind that phiscale keeps.

    python tests/golden/make.py

They stand for files that users have. They are made anew only with a new version of a format, which
UPGRADING.md names; the old ones then stay beside them and must still be read.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from phiscale.arch.spec import FORMAT as SPEC
from phiscale.arch.spec import Spec, Stage
from phiscale.data.augment.augment import Augment
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import FORMAT as PREPROCESSING
from phiscale.data.preprocessing import Preprocessing
from phiscale.files import write_checked, write_json
from phiscale.nn.network import build
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Timing, UnitTimes
from phiscale.planning.laws.checks import check
from phiscale.planning.laws.file import FittedLaw
from phiscale.planning.laws.fit import estimate_law
from phiscale.planning.laws.law import LawRow
from phiscale.planning.laws.points import points_of
from phiscale.planning.laws.posterior import posterior
from phiscale.planning.laws.sheet import Axes
from phiscale.report.latencies import FORMAT as TIMINGS
from phiscale.report.latencies import TimedNetwork, Timings
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial
from phiscale.training.callbacks import Progress
from phiscale.training.loop import train
from phiscale.training.recipes.recipe import FORMAT as RECIPE
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.store import save

HERE = Path(__file__).parent
CLASSES = tuple("0123456789")
TINY = Spec(
    stem_channels=8,
    stages=(Stage("mbconv", repeats=1, kernel=3, stride=2, expand=2, channels=8, se_ratio=0.25),),
    head_channels=16,
    resolution=8,
    classes=10,
    stem_stride=1,
)
QUICK = Recipe(epochs=2, batch=64, evaluations=2, augment=Augment(frame="shift"))
TAKE = Preprocessing(size=8, crop=1.0)
PLANNED = Recipe(epochs=6, optim=Optim(lr_peak=0.2), seed=3)


def trial() -> Trial:
    return Trial(
        name="compound 0",
        spec=TINY,
        recipe=PLANNED,
        preprocessing=TAKE,
        data="1234",
        attrs={"arm": "compound", "seed": 0},
    )


def write_values() -> None:
    law = estimate_law(_rows(), source="made up")
    fingerprint = DeviceFingerprint(
        device="made up", cores=2, threads=2, runtime="onnxruntime 1", torch="2", date="2026-01-01"
    )
    rates = UnitTimes(
        dense_macs=1e-9, depthwise_macs=2e-9, activations=1e-8, weight_bytes=0, convs=0, constant=1
    )
    timing = Timing(rates=rates, median_error=0.05, max_error=0.5)
    device = DeviceModel(
        fingerprint=fingerprint, latency=timing, training=timing, training_batch=32
    )
    coefficients = Coefficients(
        alpha=1.1, beta=1.2, gamma=1.3, intervals={"alpha": (1.0, 1.2)}, base=TINY, law=law
    )
    timed = TimedNetwork(name="tiny", family="", macs=1000, activations=100, latency_ms=0.5)
    fit = posterior(points_of(_rows()), source="made up")
    axes = Axes(names=fit.points.axes, base=TINY, units=dict.fromkeys(fit.points.axes, 1.0))
    SPEC.write(HERE / "spec.json", TINY)
    RECIPE.write(HERE / "recipe.json", PLANNED)
    PREPROCESSING.write(HERE / "preprocessing.json", TAKE)
    device.write(HERE / "device.json")
    law.write(HERE / "law.json")
    coefficients.write(HERE / "coefficients.json")
    TIMINGS.write(
        HERE / "timings.json", Timings(fingerprint=fingerprint, rounds=3, networks=(timed,))
    )
    FittedLaw(fit, axes, check(fit, None)).write(HERE / "fitted_law.json")


def _rows() -> list[LawRow]:
    multipliers = np.exp(np.random.default_rng(0).uniform(0, 1, (12, 3))).tolist()
    errors = [
        0.1 + 0.1 / depth + 0.05 / width + 0.1 / pixels for depth, width, pixels in multipliers
    ]
    return [
        LawRow(name=f"net {n}", depth=depth, width=width, resolution=pixels, error=error)
        for n, ((depth, width, pixels), error) in enumerate(zip(multipliers, errors, strict=True))
    ]


def write_trained() -> None:
    torch.manual_seed(0)
    metadata = ModelMetadata(
        spec=TINY,
        preprocessing=TAKE,
        classes=CLASSES,
        metrics={"validation": {"top1": 0.5}},
        recipe=PLANNED.to_dict(),
        origin="made up",
        licence="Apache-2.0",
    )
    write_checked(HERE / "metadata.json", metadata.to_dict())
    save(HERE / "weights.safetensors", build(TINY).state_dict(), metadata)
    golden_trial = trial()
    result = Result(
        key=golden_trial.key,
        name=golden_trial.name,
        attrs=dict(golden_trial.attrs),
        trial=golden_trial.to_dict(),
        validation_error=0.25,
        validation_loss=1.5,
        validation_images=100,
        test_predictions=np.arange(10),
        test_error=0.3,
        macs=1000,
        params=100,
    )
    write_json(HERE / "result.json", result.to_dict())
    write_json(HERE / "keys.json", {"trial": golden_trial.key})


def write_run() -> None:
    """A run that was stopped halfway."""

    class Stopped(Exception): ...

    def stop_halfway(progress: Progress) -> None:
        if progress.images_seen >= progress.total // 2:
            raise Stopped

    run = HERE / "run"
    shutil.rmtree(run, ignore_errors=True)
    runtime = Runtime(callbacks=[stop_halfway], save_every_s=1e-9, keep=1)
    with suppress(Stopped):
        train(run, TINY, open_dataset("digits"), QUICK, TAKE, runtime)
    shutil.rmtree(run / "tensorboard", ignore_errors=True)
    (run / ".lock").unlink()


if __name__ == "__main__":
    write_values()
    write_trained()
    write_run()
    print(json.dumps({path.name: path.stat().st_size for path in sorted(HERE.rglob("*.*"))}))
