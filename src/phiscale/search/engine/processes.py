"""Workers in processes of their own, and the supervisor that starts, replaces and stops them.

The supervisor trains nothing.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from phiscale.errors import PhiscaleError, TrainingError
from phiscale.search.engine.plan import Plan, PlanProgress
from phiscale.search.engine.result import Result, Results
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.store import MAX_FAILED_ATTEMPTS, Store
from phiscale.search.engine.worker import POLL_S, run_worker, stop_message
from phiscale.training.ownership import own_process
from phiscale.training.signals import Interrupted, StopSignal

logger = logging.getLogger(__name__)

SAVE_TIMEOUT_S = 22.0  # time for workers to save when stopped: the supervisor itself has 25
STOP_TIMEOUT_S = 5.0  # time for workers to end with the plan; the supervisor marks what they left


@dataclass(frozen=True)
class _WorkerProcess:
    process: BaseProcess
    error_pipe: Connection  # receives why it could not go on


def supervise(
    plan: Plan[Any], runner: RunnerConfig, progress: PlanProgress[Any], store: Store
) -> None:
    """Runs workers until the plan is finished. One that dies is replaced while trainings get done.

    TrainingError: why a worker could not go on.
    """
    results = runner.results  # caches what it has read
    with StopSignal() as stop:
        pool = _Pool(plan, runner, store)
        reporter = _ProgressReporter(progress)
        try:
            while pool.workers and not progress.finished:
                if stop.caught is not None:
                    stop.exit_resumable(stop_message(runner))
                time.sleep(POLL_S)
                stage_results = progress.advance(results.read)
                reporter.report(stage_results)
                pool.replace_dead(trained=len(progress.completed) + len(stage_results))
        finally:
            # when the plan is finished nobody has anything to save, and one may hang
            pool.stop(STOP_TIMEOUT_S if progress.finished else SAVE_TIMEOUT_S)


class _Pool:
    """The worker processes of one supervisor. All are started at once."""

    def __init__(self, plan: Plan[Any], runner: RunnerConfig, store: Store):
        self.plan, self.runner, self.store = plan, runner, store
        self.context = multiprocessing.get_context(runner.start)
        if runner.start == "forkserver":
            self.context.set_forkserver_preload(
                ["phiscale.search.engine.train_trial", "phiscale.search.engine.processes"]
            )
        self.trained, self.deaths = -1, 0  # deaths since a training was done
        self.max_deaths = (
            MAX_FAILED_ATTEMPTS * runner.workers
        )  # each may train a trial that kills it
        self.workers = [self._start() for _ in range(runner.workers)]

    def _start(self) -> _WorkerProcess:
        self.store.close()  # a fork would inherit the connection
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(  # type: ignore[attr-defined]
            target=_main, args=(self.plan, self.runner, sender)
        )
        process.start()
        return _WorkerProcess(process, receiver)

    def replace_dead(self, trained: int) -> None:
        """Starts a worker for each that died. `trained`: the number of results by now.

        TrainingError: a worker could not go on, or workers die without getting trainings done.
        """
        if self.trained != trained:
            self.trained, self.deaths = trained, 0
        for worker in [each for each in self.workers if each.process.exitcode is not None]:
            self.workers.remove(worker)
            code = worker.process.exitcode
            if code == 0:
                continue
            if why := _received_error(worker.error_pipe):
                raise TrainingError(why)
            self.deaths += 1
            ended = f"worker process {worker.process.pid} {_how_it_ended(code)}"
            if code == 1:
                raise TrainingError(
                    f"{ended}; its error is above. Results are kept: remove the cause, then run "
                    "the same command to resume."
                )
            if self.deaths > self.max_deaths:
                raise TrainingError(
                    f"{self.deaths} workers died without finishing a training, at last {ended}. "
                    "Often memory is short: use fewer `workers`, then run the same command to "
                    "resume."
                )
            logger.warning(f"{ended}; another one replaces it")
            self.store.claims.release_ended_processes(blame=True)
            self.workers.append(self._start())

    def stop(self, timeout_s: float) -> None:
        """Stops all workers at once; kills those that need longer."""
        processes = [worker.process for worker in self.workers]
        for process in processes:
            process.terminate()
        latest = time.monotonic() + timeout_s
        for process in processes:
            process.join(max(0.0, latest - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()


class _ProgressReporter:
    """Logs how far a stage is, whenever that changes."""

    def __init__(self, progress: PlanProgress[Any]):
        self.progress, self.last_line = progress, ""

    def report(self, stage_results: Mapping[str, Result]) -> None:
        """Logs the progress of the stage; nothing once the plan is finished."""
        if self.progress.finished:
            return
        line = _progress_line(self.progress, stage_results)
        if line != self.last_line:
            self.last_line = line
            logger.info(line)


def _how_it_ended(code: int | None) -> str:
    """Returns what an exit code says: a negative one is the number of a signal."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _received_error(error_pipe: Connection) -> str | None:
    try:
        return error_pipe.recv() if error_pipe.poll() else None
    except EOFError:  # the worker died without a message
        return None


def _progress_line(progress: PlanProgress[Any], results: Mapping[str, Result]) -> str:
    macs = {trial.key: trial.macs_spent for trial in progress.stage_trials}
    percent = 100 * sum(macs[key] for key in results) / max(1e-9, sum(macs.values()))
    return f"{len(results)} of {len(macs)} trainings of this stage ({percent:.0f} % of the compute)"


def _main(plan: Plan[Any], runner: RunnerConfig, error_pipe: Connection) -> None:
    """The main function of a worker's process. It does not outlive its supervisor."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    logging.getLogger(Results.__module__).setLevel(logging.ERROR)  # the supervisor has warned
    try:
        with own_process():
            run_worker(plan, runner)
    except Interrupted as stopped:
        os._exit(stopped.status)
    except KeyboardInterrupt:
        os._exit(130)
    except PhiscaleError as error:
        error_pipe.send(str(error))
        os._exit(1)
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        error_pipe.send(
            f"worker process {os.getpid()} failed: {cause}. Its traceback is above. Results are "
            "kept: remove the cause, then run the same command to resume."
        )
        raise


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # the worker saves its training, then ends
