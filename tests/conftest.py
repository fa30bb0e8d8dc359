"""What holds for every test: nothing goes out into the world, in CI nothing is skipped, and the long ones go first."""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# With `--dist loadfile` a file runs in one process: a long one that comes last runs alone. The order within a file
# stays; behind these, the longest first (what they wait for counts as well: whoever waits long begins early), the order
# of the files is anybody's. The browser's follow each other: whoever takes one after the other opens one browser.
LONG_FILES = (
    "crash/test_main_path.py", "faults/test_databases.py", "faults/test_time.py", "browser/test_trouble.py",
    "pdf/test_bombs.py", "browser/test_auditors.py", "browser/test_officials.py", "browser/test_desk_acts.py",
    "browser/test_operators.py", "browser/test_trust_page.py", "browser/test_trust.py", "browser/test_the_judge.py",
    "browser/test_dropping.py", "browser/test_processes.py", "architecture/test_boundary.py", "readme/test_readme.py",
    "pdf/test_pool.py", "pdf/test_draw.py", "signer/test_two_signers.py", "architecture/test_secrets.py",
    "cli/test_device.py", "hsm/test_faults.py", "hsm/test_contract.py", "conformance/test_device_log.py",
    "conformance/test_producers.py", "conformance/test_stateful.py", "signer/test_codes.py", "signer/test_life.py",
    "signer/test_keeping.py", "signer/test_batches.py", "tlog/test_campaign.py", "faults/test_matrix.py",
    "front/web/test_phone.py", "front/test_search.py", "front/test_authorities.py", "front/test_confirm.py",
    "front/test_jobs.py", "front/test_delivery.py", "front/test_histories.py", "front/test_submission.py",
    "front/web/test_enrolment.py", "front/web/test_desk.py", "front/web/test_phone_stopping.py",
    "front/web/test_phone_safety.py", "signer/test_process.py", "signer/test_phone_life.py", "bench/test_bench.py",
)
HERE = Path(__file__).parent
# Hundreds of processes are started. One that may not keep what it compiled leaves the same work to all that follow.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
NO_SKIPS = "SIGNING_TESTS_MUST_RUN"  # set by `make check`: a missing device or database fails instead of hiding


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, then all others as they were."""
    place = {HERE / name: number for number, name in enumerate(LONG_FILES, start=1)}
    assert all(path.exists() for path in place), "LONG_FILES names a file that is not there"
    in_browser = {path: HERE / "browser" in path.parents for path in {item.path for item in items}}
    last = len(place) + 1
    for item in items:  # what a browser comes across is counted where it is tested without one
        if in_browser[item.path]:
            item.add_marker(pytest.mark.uncounted)
    items.sort(key=lambda item: place.get(item.path, 0 if in_browser[item.path] else last))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests and what they import stay to the end: the collector never looks through them, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None]:
    """Tests marked `uncounted` run without the tracing that counts lines: it doubles the time of every call."""
    if item.get_closest_marker("uncounted") is None or item.get_closest_marker("counted") is not None:
        yield
        return
    with _uncounted():
        yield


@contextmanager
def _uncounted() -> Iterator[None]:
    counting = sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None
    if counting is not None:
        counting.stop()
    try:
        yield
    finally:
        if counting is not None:
            counting.start()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """A test that did not run has shown nothing."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get(NO_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and {NO_SKIPS} is set: {report.longrepr}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With SIGNING_TESTS_SPY everything was written down that any device was asked: hold it against what may be."""
    is_first = not hasattr(session.config, "workerinput")  # and not one of the processes that xdist started
    if is_first and "SIGNING_TESTS_SPY" in os.environ:
        from tests.support import spying  # only then: it loads the device

        spying.check_session()


@pytest.fixture(autouse=True, scope="session")
def _statements_are_compiled_once() -> Iterator[None]:
    """Where there are statements: `tests/support/compiling.py` says why."""
    if "signing_service.db.engine" not in sys.modules:
        yield
        return
    from signing_service.db import engine
    from tests.support import compiling

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "create_engine", compiling.once(engine.create_engine))
        yield


@pytest.fixture(autouse=True, scope="session")
def _stays_at_home() -> Generator[None]:
    """Sockets of this process reach this machine only."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            raise PermissionError(f"a test wanted to reach {address[0]}")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign,assignment]  # the one place all of them pass
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
