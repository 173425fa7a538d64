"""`fit`, the main job: images and a budget in, a deployable model and its report out.

Every stage leaves a file in the folder, whole or not at all; run again, `fit` goes on at the first
one that is missing: request, audit, device, choice, the run, evaluation, model, report.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from phiscale.arch.families import get_spec
from phiscale.data.audit import FORMAT as AUDIT_FORMAT
from phiscale.data.audit import Audit, audit, bad_files_error
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.datasets.open import open_images
from phiscale.deploy.calibrate import calibrate
from phiscale.deploy.export import export_onnx
from phiscale.deploy.inference import per_image_csv
from phiscale.errors import CheckpointError, PhiscaleError
from phiscale.files import Format, locked, read_checked, sha256, sweep, write_atomic, write_checked
from phiscale.pipeline.choice import FORMAT as CHOICE_FORMAT
from phiscale.pipeline.choice import Choice, choose
from phiscale.pipeline.report import ANSWERS, tell_story
from phiscale.planning.budget import Budget
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import FORMAT as DEVICE_FORMAT
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import Law
from phiscale.report.report import write_report
from phiscale.text import table_lines
from phiscale.training.devices import compute_device
from phiscale.training.evaluate import logits_of
from phiscale.training.loop import Progress, Runtime, train
from phiscale.training.metrics import measure
from phiscale.training.recipes.recipe import differences
from phiscale.training.run import own_folder
from phiscale.weights.sources import AUTO, load, weights_files
from phiscale.weights.store import read as read_weights

logger = logging.getLogger(__name__)

SHOWN = 12  # candidates; the report has them all
REQUEST = "request.json"  # makes a folder one of fit's
UNLIMITED = Budget()


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked: a folder holds the answer to one request only."""

    data: str
    budget: Budget
    base: str | None = None
    pretrained: tuple[str, ...] = ()
    from_scratch: bool = True
    law: str | None = None
    coefficients: str | None = None
    device_model: str | None = None
    on_bad: str = "stop"
    min_epochs: float | None = None
    device: str = "auto"
    seed: int = 0

    @property
    def elsewhere(self) -> bool:
        """Is the model to run on another device than this one?"""
        return self.device_model is not None


REQUEST_FORMAT = Format(
    Request,
    "phiscale_request",
    CheckpointError,
    "Restore it, or use another --out.",
)


def fit(
    data: str | Path,
    out: str | Path,
    budget: Budget = UNLIMITED,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    command: str = "",
    **options: Any,
) -> Path:
    """Audit, measure, choose, train, evaluate once, export, report. Returns the report's path.

    `data`: image folder, named set or tar shards; `out`: folder of the answer, new or of an earlier
    start, which then goes on. `options`: the other fields of `Request`, such as `pretrained`.
    """
    request, out = Request(data=str(data), budget=budget, **options), Path(out)
    own_folder(out, REQUEST)
    law, along, images, weights = _read(request)
    compute = compute_device(request.device)
    with locked(out):
        _claim(request, out)
        images, audited = _audited(request, images, out)
        device = _measured(request, out, compute)
        chosen = _chosen(request, images, audited, device, law, along, weights, out, compute)
        for line in [*table_lines([_shown(row) for row in chosen.candidates[:SHOWN]]), chosen.why]:
            logger.info(line)
    train(
        out,
        chosen.spec,
        images,
        chosen.recipe,
        chosen.preprocessing,
        Runtime(device=compute, report=report),
        start_from=Path(chosen.pretrained) if chosen.pretrained else None,
    )
    with locked(out):
        evaluation = _evaluated(images, out, compute)
        described = _exported(images, out)
        story = tell_story(
            out,
            images,
            audited,
            device,
            chosen,
            evaluation["metrics"],
            described,
            request.budget,
            command=command,
            seed=request.seed,
            elsewhere=request.elsewhere,
        )
        path = out / "report.html"
        write_report(path, story)
    logger.info(f"report: {path}")
    return path


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A candidate's row as a terminal shows it."""
    names = (
        "name",
        "macs",
        "params",
        "latency_ms",
        "train_images_per_s",
        "epochs",
        "error",
        "ruled_out",
    )
    return {"predicted_error" if name == "error" else name: row[name] for name in names}


def _read(request: Request) -> tuple[Law | None, Coefficients | None, ImageSet, dict[str, Path]]:
    """Everything that was named is looked at before a folder is made or anything measured."""
    if request.base is not None:
        get_spec(request.base)
    weights: dict[str, Path] = {}
    for source in request.pretrained:
        for name, path in weights_files(source).items() if source != AUTO else ():
            weights[str(path) if name in weights else name] = path
    for path in weights.values():
        read_weights(path)
    if request.device_model:
        DeviceModel.read(Path(request.device_model))
    along = Coefficients.read(request.coefficients) if request.coefficients else None
    law = Law.read(Path(request.law)) if request.law else None
    return law, along, open_images(request.data), weights


