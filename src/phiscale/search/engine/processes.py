"""Workers in processes of their own, and their supervisor, which trains nothing."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from phiscale.errors import PhiscaleError, TrainingError
from phiscale.search.engine.plan import Plan, PlanProgress
from phiscale.search.engine.result import Result
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.store import MOST_DEATHS, Store
from phiscale.search.engine.worker import POLL_S, run_worker
from phiscale.training.ownership import own_process
from phiscale.training.signals import Interrupted, StopSignal

logger = logging.getLogger(__name__)

SAVING_S = 22.0  # for workers to save when stopped: the supervisor itself has 25
NOTING_S = 5.0  # for workers to end with the plan: the supervisor notes what they did not


@dataclass(frozen=True)
class _WorkerProcess:
    process: BaseProcess
    error: Connection  # why it could not go on


def supervise(
    plan: Plan[Any], runner: RunnerConfig, progress: PlanProgress[Any], store: Store
) -> None:
    """Run workers until the plan is finished. One that dies is replaced while trainings get done.

    TrainingError: why a worker could not go on.
    """
    context = multiprocessing.get_context(runner.start)
    if runner.start == "forkserver":
        context.set_forkserver_preload(
            ["phiscale.search.engine.train_trial", "phiscale.search.engine.processes"]
        )
    most_deaths = MOST_DEATHS * runner.workers  # each may be training a trial that kills it

    def start_worker() -> _WorkerProcess:
        store.close()  # a fork would inherit the connection
        our_end, its_end = context.Pipe(duplex=False)
        process = context.Process(target=_main, args=(plan, runner, its_end))  # type: ignore[attr-defined]
        process.start()
        return _WorkerProcess(process, our_end)

    results = runner.results  # caches what it has read
    with StopSignal() as stop:
        pool = [start_worker() for _ in range(runner.workers)]
        last_line, done, deaths = "", -1, 0
        try:
            while pool and not progress.finished:
                if stop.caught is not None:
                    stop.leave(
                        f"stopped; results are in {runner.out}: run the same command to resume"
                    )
                time.sleep(POLL_S)
                known = progress.advance(results.read)
                if not progress.finished and last_line != (line := _progress_line(progress, known)):
                    logger.info(last_line := line)
                if done != (now := len(progress.completed) + len(known)):
                    done, deaths = now, 0
                for worker in [w for w in pool if w.process.exitcode is not None]:
                    pool.remove(worker)
                    if worker.process.exitcode == 0:
                        continue
                    if why := _received_error(worker.error):
                        raise TrainingError(why)
                    deaths += 1
                    code = worker.process.exitcode
                    if code == 1 or deaths > most_deaths:
                        raise TrainingError(
                            f"workers end with exit code {code}. Run the same command to resume."
                        )
                    logger.warning(f"a worker died (exit code {code}); another one replaces it")
                    store.release_stale(blame=True)
                    pool.append(start_worker())
        finally:
            # when the plan is finished nobody has anything to save, and one may hang
            _end([worker.process for worker in pool], NOTING_S if progress.finished else SAVING_S)


def _end(pool: list[BaseProcess], seconds: float) -> None:
    """Stop all workers at once; kill those that need longer."""
    for process in pool:
        process.terminate()
    latest = time.monotonic() + seconds
    for process in pool:
        process.join(max(0.0, latest - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


def _received_error(error_pipe: Connection) -> str | None:
    try:
        return error_pipe.recv() if error_pipe.poll() else None
    except EOFError:  # it died without a message
        return None


def _progress_line(progress: PlanProgress[Any], known: Mapping[str, Result]) -> str:
    macs = {trial.key: trial.macs_spent for trial in progress.pending}
    share = sum(macs[key] for key in known) / max(1e-9, sum(macs.values()))
    return (
        f"{len(known)} of {len(macs)} trainings of this stage ({100 * share:.0f} % of the compute)"
    )


def _main(plan: Plan[Any], runner: RunnerConfig, error_pipe: Connection) -> None:
    """The main function of a worker's process. It does not outlive its supervisor."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
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


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # saves
