"""A real PostgreSQL for the tests: a cluster of this process's own in a temporary directory, on a unix socket.

    url = postgres.fresh_database()      # the cluster starts with the first call and goes away with the process

Each xdist worker has one. It cannot run as root, so as root it runs as the user `postgres`. `keep` has it stay.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

OWNER = "postgres"
START_SECONDS = 30
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cluster:
    """A running server. `stop()` and `start()` are for tests that take the database away."""

    directory: Path
    binaries: Path
    durable: bool

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def url(self, database: str, user: str = OWNER) -> str:
        return f"postgresql://{user}@/{database}?host={self.directory}"

    def start(self) -> None:
        """Once those whom a killed server left behind have gone: until then their memory keeps a new one out."""
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._start()
            except RuntimeError as error:
                if "is still in use" not in str(error)[-2000:] or time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _start(self) -> None:
        options = ["-c", "listen_addresses=", "-k", str(self.directory), "-c", "max_connections=60"]
        options += [] if self.durable else ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "autovacuum=off"]
        with (self.directory / "log").open("ab") as log:
            _RUNNING[self] = subprocess.Popen(
                [*_as_owner(), str(self.binaries / "postgres"), "-D", str(self.data), *options],
                stdout=log, stderr=log, start_new_session=True, cwd="/",
            )
        self._await()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT breaks off what is under way and closes cleanly, SIGQUIT leaves recovery to the next start."""
        process = _RUNNING.pop(self, None)
        if process is not None:
            process.send_signal(how)
            process.wait(30)

    def _await(self) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > until or _RUNNING[self].poll() is not None:
                    raise RuntimeError((self.directory / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return


_RUNNING: dict[Cluster, subprocess.Popen[bytes]] = {}


def available() -> bool:
    return _binaries() is not None and (os.geteuid() != 0 or shutil.which("setpriv") is not None)


_kept: list[Path] = []


def keep(directory: Path) -> None:
    """The durable cluster of this process is the one in this directory, and stays there. Before it is asked for."""
    _kept.append(directory)


@cache
def cluster(*, durable: bool = False) -> Cluster:
    """This process's cluster. `durable` ones keep fsync on, for tests that pull the plug."""
    binaries = _binaries()
    if binaries is None:
        raise RuntimeError("PostgreSQL is not installed")
    is_kept = durable and bool(_kept)
    made = Cluster(_kept[0] if is_kept else Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp")), binaries, durable)
    made.directory.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(made.directory, OWNER, OWNER)
    if not made.data.exists():
        subprocess.run(
            [*_as_owner(), str(binaries / "initdb"), "-D", str(made.data), "-U", OWNER, "-A", "trust", "-E", "UTF8",
             "--locale", "C.UTF-8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd="/",
        )
    atexit.register(Cluster.stop if is_kept else _remove, made)
    made.start()
    return made


def fresh_database(*, durable: bool = False, like: str | None = None) -> str:
    """The url of a database that nobody else has: empty, or as the one at `like`, to which nobody is connected.

    Its owner is the superuser `postgres`.
    """
    server = cluster(durable=durable)
    name = f"test_{os.getpid()}_{next(_numbers)}"
    model = urlsplit(like).path.removeprefix("/") if like else "template1"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{model}"')
    return server.url(name)


def database(name: str) -> str:
    """The url of a database that stays in a kept cluster, empty where it was not there; what others left half-way or
    took for themselves is gone."""
    server = cluster(durable=True)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        if name not in names:
            connection.execute(f'CREATE DATABASE "{name}"')
    return server.url(name)


def drop(*urls: str) -> None:
    """Remove databases of the durable cluster, whoever is still connected."""
    with psycopg.connect(cluster(durable=True).url("postgres"), autocommit=True) as connection:
        for url in urls:
            connection.execute(f'DROP DATABASE IF EXISTS "{urlsplit(url).path.removeprefix("/")}" WITH (FORCE)')


def renamed(url: str) -> str:
    """The same database under a new name. Whoever is still connected is put out, and does not find it again."""
    old, new = urlsplit(url).path.removeprefix("/"), f"test_{os.getpid()}_{next(_numbers)}"
    server = cluster(durable=False)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (old,))
        connection.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"')
    return server.url(new)


def as_role(url: str, role: str) -> str:
    """The same database for another role; the cluster trusts its own socket."""
    return url.replace(f"//{OWNER}@", f"//{role}@", 1)


def _remove(made: Cluster) -> None:
    made.stop()
    shutil.rmtree(made.directory, ignore_errors=True)


def _binaries() -> Path | None:
    installed = Path("/usr/lib/postgresql")
    found = sorted((int(p.name), p / "bin") for p in installed.glob("*") if (p / "bin" / "initdb").exists())
    return found[-1][1] if found else None


def _as_owner() -> list[str]:
    """The prefix of a command that runs as `postgres` and is ended when we die, however we die."""
    ended = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return ended if shutil.which("setpriv") else []
    user = pwd.getpwnam(OWNER)
    return [*ended, "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]


requires_postgres = pytest.mark.skipif(not available(), reason="PostgreSQL 15 or later is not installed")
