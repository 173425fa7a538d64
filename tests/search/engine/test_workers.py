"""Whatever kills the workers of a plan: begun again it comes to the same end, to the bit; nothing
is lost and nothing trained twice. A sample runs with the other tests; `make faults` runs all."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.workers import (
    Search,
    children_of,
    digits,
    discovery,
    end_of,
    ends_alike,
    finish,
    in_database,
    runner_in,
    said,
    settle,
    start,
    until,
)

SEED = int(os.environ.get("PHISCALE_FAULT_SEED", "0"))
EVERY = bool(os.environ.get("PHISCALE_EVERY_FAULT"))
KILLS = 20 if EVERY else 1  # of a worker, and of who leads; by SIGKILL, and by SIGTERM
ENDED = (-signal.SIGKILL, -signal.SIGTERM, 143, 0)


@pytest.fixture(scope="module")
def plans() -> dict[str, Any]:
    dataset = digits()
    return {
        "settle": settle(dataset),
        "search": Search(fingerprint=dataset),
        "discovery": discovery(dataset),
    }


@pytest.fixture(scope="module")
def undisturbed(plans: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How the plans end with one worker that nobody disturbs."""

    class Ends(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            runner = runner_in(tmp_path_factory.mktemp(name))
            finish(plans[name], runner)
            self[name] = end_of(plans[name], runner)
            return self[name]

    return Ends()


def test_a_finished_plan_trains_nothing_and_its_lost_database_is_made_anew(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    runner = runner_in(tmp_path, workers=2)
    finish(plans["search"], runner)
    ends_alike(plans["search"], runner, undisturbed["search"])
    begun, before = (tmp_path / "begun").read_text(), in_database(runner)
    finish(plans["search"], runner)
    runner.database.unlink()
    finish(plans["search"], runner)
    assert (tmp_path / "begun").read_text() == begun and in_database(runner) == before
    for key in before:
        run = runner.run_of(key)
        assert run is not None and not (run / "checkpoints").exists()


@pytest.mark.skipif(not EVERY, reason="PHISCALE_EVERY_FAULT=1")
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("name", ["settle", "search", "discovery"])
def test_any_number_of_workers_comes_to_the_same(
    name: str, workers: int, plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    runner = runner_in(tmp_path, workers=workers)
    finish(plans[name], runner)
    ends_alike(plans[name], runner, undisturbed[name])


def struck(plan: Any, runner: Any, whom: str, number: int, rng: random.Random) -> int:
    """Begins the command again and again until so many have been hit. How many were."""
    hits = 0
    while hits < number:
        command = start(plan, runner)
        while hits < number and command.exitcode is None:
            time.sleep(rng.uniform(0.1, 2.5))
            targets = [command.pid] if whom == "lead" else children_of(command)
            if targets and command.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(targets), rng.choice([signal.SIGKILL, signal.SIGTERM]))
                    hits += 1
            if whom == "lead":
                break
        workers = children_of(command)
        if whom == "lead":
            command.join(35)
            assert command.exitcode in ENDED, command.exitcode
            until(lambda alive=workers: not any(lives(pid) for pid in alive), 35)
        elif command.exitcode is None and hits >= number:
            command.join(180)
        if whom == "worker":
            assert command.exitcode == 0, said(runner)[-3:]
        if command.exitcode == 0 and hits < number:  # it was quicker: another one
            again(runner)
    return hits


def lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    with suppress(FileNotFoundError, ProcessLookupError):
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def again(runner: Any) -> None:
    """As if nothing had been trained, so that there is something to kill."""
    for name in ("results", "trainings"):
        shutil.rmtree(runner.out / name)
    runner.database.unlink(missing_ok=True)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("whom", ["worker", "lead"])
@pytest.mark.parametrize("name", ["settle", "search", "discovery"])
def test_killed_at_random_moments(
    name: str,
    whom: str,
    workers: int,
    plans: dict[str, Any],
    undisturbed: dict[str, Any],
    tmp_path: Path,
):
    """The one that leads a crew of one is its worker."""
    if not EVERY and (name, whom, workers) not in SAMPLE:
        pytest.skip("PHISCALE_EVERY_FAULT=1")
    if whom == "worker" and workers == 1:
        pytest.skip("it leads")
    rng = random.Random(f"{SEED} {name} {whom} {workers}")
    runner = runner_in(tmp_path, workers=workers)
    struck(plans[name], runner, whom, KILLS, rng)
    finish(plans[name], runner, 300)
    ends_alike(plans[name], runner, undisturbed[name])


SAMPLE = {("discovery", "worker", 2), ("settle", "lead", 2)}


@pytest.mark.parametrize("begin", ["fork", "forkserver", "spawn"])
def test_workers_end_soon_after_who_leads_them_was_killed(
    begin: str, plans: dict[str, Any], tmp_path: Path
):
    if begin != "fork" and not EVERY:  # they import torch
        pytest.skip("PHISCALE_EVERY_FAULT=1")
    runner = runner_in(tmp_path, workers=2, start=begin)
    command = start(plans["settle"], runner)

    def workers() -> set[int]:
        if not (tmp_path / "begun").exists():
            return set()
        return {int(line.split()[1]) for line in (tmp_path / "begun").read_text().splitlines()}

    alive = until(lambda: len(workers()) == 2 and workers(), 120)
    command.kill()
    began = time.monotonic()
    until(lambda: not any(lives(pid) for pid in alive), 20)
    assert time.monotonic() - began < 15
    command.join()


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_saves_all_and_says_so_in_one_line(
    workers: int, plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    runner = runner_in(tmp_path, workers=workers)
    command = start(plans["search"], runner)
    until(lambda: (tmp_path / "begun").exists())
    began = time.monotonic()
    command.terminate()
    command.join(30)
    assert command.exitcode == 143 and time.monotonic() - began < 30
    assert "run the same command to resume" in said(runner)[-1]
    with closing(runner.store()) as store:
        assert "RUNNING" not in {entry.state.name for entry in store.database.entries()}
    finish(plans["search"], runner)
    ends_alike(plans["search"], runner, undisturbed["search"])


def test_a_zombie_is_outrun_and_what_it_brings_late_changes_nothing(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    """Stopped in a training for longer than its lease, its folder locked; then it goes on."""
    plan = plans["search"]
    runner = runner_in(tmp_path, workers=1, heartbeat_timeout_s=2)
    zombie = start(plan, runner)
    key = until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text())[:16]
    until(lambda: (tmp_path / "trainings" / key / "log.jsonl").exists())
    os.kill(zombie.pid, signal.SIGSTOP)
    assert key not in runner.results.all()
    other = start(plan, runner)
    until(lambda: key in runner.results.all())
    taken_over = [line for line in (tmp_path / "begun").read_text().splitlines() if key in line]
    assert len(taken_over) == 2 and taken_over[1].split()[2].startswith(f"{key}-")
    os.kill(zombie.pid, signal.SIGCONT)
    for command in (zombie, other):
        command.join(120)
        assert command.exitcode == 0, said(runner)[-3:]
    ends_alike(plan, runner, undisturbed["search"])


def test_a_worker_that_hangs_is_not_waited_for(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    runner = runner_in(tmp_path, workers=2, heartbeat_timeout_s=2)
    command = start(plans["search"], runner)
    until(lambda: (tmp_path / "begun").exists())
    os.kill(int((tmp_path / "begun").read_text().split()[1]), signal.SIGSTOP)
    command.join(120)
    assert command.exitcode == 0, said(runner)[-3:]
    ends_alike(plans["search"], runner, undisturbed["search"])


@pytest.mark.parametrize("kind", ["sqlite", "postgres"] if EVERY else ["sqlite"])
def test_two_commands_share_one_folder(
    kind: str,
    plans: dict[str, Any],
    undisturbed: dict[str, Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
):
    url = request.getfixturevalue("postgres").url("shared") if kind == "postgres" else None
    runner = runner_in(tmp_path, storage=url)
    both = [start(plans["settle"], runner) for _ in range(2)]
    for command in both:
        command.join(180)
        assert command.exitcode == 0, said(runner)[-3:]
    ends_alike(plans["settle"], runner, undisturbed["settle"])


def runners_on(tmp_path: Path, url: str, count: int) -> list[Any]:
    return [
        runner_in(tmp_path / f"machine {n}", storage=url, heartbeat_timeout_s=4)
        for n in range(count)
    ]


def test_machines_that_share_only_a_server_all_get_all_results(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path, postgres: Any
):
    """Some of them die and begin again."""
    rng = random.Random(SEED)
    plan = plans["search"]
    for round in range(5 if EVERY else 1):
        url = postgres.url(f"machines-{round}")
        runners = runners_on(tmp_path / str(round), url, 4 if EVERY else 2)
        pool = [start(plan, runner) for runner in runners]
        for _ in range(4 if EVERY else 1):
            time.sleep(rng.uniform(1, 3))
            victim = rng.randrange(len(pool))
            with suppress(ProcessLookupError):
                os.kill(pool[victim].pid, rng.choice([signal.SIGKILL, signal.SIGTERM]))
            pool[victim].join(35)
            pool[victim] = start(plan, runners[victim])
        for command, runner in zip(pool, runners, strict=True):
            command.join(240)
            assert command.exitcode == 0, said(runner)[-3:]
        for runner in runners:
            ends_alike(plan, runner, undisturbed["search"])
        trained = [
            line.split()[0]
            for runner in runners
            if (runner.out / "ended").exists()
            for line in (runner.out / "ended").read_text().splitlines()
        ]
        assert sorted(set(trained)) == sorted(undisturbed["search"][1])


def test_a_server_that_is_started_anew_in_between_is_waited_for(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path, postgres: Any
):
    runner = runner_in(tmp_path, storage=postgres.url("restarted"), workers=2)
    command = start(plans["search"], runner)
    until(lambda: (tmp_path / "begun").exists())
    postgres.stop()
    time.sleep(5)
    postgres.start()
    command.join(180)
    assert command.exitcode == 0, said(runner)[-3:]
    ends_alike(plans["search"], runner, undisturbed["search"])


def test_a_training_begun_by_a_seed_is_the_same_training(plans: dict[str, Any]):
    """What a running study is known by must not change."""
    trial = Search(fingerprint="x").trial(8, 3)
    assert trial.key == "91f50eba57ec3b66"
    assert replace(trial, name="other", attrs={}).key == trial.key
