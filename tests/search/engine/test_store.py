"""The queue of trials: concurrent writers, lost workers, results from other machines.

No training is counted twice. `make faults` runs the full numbers of writes.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from phiscale.errors import MissingExtra, PhiscaleError, UsageError
from phiscale.search.engine import runner
from phiscale.search.engine.claims import this_process
from phiscale.search.engine.entries import WORKER_LOST, Meaning, meaning
from phiscale.search.engine.result import Result, Results
from phiscale.search.engine.run_plan import run_plan
from phiscale.search.engine.runner import RunnerConfig, runner_for
from phiscale.search.engine.store import MAX_FAILED_ATTEMPTS, Store
from phiscale.search.engine.trial import Trial
from support.workers import (
    CONTEXT,
    UPDATES_PER_TRIAL,
    OneStage,
    claim_and_write,
    digits_fingerprint,
    enqueue_and_claim,
    formula_result,
    make_trials,
)

EVERY = bool(os.environ.get("PHISCALE_EVERY_FAULT"))
WRITERS, UPDATES = 8, 200 if EVERY else 10


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


Stores = Callable[..., Store]


@pytest.fixture
def stores(url: str) -> Iterator[Stores]:
    """Opens stores by name, and closes them after the test."""
    with ExitStack() as stack:
        yield lambda name, **fields: stack.enter_context(closing(Store(url, name, **fields)))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_eight_concurrent_processes_lose_no_trial_and_count_none_twice(
    kind: str, url: str, request: pytest.FixtureRequest
):
    """They create the database at the same time, too."""
    if kind == "postgres":
        url = request.getfixturevalue("postgres").url("crowd")
    count = WRITERS * UPDATES // UPDATES_PER_TRIAL
    pool = [CONTEXT.Process(target=claim_and_write, args=(url, count)) for _ in range(WRITERS)]
    for process in pool:
        process.start()
    for process in pool:
        process.join(900)
    assert [process.exitcode for process in pool] == [0] * WRITERS
    with closing(Store(url, "crowd")) as store:
        entries = store.database.entries()
    done = [entry for entry in entries if entry.state is TrialState.COMPLETE]
    assert Counter(entry.user_attrs["key"] for entry in done) == Counter(
        trial.key for trial in make_trials(count)
    )
    for entry in done:
        writers = {entry.user_attrs[f"update {number}"] for number in range(UPDATES_PER_TRIAL - 1)}
        assert writers == {entry.user_attrs["worker"]["process"]}
    others = {entry.user_attrs.get("released") for entry in entries if entry not in done}
    assert others <= {"another entry is of the same trial"}


def entry_states(store: Store) -> list[str]:
    return [entry.state.name for entry in store.database.entries()]


def test_a_trial_is_claimed_once_and_in_the_order_of_the_keys(stores: Stores):
    one, two = stores("x"), stores("x")
    trials = make_trials(2)
    first, second = enqueue_and_claim(one, trials), enqueue_and_claim(two, trials)
    assert [first.key, second.key] == [trial.key for trial in trials]
    assert enqueue_and_claim(one, trials) is None
    one.mark_done(first, formula_result(trials[0]))
    two.mark_done(second, formula_result(trials[1]))
    one.mark_done(second, formula_result(trials[1], validation_error=0.9))  # too late
    assert [entry.value for entry in one.database.entries()] == [1 / 3, 1 / 4]


def test_a_worker_without_heartbeats_loses_its_trial_and_its_late_result_is_ignored(
    stores: Stores,
):
    lost, other = stores("x", heartbeat_timeout_s=1), stores("x", heartbeat_timeout_s=1)
    [trial] = make_trials(1)
    claim = enqueue_and_claim(lost, (trial,))
    with lost.claims.heartbeats(claim):
        time.sleep(2.5)
        assert enqueue_and_claim(other, (trial,)) is None
    time.sleep(2.5)
    new_claim = enqueue_and_claim(other, (trial,))
    assert new_claim.number != claim.number and not lost.claims.holds(claim)
    assert not lost.mark_done(claim, formula_result(trial, validation_error=0.9))
    lost.claims.release(claim, "too late")
    assert other.mark_done(new_claim, formula_result(trial))
    assert [entry.value for entry in other.database.entries((TrialState.COMPLETE,))] == [1 / 3]
    assert other.enqueue((trial,), {}) == {}
    assert entry_states(other) == ["FAIL", "COMPLETE"]


def test_a_result_after_its_claim_was_lost_is_kept_nowhere(tmp_path: Path):
    """Two machines share only the database; the other one has finished the trial first."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"

    def late(trial: Trial, *_: object) -> Result:
        other = Store(url, "phiscale")
        for entry in other.database.entries((TrialState.RUNNING,)):
            other.database.set_state(other.database.entry_ids(entry).id, TrialState.FAIL)
        claim = enqueue_and_claim(other, (trial,))
        assert other.mark_done(claim, formula_result(trial, validation_error=0.1))
        return formula_result(trial, validation_error=0.9)

    runner = RunnerConfig(out=tmp_path / "here", storage=url, train=late)
    plan = OneStage(trials=make_trials(1, digits_fingerprint()))
    run_plan(plan, runner)
    assert [each.validation_error for each in runner.results.all().values()] == [0.1]


