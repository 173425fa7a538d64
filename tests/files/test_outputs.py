"""What is named as an output file is written, never replaced by another kind of file."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from phiscale.errors import PhiscaleError
from phiscale.files import write_atomic, write_json


def test_a_link_stays_and_the_file_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    target, link, second = tmp_path / "deep" / "a.txt", tmp_path / "link", tmp_path / "second"
    link.symlink_to(target)
    second.symlink_to("link")
    for content in ("made through the link", "written again"):
        write_atomic(second, content)
        assert link.is_symlink() and second.is_symlink() and target.read_text() == content
    assert {path.name for path in tmp_path.rglob("*")} == {"deep", "a.txt", "link", "second"}


def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_json(pipe, {"a": 1})
    reader.join(5)
    assert read == ['{\n "a": 1\n}\n'] and pipe.is_fifo()


def test_a_device_is_written_into_and_stays(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "null"):
        write_atomic(path, "nothing")
        assert path.is_char_device()


def test_folders_sockets_full_devices_and_circles_of_links_are_refused_in_one_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (*map(tmp_path.joinpath, ("folder", "circle", "socket")), Path("/dev/full")):
            with pytest.raises(PhiscaleError, match="cannot write") as caught:
                write_atomic(path, "text")
            assert "\n" not in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 3
