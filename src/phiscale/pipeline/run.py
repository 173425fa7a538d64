"""The flow of `fit`: images and a budget in, a deployable model and its report out.

Every stage leaves a file in the folder, whole or not at all. `fit` run again resumes at the first
one that is missing: request, audit, device, choice, the run, evaluation, model, report.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from phiscale.data.audit import FORMAT as AUDIT_FORMAT
from phiscale.data.audit import Audit, audit, files_to_skip
from phiscale.data.audit_advice import USE_PRETRAINED
from phiscale.data.batches import core_count
from phiscale.data.datasets.dataset import ImageSet
from phiscale.deploy.export import export_onnx
from phiscale.deploy.inference import per_image_csv
from phiscale.errors import CheckpointError, PhiscaleError
from phiscale.files import (
    Format,
    check_out_folder,
    lock_folder,
    read_checked,
    sha256,
    write_atomic,
    write_checked,
)
from phiscale.files.run_files import (
    AUDIT,
    CHECKPOINTS,
    CHOICE,
    DEVICE,
    EVALUATION,
    MODEL,
    ONNX,
    PREDICTIONS,
    REPORT,
    REQUEST,
    WEIGHTS,
)
from phiscale.pipeline.choice import FORMAT as CHOICE_FORMAT
from phiscale.pipeline.choice import Choice, choose
from phiscale.pipeline.evidence import Evidence, first_evidence
from phiscale.pipeline.measurements import Measurements, busy_warning
from phiscale.pipeline.report import ReportInputs, collect_report
from phiscale.pipeline.request import InMemoryInputs, Request, begin_or_resume, load_inputs
from phiscale.pipeline.run_folder import Run
from phiscale.pipeline.short_runs import FOLDER as SHORT_RUNS
from phiscale.pipeline.split_gap import split_gap
from phiscale.planning.budget.candidates import table_row
from phiscale.planning.device import FORMAT as DEVICE_FORMAT
from phiscale.planning.device import DeviceModel
from phiscale.report.report import write_report
from phiscale.text import format_table
from phiscale.training.callbacks import AnyCallback
from phiscale.training.devices import compute_device
from phiscale.training.evaluate import logits_of
from phiscale.training.loop import train
from phiscale.training.metrics import measure
from phiscale.training.runtime import Runtime
from phiscale.weights.sources import load

logger = logging.getLogger(__name__)

T = TypeVar("T")
SHOWN = 12  # candidates; the report has them all


@dataclass(frozen=True, kw_only=True)
class FitRuntime:
    """What a `fit` needs besides its request."""

    callbacks: Sequence[AnyCallback] = ()
    command: str = ""  # as it was typed, for the report
    measurements: Measurements = field(default_factory=Measurements)
    in_memory: InMemoryInputs = field(default_factory=InMemoryInputs)


@dataclass(frozen=True, kw_only=True)
class PreparedFit:
    """What a `fit` trains, and on what."""

    images: ImageSet  # without those that cannot be read
    audit: Audit
    device_model: DeviceModel
    choice: Choice


def run_fit(request: Request, out: Path, runtime: FitRuntime | None = None) -> Run:
    """Audits, measures, chooses, trains, evaluates once, exports and reports.

    `out`: the folder of the result, new or of an earlier start, which is then resumed.
    """
    runtime = runtime or FitRuntime()
    prepared = prepare_fit(request, out, runtime.measurements, runtime.in_memory)
    torch_device, choice = compute_device(request.device), prepared.choice
    train(
        out,
        choice.spec,
        prepared.images,
        choice.recipe,
        choice.preprocessing,
        Runtime(device=torch_device, callbacks=runtime.callbacks, limit_s=choice.train_s),
        start_from=Path(choice.pretrained) if choice.pretrained else None,
    )
    with lock_folder(out):
        report = ReportInputs(
            request=request,
            images=prepared.images,
            audit=prepared.audit,
            device_model=prepared.device_model,
            choice=choice,
            metrics=_evaluation(prepared.images, out, torch_device)["metrics"],
            exported=_export(prepared.images, out, runtime.measurements.export_latency_s),
            command=runtime.command,
        )
        write_report(out / REPORT, collect_report(out, report))
    logger.info(f"report: {out / REPORT}")
    return Run(out)


def prepare_fit(
    request: Request, out: Path, measurements: Measurements, in_memory: InMemoryInputs | None = None
) -> PreparedFit:
    """Runs the stages before training: request, audit, device, choice. Raises what `fit` raises."""
    request.check()
    check_out_folder(out, REQUEST)
    in_memory = in_memory or InMemoryInputs()
    inputs = load_inputs(request, in_memory)
    torch_device = compute_device(request.device)
    if busy := busy_warning(measurements.load(), core_count()):
        logger.warning(busy)
    with lock_folder(out):
        begin_or_resume(request, out)
        in_memory.write(out)
        images, audited = _audit(request, inputs.images, out)
        audited = replace(audited, value_range=request.value_range or audited.value_range)
        inputs = replace(inputs, images=images)
        device_model = _device_model(inputs.device_model, out, torch_device, measurements)
        choice = _kept_choice(out)
        if choice is None:
            evidence = first_evidence(request, inputs, audited, device_model, torch_device)
            choice = _new_choice(request, evidence, measurements, out)
    rows = [table_row(candidate) for candidate in choice.candidates[:SHOWN]]
    for line in [*format_table(rows), choice.why]:
        logger.info(line)
    return PreparedFit(images=images, audit=audited, device_model=device_model, choice=choice)


def _audit(request: Request, images: ImageSet, out: Path) -> tuple[ImageSet, Audit]:
    """Returns the images without the bad ones, where those may be skipped, and the audit."""
    logger.info(
        f"{images.source}: {len(images.train)} train, {len(images.validation)} validation, "
        f"{len(images.test)} test images of {len(images.classes)} classes"
    )
    audited = _earlier_audit(request, images, out)
    if audited is None:
        logger.info("auditing images")
        if not (out / CHECKPOINTS).exists():  # later, the run itself knows its images
            (out / CHOICE).unlink(missing_ok=True)  # for whichever images it was
        audited = audit(images)
        fingerprint = {"fingerprint": images.fingerprint()}
        write_checked(out / AUDIT, {**fingerprint, **audited.to_dict()})
    skipped = files_to_skip(audited, request.on_bad)
    for line in audited.advice:
        if not (request.pretrained and line.endswith(USE_PRETRAINED)):  # which it does anyway
            logger.info(f"  {line}")
    return images.without(skipped), audited


def _earlier_audit(request: Request, images: ImageSet, out: Path) -> Audit | None:
    """Returns an earlier start's audit, if the images have not changed; None if it is damaged."""
    payload = _kept_results(out / AUDIT)
    audited = _decoded(AUDIT_FORMAT, payload)
    if audited is None or payload.get("fingerprint") == images.fingerprint():
        return audited
    if (out / CHOICE).exists():
        raise CheckpointError(
            f"{request.data} has changed since {out} began. Bring its images back as they were, "
            "or use another `out`."
        )
    return None


