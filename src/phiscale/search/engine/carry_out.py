"""Carries out a plan of trainings: makes its store, sends for workers, ends with the outcome."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from phiscale.errors import TrainingError, UsageError
from phiscale.search.engine.database import DamagedStore, StoreError, set_aside, shown_url
from phiscale.search.engine.plan import Course, Outcome, Plan
from phiscale.search.engine.runner import Crew
from phiscale.search.engine.store import Store
from phiscale.search.engine.trial import Results
from phiscale.search.engine.worker import logger, work


def carry_out(plan: Plan[Outcome], crew: Crew) -> Outcome:
    """What the plan has come to, every training of it done. Begun again it goes on."""
    results, course = crew.results, Course(plan)
    results.sweep()
    course.follow(results.read)
    made = results.read([trial.key for trial in course.trials]).values()
    others = {str(run.made_by.get("device", crew.device_type)) for run in made} - {crew.device_type}
    if others and not course.over:
        raise _another_device(str(crew.out), others.pop())
    with closing(_ready(crew, course)) as store:  # notes what it does not know
        if not course.over:
            if crew.workers == 1:
                work(plan, crew)
            else:
                from phiscale.search.engine.processes import lead

                lead(plan, crew, course, store)
            course.follow(results.read)
            _note_all(store, course, results)
    if not course.over:
        raise TrainingError("not every training was done. Run the same command to go on.")
    return course.outcome  # type: ignore[return-value]


def _another_device(what: str, device: str) -> UsageError:
    return UsageError(
        f"{what} was begun on {device}, and another device adds up to other digits. "
        f"Use --device {device}."
    )


def _ready(crew: Crew, course: Course[Any]) -> Store:
    """The store, made once, before the workers meet in it; our own file is made anew if damaged."""
    before = crew.database.stat().st_ino if crew.database.exists() else None
    try:
        return _filled(crew, course)
    except DamagedStore as error:
        if crew.storage is not None:
            raise
        # two commands may find the damage; the second must not move what the first has made
        if crew.database.exists() and crew.database.stat().st_ino == before:
            aside = set_aside(crew.database)
            logger.info(f"{error} Done: the old one is {aside.name}.")
        return _filled(crew, course)


def _filled(crew: Crew, course: Course[Any]) -> Store:
    store = crew.store()
    try:
        store.check()
        store.release_dead()
        if crew.attrs and (known := store.attrs(crew.attrs)) != crew.attrs:
            where = shown_url(crew.storage) if crew.storage else crew.database
            if known != {**crew.attrs, "device": known.get("device")}:
                raise UsageError(
                    f"{crew.name} in {where} is another study. Use another --study-name."
                )
            if not course.over:
                raise _another_device(f"{crew.name} in {where}", known["device"])
        store.record(course.trials, crew.results.read([trial.key for trial in course.trials]))
    except BaseException:
        store.close()
        raise
    return store


def _note_all(store: Store, course: Course[Any], results: Results) -> None:
    """Results whose workers died before they could note them. All is done: a database that is away
    now takes nothing from that."""
    try:
        store.release_dead()
        store.record(course.trials, results.read([trial.key for trial in course.trials]))
    except StoreError as error:
        logger.info(f"the results are complete, the database is not: {error}")
