from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terminal import Office, Terminal, opened


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path) as office:
        yield office


@pytest.fixture
def stranger(office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Somebody at the terminal of an empty server."""
    return Terminal(office, monkeypatch, capsys)


@pytest.fixture
def terminal(stranger: Terminal) -> Terminal:
    """The first operator, with two agencies registered."""
    stranger.bootstraps()
    stranger.agencies()
    return stranger
