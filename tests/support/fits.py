"""A `fit` for tests: fixed figures instead of measured times, and files to plan with."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from phiscale.cli import main
from phiscale.pipeline.fine_tuning import Probe
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.planning.budget import Budget
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Timing, UnitTimes
from phiscale.planning.laws import Law, Term

EVERYTHING = {
    "audit.json",
    "device.json",
    "choice.json",
    "spec.json",
    "recipe.json",
    "data.json",
    "log.jsonl",
    "checkpoints",
    "best.safetensors",
    "evaluation.json",
    "test-predictions.csv",
    "model.onnx",
    "model.json",
    "report.html",
    "request.json",
}
"""What `fit` leaves in its folder."""

BUDGET = Budget(train_minutes=0.05, latency_ms=5, macs=330_000)
FLAGS = (
    "digits --train-minutes 0.05 --min-epochs 0.1 --macs 330K --latency-ms 5 --seed 3 "
    "--pretrained none"
)
"""`request` as a command line."""


def made_up_device() -> DeviceModel:
    latency = UnitTimes(
        dense_macs=1e-9,
        depthwise_macs=5e-9,
        activations=1e-7,
        weight_bytes=0,
        convs=1e-3,
        constant=0.01,
    )
    step = UnitTimes(
        dense_macs=2e-11,
        depthwise_macs=1e-10,
        activations=1e-9,
        weight_bytes=0,
        convs=1e-6,
        constant=2e-3,
    )
    which = DeviceFingerprint(
        device="made up", cores=1, threads=1, runtime="onnxruntime", torch="2", date="2026-01-01"
    )
    return DeviceModel(
        fingerprint=which,
        latency=Timing(rates=latency, median_error=0.05, max_error=0.2),
        training=Timing(rates=step, median_error=0.05, max_error=0.2),
        training_batch=64,
    )


def made_up_law() -> Law:
    return Law(
        e0=0.01,
        depth=Term(0.02, 1.0),
        width=Term(0.03, 1.0),
        resolution=Term(0.02, 1.0),
        images=Term(0.01, 0.5),
        sd=0.03,
        source="made up",
    )


def fixed_measurements(**changes: Any) -> Measurements:
    """Measured times differ from run to run, and choices with them; here they do not."""
    fixed: dict[str, Any] = {
        "calibrate": lambda device: made_up_device(),
        "latency_ms": lambda spec: 0.1,
        "packaged_weights": dict,
        "features_per_s": lambda *_: 1000.0,
        "probe": lambda *_: Probe(error=0.3, train_images=100, validation_images=50, seconds=0.01),
        "images_per_s": lambda *_: 400.0,
        "clock": lambda: 0.0,
        "load": lambda: 0.0,
        "export_latency_s": 0.02,
    }
    return Measurements(**{**fixed, **changes})


def write_plan_files(root: Path) -> Path:
    """A device model, a law and coefficients to plan with."""
    law = replace(made_up_law(), source="theirs")
    Coefficients(
        alpha=1.3, beta=1.15, gamma=1.1, base="small", data="a test", method="grid", law=law
    ).write(root / "found.json")
    made_up_device().write(root / "device.json")
    made_up_law().write(root / "law.json")
    return root


def request(plan_files: Path, **changes: Any) -> Request:
    """A `fit` of three seconds; `flags` is the same as a command line."""
    usual: dict[str, Any] = {
        "data": "digits",
        "budget": BUDGET,
        "min_epochs": 0.1,
        "seed": 3,
        "device_model": str(plan_files / "device.json"),
        "law": str(plan_files / "law.json"),
    }
    return Request(**{**usual, **changes})


def flags(plan_files: Path) -> str:
    return f"{FLAGS} --device-model {plan_files}/device.json --law {plan_files}/law.json"


def run_command(command: str) -> int:
    """Exit code of a command line, in this process."""
    try:
        main(shlex.split(command))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0
