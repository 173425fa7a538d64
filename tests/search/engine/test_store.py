"""The store of trials: many write in it at once, workers are lost, results come from elsewhere; no
training is counted twice. `make faults` runs the full counts."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from phiscale.cli.searching import Workers
from phiscale.errors import MissingExtra, PhiscaleError, UsageError
from phiscale.search.engine import database
from phiscale.search.engine.carry_out import carry_out
from phiscale.search.engine.claims import this_process as here
from phiscale.search.engine.result import Result, Results
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.store import MOST_DEATHS, Store
from phiscale.search.engine.trial import Trial
from phiscale.training import devices
from support.workers import CONTEXT, OF_A_TRIAL, Several, digits, invented, some, taken, write

EVERY = bool(os.environ.get("PHISCALE_EVERY_FAULT"))
WRITERS, UPDATES = 8, 200 if EVERY else 10


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


Stores = Callable[..., Store]


@pytest.fixture
def stores(url: str) -> Iterator[Stores]:
    """Opens stores of the given name, and closes them."""
    with ExitStack() as stack:
        yield lambda name, **fields: stack.enter_context(closing(Store(url, name, **fields)))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_eight_that_write_at_once_lose_nothing_and_count_nothing_twice(
    kind: str, url: str, request: pytest.FixtureRequest
):
    """They make the database at once, too."""
    if kind == "postgres":
        url = request.getfixturevalue("postgres").url("crowd")
    count = WRITERS * UPDATES // OF_A_TRIAL
    pool = [CONTEXT.Process(target=write, args=(url, count)) for _ in range(WRITERS)]
    for process in pool:
        process.start()
    for process in pool:
        process.join(900)
    assert [process.exitcode for process in pool] == [0] * WRITERS
    with closing(Store(url, "crowd")) as store:
        entries = store.database.entries()
    done = [entry for entry in entries if entry.state is TrialState.COMPLETE]
    assert Counter(entry.user_attrs["key"] for entry in done) == Counter(
        trial.key for trial in some(count)
    )
    for entry in done:
        writers = {entry.user_attrs[f"update {number}"] for number in range(OF_A_TRIAL - 1)}
        assert writers == {entry.user_attrs["worker"]["process"]}
    others = {entry.user_attrs.get("released") for entry in entries if entry not in done}
    assert others <= {"another entry is of the same trial"}


def states(store: Store) -> list[str]:
    return [entry.state.name for entry in store.database.entries()]


def test_a_trial_is_taken_once_and_in_the_order_asked(stores: Stores):
    one, two = stores("x"), stores("x")
    trials = some(2)
    first, second = taken(one, trials), taken(two, trials)
    assert [first.key, second.key] == [trial.key for trial in trials]
    assert taken(one, trials) is None
    one.finish(first, invented(trials[0]))
    two.finish(second, invented(trials[1]))
    one.finish(second, invented(trials[1], validation_error=0.9))  # too late
    assert [entry.value for entry in one.database.entries()] == [1 / 3, 1 / 4]


def test_a_worker_without_signs_of_life_loses_its_trial_and_what_it_notes_later_is_void(
    stores: Stores,
):
    lost, other = stores("x", heartbeat_timeout_s=1), stores("x", heartbeat_timeout_s=1)
    [trial] = some(1)
    claim = taken(lost, (trial,))
    with lost.claims.heartbeats(claim):
        time.sleep(2.5)
        assert taken(other, (trial,)) is None
    time.sleep(2.5)
    its = taken(other, (trial,))
    assert its.number != claim.number and not lost.claims.holds(claim)
    assert not lost.finish(claim, invented(trial, validation_error=0.9))
    lost.claims.release(claim, "too late")
    assert other.finish(its, invented(trial))
    assert [entry.value for entry in other.database.entries((TrialState.COMPLETE,))] == [1 / 3]
    assert other.enqueue((trial,), {}) == {}
    assert states(other) == ["FAIL", "COMPLETE"]


def test_a_result_that_comes_after_its_lease_was_lost_is_kept_nowhere(tmp_path: Path):
    """On a machine that shares only the database: elsewhere it was trained to another end."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"

    def late(trial: Trial, *_: object) -> Result:
        other = Store(url, "phiscale")
        for entry in other.database.entries((TrialState.RUNNING,)):
            other.database.storage.set_trial_state_values(entry._trial_id, TrialState.FAIL)
        its = taken(other, (trial,))
        assert other.finish(its, invented(trial, validation_error=0.1))
        return invented(trial, validation_error=0.9)

    runner = RunnerConfig(out=tmp_path / "here", storage=url, train=late)
    plan = Several(trials=some(1, digits()))
    carry_out(plan, runner)
    assert [each.validation_error for each in runner.results.all().values()] == [0.1]


