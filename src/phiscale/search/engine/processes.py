"""Workers in processes of their own, and the one that leads them: it trains nothing."""

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
from phiscale.training.signals import Interrupted, StopSignal

logger = logging.getLogger(__name__)

SAVING_S = 22.0  # for workers that were told to stop: who leads them has 25 itself
NOTING_S = 5.0  # for workers at the end of the plan: what they have not noted is noted then


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    last_words: Connection  # why it could not go on


def supervise(
    plan: Plan[Any], runner: RunnerConfig, progress: PlanProgress[Any], store: Store
) -> None:
    """Until all workers have come to the end of the plan. One that dies is replaced, as long as
    trainings get done. Raises what a worker could not go on for."""
    context = multiprocessing.get_context(runner.start)
    if runner.start == "forkserver":
        context.set_forkserver_preload(
            ["phiscale.search.engine.train_trial", "phiscale.search.engine.processes"]
        )
    most = MOST_DEATHS * runner.workers  # each may be at a trial that kills it

    def begin() -> _Worker:
        store.close()  # a fork would inherit it
        mine, its = context.Pipe(duplex=False)
        process = context.Process(target=_process, args=(plan, runner, its))  # type: ignore[attr-defined]
        process.start()
        return _Worker(process, mine)

    results = runner.results  # remembers what it has read
    with StopSignal() as stop:
        pool = [begin() for _ in range(runner.workers)]
        said, done, deaths = "", -1, 0
        try:
            while pool and not progress.finished:
                if stop.caught is not None:
                    stop.leave(
                        f"stopped; results are in {runner.out}: run the same command to go on"
                    )
                time.sleep(POLL_S)
                found = progress.advance(results.read)
                if not progress.finished and said != (line := _so_far(progress, found)):
                    logger.info(said := line)
                if done != (now := len(progress.completed) + len(found)):
                    done, deaths = now, 0
                for worker in [w for w in pool if w.process.exitcode is not None]:
                    pool.remove(worker)
                    if worker.process.exitcode == 0:
                        continue
                    if why := _heard(worker.last_words):
                        raise TrainingError(why)
                    deaths += 1
                    code = worker.process.exitcode
                    if code == 1 or deaths > most:
                        raise TrainingError(
                            f"workers end with exit code {code}. Run the same command to go on."
                        )
                    logger.warning(f"a worker died (exit code {code}); another goes on")
                    store.release_stale(blame=True)
                    pool.append(begin())
        finally:
            # at the end of the plan nobody has anything to save, and one may be hung
            _end([worker.process for worker in pool], NOTING_S if progress.finished else SAVING_S)


def _end(pool: list[BaseProcess], seconds: float) -> None:
    """All save at once."""
    for process in pool:
        process.terminate()
    latest = time.monotonic() + seconds
    for process in pool:
        process.join(max(0.0, latest - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


def _heard(last_words: Connection) -> str | None:
    try:
        return last_words.recv() if last_words.poll() else None
    except EOFError:  # it died without any
        return None


def _so_far(progress: PlanProgress[Any], found: Mapping[str, Result]) -> str:
    work = {trial.key: trial.macs_spent for trial in progress.pending}
    share = sum(work[key] for key in found) / max(1e-9, sum(work.values()))
    return f"{len(found)} of {len(work)} trainings of this stage ({100 * share:.0f} % of the work)"


def _process(plan: Plan[Any], runner: RunnerConfig, last_words: Connection) -> None:
    """The main function of a worker's process. It does not outlive the one that began it."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        run_worker(plan, runner)
    except Interrupted as stopped:
        os._exit(stopped.status)
    except KeyboardInterrupt:
        os._exit(130)
    except PhiscaleError as error:
        last_words.send(str(error))
        os._exit(1)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # saves
