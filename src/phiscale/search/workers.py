"""Carries out a plan of trainings: by one process or many, here or on many machines, stopped and
begun again as often as need be. There is no head: every worker follows the same plan, which is a
pure function of results, and takes what nobody else has taken.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from phiscale.errors import CheckpointError, DataError, PhiscaleError, TrainingError, UsageError
from phiscale.files import locked
from phiscale.search.database import (
    DamagedStore,
    StoreError,
    opened,
    set_aside,
    shown_url,
    sqlite_url,
    with_driver,
)
from phiscale.search.folder import Pictures, pin
from phiscale.search.plan import Course, Outcome, Plan, Stages
from phiscale.search.store import LEASE_S, Lease, Store
from phiscale.search.trial import Result, Results, Trial
from phiscale.training.signals import Interrupted, StopSignal

if TYPE_CHECKING:
    from phiscale.data.datasets.dataset import ImageSet
    from phiscale.training.loop import Setup

logger = logging.getLogger(__name__)

__all__ = ["Course", "Crew", "Plan", "Stages", "carry_out", "work"]

POLL_S = 0.5
SAVE_EVERY_S = 20.0  # of a training: what a kill costs
COPIES = 5  # tries to copy a folder that another writes in

Train = Callable[[Trial, "ImageSet", Path, "Setup"], Result]


def for_real(trial: Trial, images: ImageSet, run: Path, setup: Setup) -> Result:
    """Trains it; torch is only imported where that happens."""
    from phiscale.search.training import train_trial

    return train_trial(trial, images, run, setup)


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Where a plan is carried out, and by how many. Of all this only the type of the device changes
    results, in their last digits: a study keeps to the one it was begun on."""

    out: Path
    storage: str | None = None  # None: an SQLite file in `out`
    name: str = "phiscale"
    workers: int = 1
    device: str = "cpu"
    lease_s: float = LEASE_S
    attrs: Mapping[str, Any] = field(default_factory=dict)  # of the plan, for the dashboard
    train: Train = for_real  # in the folder of the training; may raise
    start: Literal["forkserver", "spawn", "fork"] = "forkserver"  # imports torch once for all

    @property
    def results(self) -> Results:
        return Results(self.out / "results")

    @property
    def database(self) -> Path:
        """SQLite's file, where there is no other storage."""
        return self.out / "study.db"

    def store(self) -> Store:
        self.out.mkdir(parents=True, exist_ok=True)
        return Store(self.storage or sqlite_url(self.database), self.name, lease_s=self.lease_s)

    def pinned(self, kind: str, pictures: Pictures, plan: Mapping[str, Any]) -> Crew:
        """The same in a folder that is this plan's from here on. A server is tried before, so that
        a mistyped address leaves nothing behind. UsageError: the folder is of another plan."""
        if self.storage is not None:
            opened(with_driver(self.storage), self.lease_s).engine.dispose()
        kept = pin(self.out, kind, pictures, plan)
        return replace(self, attrs={**kept, "device": self.device_type})

    @property
    def device_type(self) -> str:
        return self.device.partition(":")[0]

    def run_of(self, key: str) -> Path | None:
        """The folder of a finished training, if it was done here."""
        found = (path.parent for path in (self.out / "trainings").glob(f"{key}*/best.safetensors"))
        # one that was lost in its midst has a best network, too, but is not tidied
        return min(found, key=lambda run: ((run / "checkpoints").exists(), run), default=None)


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
                from phiscale.search.team import lead

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


def work(plan: Plan[Any], crew: Crew) -> None:
    """Takes one training after another until the plan is at its end."""
    import torch

    from phiscale.training.loop import Setup

    setup = Setup(
        device=torch.device(crew.device),
        workers=1,
        keep=2,
        save_every_s=SAVE_EVERY_S,
        log_level=logging.DEBUG,
    )
    course, results = Course(plan), crew.results
    stopped = f"stopped; results are in {crew.out}: run the same command to go on"
    images: ImageSet | None = None
    with closing(crew.store()) as store, StopSignal() as stop:
        while True:
            if stop.caught is not None:
                stop.leave(stopped)
            found = course.follow(results.read)
            if course.over:
                return
            hopeless = store.offer(course.wanted, found)
            missing = {trial.key: trial for trial in course.wanted if trial.key not in found}
            for result in store.results(list(missing)):
                results.write(result)
            for key, why in hopeless.items():
                results.write(_failed(missing[key], why))
            if missing.keys() - hopeless.keys():
                images = images or _pictures(plan)  # takes a while, in which no lease is kept alive
            lease = store.claim([key for key in missing if key not in hopeless])
            if lease is None:
                time.sleep(POLL_S)
                continue
            trial = missing[lease.key]
            if known := results.read([trial.key]).get(trial.key):  # of one who lost it, by now
                store.finish(lease, known)
                continue
            logger.info(f"{trial.name}: {len(found) + 1} of {len(course.wanted)} of this stage")
            try:
                assert images is not None
                _train(trial, images, lease, store, crew, setup)
            except Interrupted:
                store.release(lease, "stopped")
                stop.leave(stopped)
            except BaseException:
                store.release(lease, "stopped")
                raise


def _pictures(plan: Plan[Any]) -> ImageSet:
    from phiscale.data.datasets.open import open_images
    from phiscale.search.training import in_memory

    images = open_images(plan.data)
    if images.fingerprint() != plan.fingerprint:
        raise DataError(
            f"{plan.data} holds other pictures than those that the study was begun "
            "with. Give it those."
        )
    return in_memory(images)


def _train(
    trial: Trial, images: ImageSet, lease: Lease, store: Store, crew: Crew, setup: Setup
) -> None:
    """Trains it and keeps its result. Where another worker has the trial by now, it does not matter
    what went wrong here."""
    from phiscale.search.training import tidy

    try:
        run = _folder(crew.out, lease)
        store.note(lease, "from", _images_seen(run))
        with store.alive(lease):
            try:
                found = _result(trial, images, run, crew.train, setup)
            except CheckpointError:  # damaged, or another version's
                shutil.rmtree(run)
                found = _result(trial, images, run, crew.train, setup)
    except (PhiscaleError, RuntimeError):  # the lease may be lost, too
        if not store.holds(lease):
            return
        raise
    if _keep(found, lease, store, crew):
        tidy(run)


def _keep(result: Result, lease: Lease, store: Store, crew: Crew) -> bool:
    """Whether it counts. In one folder the first file is right, and the database is told. Of
    machines that share only a server the first one to finish there is right for all: one that is
    late keeps nothing."""
    if crew.storage is None:
        store.finish(lease, crew.results.write(result))
        return True
    first = store.finish(lease, result)
    if first:
        crew.results.write(result)
    return first


def _result(trial: Trial, images: ImageSet, run: Path, train: Train, setup: Setup) -> Result:
    """What a training gives, or the reason why it gives nothing. What the machine did to it is no
    result: that is raised."""
    import torch

    try:
        found = train(trial, images, run, setup)
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


def _folder(out: Path, lease: Lease) -> Path:
    """Of the training: an earlier worker's, whose checkpoint it goes on from; a copy of that where
    the worker that lost its lease is still there and holds it."""
    own = out / "trainings" / lease.key
    try:
        with locked(own):
            return own
    except PhiscaleError:
        if not (own / ".lock").exists():
            raise
    copy = own.with_name(f"{lease.key}-{lease.number}")
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
