"""Carries out a plan of trainings: makes its store, sends for workers, ends with the outcome."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from phiscale.errors import TrainingError, UsageError
from phiscale.search.engine.database import DamagedStore, StoreError, move_aside, redacted_url
from phiscale.search.engine.plan import Outcome, Plan, PlanProgress
from phiscale.search.engine.result import Results
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.store import Store
from phiscale.search.engine.worker import logger, run_worker


def carry_out(plan: Plan[Outcome], runner: RunnerConfig) -> Outcome:
    """What the plan has come to, every training of it done. Begun again it goes on."""
    results, progress = runner.results, PlanProgress(plan)
    results.sweep()
    progress.advance(results.read)
    made = results.read([trial.key for trial in progress.trials]).values()
    others = {str(run.made_by.get("device", runner.device_type)) for run in made} - {
        runner.device_type
    }
    if others and not progress.finished:
        raise _another_device(str(runner.out), others.pop())
    with closing(_ready(runner, progress)) as store:  # notes what it does not know
        if not progress.finished:
            if runner.workers == 1:
                run_worker(plan, runner)
            else:
                from phiscale.search.engine.processes import supervise

                supervise(plan, runner, progress, store)
            progress.advance(results.read)
            _note_all(store, progress, results)
    if not progress.finished:
        raise TrainingError("not every training was done. Run the same command to go on.")
    return progress.outcome  # type: ignore[return-value]


def _another_device(what: str, device: str) -> UsageError:
    return UsageError(
        f"{what} was begun on {device}, and another device adds up to other digits. "
        f"Use --device {device}."
    )


def _ready(runner: RunnerConfig, progress: PlanProgress[Any]) -> Store:
    """The store, made once, before the workers meet in it; our own file is made anew if damaged."""
    before = runner.database.stat().st_ino if runner.database.exists() else None
    try:
        return _filled(runner, progress)
    except DamagedStore as error:
        if runner.storage is not None:
            raise
        # two commands may find the damage; the second must not move what the first has made
        if runner.database.exists() and runner.database.stat().st_ino == before:
            aside = move_aside(runner.database)
            logger.info(f"{error} Done: the old one is {aside.name}.")
        return _filled(runner, progress)


def _filled(runner: RunnerConfig, progress: PlanProgress[Any]) -> Store:
    store = runner.store()
    try:
        store.check()
        store.release_stale()
        if runner.attrs and (known := store.attrs(runner.attrs)) != runner.attrs:
            where = redacted_url(runner.storage) if runner.storage else runner.database
            if known != {**runner.attrs, "device": known.get("device")}:
                raise UsageError(
                    f"{runner.name} in {where} is another study. Use another --study-name."
                )
            if not progress.finished:
                raise _another_device(f"{runner.name} in {where}", known["device"])
        store.record(progress.trials, runner.results.read([trial.key for trial in progress.trials]))
    except BaseException:
        store.close()
        raise
    return store


def _note_all(store: Store, progress: PlanProgress[Any], results: Results) -> None:
    """Results whose workers died before they could note them. All is done: a database that is away
    now takes nothing from that."""
    try:
        store.release_stale()
        store.record(progress.trials, results.read([trial.key for trial in progress.trials]))
    except StoreError as error:
        logger.info(f"the results are complete, the database is not: {error}")
