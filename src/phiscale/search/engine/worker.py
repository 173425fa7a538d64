"""One worker: it claims a trial, trains it, writes its result, and claims the next.

Workers are all alike. Any number of them run, on one machine or on many, and each may be stopped
and started again at any time. Each follows the plan, a pure function of the results.
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
from phiscale.files.run_files import CHECKPOINTS
from phiscale.search.engine.plan import Plan, PlanProgress
from phiscale.search.engine.result import Result
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.store import Store
from phiscale.search.engine.study_database import EntryIds
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
    """Trains one trial after another until the plan is finished."""
    with closing(runner.store()) as store, StopSignal() as stop:
        worker = _Worker(plan, runner, store)
        while True:
            if stop.caught is not None:
                stop.exit_resumable(stop_message(runner))
            missing = worker.missing_trials()
            if worker.progress.finished:
                return
            claim = store.claim(list(missing))
            if claim is None:
                time.sleep(POLL_S)
                continue
            try:
                worker.train_claimed_trial(missing[claim.key], claim)
            except BaseException as error:
                store.claims.release(claim, "stopped")
                if isinstance(error, Interrupted):
                    stop.exit_resumable(stop_message(runner))
                raise


def stop_message(runner: RunnerConfig) -> str:
    """Returns what a command that was stopped says last."""
    return f"stopped; results are in {runner.out}: run the same command to resume"


class _Worker:
    """What a worker has at hand: the plan and its progress, the queue, results and images."""

    def __init__(self, plan: Plan[Any], runner: RunnerConfig, store: Store):
        self.plan, self.runner, self.store = plan, runner, store
        self.progress, self.results = PlanProgress(plan), runner.results
        self.runtime = _runtime(runner.device)
        self.images: ImageSet | None = None

    def missing_trials(self) -> dict[str, Trial]:
        """Returns trials of the stage that lack a result and may be trained, by key.

        Before that, queue and files exchange their results. A trial at which workers died too often
        gets a failed result.
        """
        results = self.progress.advance(self.results.read)
        if self.progress.finished:
            return {}
        stage_trials = self.progress.stage_trials
        failed_too_often = self.store.enqueue(stage_trials, results)
        missing = {trial.key: trial for trial in stage_trials if trial.key not in results}
        for result in self.store.results(list(missing)):
            self.results.write_result(result)
        for key, why in failed_too_often.items():
            self.results.write_result(_failed(missing.pop(key), why))
        if missing and self.images is None:
            # it is slow: before a trial is claimed, as no heartbeats are sent
            self.images = _load_images(self.plan)
        return missing

    def train_claimed_trial(self, trial: Trial, claim: EntryIds) -> None:
        """Trains a claimed trial, unless another worker has its result by now."""
        if result := self.results.read([trial.key]).get(trial.key):
            self.store.mark_done(claim, result)
            return
        keys = [each.key for each in self.progress.stage_trials]
        number = len(self.results.read(keys)) + 1
        logger.info(f"{trial.name}: {number} of {len(keys)} of this stage")
        self._train(trial, claim)

    def _train(self, trial: Trial, claim: EntryIds) -> None:
        """Trains a trial and writes its result. Errors are ignored where another worker has claimed
        the trial by now."""
        from phiscale.search.engine.train_trial import tidy
        from phiscale.training.checkpoint import newest_images_seen

        claims = self.store.claims
        try:
            run = _run_folder(self.runner.out, claim)
            claims.set_attr(claim, "images_at_start", newest_images_seen(run / CHECKPOINTS))
            with claims.heartbeats(claim):
                try:
                    result = self._result(trial, run)
                except CheckpointError:  # damaged, or another version's
                    shutil.rmtree(run)
                    result = self._result(trial, run)
        except (PhiscaleError, RuntimeError):  # the claim may be lost, too
            if not claims.holds(claim):
                return
            raise
        if self._save(result, claim):
            tidy(run)

    def _result(self, trial: Trial, run: Path) -> Result:
        """Returns the result of a training, or the reason why it failed. Faults of the machine are
        no result: they are raised."""
        import torch

        assert self.images is not None
        try:
            result = self.runner.train(trial, self.images, run, self.runtime)
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
            return _failed(trial, f"its result has {error}")
        return result

    def _save(self, result: Result, claim: EntryIds) -> bool:
        """Writes a result and marks its entry as done, if it is the first. Returns whether it is.

        In one folder the first file counts, and the database follows it. Between machines that
        share only a server, the first result marked there counts: a later one is written nowhere.
        """
        if self.runner.storage is None:
            self.store.mark_done(claim, self.results.write_result(result))
            return True
        first = self.store.mark_done(claim, result)
        if first:
            self.results.write_result(result)
        return first


def _runtime(device: str) -> Runtime:
    import torch

    from phiscale.training.runtime import Runtime

    return Runtime(
        device=torch.device(device),
        workers=1,
        keep=2,
        save_every_s=SAVE_EVERY_S,
        log_level=logging.DEBUG,
    )


def _load_images(plan: Plan[Any]) -> ImageSet:
    from phiscale.data.datasets.open import open_dataset
    from phiscale.data.reading.pixels import DecodeOptions
    from phiscale.search.engine.train_trial import in_memory

    images = open_dataset(plan.conditions.data)
    if images.fingerprint() != plan.conditions.fingerprint:
        raise DataError(
            f"{plan.conditions.data} holds other images than those that the study was begun with. "
            "Use the same images, or a new `out`."
        )
    return in_memory(images, DecodeOptions(value_range=plan.conditions.value_range))


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


def _run_folder(out: Path, claim: EntryIds) -> Path:
    """Returns the folder of a training: an earlier worker's, to resume from its checkpoint. Where a
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
    return copy  # without checkpoints: the training starts from the first step
