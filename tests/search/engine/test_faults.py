"""What may happen to a study besides kills: its database or its results are damaged, a disk is
full, a training goes wrong. One clear line, or it goes on."""

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
from phiscale.search.engine import database
from phiscale.search.engine.carry_out import carry_out
from phiscale.search.engine.database import StoreError
from phiscale.search.engine.result import Results
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.store import Store
from support.workers import (
    Several,
    crash,
    digits,
    finish,
    in_database,
    invented,
    mixed,
    none_ends,
    runner_in,
    said,
    some,
    start,
    told_nobody,
    until,
    watched,
)

SEED = int(os.environ.get("PHISCALE_FAULT_SEED", "0"))
EVERY = bool(os.environ.get("PHISCALE_EVERY_FAULT"))
DAMAGES = 60 if EVERY else 2


@pytest.fixture(scope="module")
def plan() -> Several:
    """Six trials that nobody needs to train."""
    return Several(trials=some(6, digits()))


def here(out: Path, **fields: Any) -> RunnerConfig:
    """Carried out in this process, without training."""
    return runner_in(out, **({"train": invented} | fields))


@pytest.fixture(scope="module")
def done(plan: Several, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the plan, carried out."""
    out = tmp_path_factory.mktemp("done")
    carry_out(plan, here(out))
    return out


@pytest.fixture
def half(done: Path, plan: Several, tmp_path: Path) -> Path:
    """The same folder, of two trials nobody knows the result."""
    out = tmp_path / "half"
    shutil.copytree(done, out)
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


def same(plan: Several, out: Path, done: Path) -> None:
    """All results, and the database of them, are as if nothing had happened."""
    one, two = Results(out / "results").all(), Results(done / "results").all()
    assert {k: r.to_dict() for k, r in one.items()} == {k: r.to_dict() for k, r in two.items()}
    assert in_database(here(out)) == in_database(here(done))


@pytest.mark.parametrize("number", range(DAMAGES))
@pytest.mark.parametrize("kind", ["flip", "cut", "empty", "noise", "zero"])
def test_a_damaged_database_is_moved_aside_and_filled_again(
    kind: str, number: int, plan: Several, done: Path, half: Path
):
    if not EVERY and number > 0 and kind != "flip":
        pytest.skip("PHISCALE_EVERY_FAULT=1")
    told: list[str] = []
    damage(half / "study.db", kind, random.Random(f"{SEED} {kind} {number}"))
    runner = here(half)
    with log_to(told.append):
        assert carry_out(plan, runner)
    moved = (half / "study.db.damaged").exists()
    assert sum("study.db.damaged" in line for line in told) == moved
    if kind == "noise":
        assert moved
    one = {key: result.to_dict() for key, result in runner.results.all().items()}
    two = {key: result.to_dict() for key, result in Results(done / "results").all().items()}
    assert one == two
    states = in_database(runner)  # an entry whose text was hit may be no one's
    assert {key: states.get(key) for key in one} == {key: ["COMPLETE"] for key in one}


def test_a_deleted_database_is_filled_from_the_results(plan: Several, done: Path, half: Path):
    (half / "study.db").unlink()
    trained: list[str] = []

    def train(trial: Any, *rest: Any) -> Any:
        trained.append(trial.key)
        return invented(trial)

    carry_out(plan, here(half, train=train))
    assert trained == [trial.key for trial in plan.trials[4:]]
    same(plan, half, done)


def test_a_folder_of_results_from_elsewhere_is_taken_as_it_is(
    plan: Several, done: Path, tmp_path: Path
):
    shutil.copytree(done / "results", tmp_path / "results")
    carry_out(plan, here(tmp_path, train=never))
    same(plan, tmp_path, done)


def never(*_: Any) -> Any:
    raise AssertionError("it is known what this gives")


def test_deleted_results_come_back_from_the_database(plan: Several, done: Path, half: Path):
    carry_out(plan, here(half, train=never))
    same(plan, half, done)


def test_a_database_that_another_holds_for_five_seconds_is_waited_for(
    plan: Several, done: Path, half: Path
):
    holder = sqlite3.connect(half / "study.db", check_same_thread=False, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(5, lambda: (holder.execute("ROLLBACK"), holder.close()))
    timer.start()
    began = time.monotonic()
    carry_out(plan, here(half))
    assert time.monotonic() - began > 4
    timer.join()
    same(plan, half, done)


def for_nobody(half: Path) -> Path:
    """The folder where everybody may come to; pytest's own are root's."""
    out = Path(tempfile.mkdtemp(dir="/tmp")) / "out"
    shutil.copytree(half, out)
    for path in (out.parent, out, *out.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return out


@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_a_database_that_cannot_be_written_is_one_line_and_goes_on_where_it_can(
    fault: str, plan: Several, done: Path, half: Path
):
    for trial in plan.trials[3:]:
        (half / "results" / f"{trial.key}.json").unlink(missing_ok=True)
    (half / "study.db").unlink()
    carry_out(Several(trials=plan.trials[:3]), here(half))
    out = for_nobody(half)

    try:
        if fault == "read-only":
            (out / "study.db").chmod(0o444)
            out.chmod(0o555)
        before = (out / "study.db").read_bytes()
        line = told_nobody(plan, out, len(before) if fault == "full" else 0)
        assert "free" in line.lower() and "\n" not in line, line
        assert len(list((out / "results").glob("*.json"))) >= 3
        if fault == "read-only":
            assert (out / "study.db").read_bytes() == before
        out.chmod(0o777)
        (out / "study.db").chmod(0o666)
        assert told_nobody(plan, out) == "done"
        same(plan, out, done)
    finally:
        shutil.rmtree(out.parent)


def test_a_folder_may_have_any_name(plan: Several, done: Path, tmp_path: Path):
    out = tmp_path / "what? 100% of #1 ü"
    carry_out(plan, here(out, workers=2, start="forkserver"))
    assert (out / "study.db").is_file() and not list(tmp_path.glob("what"))
    same(plan, out, done)


@pytest.mark.parametrize("kind", ["cut", "empty", "digit", "other", "future", "word", "noise"])
def test_a_damaged_result_is_named(kind: str, plan: Several, half: Path):
    path = half / "results" / f"{plan.trials[0].key}.json"
    value = json.loads(path.read_text())
    match kind:
        case "cut" | "empty" | "noise":
            damage(path, kind, random.Random(SEED))
        case "digit":
            path.write_text(path.read_text().replace("0.333333", "0.133333"))
        case "other":
            shutil.copy(half / "results" / f"{plan.trials[1].key}.json", path)
        case "future":
            path.write_text(json.dumps(value | {"phiscale_result": 2}))
        case "word":
            path.write_text(json.dumps(value | {"validation_error": "good"}))
    with pytest.raises(PhiscaleError, match=f"{path.name}.*[Dd]elete it") as told:
        carry_out(plan, here(half, train=never))
    assert "\n" not in str(told.value)


def test_a_damaged_result_is_had_again_once_it_is_deleted(plan: Several, done: Path, half: Path):
    path = half / "results" / f"{plan.trials[0].key}.json"
    path.unlink()
    (half / "study.db").unlink()
    carry_out(plan, here(half))
    same(plan, half, done)


@pytest.mark.parametrize("kind", ["cut", "digit", "no checksum"])
def test_a_damaged_line_of_the_published_results_hides_no_other_result(
    kind: str, plan: Several, done: Path, tmp_path: Path
):
    """The line is named once; its training is run again, and all others are read."""
    shutil.copytree(done / "results", tmp_path / "results")
    Results(tmp_path / "results").publish()
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
    messages: list[str] = []
    trained: list[str] = []

    def train(trial: Any, *_: Any) -> Any:
        trained.append(trial.key)
        return invented(trial)

    with log_to(messages.append):
        carry_out(plan, here(tmp_path, train=train))
    assert trained == [damaged["key"]]
    named = [line for line in messages if "results.jsonl is damaged in line 2" in line]
    assert len(named) == 1 and named[0].startswith("warning: ")
    same(plan, tmp_path, done)


def test_a_published_result_of_a_newer_version_is_refused(
    plan: Several, done: Path, tmp_path: Path
):
    """It is not damaged, and must not be overwritten."""
    [line] = [min((done / "results").glob("*.json")).read_text()]
    newer = with_checksum(json.loads(line) | {"phiscale_result": 2})
    (tmp_path / "results.jsonl").write_text(json.dumps(newer) + "\n")
    with pytest.raises(PhiscaleError, match=r"results\.jsonl, line 1,.*[Uu]pdate phiscale"):
        carry_out(plan, here(tmp_path, train=never))


def test_every_flipped_bit_of_a_result_is_noticed_or_changes_nothing(done: Path, tmp_path: Path):
    source = min((done / "results").glob("*.json"))
    whole = Results(done / "results").all()[source.stem].to_dict()
    content, rng = source.read_bytes(), random.Random(SEED)
    for _ in range(2000 if EVERY else 200):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tmp_path / source.name).write_bytes(bytes(flipped))
        try:
            found = Results(tmp_path).read([source.stem])
        except PhiscaleError:
            continue
        assert found[source.stem].to_dict() == whole, bytes(flipped)


def test_a_result_without_its_checksum_is_refused(done: Path, tmp_path: Path):
    source = min((done / "results").glob("*.json"))
    path = tmp_path / source.name
    shutil.copy(source, path)
    assert Results(tmp_path).all()[path.stem] == Results(done / "results").all()[path.stem]
    value = json.loads(path.read_text())
    del value[CHECKSUM]
    path.write_text(json.dumps(value))
    with pytest.raises(PhiscaleError, match=r"it has no checksum\. Delete it; its train") as error:
        Results(tmp_path).all()
    assert str(path) in str(error.value)


@pytest.mark.parametrize("workers", [1, 2] if EVERY else [2])
def test_a_training_that_goes_wrong_is_a_failed_result_and_never_the_best(
    workers: int, plan: Several, tmp_path: Path
):
    """It diverges for real, raises, gives NaN, infinities, words or nothing; one is whole."""
    runner = runner_in(tmp_path, train=mixed, workers=workers)
    plan = Several(trials=some(len(mixed.kinds), plan.conditions.fingerprint))
    finish(plan, runner)
    results = runner.results.all()
    failed = {result.trial["recipe"]["seed"]: result.failed for result in results.values()}
    assert [failed[seed] is None for seed in range(len(failed))] == [
        kind == "whole" for kind in mixed.kinds
    ]
    assert "RuntimeError: it had to come" in failed.values()
    assert any("not finite" in (why or "") or "became" in (why or "") for why in failed.values())
    states = {key: state for key, [state] in in_database(runner).items()}
    assert sorted(states.values()) == ["COMPLETE", *["FAIL"] * (len(mixed.kinds) - 1)]
    [best] = [key for key, result in results.items() if result.failed is None]
    with closing(runner.store()) as store:
        assert store.database.study.best_trial.user_attrs["key"] == best
    begun = len((tmp_path / "begun").read_text().splitlines())
    finish(plan, runner)
    assert len((tmp_path / "begun").read_text().splitlines()) == begun


@pytest.mark.parametrize("workers", [1, 2] if EVERY else [2])
def test_if_all_trainings_fail_there_is_one_line_and_no_best(
    workers: int, plan: Several, tmp_path: Path
):
    runner = runner_in(tmp_path, train=none_ends, workers=workers)
    command = start(plan, runner)
    command.join(120)
    assert command.exitcode == 1
    lines = [line for line in said(runner) if line.startswith("phiscale: ")]
    assert lines == ["phiscale: no training came to an end. Use lower rates."]


def test_a_training_that_kills_its_workers_is_given_up_after_some(plan: Several, tmp_path: Path):
    runner = runner_in(tmp_path, train=crash, workers=2)
    finish(plan, runner, 300)
    failed = [result for result in runner.results.all().values() if result.failed]
    assert [result.failed for result in failed] == ["8 workers died at it"]
    assert len((tmp_path / "crashed").read_text().splitlines()) == 8


def test_a_mistake_of_the_machine_is_no_result(plan: Several, tmp_path: Path):
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device", "log.jsonl")

    def out_of_memory(*_: Any) -> Any:
        raise MemoryError

    for train, kind in ((full, PhiscaleError), (out_of_memory, MemoryError)):
        with pytest.raises(kind):
            carry_out(plan, here(tmp_path, train=train))
        assert not list((tmp_path / "results").glob("*.json"))
    assert carry_out(plan, here(tmp_path))


def test_other_images_are_refused(tmp_path: Path):
    with pytest.raises(PhiscaleError, match="digits holds other images"):
        carry_out(Several(trials=some(1, "others")), here(tmp_path))
    with closing(here(tmp_path).store()) as store:
        assert [entry.state.name for entry in store.database.entries()] == ["WAITING"], (
            "nobody took it"
        )


@pytest.mark.skipif(not EVERY, reason="PHISCALE_EVERY_FAULT=1")
def test_sigterm_is_obeyed_while_another_holds_the_database(plan: Several, tmp_path: Path):
    runner = runner_in(tmp_path, train=watched)
    command = start(plan, runner)
    until(lambda: (tmp_path / "begun").exists())
    holder = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    with closing(holder):
        holder.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        command.terminate()
        command.join(40)
        assert command.exitcode == 143 and time.monotonic() - began < 30
    finish(plan, runner)
    assert all(state == ["COMPLETE"] for state in in_database(runner).values())


def test_a_server_that_stays_away_is_one_line(
    tmp_path: Path, postgres: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "PATIENCE_S", 1.0)
    with closing(Store(postgres.url("away"), "x")) as store:
        postgres.stop()
        try:
            with pytest.raises(StoreError, match=r"Check `storage`, and that the server") as told:
                store.enqueue(some(1), {})
            assert "\n" not in str(told.value)
        finally:
            postgres.start()
        assert store.enqueue(some(1), {}) == {}
