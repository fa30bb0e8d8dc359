"""A door of their own for those who ask whether all is well: `SIGNING_PROBE_PORT`, under the supervisor."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from signing_service.front.limits import ALWAYS_OPEN
from tests.support import databases
from tests.support.served import serve
from tests.support.service import PLAIN, Service, free_port


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, databases.sqlite(tmp_path))
    yield made
    made.close()


def test_all_fronts_share_a_door_at_which_everything_about_them_is_told_and_nothing_else(service: Service) -> None:
    probes = free_port()
    serve(service, "--front", "2", SIGNING_PROBE_PORT=str(probes))
    asked = {path: httpx.get(f"http://127.0.0.1:{probes}{path}", timeout=10, verify=PLAIN).status_code
             for path in (*ALWAYS_OPEN, "/", "/checkpoint", "/api/v1/openapi.json")}
    assert asked == dict.fromkeys(ALWAYS_OPEN, 200) | dict.fromkeys(("/", "/checkpoint", "/api/v1/openapi.json"), 404)
    assert httpx.get(service.at("/"), timeout=10, verify=PLAIN).status_code == 200
    with pytest.raises(OSError, match="in use"), socket.create_server(("127.0.0.1", probes)):
        pass
