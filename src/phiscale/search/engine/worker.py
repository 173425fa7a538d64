"""One worker: it follows the plan, a pure function of results, and trains what nobody else has.

No worker is special. Any number of them do the same, on one machine or on many, and each may be
stopped and started again at any time.
"""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phiscale.errors import CheckpointError, DataError, PhiscaleError
from phiscale.files import lock_folder
from phiscale.search.engine.plan import Plan, PlanProgress
from phiscale.search.engine.result import Result
from phiscale.search.engine.runner import RunnerConfig, Train
from phiscale.search.engine.store import Claim, Store
from phiscale.search.engine.trial import Trial
from phiscale.training.signals import Interrupted, StopSignal

if TYPE_CHECKING:
    from phiscale.data.datasets.dataset import ImageSet
    from phiscale.training.runtime import Runtime

logger = logging.getLogger(__name__)

POLL_S = 0.5
SAVE_EVERY_S = 20.0  # between checkpoints: what a kill costs
COPIES = 5  # attempts to copy a folder while another worker writes in it


def run_worker(plan: Plan[Any], runner: RunnerConfig) -> None:
    """Train one trial after another until the plan is finished."""
    import torch

    from phiscale.training.runtime import Runtime

    runtime = Runtime(
        device=torch.device(runner.device),
        workers=1,
        keep=2,
        save_every_s=SAVE_EVERY_S,
        log_level=logging.DEBUG,
    )
    progress, results = PlanProgress(plan), runner.results
    stopped = f"stopped; results are in {runner.out}: run the same command to resume"
    images: ImageSet | None = None
    with closing(runner.store()) as store, StopSignal() as stop:
        while True:
            if stop.caught is not None:
                stop.leave(stopped)
            known = progress.advance(results.read)
            if progress.finished:
                return
            failed_too_often = store.enqueue(progress.pending, known)
            missing = {trial.key: trial for trial in progress.pending if trial.key not in known}
            for result in store.results(list(missing)):
                results.write(result)
            for key, why in failed_too_often.items():
                results.write(_failed(missing[key], why))
            if missing.keys() - failed_too_often.keys():
                images = images or _load_images(
                    plan
                )  # slow: before a trial is claimed, as no heartbeats are sent
            claim = store.claim([key for key in missing if key not in failed_too_often])
            if claim is None:
                time.sleep(POLL_S)
                continue
            trial = missing[claim.key]
            if finished := results.read([trial.key]).get(trial.key):  # by another worker
                store.finish(claim, finished)
                continue
            logger.info(f"{trial.name}: {len(known) + 1} of {len(progress.pending)} of this stage")
            try:
                assert images is not None
                _train(trial, images, claim, store, runner, runtime)
            except Interrupted:
                store.release(claim, "stopped")
                stop.leave(stopped)
            except BaseException:
                store.release(claim, "stopped")
                raise


def _load_images(plan: Plan[Any]) -> ImageSet:
    from phiscale.data.datasets.open import open_dataset
    from phiscale.search.engine.train_trial import in_memory

    images = open_dataset(plan.conditions.data)
    if images.fingerprint() != plan.conditions.fingerprint:
        raise DataError(
            f"{plan.conditions.data} holds other images than those that the study was begun with. "
            "Use the same images, or a new `out`."
        )
    return in_memory(images)


def _train(
    trial: Trial,
    images: ImageSet,
    claim: Claim,
    store: Store,
    runner: RunnerConfig,
    runtime: Runtime,
) -> None:
    """Train a trial and keep its result. Errors are ignored where another worker has claimed the
    trial by now."""
    from phiscale.search.engine.train_trial import tidy

    try:
        run = _run_folder(runner.out, claim)
        store.note(claim, "from", _images_seen(run))
        with store.heartbeats(claim):
            try:
                result = _result(trial, images, run, runner.train, runtime)
            except CheckpointError:  # damaged, or another version's
                shutil.rmtree(run)
                result = _result(trial, images, run, runner.train, runtime)
    except (PhiscaleError, RuntimeError):  # the claim may be lost, too
        if not store.holds(claim):
            return
        raise
    if _keep(result, claim, store, runner):
        tidy(run)


def _keep(result: Result, claim: Claim, store: Store, runner: RunnerConfig) -> bool:
    """Keep a result if it is the first; say whether it is.

    In one folder the first file counts, and the database follows it. Between machines that share
    only a server, the first result noted there counts: a later one is kept nowhere.
    """
    if runner.storage is None:
        store.finish(claim, runner.results.write(result))
        return True
    first = store.finish(claim, result)
    if first:
        runner.results.write(result)
    return first


def _result(trial: Trial, images: ImageSet, run: Path, train: Train, runtime: Runtime) -> Result:
    """Return what a training gives, or the reason why it gives nothing. Faults of the machine are
    no result: they are raised."""
    import torch

    try:
        result = train(trial, images, run, runtime)
    except (PhiscaleError, MemoryError, torch.AcceleratorError):
        raise
    except OSError as error:
        raise PhiscaleError(
            f"cannot write {error.filename or run}: {error.strerror}. Free some "
            "space or write elsewhere."
        ) from None
    except Exception as error:  # a network may fail in any way
        return _failed(trial, " ".join(f"{type(error).__name__}: {error}".split())[:500])
    try:
        result.check()
    except (ValueError, TypeError, AttributeError) as error:
        return _failed(trial, f"it gave {error}")
    return result


def _failed(trial: Trial, why: str) -> Result:
    return Result(
        key=trial.key,
        name=trial.name,
        attrs=dict(trial.attrs),
        trial=trial.to_dict(),
        validation_error=None,
        validation_loss=None,
        validation_images=0,
        failed=why,
    )


def _run_folder(out: Path, claim: Claim) -> Path:
    """Return the folder of a training: an earlier worker's, to resume from its checkpoint. Where a
    worker that lost its claim still holds it, a copy."""
    folder = out / "trainings" / claim.key
    try:
        with lock_folder(folder):
            return folder
    except PhiscaleError:
        if not (folder / ".lock").exists():
            raise
    copy = folder.with_name(f"{claim.key}-{claim.number}")
    for _ in range(COPIES):
        try:
            shutil.copytree(
                folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock", "*.part")
            )
            return copy
        except OSError:  # the other worker has replaced a file in the meantime
            shutil.rmtree(copy, ignore_errors=True)
    return copy  # it starts from the first step


def _images_seen(run: Path) -> int:
    """Images seen, by the newest checkpoint."""
    seen = [int(path.name[:12]) for path in (run / "checkpoints").glob("*-*-*.pt")]
    return max(seen, default=0)
