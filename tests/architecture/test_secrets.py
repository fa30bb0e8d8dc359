"""Secrets stay where they belong: a service lives through a day, and everything it wrote is searched for them.

Searched are the logs of all processes, the database with its write-ahead log, the entries, the metrics, every answer
and webhook, and the command lines. What the secrets are stands in `tests.support.confidences`; over PostgreSQL, with
dump and write-ahead log, the same day is a campaign (`tests/faults/test_long_canaries.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from tests.support.confidences import HOME_OF_VALUES, Day, leaks, lived
from tests.support.service import Service

PLACES = ("the logs", "the database, as text", "the database, its files", "the entries", "the metrics",
          "the answers", "the webhooks", "the command lines", "the environments", "what else it left on the disk")


def sqlite_of(service: Service) -> tuple[bytes, bytes]:
    with sqlite3.connect(service.directory / "signing.db") as database:
        dump = "\n".join(database.iterdump()).encode()
    database.close()
    return dump, b"".join(path.read_bytes() for path in sorted(service.directory.glob("signing.db*")))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    directory = tmp_path_factory.mktemp("day")
    with lived(directory, f"sqlite:///{directory / 'signing.db'}", sqlite_of) as found:
        yield found


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_written_there(day: Day, place: str) -> None:
    assert day.controls[place] in day.places[place]
    assert leaks(day.places[place], day, place) == set()


@pytest.mark.parametrize("place", PLACES)
def test_the_search_would_have_found_each_of_them(day: Day, place: str) -> None:
    wanted = day.secrets | ({} if place in HOME_OF_VALUES else day.values)
    for name, secret in [*wanted.items(), *((name, code.encode()) for name, code in day.codes.items())]:
        planted = day.places[place][-500:] + b'{"x": "' + secret + b'"}' + day.places[place][:500]
        assert name in leaks(planted, day, place), name


def test_the_day_had_everything_in_it(day: Day) -> None:
    entries = day.places["the entries"]
    for event in ("token:issue", "token:refuse", "code:rejected", "signing-request:confirm", "signature:done",
                  "timestamp:issue", "code:enrol", "code:enrol:complete", "signing-request:submit:refused",
                  "webhook:deliver", "ticket:issue", "ticket:redeem", "phone:ready", "password:set", "stop-code:used",
                  "stop-code:refused", "sign-in:refused"):
        assert f'"{event}"'.encode() in entries, event
    assert len(day.codes) >= 12
    assert day.values


def test_no_process_leaves_its_memory_on_the_disk_when_it_crashes(day: Day) -> None:
    assert day.cores == [0] * len(day.cores)
    assert len(day.cores) >= 5  # signer, jobs, front and its pdf workers
