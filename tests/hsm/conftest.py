"""The two real things behind the seam."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hsm import Device
from tests.support import softhsm
from tests.support.memory_device import MemoryDevice

DEVICES: dict[str, Callable[[], Device]] = {"SoftHSM": softhsm.device, "memory": MemoryDevice}
OTHERS: dict[str, Callable[[], Device]] = {"SoftHSM": softhsm.other_device, "memory": MemoryDevice}


@pytest.fixture(scope="session", params=list(DEVICES))
def behind(request: pytest.FixtureRequest) -> str:
    """Which of the two stands behind the seam."""
    return str(request.param)


@pytest.fixture(scope="session")
def device(behind: str) -> Device:
    return DEVICES[behind]()


@pytest.fixture(scope="session")
def other(behind: str) -> Device:
    """A device of the same kind that wraps with other keys."""
    return OTHERS[behind]()