def test_a_lost_shared_database_is_filled_again_even_if_all_trials_are_done(tmp_path: Path):
    file = tmp_path / "shared.db"
    runner = RunnerConfig(out=tmp_path / "here", storage=f"sqlite:///{file}", train=formula_result)
    plan = OneStage(trials=make_trials(2, digits_fingerprint()))
    best = run_plan(plan, runner)
    file.unlink()
    assert run_plan(plan, runner) == best
    with closing(runner.store()) as store:
        assert entry_states(store) == ["COMPLETE", "COMPLETE"]


def test_a_machine_with_another_type_of_device_may_not_join(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    plan_id = {"kind": "study", "plan": "1", "device": "cpu"}
    plan = OneStage(trials=make_trials(1, digits_fingerprint()))
    runner = RunnerConfig(out=tmp_path / "here", storage=url, train=formula_result, plan_id=plan_id)
    run_plan(plan, runner)
    other = replace(runner, out=tmp_path / "there", plan_id={**plan_id, "device": "cuda"})
    with pytest.raises(UsageError, match=r"was begun on cpu.*Use device='cpu'"):
        run_plan(plan, other)


def test_a_folder_keeps_to_its_type_of_device_while_there_is_something_to_train(tmp_path: Path):
    def on_cuda(trial: Trial, *_: object) -> Result:
        return formula_result(trial, made_by={"device": "cuda"})

    cuda_runner = RunnerConfig(
        out=tmp_path, train=on_cuda, device="cuda:1", plan_id={"kind": "k", "device": "cuda"}
    )
    one, two = (OneStage(trials=make_trials(count, digits_fingerprint())) for count in (1, 2))
    elsewhere = replace(cuda_runner, device="cpu", plan_id={"kind": "k", "device": "cpu"})
    cuda_runner.results.write_result(on_cuda(one.trials[0]))
    assert run_plan(one, elsewhere) == one.trials[0].key, "nothing to train"
    with pytest.raises(UsageError, match=r"was begun on cuda.*Use device='cuda'"):
        run_plan(two, elsewhere)


def runner_on(device: str, out: Path) -> RunnerConfig:
    return runner_for(out, None, "x", workers=1, threads=1, device=device)


def test_auto_resumes_on_the_folders_type_of_device_and_ignores_foreign_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        runner, "compute_device", lambda name: torch.device("cuda" if name == "auto" else name)
    )
    [trial] = make_trials(1)
    for name in ("one", "several/set"):  # a search on several sets has a folder of each
        folder = tmp_path / name
        Results(folder / "results").write_result(formula_result(trial, made_by={"device": "cpu"}))
        (folder / "results" / "0.json").write_text('{"my": "experiment"}')
        assert runner_on("auto", tmp_path / name.partition("/")[0]).device == "cuda", "no plan.json"
        (folder / "plan.json").write_text("{}")
        assert runner_on("auto", tmp_path / name.partition("/")[0]).device == "cpu"
    assert runner_on("auto", tmp_path / "new").device == "cuda"
    assert runner_on("cuda", tmp_path / "one").device == "cuda"


