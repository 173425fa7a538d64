"""Faults besides kills: a damaged database or result, a full disk, a training that fails.

Each ends in one clear line, or the study goes on.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from phiscale.cli.output import log_to
from phiscale.errors import PhiscaleError
from phiscale.files import CHECKSUM, with_checksum
from phiscale.search.engine.database import StoreError
from phiscale.search.engine.result import Results
from phiscale.search.engine.run_plan import run_plan
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.store import Store
from support.workers import (
    TRAINING_ENDS,
    OneStage,
    always_fail,
    crash_worker,
    digits_fingerprint,
    done_states,
    formula_result,
    make_trials,
    messages,
    run_as_nobody,
    run_to_end,
    runner_in,
    start_command,
    train_and_log,
    train_or_fail,
    wait_until,
)

SEED = int(os.environ.get("PHISCALE_FAULT_SEED", "0"))
EVERY = bool(os.environ.get("PHISCALE_EVERY_FAULT"))
DAMAGES = 60 if EVERY else 2


@pytest.fixture(scope="module")
def plan() -> OneStage:
    """A plan of six trials."""
    return OneStage(trials=make_trials(6, digits_fingerprint()))


def local_runner(out: Path, **fields: Any) -> RunnerConfig:
    """A runner in this process, with results from a formula."""
    return runner_in(out, **({"train": formula_result} | fields))


@pytest.fixture(scope="module")
def finished_folder(plan: OneStage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the plan, carried out."""
    out = tmp_path_factory.mktemp("done")
    run_plan(plan, local_runner(out))
    return out


@pytest.fixture
def half_folder(finished_folder: Path, plan: OneStage, tmp_path: Path) -> Path:
    """The same folder without the results of two trials."""
    out = tmp_path / "half"
    shutil.copytree(finished_folder, out)
    for trial in plan.trials[4:]:
        (out / "results" / f"{trial.key}.json").unlink()
    return out


