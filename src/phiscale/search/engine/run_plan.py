"""Carries out a plan of trainings: opens its store, starts workers, returns the outcome."""

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


def run_plan(plan: Plan[Outcome], runner: RunnerConfig) -> Outcome:
    """Does every training of a plan and returns its outcome. An interrupted plan resumes.

    UsageError: it was begun on another type of device, or the database holds another study.
    TrainingError: a worker could not go on.
    """
    results, progress = runner.results, PlanProgress(plan)
    results.sweep()
    progress.advance(results.read)
    _check_device(runner, progress, results)
    with closing(_open_store(runner, progress)) as store:
        if not progress.finished:
            _run_workers(plan, runner, progress, store)
            progress.advance(results.read)
            _mark_all_done(store, progress, results)
    if not progress.finished:
        raise TrainingError(
            "some trainings are not done: the messages above say why. Run the same command "
            "to resume."
        )
    return progress.outcome  # type: ignore[return-value]


def _run_workers(
    plan: Plan[Any], runner: RunnerConfig, progress: PlanProgress[Any], store: Store
) -> None:
    if runner.workers == 1:
        run_worker(plan, runner)
        return
    from phiscale.search.engine.processes import supervise

    supervise(plan, runner, progress, store)


def _check_device(runner: RunnerConfig, progress: PlanProgress[Any], results: Results) -> None:
    """Raises UsageError where results come from another type of device and more are to follow."""
    results_so_far = results.read([trial.key for trial in progress.trials]).values()
    devices = {str(run.made_by.get("device", runner.device_type)) for run in results_so_far}
    other_devices = devices - {runner.device_type}
    if other_devices and not progress.finished:
        raise _wrong_device(str(runner.out), other_devices.pop())


def _wrong_device(where: str, device: str) -> UsageError:
    return UsageError(
        f"{where} was begun on {device}; floating-point results differ on another device. "
        f"Use device={device!r}."
    )


def _open_store(runner: RunnerConfig, progress: PlanProgress[Any]) -> Store:
    """Opens the store before any worker does. A damaged file in `out` is replaced by a new one."""
    before = runner.database.stat().st_ino if runner.database.exists() else None
    try:
        return _fill_store(runner, progress)
    except DamagedStore as error:
        if runner.storage is not None:
            raise
        # two commands may notice the damage: the second must not move the first one's new file
        if runner.database.exists() and runner.database.stat().st_ino == before:
            aside = move_aside(runner.database)
            logger.warning(
                f"{redacted_url(error.url)} was damaged ({error.what}), so a new one is filled "
                f"from the results. The old file is {aside.name}."
            )
        return _fill_store(runner, progress)


def _fill_store(runner: RunnerConfig, progress: PlanProgress[Any]) -> Store:
    store = runner.store()
    try:
        store.check()
        store.claims.release_ended_processes()
        _check_plan_id(store, runner, progress)
        store.mark_all_done(
            progress.trials, runner.results.read([trial.key for trial in progress.trials])
        )
    except BaseException:
        store.close()
        raise
    return store


def _check_plan_id(store: Store, runner: RunnerConfig, progress: PlanProgress[Any]) -> None:
    """Raises UsageError where the database holds another study, or one of another device."""
    if not runner.plan_id:
        return
    recorded = store.database.get_or_set_plan_id(runner.plan_id)
    if recorded == runner.plan_id:
        return
    where = redacted_url(runner.storage) if runner.storage else runner.database
    if recorded != {**runner.plan_id, "device": recorded.get("device")}:
        raise UsageError(f"{runner.name} in {where} is another study. Use another `study_name`.")
    if not progress.finished:
        raise _wrong_device(f"{runner.name} in {where}", recorded["device"])


def _mark_all_done(store: Store, progress: PlanProgress[Any], results: Results) -> None:
    """Marks results whose workers died before they marked them. All trainings are done by now,
    so a database that is away does not matter."""
    try:
        store.claims.release_ended_processes()
        store.mark_all_done(progress.trials, results.read([trial.key for trial in progress.trials]))
    except StoreError as error:
        logger.warning(f"the results are complete, the database is not: {error}")
