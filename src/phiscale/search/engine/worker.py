"""One worker: it follows the plan, a pure function of results, and takes what nobody else has.

There is no head: every worker does so, here or on many machines, stopped and begun again as often
as need be.
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
SAVE_EVERY_S = 20.0  # of a training: what a kill costs
COPIES = 5  # tries to copy a folder that another writes in


def run_worker(plan: Plan[Any], runner: RunnerConfig) -> None:
    """Takes one training after another until the plan is at its end."""
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
    stopped = f"stopped; results are in {runner.out}: run the same command to go on"
    images: ImageSet | None = None
    with closing(runner.store()) as store, StopSignal() as stop:
        while True:
            if stop.caught is not None:
                stop.leave(stopped)
            found = progress.advance(results.read)
            if progress.finished:
                return
            failed_too_often = store.enqueue(progress.pending, found)
            missing = {trial.key: trial for trial in progress.pending if trial.key not in found}
            for result in store.results(list(missing)):
                results.write(result)
            for key, why in failed_too_often.items():
                results.write(_failed(missing[key], why))
            if missing.keys() - failed_too_often.keys():
                images = images or _pictures(plan)  # takes a while, in which no lease is kept alive
            claim = store.claim([key for key in missing if key not in failed_too_often])
            if claim is None:
                time.sleep(POLL_S)
                continue
            trial = missing[claim.key]
            if known := results.read([trial.key]).get(trial.key):  # of one who lost it, by now
                store.finish(claim, known)
                continue
            logger.info(f"{trial.name}: {len(found) + 1} of {len(progress.pending)} of this stage")
            try:
                assert images is not None
                _train(trial, images, claim, store, runner, runtime)
            except Interrupted:
                store.release(claim, "stopped")
                stop.leave(stopped)
            except BaseException:
                store.release(claim, "stopped")
                raise


def _pictures(plan: Plan[Any]) -> ImageSet:
    from phiscale.data.datasets.open import open_dataset
    from phiscale.search.engine.train_trial import in_memory

    images = open_dataset(plan.conditions.data)
    if images.fingerprint() != plan.conditions.fingerprint:
        raise DataError(
            f"{plan.conditions.data} holds other pictures than those that the study was begun "
            "with. Give it those."
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
    """Trains it and keeps its result. Where another worker has the trial by now, it does not matter
    what went wrong here."""
    from phiscale.search.engine.train_trial import tidy

    try:
        run = _folder(runner.out, claim)
        store.note(claim, "from", _images_seen(run))
        with store.alive(claim):
            try:
                found = _result(trial, images, run, runner.train, runtime)
            except CheckpointError:  # damaged, or another version's
                shutil.rmtree(run)
                found = _result(trial, images, run, runner.train, runtime)
    except (PhiscaleError, RuntimeError):  # the lease may be lost, too
        if not store.holds(claim):
            return
        raise
    if _keep(found, claim, store, runner):
        tidy(run)


def _keep(result: Result, claim: Claim, store: Store, runner: RunnerConfig) -> bool:
    """Whether it counts. In one folder the first file is right, and the database is told. Of
    machines that share only a server the first one to finish there is right for all: one that is
    late keeps nothing."""
    if runner.storage is None:
        store.finish(claim, runner.results.write(result))
        return True
    first = store.finish(claim, result)
    if first:
        runner.results.write(result)
    return first


def _result(trial: Trial, images: ImageSet, run: Path, train: Train, runtime: Runtime) -> Result:
    """What a training gives, or the reason why it gives nothing. What the machine did to it is no
    result: that is raised."""
    import torch

    try:
        found = train(trial, images, run, runtime)
    except (PhiscaleError, MemoryError, torch.AcceleratorError):
        raise
    except OSError as error:
        raise PhiscaleError(
            f"cannot write {error.filename or run}: {error.strerror}. Free some "
            "space or write elsewhere."
        ) from None
    except Exception as error:  # nobody knows what a network may do
        return _failed(trial, " ".join(f"{type(error).__name__}: {error}".split())[:500])
    try:
        found.check()
    except (ValueError, TypeError, AttributeError) as error:
        return _failed(trial, f"it gave {error}")
    return found


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


def _folder(out: Path, claim: Claim) -> Path:
    """Of the training: an earlier worker's, whose checkpoint it goes on from; a copy of that where
    the worker that lost its lease is still there and holds it."""
    own = out / "trainings" / claim.key
    try:
        with lock_folder(own):
            return own
    except PhiscaleError:
        if not (own / ".lock").exists():
            raise
    copy = own.with_name(f"{claim.key}-{claim.number}")
    for _ in range(COPIES):
        try:
            shutil.copytree(
                own, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock", "*.part")
            )
            return copy
        except OSError:  # it has replaced a file in the meantime
            shutil.rmtree(copy, ignore_errors=True)
    return copy  # from the first step, then


def _images_seen(run: Path) -> int:
    """By the newest checkpoint."""
    seen = [int(path.name[:12]) for path in (run / "checkpoints").glob("*-*-*.pt")]
    return max(seen, default=0)
