"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Server:
    """In a temporary folder, on 127.0.0.1, as a user without privileges: initdb refuses root."""

    def __init__(self, binaries: Path, folder: Path):
        self.binaries, self.folder = binaries, folder
        self.as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self.as_user = {"user": "nobody", "group": 65534, "extra_groups": []}
            os.chown(folder, 65534, 65534)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._run("initdb", "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        options = f"listen_addresses='127.0.0.1'\nport={self.port}\nunix_socket_directories=''\n"
        config = folder / "data" / "postgresql.conf"
        config.write_text(config.read_text() + options + "fsync=off\n")

    def _run(self, what: str, *arguments: str) -> None:
        command = [str(self.binaries / what), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(
            command,
            check=True,
            cwd=self.folder,
            timeout=60,
            **self.as_user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"))

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "stop", "-w", "-m", how)

    def url(self, database: str) -> str:
        """Of a new, empty database."""
        import psycopg

        with psycopg.connect(
            f"postgresql://tests@127.0.0.1:{self.port}/postgres", autocommit=True
        ) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')  # type: ignore[arg-type]
        return f"postgresql://tests@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="pip install 'phiscale[postgres]'")
    on_path = [Path(initdb).parent for initdb in [shutil.which("initdb")] if initdb]
    folders = [*on_path, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    binaries = next((folder for folder in folders if (folder / "initdb").exists()), None)
    if binaries is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    server = Server(binaries, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