def _claim(request: Request, out: Path) -> None:
    """Writes down what was asked. Once a network is chosen, only the same may be asked again."""
    sweep(out)
    path, chosen = out / REQUEST, (out / "choice.json").exists()
    before = None
    with nullcontext() if chosen else suppress(PhiscaleError):  # damaged: written anew
        before = REQUEST_FORMAT.read(path, required=True) if path.exists() else None
    if before == request:
        return
    if before is not None and chosen:
        lines = differences(REQUEST_FORMAT.encode(before), REQUEST_FORMAT.encode(request))
        changed = [_flag(line) for line in lines]
        raise CheckpointError(
            f"{out} answers another request: {'; '.join(changed[:5])}. "
            "Use the same flags to go on with it, or another --out."
        )
    if before is not None and before.device_model != request.device_model:
        (out / "device.json").unlink(missing_ok=True)
    REQUEST_FORMAT.write(path, request)


def _flag(difference: str) -> str:
    """`budget.macs: None -> 5` as `--macs not given -> 5`."""
    name, _, values = difference.partition(": ")
    name = name.removeprefix("budget.").replace("train_memory_bytes", "train_memory")
    flag = "DATA" if name == "data" else f"--{name.replace('_', '-')}"
    return f"{flag} {values.replace('None', 'not given')}"


def _audited(request: Request, images: ImageSet, out: Path) -> tuple[ImageSet, Audit]:
    """Without the bad pictures, if they may be skipped."""
    logger.info(
        f"{images.source}: {len(images.train)} train, {len(images.validation)} validation, "
        f"{len(images.test)} test images of {len(images.classes)} classes"
    )
    found = _earlier_audit(request, images, out)
    if found is None:
        logger.info("reading every picture once")
        found = audit(images)
        own = {"fingerprint": images.fingerprint()}
        write_checked(out / "audit.json", {**own, **found.to_dict()})
    if found.bad and request.on_bad == "stop":
        raise bad_files_error(found)
    for line in found.advice:
        logger.info(f"  {line}")
    return images.without(found.bad), found


def _earlier_audit(request: Request, images: ImageSet, out: Path) -> Audit | None:
    """Pictures that have not changed are not read again. None where the file is damaged."""
    path = out / "audit.json"
    try:
        payload = read_checked(path, AUDIT_FORMAT.fix)
        found = AUDIT_FORMAT.decode(payload, str(path))
    except PhiscaleError:
        return None
    if payload.get("fingerprint") == images.fingerprint():
        return found
    if (out / "choice.json").exists():
        raise CheckpointError(
            f"{request.data} has changed since {out} began. Bring its pictures back as they were, "
            "or use another --out."
        )
    return None


def _measured(request: Request, out: Path, compute: torch.device) -> DeviceModel:
    path = out / "device.json"
    with suppress(PhiscaleError):  # missing or damaged: measured anew
        return DEVICE_FORMAT.read(path, required=True)
    given = request.device_model
    (DeviceModel.read(Path(given)) if given else calibrate(compute)).write(path)
    return DeviceModel.read(path)


def _chosen(
    request: Request,
    images: ImageSet,
    audited: Audit,
    device: DeviceModel,
    law: Law | None,
    along: Coefficients | None,
    weights: Mapping[str, Path],
    out: Path,
    compute: torch.device,
) -> Choice:
    path = out / "choice.json"
    with suppress(PhiscaleError):
        return CHOICE_FORMAT.read(path, required=True)
    if (out / "checkpoints").exists():  # damaged, and what was chosen is being trained
        return CHOICE_FORMAT.read(path, required=True)
    # half a race says nothing: speeds are measured anew, so its lengths would differ
    shutil.rmtree(out / "race", ignore_errors=True)
    found = choose(
        images,
        audited,
        request.budget,
        device,
        out,
        base=request.base,
        law=law,
        along=along,
        pretrained=weights,
        known=AUTO in request.pretrained,
        from_scratch=request.from_scratch,
        seed=request.seed,
        min_epochs=request.min_epochs,
        compute=compute,
        elsewhere=request.elsewhere,
    )
    CHOICE_FORMAT.write(path, found)
    return CHOICE_FORMAT.read(path)


def _evaluated(images: ImageSet, out: Path, compute: torch.device) -> dict[str, Any]:
    """The test split, read once; every picture's answer is kept."""
    path = out / "evaluation.json"
    weights = sha256((out / "best.safetensors").read_bytes())
    with suppress(PhiscaleError, OSError):  # missing or damaged: evaluated anew
        said = read_checked(path, "")
        if said["weights"] == weights and said["answers"] == sha256((out / ANSWERS).read_bytes()):
            return said
    network = load(out).to(compute)
    logits = logits_of(network, images.test, network.preprocessing, device=compute)
    metrics = measure(logits, images.test.labels, images.classes)
    answers = per_image_csv(images.test, logits, images.classes)
    write_atomic(out / ANSWERS, answers)
    logger.info(
        f"test top-1 {100 * metrics.top1:.2f} % "
        f"[{100 * metrics.interval[0]:.1f}, {100 * metrics.interval[1]:.1f}]"
    )
    said = {
        "weights": weights,
        "answers": sha256(answers),
        "split": "test",
        "metrics": metrics.to_dict(),
    }
    write_checked(path, said)
    return read_checked(path, "")


def _exported(images: ImageSet, out: Path) -> dict[str, Any]:
    model, described = out / "model.onnx", out / "model.json"
    with suppress(PhiscaleError, OSError):  # missing or damaged: exported anew
        said = read_checked(described, "")
        if said["file"]["sha256"] == sha256(model.read_bytes()):
            return said
    logger.info("exporting model.onnx; its answers are compared with the network's")
    network = load(out)
    return export_onnx(network, network.metadata, images.validation, out)