def test_a_shared_database_that_was_lost_is_filled_again_though_all_is_done(tmp_path: Path):
    file = tmp_path / "shared.db"
    runner = RunnerConfig(out=tmp_path / "here", storage=f"sqlite:///{file}", train=invented)
    plan = Several(trials=some(2, digits()))
    best = carry_out(plan, runner)
    file.unlink()
    assert carry_out(plan, runner) == best
    with closing(runner.store()) as store:
        assert states(store) == ["COMPLETE", "COMPLETE"]


def test_a_machine_with_another_type_of_device_may_not_join(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    attrs = {"kind": "study", "plan": "1", "device": "cpu"}
    plan = Several(trials=some(1, digits()))
    runner = RunnerConfig(out=tmp_path / "here", storage=url, train=invented, attrs=attrs)
    carry_out(plan, runner)
    other = replace(runner, out=tmp_path / "there", attrs={**attrs, "device": "cuda"})
    with pytest.raises(UsageError, match=r"was begun on cpu.*Use device='cpu'"):
        carry_out(plan, other)


def test_a_folder_keeps_to_its_type_of_device_while_there_is_something_to_train(tmp_path: Path):
    def made(trial: Trial, *_: object) -> Result:
        return invented(trial, made_by={"device": "cuda"})

    here = RunnerConfig(
        out=tmp_path, train=made, device="cuda:1", attrs={"kind": "k", "device": "cuda"}
    )
    one, two = (Several(trials=some(count, digits())) for count in (1, 2))
    elsewhere = replace(here, device="cpu", attrs={"kind": "k", "device": "cpu"})
    here.results.write(made(one.trials[0]))
    assert carry_out(one, elsewhere) == one.trials[0].key, "nothing to train"
    with pytest.raises(UsageError, match=r"was begun on cuda.*Use device='cuda'"):
        carry_out(two, elsewhere)


def test_auto_goes_on_where_a_folder_was_begun_and_what_is_not_ours_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        devices, "compute_device", lambda name: torch.device("cuda" if name == "auto" else name)
    )
    [trial] = some(1)
    for name in ("one", "several/set"):  # a search on several sets has a folder of each
        folder = tmp_path / name
        Results(folder / "results").write(invented(trial, made_by={"device": "cpu"}))
        (folder / "results" / "0.json").write_text('{"my": "experiment"}')
        assert Workers().runner(tmp_path / name.partition("/")[0]).device == "cuda", "no plan.json"
        (folder / "plan.json").write_text("{}")
        assert Workers().runner(tmp_path / name.partition("/")[0]).device == "cpu"
    assert Workers().runner(tmp_path / "new").device == "cuda"
    assert Workers(device="cuda").runner(tmp_path / "one").device == "cuda"


def dies_at(store: Store, trial: Trial, began_at: int, dead: int) -> None:
    """As far as the database can see."""
    claim = taken(store, (trial,))
    store.claims.note(claim, "from", began_at)
    store.claims.note(claim, "worker", {**here(), "process": dead})


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that was."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_trial_that_kills_its_workers_is_given_up_unless_they_come_further_each_time(
    stores: Stores, dead: int
):
    deadly, slow = some(2)
    store = stores("x")
    for number in range(MOST_DEATHS):
        assert store.enqueue((deadly, slow), {}) == {}
        dies_at(store, deadly, 0, dead)
        dies_at(store, slow, 100 * number, dead)
        store.claims.release_stale(blame=True)
    assert store.enqueue((deadly, slow), {}) == {deadly.key: f"{MOST_DEATHS} workers died at it"}


def test_who_kills_the_command_is_not_the_trials_fault(stores: Stores, dead: int):
    [trial] = some(1)
    store = stores("x")
    for _ in range(MOST_DEATHS + 1):
        dies_at(store, trial, 0, dead)
        store.claims.release_stale()
    assert store.enqueue((trial,), {}) == {}


def test_but_one_that_ends_its_command_again_and_again_is_given_up_too(stores: Stores, dead: int):
    [trial] = some(1)
    store = stores("x")
    for _ in range(4 * MOST_DEATHS):
        assert store.enqueue((trial,), {}) == {}
        dies_at(store, trial, 0, dead)
        store.claims.release_stale()
    assert trial.key in store.enqueue((trial,), {})