def record_death(store: Store, trial: Trial, images_seen: int, dead: int) -> None:
    """Record what the database knows of a worker that died."""
    claim = enqueue_and_claim(store, (trial,))
    store.claims.set_attr(claim, "images_at_start", images_seen)
    store.claims.set_attr(claim, "worker", {**this_process(), "process": dead})


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_trial_that_kills_its_workers_fails_unless_each_gets_further(stores: Stores, dead: int):
    deadly, slow = make_trials(2)
    store = stores("x")
    for number in range(MAX_FAILED_ATTEMPTS):
        assert store.enqueue((deadly, slow), {}) == {}
        record_death(store, deadly, 0, dead)
        record_death(store, slow, 100 * number, dead)
        store.claims.release_ended_processes(blame=True)
    assert store.enqueue((deadly, slow), {}) == {
        deadly.key: f"{MAX_FAILED_ATTEMPTS} workers died at it"
    }


def test_a_killed_command_counts_little_against_its_trial(stores: Stores, dead: int):
    [trial] = make_trials(1)
    store = stores("x")
    for _ in range(MAX_FAILED_ATTEMPTS + 1):
        record_death(store, trial, 0, dead)
        store.claims.release_ended_processes()
    assert store.enqueue((trial,), {}) == {}


def test_a_trial_during_which_the_command_is_killed_again_and_again_fails(
    stores: Stores, dead: int
):
    [trial] = make_trials(1)
    store = stores("x")
    for _ in range(4 * MAX_FAILED_ATTEMPTS):
        assert store.enqueue((trial,), {}) == {}
        record_death(store, trial, 0, dead)
        store.claims.release_ended_processes()
    assert trial.key in store.enqueue((trial,), {})


def test_two_stores_that_fill_an_empty_database_mark_each_result_once(stores: Stores):
    trials = make_trials(4)
    results = {trial.key: formula_result(trial) for trial in trials}
    failed = replace(
        results[trials[1].key], validation_error=None, validation_loss=None, failed="it diverged"
    )
    results[trials[1].key] = failed
    one, two = stores("x"), stores("x")
    one.mark_all_done(trials, results)
    two.mark_all_done(trials, results)
    assert entry_states(one) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    checksums = {result.key: result.to_dict()["sha256"] for result in two.results(list(results))}
    assert checksums == {key: result.to_dict()["sha256"] for key, result in results.items()}
    assert two.enqueue(trials, results) == {} and len(two.database.entries()) == 4


def test_a_result_from_another_machine_marks_a_waiting_trial_as_done(stores: Stores):
    store = stores("x")
    trials = make_trials(2)
    store.enqueue(trials, {})
    store.enqueue(trials, {trials[0].key: formula_result(trials[0])})
    assert entry_states(store) == ["COMPLETE", "WAITING"]


def test_two_studies_in_one_database_are_separate(stores: Stores):
    trials = make_trials(1)
    one, two = stores("one"), stores("two")
    one.mark_done(enqueue_and_claim(one, trials), formula_result(trials[0]))
    assert two.database.entries() == [] and enqueue_and_claim(two, trials) is not None
    assert (
        one.database.get_or_set_plan_id({"what": 1}) == {"what": 1} and two.database.plan_id() == {}
    )
    assert one.database.get_or_set_plan_id({"what": 2}) == {"what": 1}


def test_optuna_and_its_dashboard_read_the_study(stores: Stores, url: str):
    """Names and arms to filter by, numbers to plot against, errors as values."""
    store = stores("study")
    trials = make_trials(3)
    for trial in trials[:2]:
        store.mark_done(enqueue_and_claim(store, trials), formula_result(trial))
    failed = replace(formula_result(trials[2]), validation_error=None, failed="diverged")
    store.mark_done(enqueue_and_claim(store, trials), failed)
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
    ("storage", "message"),
    [
        ("mysql://me@there/study", "only PostgreSQL and SQLite keep workers apart"),
        ("what?", "is no database. Use postgresql://USER@HOST/NAME or sqlite:///FILE"),
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
    ],
)
def test_an_impossible_storage_is_reported_in_one_line(storage: str, message: str):
    with pytest.raises(PhiscaleError, match=message) as error:
        Store(storage, "x")
    assert "\n" not in str(error.value)
    assert isinstance(error.value, UsageError) == ("sqlite" not in storage)


