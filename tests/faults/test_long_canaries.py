"""The day of confidences over PostgreSQL: its dump, its files and its write-ahead log are searched, too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import campaign, postgres
from tests.support.confidences import Day, leaks, lived
from tests.support.service import Service


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    with lived(tmp_path_factory.mktemp("day"), postgres.fresh_database(durable=True), postgresql_of) as found:
        yield found


def postgresql_of(service: Service) -> tuple[bytes, bytes]:
    """What `pg_dump` says, and every file of the cluster as it stands after a checkpoint."""
    with psycopg.connect(service.signer_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    cluster = postgres.cluster(durable=True)
    dump = subprocess.run([cluster.binaries / "pg_dump", service.signer_url], capture_output=True, check=True).stdout
    files = [path for path in sorted(cluster.data.rglob("*")) if path.is_file()]
    assert any(path.parent.name == "pg_wal" for path in files)
    return dump, b"\n".join(map(Path.read_bytes, files)) + (cluster.directory / "log").read_bytes()


def test_no_secret_is_written_anywhere(day: Day) -> None:
    found = {place: leaks(content, day, place) for place, content in day.places.items()}
    campaign.proven(
        "canaries", secrets=len(day.secrets), codes=len(day.codes), signature_values=len(day.values),
        places={place: len(content) for place, content in day.places.items()},
        found=sum(map(len, found.values())), core_limits=sorted(set(day.cores)))
    assert {place: names for place, names in found.items() if names} == {}
    assert {place for place, control in day.controls.items() if control not in day.places[place]} == set()


def test_the_search_would_have_found_each_of_them(day: Day) -> None:
    for name, secret in day.secrets.items():
        assert name in leaks(b"x" + secret + b"y", day, "the logs"), name