def test_results_fill_an_empty_database_once_though_two_fill_it(stores: Stores):
    trials = some(4)
    results = {trial.key: invented(trial) for trial in trials}
    failed = replace(
        results[trials[1].key], validation_error=None, validation_loss=None, failed="it diverged"
    )
    results[trials[1].key] = failed
    one, two = stores("x"), stores("x")
    one.record(trials, results)
    two.record(trials, results)
    assert states(one) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    known = {result.key: result.to_dict()["sha256"] for result in two.results(list(results))}
    assert known == {key: result.to_dict()["sha256"] for key, result in results.items()}
    assert two.enqueue(trials, results) == {} and len(two.database.entries()) == 4


def test_a_result_that_comes_from_elsewhere_settles_the_trial_that_waits(stores: Stores):
    store = stores("x")
    trials = some(2)
    store.enqueue(trials, {})
    store.enqueue(trials, {trials[0].key: invented(trials[0])})
    assert states(store) == ["COMPLETE", "WAITING"]


def test_two_studies_of_one_database_know_nothing_of_each_other(stores: Stores):
    trials = some(1)
    one, two = stores("one"), stores("two")
    one.finish(taken(one, trials), invented(trials[0]))
    assert two.database.entries() == [] and taken(two, trials) is not None
    assert one.database.attrs({"what": 1}) == {"what": 1} and two.database.attrs() == {}
    assert one.database.attrs({"what": 2}) == {"what": 1}


def test_optuna_and_its_dashboard_read_the_study(stores: Stores, url: str):
    """Names and arms to filter by, numbers to plot against, errors as values."""
    store = stores("study")
    trials = some(3)
    for trial in trials[:2]:
        store.finish(taken(store, trials), invented(trial))
    failed = replace(invented(trials[2]), validation_error=None, failed="diverged")
    store.finish(taken(store, trials), failed)
    plain = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name="study", storage=plain)
    assert study.best_trial.user_attrs["name"] == "width 8, seed 1"
    assert study.best_value == 1 / 4 and study.direction.name == "MINIMIZE"
    assert study.best_trial.params == {"lr": 0.4, "width": 8.0, "seed": 1.0}
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    attrs = [trial.user_attrs for trial in study.trials]
    assert [attr["stage"] for attr in attrs] == ["first", "second", "second"]
    assert attrs[2]["failed"] == "diverged" and attrs[0]["worker"]["process"] == os.getpid()
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        assert trial.duration is not None and trial.duration.total_seconds() >= 0
    plain.engine.dispose()


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("mysql://me@there/study", "only PostgreSQL and SQLite keep workers apart"),
        ("what?", "is no database. Use postgresql://USER@HOST/NAME or sqlite:///FILE"),
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
    ],
)
def test_a_storage_that_cannot_be_is_one_line(storage: str, words: str):
    with pytest.raises(PhiscaleError, match=words) as told:
        Store(storage, "x")
    assert "\n" not in str(told.value)
    assert isinstance(told.value, UsageError) == ("sqlite" not in storage)


def test_a_server_that_is_not_there_is_said_at_once_and_without_the_password():
    pytest.importorskip("psycopg", reason="pip install 'phiscale[postgres]'")
    began = time.monotonic()
    with pytest.raises(PhiscaleError, match=r"refused.*Check `storage`") as told:
        Store("postgresql://me:secret@127.0.0.1:1/study", "x")
    assert time.monotonic() - began < 20 and "secret" not in str(told.value)


def test_a_missing_driver_is_the_pip_line(monkeypatch: pytest.MonkeyPatch):
    def without(*_: Any, **__: Any) -> None:
        raise ImportError

    monkeypatch.setattr(database, "RDBStorage", without)
    with pytest.raises(MissingExtra, match=r"pip install 'phiscale\[postgres\]'"):
        Store("postgresql://me@127.0.0.1/study", "x")


def test_a_folder_of_results_keeps_the_first_and_another_runs_writes(tmp_path: Path):
    results = Results(tmp_path)
    [trial] = some(1)
    results.write(invented(trial))
    assert Results(tmp_path).write(invented(trial, validation_error=0.9)).error == 1 / 3
    being_written = tmp_path / ".x.json.1.part"
    being_written.write_text("")
    results.sweep()
    assert being_written.exists()
    os.utime(being_written, (0, 0))
    results.sweep()
    assert not being_written.exists()