def damage(path: Path, kind: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    match kind:
        case "flip":
            for _ in range(20):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        case "cut":
            del content[rng.randrange(1, len(content)) :]
        case "empty":
            content.clear()
        case "noise":
            content[:] = rng.randbytes(len(content))
        case "zero":
            at = rng.randrange(len(content))
            content[at : at + 4096] = bytes(len(content[at : at + 4096]))
    path.write_bytes(bytes(content))


def assert_as_if_undisturbed(plan: OneStage, out: Path, finished_folder: Path) -> None:
    """Check that all results and the database are those of a run that nothing disturbed."""
    one, two = Results(out / "results").all(), Results(finished_folder / "results").all()
    assert {k: r.to_dict() for k, r in one.items()} == {k: r.to_dict() for k, r in two.items()}
    assert done_states(local_runner(out)) == done_states(local_runner(finished_folder))


@pytest.mark.parametrize("number", range(DAMAGES))
@pytest.mark.parametrize("kind", ["flip", "cut", "empty", "noise", "zero"])
def test_a_damaged_database_is_moved_aside_and_filled_again(
    kind: str, number: int, plan: OneStage, finished_folder: Path, half_folder: Path
):
    if not EVERY and number > 0 and kind != "flip":
        pytest.skip("PHISCALE_EVERY_FAULT=1")
    lines: list[str] = []
    damage(half_folder / "study.db", kind, random.Random(f"{SEED} {kind} {number}"))
    runner = local_runner(half_folder)
    with log_to(lines.append):
        assert run_plan(plan, runner)
    moved = (half_folder / "study.db.damaged").exists()
    assert sum("study.db.damaged" in line for line in lines) == moved
    if kind == "noise":
        assert moved
    one = {key: result.to_dict() for key, result in runner.results.all().items()}
    two = {
        key: result.to_dict() for key, result in Results(finished_folder / "results").all().items()
    }
    assert one == two
    states = done_states(runner)  # an entry whose key was hit belongs to no trial
    assert {key: states.get(key) for key in one} == {key: ["COMPLETE"] for key in one}


def test_a_deleted_database_is_filled_from_the_results(
    plan: OneStage, finished_folder: Path, half_folder: Path
):
    (half_folder / "study.db").unlink()
    trained: list[str] = []

    def train(trial: Any, *rest: Any) -> Any:
        trained.append(trial.key)
        return formula_result(trial)

    run_plan(plan, local_runner(half_folder, train=train))
    assert trained == [trial.key for trial in plan.trials[4:]]
    assert_as_if_undisturbed(plan, half_folder, finished_folder)


def test_a_folder_of_results_from_another_machine_needs_no_training(
    plan: OneStage, finished_folder: Path, tmp_path: Path
):
    shutil.copytree(finished_folder / "results", tmp_path / "results")
    run_plan(plan, local_runner(tmp_path, train=train_nothing))
    assert_as_if_undisturbed(plan, tmp_path, finished_folder)


def train_nothing(*_: Any) -> Any:
    raise AssertionError("this trial has a result already")


def test_deleted_results_come_back_from_the_database(
    plan: OneStage, finished_folder: Path, half_folder: Path
):
    run_plan(plan, local_runner(half_folder, train=train_nothing))
    assert_as_if_undisturbed(plan, half_folder, finished_folder)


def test_a_database_that_is_locked_for_five_seconds_is_waited_for(
    plan: OneStage, finished_folder: Path, half_folder: Path
):
    holder = sqlite3.connect(
        half_folder / "study.db", check_same_thread=False, isolation_level=None
    )
    holder.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(5, lambda: (holder.execute("ROLLBACK"), holder.close()))
    timer.start()
    began = time.monotonic()
    run_plan(plan, local_runner(half_folder))
    assert time.monotonic() - began > 4
    timer.join()
    assert_as_if_undisturbed(plan, half_folder, finished_folder)


def copy_for_nobody(half_folder: Path) -> Path:
    """Copy the folder to a place that everybody may read; pytest's folders are root's."""
    out = Path(tempfile.mkdtemp(dir="/tmp")) / "out"
    shutil.copytree(half_folder, out)
    for path in (out.parent, out, *out.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return out


@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_a_database_that_cannot_be_written_ends_in_one_line_and_the_study_resumes_later(
    fault: str, plan: OneStage, finished_folder: Path, half_folder: Path
):
    for trial in plan.trials[3:]:
        (half_folder / "results" / f"{trial.key}.json").unlink(missing_ok=True)
    (half_folder / "study.db").unlink()
    run_plan(OneStage(trials=plan.trials[:3]), local_runner(half_folder))
    out = copy_for_nobody(half_folder)

    try:
        if fault == "read-only":
            (out / "study.db").chmod(0o444)
            out.chmod(0o555)
        before = (out / "study.db").read_bytes()
        line = run_as_nobody(plan, out, len(before) if fault == "full" else 0)
        assert "free" in line.lower() and "\n" not in line, line
        assert len(list((out / "results").glob("*.json"))) >= 3
        if fault == "read-only":
            assert (out / "study.db").read_bytes() == before
        out.chmod(0o777)
        (out / "study.db").chmod(0o666)
        assert run_as_nobody(plan, out) == "done"
        assert_as_if_undisturbed(plan, out, finished_folder)
    finally:
        shutil.rmtree(out.parent)


def test_a_folder_may_have_any_name(plan: OneStage, finished_folder: Path, tmp_path: Path):
    out = tmp_path / "what? 100% of #1 ü"
    run_plan(plan, local_runner(out, workers=2, start="forkserver"))
    assert (out / "study.db").is_file() and not list(tmp_path.glob("what"))
    assert_as_if_undisturbed(plan, out, finished_folder)


@pytest.mark.parametrize("kind", ["cut", "empty", "digit", "other", "future", "text", "noise"])
def test_a_damaged_result_is_named(kind: str, plan: OneStage, half_folder: Path):
    path = half_folder / "results" / f"{plan.trials[0].key}.json"
    value = json.loads(path.read_text())
    match kind:
        case "cut" | "empty" | "noise":
            damage(path, kind, random.Random(SEED))
        case "digit":
            path.write_text(path.read_text().replace("0.333333", "0.133333"))
        case "other":
            shutil.copy(half_folder / "results" / f"{plan.trials[1].key}.json", path)
        case "future":
            path.write_text(json.dumps(value | {"phiscale_result": 2}))
        case "text":
            path.write_text(json.dumps(value | {"validation_error": "good"}))
    with pytest.raises(PhiscaleError, match=f"{path.name}.*[Dd]elete it") as error:
        run_plan(plan, local_runner(half_folder, train=train_nothing))
    assert "\n" not in str(error.value)


def test_a_deleted_result_is_trained_again(
    plan: OneStage, finished_folder: Path, half_folder: Path
):
    path = half_folder / "results" / f"{plan.trials[0].key}.json"
    path.unlink()
    (half_folder / "study.db").unlink()
    run_plan(plan, local_runner(half_folder))
    assert_as_if_undisturbed(plan, half_folder, finished_folder)


@pytest.mark.parametrize("kind", ["cut", "digit", "no checksum"])
def test_a_damaged_line_of_the_published_results_hides_no_other_result(
    kind: str, plan: OneStage, finished_folder: Path, tmp_path: Path
):
    """The line is named once; its training is run again, and all others are read."""
    shutil.copytree(finished_folder / "results", tmp_path / "results")
    Results(tmp_path / "results").write_jsonl()
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    damaged = json.loads(lines[1])
    lines[1] = {
        "cut": lines[1][:100],
        "digit": lines[1].replace(str(damaged["validation_error"]), "0.1234"),
        "no checksum": json.dumps({k: v for k, v in damaged.items() if k != "sha256"}),
    }[kind]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    only_in_a_file = json.loads(lines[0])["key"]
    for path in (tmp_path / "results").glob("*.json"):
        if path.stem != only_in_a_file:
            path.unlink()
    lines_logged: list[str] = []
    trained: list[str] = []

    def train(trial: Any, *_: Any) -> Any:
        trained.append(trial.key)
        return formula_result(trial)

    with log_to(lines_logged.append):
        run_plan(plan, local_runner(tmp_path, train=train))
    assert trained == [damaged["key"]]
    warnings = [line for line in lines_logged if "results.jsonl is damaged in line 2" in line]
    assert len(warnings) == 1 and warnings[0].startswith("warning: ")
    assert_as_if_undisturbed(plan, tmp_path, finished_folder)


def test_a_published_result_of_a_newer_version_is_refused(
    plan: OneStage, finished_folder: Path, tmp_path: Path
):
    """It is not damaged, and must not be overwritten."""
    [line] = [min((finished_folder / "results").glob("*.json")).read_text()]
    newer = with_checksum(json.loads(line) | {"phiscale_result": 2})
    (tmp_path / "results.jsonl").write_text(json.dumps(newer) + "\n")
    with pytest.raises(PhiscaleError, match=r"results\.jsonl, line 1,.*[Uu]pdate phiscale"):
        run_plan(plan, local_runner(tmp_path, train=train_nothing))


def test_every_flipped_bit_of_a_result_is_noticed_or_changes_nothing(
    finished_folder: Path, tmp_path: Path
):
    source = min((finished_folder / "results").glob("*.json"))
    original = Results(finished_folder / "results").all()[source.stem].to_dict()
    content, rng = source.read_bytes(), random.Random(SEED)
    for _ in range(2000 if EVERY else 200):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tmp_path / source.name).write_bytes(bytes(flipped))
        try:
            results = Results(tmp_path).read([source.stem])
        except PhiscaleError:
            continue
        assert results[source.stem].to_dict() == original, bytes(flipped)


def test_a_result_without_its_checksum_is_refused(finished_folder: Path, tmp_path: Path):
    source = min((finished_folder / "results").glob("*.json"))
    path = tmp_path / source.name
    shutil.copy(source, path)
    assert (
        Results(tmp_path).all()[path.stem] == Results(finished_folder / "results").all()[path.stem]
    )
    value = json.loads(path.read_text())
    del value[CHECKSUM]
    path.write_text(json.dumps(value))
    with pytest.raises(PhiscaleError, match=r"it has no checksum\. Delete it; its train") as error:
        Results(tmp_path).all()
    assert str(path) in str(error.value)


@pytest.mark.parametrize("workers", [1, 2] if EVERY else [2])
def test_a_training_that_goes_wrong_is_a_failed_result_and_never_the_best(
    workers: int, plan: OneStage, tmp_path: Path
):
    """One diverges, others raise or give NaN, infinities, text or nothing; one is successful."""
    runner = runner_in(tmp_path, train=train_or_fail, workers=workers)
    plan = OneStage(trials=make_trials(len(TRAINING_ENDS), plan.conditions.fingerprint))
    run_to_end(plan, runner)
    results = runner.results.all()
    failed = {result.trial["recipe"]["seed"]: result.failed for result in results.values()}
    assert [failed[seed] is None for seed in range(len(failed))] == [
        kind == "whole" for kind in TRAINING_ENDS
    ]
    assert "RuntimeError: this training always fails" in failed.values()
    assert any("not finite" in (why or "") or "became" in (why or "") for why in failed.values())
    states = {key: state for key, [state] in done_states(runner).items()}
    assert sorted(states.values()) == ["COMPLETE", *["FAIL"] * (len(TRAINING_ENDS) - 1)]
    [best] = [key for key, result in results.items() if result.failed is None]
    with closing(runner.store()) as store:
        assert store.database.study.best_trial.user_attrs["key"] == best
    starts = len((tmp_path / "started").read_text().splitlines())
    run_to_end(plan, runner)
    assert len((tmp_path / "started").read_text().splitlines()) == starts


@pytest.mark.parametrize("workers", [1, 2] if EVERY else [2])
def test_if_all_trainings_fail_there_is_one_line_and_no_best(
    workers: int, plan: OneStage, tmp_path: Path
):
    runner = runner_in(tmp_path, train=always_fail, workers=workers)
    command = start_command(plan, runner)
    command.join(120)
    assert command.exitcode == 1
    lines = [line for line in messages(runner) if line.startswith("phiscale: ")]
    assert lines == ["phiscale: no training came to an end. Use lower rates."]


def test_a_training_that_kills_its_workers_fails_after_eight(plan: OneStage, tmp_path: Path):
    runner = runner_in(tmp_path, train=crash_worker, workers=2)
    run_to_end(plan, runner, 300)
    failed = [result for result in runner.results.all().values() if result.failed]
    assert [result.failed for result in failed] == ["8 workers died at it"]
    assert len((tmp_path / "crashed").read_text().splitlines()) == 8


def test_a_fault_of_the_machine_is_no_result(plan: OneStage, tmp_path: Path):
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device", "log.jsonl")

    def out_of_memory(*_: Any) -> Any:
        raise MemoryError

    for train, kind in ((full, PhiscaleError), (out_of_memory, MemoryError)):
        with pytest.raises(kind):
            run_plan(plan, local_runner(tmp_path, train=train))
        assert not list((tmp_path / "results").glob("*.json"))
    assert run_plan(plan, local_runner(tmp_path))


def test_other_images_are_refused(tmp_path: Path):
    with pytest.raises(PhiscaleError, match="digits holds other images"):
        run_plan(OneStage(trials=make_trials(1, "others")), local_runner(tmp_path))
    with closing(local_runner(tmp_path).store()) as store:
        assert [entry.state.name for entry in store.database.entries()] == ["WAITING"], (
            "no worker claimed it"
        )


@pytest.mark.skipif(not EVERY, reason="PHISCALE_EVERY_FAULT=1")
def test_sigterm_ends_a_command_while_the_database_is_locked(plan: OneStage, tmp_path: Path):
    runner = runner_in(tmp_path, train=train_and_log)
    command = start_command(plan, runner)
    wait_until(lambda: (tmp_path / "started").exists())
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    with closing(holder):
        holder.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        command.terminate()
        command.join(40)
        assert command.exitcode == 143 and time.monotonic() - began < 30
    run_to_end(plan, runner)
    assert all(state == ["COMPLETE"] for state in done_states(runner).values())


def test_a_server_that_stays_away_is_reported_in_one_line(postgres: Any):
    with closing(Store(postgres.url("away"), "x", patience_s=1.0)) as store:
        postgres.stop()
        try:
            with pytest.raises(StoreError, match=r"Check `storage`, and that the server") as error:
                store.enqueue(make_trials(1), {})
            assert "\n" not in str(error.value)
        finally:
            postgres.start()
        assert store.enqueue(make_trials(1), {}) == {}