def _device_model(
    named: DeviceModel | None, out: Path, torch_device: torch.device, measurements: Measurements
) -> DeviceModel:
    path = out / DEVICE
    if kept := _decoded(DEVICE_FORMAT, _kept_results(path)):
        return kept
    (named or measurements.calibrate(torch_device)).write(path)
    return DeviceModel.read(path)


def _kept_choice(out: Path) -> Choice | None:
    """Returns the choice of an earlier start; None where there is none, or a damaged one."""
    path = out / CHOICE
    if (out / CHECKPOINTS).exists():  # its network is being trained: no other may be selected
        return CHOICE_FORMAT.read(path, required=True)
    return _decoded(CHOICE_FORMAT, _kept_results(path))


def _new_choice(
    request: Request, evidence: Evidence, measurements: Measurements, out: Path
) -> Choice:
    # some of the short runs cannot be compared with later ones: speeds are measured anew, so their
    # lengths would differ
    shutil.rmtree(out / SHORT_RUNS, ignore_errors=True)
    path = out / CHOICE
    CHOICE_FORMAT.write(path, choose(request, evidence, measurements, out))
    return CHOICE_FORMAT.read(path)


def _evaluation(images: ImageSet, out: Path, torch_device: torch.device) -> dict[str, Any]:
    """Evaluates the test split, once; the prediction of every image is kept."""
    path = out / EVALUATION
    weights = sha256((out / WEIGHTS).read_bytes())
    kept = _kept_results(path)
    if kept.get("weights") == weights and _is_same(out / PREDICTIONS, kept.get("predictions")):
        return kept
    network = load(out).to(torch_device)
    logits = logits_of(network, images.test, network.preprocessing, device=torch_device)
    metrics = measure(logits, images.test.labels, images.classes)
    table = per_image_csv(images.test, logits, images.classes)
    write_atomic(out / PREDICTIONS, table)
    low, high = metrics.interval
    logger.info(f"test top-1 {100 * metrics.top1:.2f} % [{100 * low:.1f}, {100 * high:.1f}]")
    validation = network.metadata.metrics.get("validation", {})
    if gap := split_gap(validation, metrics.to_dict()):
        logger.warning(gap)
    evaluation = {
        "weights": weights,
        "predictions": sha256(table),
        "split": "test",
        "metrics": metrics.to_dict(),
    }
    write_checked(path, evaluation)
    return read_checked(path, "")


def _export(images: ImageSet, out: Path, latency_s: float) -> dict[str, Any]:
    """Exports model.onnx, unless it is there and whole; returns what `model.json` holds."""
    model, metadata = out / ONNX, out / MODEL
    kept = _kept_results(metadata)
    if kept and _is_same(model, kept["file"]["sha256"]):
        return kept
    logger.info("exporting model.onnx; verifying its outputs against PyTorch")
    network = load(out)
    return export_onnx(network, network.metadata, images.validation, out, latency_s)


def _kept_results(path: Path) -> dict[str, Any]:
    """Returns what an earlier start wrote; nothing where it is missing, or damaged and named."""
    if not path.exists():
        return {}
    try:
        return read_checked(path, "It is made anew.")
    except PhiscaleError as error:
        logger.warning(str(error))
        return {}


def _decoded(form: Format[T], payload: Mapping[str, Any]) -> T | None:
    """Returns what an earlier start wrote as its class; None where it no longer is one."""
    with suppress(PhiscaleError):
        return form.decode(payload, "") if payload else None
    return None


def _is_same(path: Path, digest: str | None) -> bool:
    """Tells whether a file is as it was written, and names one that is not."""
    if not path.exists():
        return False
    if digest == sha256(path.read_bytes()):
        return True
    logger.warning(f"{path} does not match its checksum. It is made anew.")
    return False
