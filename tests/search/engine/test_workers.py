"""Kills of workers and their supervisor: the same command resumes and gives bit-identical results.

No result is lost, and no trial is trained twice. A sample of the kills runs with the other tests;
`make faults` runs all.
"""

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
    WidthSearch,
    assert_same_outcome,
    digits_fingerprint,
    done_states,
    live_children,
    messages,
    outcome_and_results,
    run_to_end,
    runner_in,
    small_search,
    small_study,
    start_command,
    wait_until,
)

SEED = int(os.environ.get("PHISCALE_FAULT_SEED", "0"))
EVERY = bool(os.environ.get("PHISCALE_EVERY_FAULT"))
KILLS = 20 if EVERY else 1  # of a worker, and of the supervisor; by SIGKILL, and by SIGTERM
ENDED = (-signal.SIGKILL, -signal.SIGTERM, 143, 0)


@pytest.fixture(scope="module")
def plans() -> dict[str, Any]:
    dataset = digits_fingerprint()
    return {
        "study": small_study(dataset),
        "search": WidthSearch(fingerprint=dataset),
        "coefficients": small_search(dataset),
    }


@pytest.fixture(scope="module")
def undisturbed(plans: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Outcome and results of each plan with one worker that nothing disturbs."""

    class Outcomes(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            runner = runner_in(tmp_path_factory.mktemp(name))
            run_to_end(plans[name], runner)
            self[name] = outcome_and_results(plans[name], runner)
            return self[name]

    return Outcomes()


def test_a_finished_plan_trains_nothing_and_its_lost_database_is_filled_again(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    runner = runner_in(tmp_path, workers=2)
    run_to_end(plans["search"], runner)
    assert_same_outcome(plans["search"], runner, undisturbed["search"])
    starts, before = (tmp_path / "started").read_text(), done_states(runner)
    run_to_end(plans["search"], runner)
    runner.database.unlink()
    run_to_end(plans["search"], runner)
    assert (tmp_path / "started").read_text() == starts and done_states(runner) == before
    for key in before:
        run = runner.run_of(key)
        assert run is not None and not (run / "checkpoints").exists()


@pytest.mark.skipif(not EVERY, reason="PHISCALE_EVERY_FAULT=1")
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("name", ["study", "search", "coefficients"])
def test_any_number_of_workers_gives_the_same_results(
    name: str, workers: int, plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    runner = runner_in(tmp_path, workers=workers)
    run_to_end(plans[name], runner)
    assert_same_outcome(plans[name], runner, undisturbed[name])


def kill_repeatedly(plan: Any, runner: Any, target: str, number: int, rng: random.Random) -> None:
    """Start the command again and again until `number` processes have been killed."""
    kills = 0
    while kills < number:
        command = start_command(plan, runner)
        while kills < number and command.exitcode is None:
            time.sleep(rng.uniform(0.1, 2.5))
            targets = [command.pid] if target == "supervisor" else live_children(command)
            if targets and command.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(targets), rng.choice([signal.SIGKILL, signal.SIGTERM]))
                    kills += 1
            if target == "supervisor":
                break
        workers = live_children(command)
        if target == "supervisor":
            command.join(35)
            assert command.exitcode in ENDED, command.exitcode
            wait_until(lambda alive=workers: not any(is_alive(pid) for pid in alive), 35)
        elif command.exitcode is None and kills >= number:
            command.join(180)
        if target == "worker":
            assert command.exitcode == 0, messages(runner)[-3:]
        if command.exitcode == 0 and kills < number:  # it was faster than the kill
            start_over(runner)


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    with suppress(FileNotFoundError, ProcessLookupError):
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def start_over(runner: Any) -> None:
    """Delete all results, so that there are workers to kill."""
    for name in ("results", "trainings"):
        shutil.rmtree(runner.out / name)
    runner.database.unlink(missing_ok=True)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("target", ["worker", "supervisor"])
@pytest.mark.parametrize("name", ["study", "search", "coefficients"])
def test_killed_at_random_moments(
    name: str,
    target: str,
    workers: int,
    plans: dict[str, Any],
    undisturbed: dict[str, Any],
    tmp_path: Path,
):
    if not EVERY and (name, target, workers) not in SAMPLE:
        pytest.skip("PHISCALE_EVERY_FAULT=1")
    if target == "worker" and workers == 1:
        pytest.skip("without a supervisor the command is its only worker")
    rng = random.Random(f"{SEED} {name} {target} {workers}")
    runner = runner_in(tmp_path, workers=workers)
    kill_repeatedly(plans[name], runner, target, KILLS, rng)
    run_to_end(plans[name], runner, 300)
    assert_same_outcome(plans[name], runner, undisturbed[name])


SAMPLE = {("coefficients", "worker", 2), ("study", "supervisor", 2)}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_end_soon_after_their_supervisor_was_killed(
    method: str, plans: dict[str, Any], tmp_path: Path
):
    if method != "fork" and not EVERY:  # they import torch
        pytest.skip("PHISCALE_EVERY_FAULT=1")
    runner = runner_in(tmp_path, workers=2, start=method)
    command = start_command(plans["study"], runner)

    def workers() -> set[int]:
        if not (tmp_path / "started").exists():
            return set()
        return {int(line.split()[1]) for line in (tmp_path / "started").read_text().splitlines()}

    alive = wait_until(lambda: len(workers()) == 2 and workers(), 120)
    command.kill()
    began = time.monotonic()
    wait_until(lambda: not any(is_alive(pid) for pid in alive), 20)
    assert time.monotonic() - began < 15
    command.join()


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_saves_everything_and_ends_in_one_line(
    workers: int, plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    runner = runner_in(tmp_path, workers=workers)
    command = start_command(plans["search"], runner)
    wait_until(lambda: (tmp_path / "started").exists())
    began = time.monotonic()
    command.terminate()
    command.join(30)
    assert command.exitcode == 143 and time.monotonic() - began < 30
    assert "run the same command to resume" in messages(runner)[-1]
    with closing(runner.store()) as store:
        assert "RUNNING" not in {entry.state.name for entry in store.database.entries()}
    run_to_end(plans["search"], runner)
    assert_same_outcome(plans["search"], runner, undisturbed["search"])


def test_the_late_result_of_a_paused_worker_changes_nothing(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    """It is paused in a training for longer than the heartbeat timeout, its folder locked. Another
    worker trains the trial; then it goes on."""
    plan = plans["search"]
    runner = runner_in(tmp_path, workers=1, heartbeat_timeout_s=2)
    paused = start_command(plan, runner)
    key = wait_until(
        lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text()
    )[:16]
    wait_until(lambda: (tmp_path / "trainings" / key / "log.jsonl").exists())
    os.kill(paused.pid, signal.SIGSTOP)
    assert key not in runner.results.all()
    other = start_command(plan, runner)
    wait_until(lambda: key in runner.results.all())
    starts = [line for line in (tmp_path / "started").read_text().splitlines() if key in line]
    assert len(starts) == 2 and starts[1].split()[2].startswith(f"{key}-")
    os.kill(paused.pid, signal.SIGCONT)
    for command in (paused, other):
        command.join(120)
        assert command.exitcode == 0, messages(runner)[-3:]
    assert_same_outcome(plan, runner, undisturbed["search"])


def test_a_worker_that_hangs_is_not_waited_for(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path
):
    runner = runner_in(tmp_path, workers=2, heartbeat_timeout_s=2)
    command = start_command(plans["search"], runner)
    wait_until(lambda: (tmp_path / "started").exists())
    os.kill(int((tmp_path / "started").read_text().split()[1]), signal.SIGSTOP)
    command.join(120)
    assert command.exitcode == 0, messages(runner)[-3:]
    assert_same_outcome(plans["search"], runner, undisturbed["search"])


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
    both = [start_command(plans["study"], runner) for _ in range(2)]
    for command in both:
        command.join(180)
        assert command.exitcode == 0, messages(runner)[-3:]
    assert_same_outcome(plans["study"], runner, undisturbed["study"])


def runners_of_machines(tmp_path: Path, url: str, count: int) -> list[Any]:
    return [
        runner_in(tmp_path / f"machine {n}", storage=url, heartbeat_timeout_s=4)
        for n in range(count)
    ]


def test_machines_that_share_only_a_server_all_get_all_results(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path, postgres: Any
):
    """Some of them are killed and started again."""
    rng = random.Random(SEED)
    plan = plans["search"]
    for round in range(5 if EVERY else 1):
        url = postgres.url(f"machines-{round}")
        runners = runners_of_machines(tmp_path / str(round), url, 4 if EVERY else 2)
        pool = [start_command(plan, runner) for runner in runners]
        for _ in range(4 if EVERY else 1):
            time.sleep(rng.uniform(1, 3))
            victim = rng.randrange(len(pool))
            with suppress(ProcessLookupError):
                os.kill(pool[victim].pid, rng.choice([signal.SIGKILL, signal.SIGTERM]))
            pool[victim].join(35)
            pool[victim] = start_command(plan, runners[victim])
        for command, runner in zip(pool, runners, strict=True):
            command.join(240)
            assert command.exitcode == 0, messages(runner)[-3:]
        for runner in runners:
            assert_same_outcome(plan, runner, undisturbed["search"])
        trained = [
            line.split()[0]
            for runner in runners
            if (runner.out / "finished").exists()
            for line in (runner.out / "finished").read_text().splitlines()
        ]
        assert sorted(set(trained)) == sorted(undisturbed["search"][1])


def test_a_server_that_restarts_is_waited_for(
    plans: dict[str, Any], undisturbed: dict[str, Any], tmp_path: Path, postgres: Any
):
    runner = runner_in(tmp_path, storage=postgres.url("restarted"), workers=2)
    command = start_command(plans["search"], runner)
    wait_until(lambda: (tmp_path / "started").exists())
    postgres.stop()
    time.sleep(5)
    postgres.start()
    command.join(180)
    assert command.exitcode == 0, messages(runner)[-3:]
    assert_same_outcome(plans["search"], runner, undisturbed["search"])


def test_the_key_of_a_trial_never_changes(plans: dict[str, Any]):
    """Stored results are looked up by it."""
    trial = WidthSearch(fingerprint="x").trial(8, 3)
    assert trial.key == "91f50eba57ec3b66"
    assert replace(trial, name="other", attrs={}).key == trial.key
