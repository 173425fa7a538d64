"""A killed training that is run again ends bit for bit like one that nothing disturbed.

A sample runs with the other tests; `make faults` runs all: every call that touches the disk, before
and after it and in the middle of every write, hundreds of random moments, damaged files, two
processes of which one is killed or hangs. The seed is printed.
"""

import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from support.killing import KillPoint, damage, differences, final_state, finish, free_port, start

SEED = int(os.environ.get("PHISCALE_FAULT_SEED", "0"))
EVERY = bool(os.environ.get("PHISCALE_EVERY_FAULT"))
RANDOM, DAMAGES, PAIRS = (60, 100, 50) if EVERY else (4, 4, 2)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kills") / "undisturbed"
    finish(out)
    return out


@pytest.fixture(scope="module")
def seconds(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """What a whole training takes, once all is imported."""
    began = time.monotonic()
    finish(tmp_path_factory.mktemp("kills") / "timed")
    return time.monotonic() - began


@pytest.fixture(scope="module")
def calls(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many calls of a whole training touch the disk."""
    folder = tmp_path_factory.mktemp("kills")
    start(folder / "run", count_to=folder / "count").join(120)
    return int((folder / "count").read_text())


def assert_ends_equal(out: Path, undisturbed: Path, size: int = 1) -> None:
    finish(out, size)
    assert differences(final_state(out), final_state(undisturbed)) == []
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize("number", range(RANDOM))
def test_a_training_killed_at_random_moments_resumes_to_the_bit(
    number: int, undisturbed: Path, seconds: float, tmp_path: Path
):
    rng, out = random.Random(f"{SEED} {number}"), tmp_path / "run"
    kills = 0
    while kills < 3:
        child = start(out)
        time.sleep(rng.uniform(0, seconds))
        rng.choice([child.kill, child.kill, child.terminate])()
        child.join(30)
        assert child.exitcode in (-signal.SIGKILL, -signal.SIGTERM, 143, 0)
        if child.exitcode == 0:  # it was quicker: another one
            shutil.rmtree(out)
        kills += child.exitcode != 0
    assert_ends_equal(out, undisturbed)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_training_killed_at_any_call_to_the_disk_resumes_to_the_bit(
    after: bool, undisturbed: Path, calls: int, tmp_path: Path
):
    rng = random.Random(f"{SEED} {after}")
    numbers = range(1, calls + 1) if EVERY else sorted(rng.sample(range(1, calls + 1), 4))
    for at in numbers:
        out = tmp_path / str(at)
        child = start(out, KillPoint(at, after))
        child.join(60)
        last = at > calls - 3  # threads make a call more or less
        assert child.exitcode == -signal.SIGKILL or (last and child.exitcode == 0), f"{at}: alive"
        assert_ends_equal(out, undisturbed)
        shutil.rmtree(out)


@pytest.mark.parametrize("number", range(DAMAGES))
def test_a_damaged_newest_checkpoint_is_recovered_from(
    number: int, undisturbed: Path, tmp_path: Path
):
    rng, out = random.Random(f"{SEED} {number}"), tmp_path / "run"
    child = start(out, pause_s=0.05)
    deadline = time.monotonic() + 60
    while len(list((out / "checkpoints").glob("*.pt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    child.kill()
    child.join(30)
    newest = sorted((out / "checkpoints").glob("*.pt"))[-1]
    damage(newest, rng.choice(["flip", "cut", "zero", "empty"]), rng)
    assert_ends_equal(out, undisturbed)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kills") / "pair"
    finish(out, 2)
    return out


@pytest.mark.parametrize("number", range(PAIRS))
def test_of_two_processes_one_is_killed_or_hangs(
    number: int, pair: Path, seconds: float, tmp_path: Path
):
    """The other one ends too, in time; together they go on to the bit."""
    rng, out, port = random.Random(f"{SEED} {number}"), tmp_path / "run", free_port()
    both = [start(out, rank=rank, size=2, port=port, pause_s=0.05) for rank in range(2)]
    deadline = time.monotonic() + 60
    while not list((out / "checkpoints").glob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, seconds / 2))
    victim, other = rng.sample(both, 2)
    hangs = rng.random() < 0.3
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(victim.pid, signal.SIGSTOP if hangs else signal.SIGKILL)
    other.join(40)
    ended = other.exitcode
    victim.kill()
    victim.join(30)
    assert ended in (0, 77), f"{'hung' if hangs else 'killed'}: the other ended with {ended}"
    assert_ends_equal(out, pair, 2)
