"""In a process of its own: what depends on the terminal, on signals, on the locale."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command_line import CLASSES, child


def test_a_reader_that_stops_reading_is_no_error():
    with child("describe efficientnet_b7 --json") as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == b"{\n"
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_a_closed_or_full_output_ends_without_a_traceback():
    command = f"{shlex.quote(sys.executable)} -m phiscale models"
    closed = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")
    if Path("/dev/full").exists():
        full = subprocess.run(
            ["sh", "-c", f"{command} >/dev/full"], capture_output=True, check=False
        )
        assert full.returncode == 1
        assert full.stderr.startswith(b"phiscale: ") and full.stderr.count(b"\n") == 1


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_names_that_the_locale_cannot_show_are_escaped(place: Path, form: str):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"}
    arguments = f"predict exported one.png --top 3 --format {form}"
    with child(arguments, env=plain, cwd=place) as running:
        out, error = running.communicate()
    assert (running.returncode, error) == (0, b"")
    assert out.isascii() and b"caf\\" in out
    if form == "json":
        assert {row["class"] for row in json.loads(out)[0]["top"]} == set(CLASSES)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)]
)
def test_help_on_a_terminal_is_coloured_unless_no_color_is_set(
    environment: dict[str, str], coloured: bool
):
    ours, theirs = pty.openpty()
    with child("fit --help", env={"TERM": "xterm", **environment}, stdout=theirs) as running:
        os.close(theirs)
        text = b"".join(iter(lambda: piece_of(ours), b""))
    os.close(ours)
    assert running.returncode == 0 and b"--out" in text
    assert (b"\x1b[" in text) == coloured


def piece_of(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def wait_until(ready: Iterator[bool], running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not next(ready):
        assert running.poll() is None, running.stderr and running.stderr.read()
        assert time.monotonic() < deadline, "not ready in a minute"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_stopped_training_says_that_it_is_saved_and_resumes(
    number: int, code: int, tmp_path: Path
):
    arguments = (
        "train characters --model small --data digits --out run --resolution 16 "
        "--epochs 2 --evaluations 40"
    )
    with child(arguments, cwd=tmp_path) as running:
        wait_until(iter(lambda: any(tmp_path.glob("run/checkpoints/*.pt")), None), running)
        running.send_signal(number)
        _, error = running.communicate()
    assert running.returncode == code
    last = error.decode().splitlines()[-1]
    assert last == "phiscale: saved in run; run the same command to resume"


def test_ctrl_c_before_the_work_has_begun_is_one_line_too(tmp_path: Path):
    with child("calibrate --out device.json", cwd=tmp_path) as running:
        assert running.stderr is not None
        assert b"measuring" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        _, error = running.communicate()
    assert (running.returncode, error) == (130, b"phiscale: interrupted\n")
    assert not any(tmp_path.iterdir())


def test_a_package_that_is_not_installed_is_one_line_with_the_command_that_installs_it():
    """As where phiscale-core alone is installed."""
    code = """
import sys
sys.modules["torch"] = None
from phiscale.cli import main
main(["evaluate", "nope.safetensors", "digits"])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    line = b"phiscale: phiscale evaluate needs torch. Install it with: pip install phiscale\n"
    assert (ended.returncode, ended.stderr) == (1, line)
