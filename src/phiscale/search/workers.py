"""Carries out a plan of trainings: by one process or many, here or on many machines, stopped and
begun again as often as need be. There is no head: every worker follows the same plan, which is a
pure function of results, and takes what nobody else has taken.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from phiscale.errors import DataError, PhiscaleError, TrainingError
from phiscale.files import locked
from phiscale.search.store import LEASE_S, MOST_DEATHS, Lease, Store
from phiscale.search.trial import Result, Results, Trial
from phiscale.train.signals import Interrupted, StopSignal

Outcome = TypeVar("Outcome", covariant=True)
Stages = Generator[Sequence[Trial], Mapping[str, Result], Outcome]
"""Yields the trials of a stage, is sent their results by key when all are there; returns what the
whole has come to."""

POLL_S = 0.5
SAVE_EVERY_S = 20.0  # of a training: what a kill costs


class Plan(Protocol[Outcome]):
    """What is trained for what. Frozen: workers get copies."""

    @property
    def data(self) -> str:
        """DATA as the user gave it; a worker elsewhere may have it elsewhere."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the pictures."""
        ...

    def stages(self) -> Stages[Outcome]: ...


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Where a plan is carried out, and by how many. Nothing here changes a result."""

    out: Path
    storage: str | None = None  # None: an SQLite file in `out`
    name: str = "phiscale"
    workers: int = 1
    device: str = "cpu"
    lease_s: float = LEASE_S
    about: Mapping[str, Any] = field(default_factory=dict)  # of the plan, for the dashboard

    @property
    def results(self) -> Results:
        return Results(self.out / "results")

    def store(self) -> Store:
        self.out.mkdir(parents=True, exist_ok=True)
        url = self.storage or f"sqlite:///{(self.out / 'study.db').resolve()}"
        return Store(url, self.name, lease_s=self.lease_s)

    def run_of(self, key: str) -> Path | None:
        """The folder of a finished training, if it was done here."""
        found = sorted((self.out / "trainings").glob(f"{key}*/best.safetensors"))
        return found[0].parent if found else None


class Course(Generic[Outcome]):
    """How far a plan has come."""

    def __init__(self, plan: Plan[Outcome]):
        self._stages = plan.stages()
        self.wanted: Sequence[Trial] = ()
        self.outcome: Outcome | None = None
        self.over = False
        self._go_on(None)

    def _go_on(self, results: Mapping[str, Result] | None) -> None:
        try:
            self.wanted = next(self._stages) if results is None else self._stages.send(results)
        except StopIteration as end:
            self.wanted, self.outcome, self.over = (), end.value, True

    def follow(self, read: Callable[[Sequence[str]], dict[str, Result]]) -> dict[str, Result]:
        """As far as the results reach. Returns those of the stage that is not complete."""
        while not self.over:
            keys = [trial.key for trial in self.wanted]
            found = read(keys)
            if len(found) < len(set(keys)):
                return found
            self._go_on(found)
        return {}


def carry_out(plan: Plan[Outcome], crew: Crew, tell: Callable[[str], None]) -> Outcome:
    """What the plan has come to, every training of it done. Begun again it goes on."""
    crew.results.sweep()
    course = Course(plan)
    course.follow(crew.results.read)
    if not course.over:
        store = crew.store()  # made once, before the workers meet in it
        store.release_dead()
        store.about(crew.about)
        if crew.workers == 1:
            work(plan, crew, tell)
        else:
            _watch(plan, crew, course, tell)
        course.follow(crew.results.read)
    if not course.over:
        raise TrainingError("not every training was done. Run the same command to go on.")
    return course.outcome  # type: ignore[return-value]


def work(plan: Plan[Outcome], crew: Crew, tell: Callable[[str], None]) -> None:
    """Takes one training after another until the plan is at its end."""
    import torch

    from phiscale.data.sources import open_images
    from phiscale.search.training import in_memory, tidy, train_trial
    from phiscale.train.loop import Setup

    setup = Setup(device=torch.device(crew.device), workers=1, keep=2, save_every_s=SAVE_EVERY_S,
                  tell=_unheard)  # fmt: skip
    course, store, results = Course(plan), crew.store(), crew.results
    images = None
    with StopSignal() as stop:
        while True:
            if stop.caught is not None:
                stop.leave(f"stopped; results are in {crew.out}: run the same command to go on")
            found = course.follow(results.read)
            if course.over:
                return
            missing = [trial for trial in course.wanted if trial.key not in found]
            hopeless = store.offer(course.wanted, found)
            for other in store.results([trial.key for trial in missing]):
                results.write(other)
            for trial in missing:
                if trial.key in hopeless:
                    results.write(_given_up(trial, hopeless[trial.key]))
            lease = store.claim([trial.key for trial in missing if trial.key not in hopeless])
            if lease is None:
                time.sleep(POLL_S)
                continue
            trial = next(trial for trial in missing if trial.key == lease.key)
            if not results.path(trial.key).exists():
                tell(f"{trial.name}: {len(found) + 1} of {len(course.wanted)} of this stage")
                if images is None:
                    images = open_images(plan.data)
                    if images.fingerprint() != plan.fingerprint:
                        store.release(lease, "other pictures")
                        raise DataError(f"{plan.data} holds other pictures than those that the "
                                        "study was begun with. Give it those.")  # fmt: skip
                    images = in_memory(images)
                run = _folder(crew.out, lease)
                try:
                    with store.alive(lease):
                        result = train_trial(trial, images, run, setup)
                except (Interrupted, KeyboardInterrupt, PhiscaleError):
                    store.release(lease, "stopped")
                    raise
                results.write(result)
                tidy(run)
            store.finish(lease, results.read([trial.key])[trial.key])


def _given_up(trial: Trial, why: str) -> Result:
    return Result(key=trial.key, name=trial.name, about=dict(trial.about), trial=trial.to_dict(),
                  validation_error=None, validation_loss=None, validation_images=0,
                  failed=why)  # fmt: skip


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
        shutil.copytree(own, copy, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(".lock", "*.part"))  # fmt: skip
        return copy


def _watch(plan: Plan[Any], crew: Crew, course: Course[Any], tell: Callable[[str], None]) -> None:
    """Workers in processes of their own; one that dies is replaced, some times."""
    context = multiprocessing.get_context("spawn")
    spare = MOST_DEATHS

    def begin() -> BaseProcess:
        process = context.Process(target=_process, args=(plan, crew, os.getpid()))
        process.start()
        return process

    with StopSignal() as stop:
        team = [begin() for _ in range(crew.workers)]
        told = ""
        try:
            while team:
                if stop.caught is not None:
                    stop.leave(f"stopped; results are in {crew.out}: run the same command to go on")
                time.sleep(POLL_S)
                found = course.follow(crew.results.read)
                if not course.over and told != (line := _so_far(course, found)):
                    tell(told := line)
                for process in [p for p in team if p.exitcode is not None]:
                    team.remove(process)
                    if process.exitcode == 0:
                        continue
                    if process.exitcode == 1 or not spare:
                        raise TrainingError("a worker failed; its reason stands above. "
                                            "Run the same command to go on.")  # fmt: skip
                    spare -= 1
                    tell(f"a worker died (exit {process.exitcode}); another goes on")
                    team.append(begin())
        finally:
            for process in team:
                process.terminate()  # SIGTERM: they save
            for process in team:
                process.join(40)
                if process.exitcode is None:
                    process.kill()


def _so_far(course: Course[Any], found: Mapping[str, Result]) -> str:
    work = {trial.key: trial.macs_spent for trial in course.wanted}
    share = sum(work[key] for key in found) / max(1e-9, sum(work.values()))
    return f"{len(found)} of {len(work)} trainings of this stage ({100 * share:.0f} % of the work)"


def _process(plan: Plan[Any], crew: Crew, parent: int) -> None:
    """The main function of a worker's process. It does not outlive the one that began it."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, daemon=True).start()
    try:
        work(plan, crew, _unheard)
    except Interrupted as stopped:
        os._exit(stopped.status)
    except KeyboardInterrupt:
        os._exit(130)
    except PhiscaleError as error:
        with suppress(OSError):
            print(f"phiscale: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def _unheard(line: str) -> None:
    """One of many trainings."""