def test_an_absent_server_is_reported_at_once_and_without_the_password():
    pytest.importorskip("psycopg", reason="pip install 'phiscale[postgres]'")
    began = time.monotonic()
    with pytest.raises(PhiscaleError, match=r"refused.*Check `storage`") as error:
        Store("postgresql://me:secret@127.0.0.1:1/study", "x")
    assert time.monotonic() - began < 20 and "secret" not in str(error.value)


def test_a_missing_driver_is_reported_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # importing it raises ImportError
    with pytest.raises(MissingExtra, match=r"pip install 'phiscale\[postgres\]'"):
        Store("postgresql://me@127.0.0.1/study", "x")


def test_a_folder_of_results_keeps_the_first_result_and_files_that_are_being_written(
    tmp_path: Path,
):
    results = Results(tmp_path)
    [trial] = make_trials(1)
    results.write_result(formula_result(trial))
    assert (
        Results(tmp_path).write_result(formula_result(trial, validation_error=0.9)).error == 1 / 3
    )
    being_written = tmp_path / ".x.json.1.part"
    being_written.write_text("")
    results.sweep()
    assert being_written.exists()
    os.utime(being_written, (0, 0))
    results.sweep()
    assert not being_written.exists()


def test_of_two_workers_that_write_a_result_at_once_both_see_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    [trial] = make_trials(1)
    first, second = (formula_result(trial, validation_error=error) for error in (0.1, 0.9))
    link = os.link

    def link_after_the_first(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        assert Results(tmp_path).write_result(first).error == 0.1
        link(source, target)

    monkeypatch.setattr(os, "link", link_after_the_first)
    assert Results(tmp_path).write_result(second).error == 0.1
    assert [path.name for path in tmp_path.iterdir()] == [f"{trial.key}.json"]


def test_results_can_be_written_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(source))

    monkeypatch.setattr(os, "link", refuse)
    [trial] = make_trials(1)
    for error in (0.1, 0.9):
        result = formula_result(trial, validation_error=error)
        assert Results(tmp_path).write_result(result).error == 0.1
    assert [path.name for path in tmp_path.iterdir()] == [f"{trial.key}.json"]


@pytest.mark.parametrize(
    "call",
    [
        lambda store: 1 + "x",
        lambda store: store.database.storage.get_trial(),
        lambda store: store.database.study.set_user_attr("x", {1, 2}),
    ],
)
def test_a_programming_error_is_not_taken_for_a_damaged_database(
    call: Callable[[Store], object], stores: Stores
):
    store = stores("x")
    with pytest.raises(TypeError):
        store.database.call(lambda: call(store))


def test_the_meaning_of_an_entry_follows_from_its_state_and_its_attributes():
    meanings = {
        Meaning.DONE: (TrialState.COMPLETE, {"result": "{}"}),
        Meaning.TRAINING_FAILED: (TrialState.FAIL, {"result": "{}", "failed": "it diverged"}),
        Meaning.RELEASED: (TrialState.FAIL, {"released": "stopped", "images_at_start": 64}),
        Meaning.WORKER_LOST: (TrialState.FAIL, {"released": WORKER_LOST, "images_at_start": 64}),
        Meaning.WORKER_DIED: (TrialState.FAIL, {"images_at_start": 64}),
        Meaning.INCOMPLETE: (TrialState.FAIL, {"images_at_start": 64, "result": "{}"}),
        Meaning.WAITING: (TrialState.WAITING, {}),
        Meaning.RUNNING: (TrialState.RUNNING, {"images_at_start": 64}),
    }
    for expected, (state, attrs) in meanings.items():
        value = 0.5 if state is TrialState.COMPLETE else None
        entry = optuna.trial.create_trial(state=state, value=value, user_attrs=attrs)
        assert meaning(entry) is expected
    assert set(meanings) == set(Meaning)
