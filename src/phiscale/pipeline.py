"""`fit`, the main job: images and a budget in, a deployable model and its report out.

Every stage leaves a file in the folder; run again, `fit` goes on at the first one that is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phiscale.analysis.report import write_report
from phiscale.budget import Budget
from phiscale.choice import Choice, base_for, choose
from phiscale.data.audit import Audit, audit, bad_files_error
from phiscale.data.sources import open_images
from phiscale.data.splits import ImageSet
from phiscale.deploy.calibrate import calibrate
from phiscale.deploy.export import export_onnx
from phiscale.device import DeviceModel
from phiscale.errors import CheckpointError, UsageError
from phiscale.files import read_json, sha256, write_atomic, write_json
from phiscale.jobs import per_image_csv
from phiscale.laws import Law
from phiscale.story import tell_story
from phiscale.train.evaluate import logits_of
from phiscale.train.loop import Progress, train
from phiscale.train.metrics import measure
from phiscale.train.recipe import differences
from phiscale.weights.store import load


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked: a folder holds the answer to one request only."""

    data: str
    budget: Budget
    base: str | None = None
    pretrained: tuple[str, ...] = ()
    from_scratch: bool = True
    law: str | None = None
    device_model: str | None = None
    on_bad: str = "stop"
    min_epochs: float | None = None
    seed: int = 0


def fit(
    request: Request, out: Path, *, tell: Callable[[str], None] = print,
    report: Callable[[Progress], None] = lambda progress: None, command: str = "",
) -> Path:  # fmt: skip
    """Audit, measure, choose, train, evaluate once, export, report. Returns the report's path."""
    _claim(request, out)
    images, audited = _audited(request, out, tell)
    device = _measured(request, out, tell)
    chosen = _chosen(request, images, audited, device, out, tell)
    tell(chosen.why)
    train(out, chosen.spec, images, chosen.recipe, chosen.preprocessing,
          start_from=Path(chosen.pretrained) if chosen.pretrained else None,
          report=report, warn=tell)  # fmt: skip
    evaluation = _evaluated(images, out, tell)
    described = _exported(images, out, tell)
    story = tell_story(out, images, audited, device, chosen, evaluation["metrics"], described,
                       request.budget, command=command, seed=request.seed)  # fmt: skip
    path = out / "report.html"
    write_report(path, story)
    tell(f"report: {path}")
    return path


def _claim(request: Request, out: Path) -> None:
    path, asked = out / "request.json", _plain(request)
    if path.exists():
        if changed := differences(read_json(path), asked):
            raise CheckpointError(
                f"{out} answers another request: {'; '.join(changed[:5])}. "
                "Use the same flags to go on with it, or another --out."
            )
    else:
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out} is a file. Give a folder, new or of an earlier fit.")
        if out.exists() and any(p for p in out.iterdir() if p.name != ".lock"):
            raise UsageError(f"--out {out} holds other files. Give a new folder.")
        write_json(path, asked)


def _plain(request: Request) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(request)))


def _audited(request: Request, out: Path, tell: Callable[[str], None]) -> tuple[ImageSet, Audit]:
    images = open_images(request.data)
    tell(f"{images.source}: {len(images.train)} train, {len(images.validation)} validation, "
         f"{len(images.test)} test images of {len(images.classes)} classes")  # fmt: skip
    found = audit(images)
    if found.bad and request.on_bad == "stop":
        raise bad_files_error(found)
    write_json(out / "audit.json", found.to_dict())
    for line in found.advice:
        tell(f"  {line}")
    return images.without(found.bad), found


def _measured(request: Request, out: Path, tell: Callable[[str], None]) -> DeviceModel:
    path = out / "device.json"
    if request.device_model:
        DeviceModel.read(Path(request.device_model)).write(path)
    elif not path.exists():
        calibrate(tell).write(path)
    return DeviceModel.read(path)


def _chosen(
    request: Request, images: ImageSet, audited: Audit, device: DeviceModel, out: Path,
    tell: Callable[[str], None],
) -> Choice:  # fmt: skip
    path = out / "choice.json"
    if not path.exists():
        law = Law.read(Path(request.law)) if request.law else None
        found = choose(
            images, audited, request.budget, device, out, base=request.base or base_for(audited),
            law=law, pretrained=tuple(Path(p) for p in request.pretrained),
            from_scratch=request.from_scratch, seed=request.seed,
            min_epochs=request.min_epochs,
            elsewhere=request.device_model is not None, tell=tell,
        )  # fmt: skip
        write_json(path, found.to_dict())
    return Choice.from_dict(read_json(path))


def _evaluated(images: ImageSet, out: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """The test split, read once; every picture's answer is kept."""
    path = out / "evaluation.json"
    weights = sha256((out / "best.safetensors").read_bytes())
    if path.exists() and (said := read_json(path))["weights"] == weights:
        return said
    network = load(out)
    logits = logits_of(network, images.test, network.preprocessing)
    metrics = measure(logits, images.test.labels, images.classes)
    write_atomic(out / "test-predictions.csv", per_image_csv(images.test, logits, images.classes))
    tell(f"test top-1 {100 * metrics.top1:.2f} % "
         f"[{100 * metrics.interval[0]:.1f}, {100 * metrics.interval[1]:.1f}]")  # fmt: skip
    said = {"weights": weights, "split": "test", "metrics": metrics.to_dict()}
    write_json(path, said)
    return read_json(path)


def _exported(images: ImageSet, out: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    model, described = out / "model.onnx", out / "model.json"
    if model.exists() and described.exists():
        said = read_json(described)
        if said["sha256"] == sha256(model.read_bytes()):
            return said
    network = load(out)
    return export_onnx(network, network.card, images.validation, out)
