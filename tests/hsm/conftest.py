"""The real things behind the seam, and what each of them can do."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hsm import Device
from hsm.algorithms import Algorithm, KeyKind, Padding, default_algorithm
from hsm.device import Capabilities, Custody
from tests.support import campaign, opencryptoki, remote_token, softhsm, softokn
from tests.support.memory_device import MemoryDevice

EVERYTHING = Capabilities(wrap="AES_KEY_WRAP_PAD", seal=True, pss=True, eddsa=True, ecdsa=True, rsa=True)
SLOW = {KeyKind.RSA_3072, KeyKind.RSA_4096}  # seconds to make: each is made once, and not in all modules every time
SLOW_ELSEWHERE = {"softokn", "p11-kit", "opencryptoki"}


@dataclass(frozen=True)
class Behind:
    """One kind of device; `other` wraps with other keys. `able` is what it says and shows that it can do."""

    device: Callable[[], Device]
    other: Callable[[], Device]
    able: Capabilities

    @property
    def usual(self) -> KeyKind:
        """The kind of key that most tests make."""
        return KeyKind.P256 if self.able.ecdsa else KeyKind.RSA_2048

    def makes(self, kind: KeyKind, algorithm: Algorithm | None = None) -> bool:
        able = self.able.rsa if kind.is_rsa else self.able.ecdsa
        return able and (self.able.pss or algorithm is None or algorithm.padding is not Padding.PSS)


DEVICES = {
    "SoftHSM": Behind(softhsm.device, softhsm.other_device, EVERYTHING),
    "memory": Behind(MemoryDevice, MemoryDevice, EVERYTHING),
    # It lists AES_KEY_WRAP_PAD and AES_GCM; it does not unwrap EC keys, and says how long a sealed secret is wrongly.
    "softokn": Behind(softokn.device, MemoryDevice, Capabilities(None, False, True, False, True, True)),
    # SoftHSM behind p11-kit's server, which passes on only the mechanisms that it knows.
    "p11-kit": Behind(remote_token.device, MemoryDevice, Capabilities(None, False, True, False, True, True)),
    "opencryptoki": Behind(opencryptoki.device, MemoryDevice, Capabilities(None, False, True, False, False, True)),
}
IN_ITS_OWN_PLACE = "opencryptoki"  # test_modules.py starts it, and this suite beside it


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "behind" in metafunc.fixturenames:
        inside = opencryptoki.OWN in os.environ
        names = [name for name in DEVICES if (name == IN_ITS_OWN_PLACE) == inside]
        metafunc.parametrize("behind", names, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a device cannot do is not asked of it here; that it says so is a test of its own."""
    able = {item: _is_able(item) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not able[item]])
    items[:] = [item for item in items if able[item]]


def _is_able(item: pytest.Item) -> bool:
    asked = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if "behind" not in asked:
        return True
    name, behind = asked["behind"], DEVICES[asked["behind"]]
    kind = asked.get("kind")
    if kind in SLOW and name in SLOW_ELSEWHERE and not campaign.FULL:
        return False
    return (
        ("wraps" not in item.fixturenames or behind.able.wrap is not None)
        and ("seals" not in item.fixturenames or behind.able.seal)
        and ("has_ec" not in item.fixturenames or behind.able.ecdsa)
        and ("signs_checkpoints" not in item.fixturenames or behind.able.checkpoints)
        and (kind is None or "misfit" in asked or behind.makes(kind, asked.get("algorithm")))
    )


@pytest.fixture(scope="session")
def wraps() -> None:
    """Asked of devices that wrap keys."""


@pytest.fixture(scope="session")
def seals() -> None:
    """Asked of devices that seal small secrets."""


@pytest.fixture(scope="session")
def has_ec() -> None:
    """Asked of devices that know elliptic curves."""


@pytest.fixture(scope="session")
def signs_checkpoints() -> None:
    """Asked of devices that can sign the log."""


@pytest.fixture(scope="session")
def device(behind: str) -> Device:
    return DEVICES[behind].device()


@pytest.fixture(scope="session")
def other(behind: str) -> Device:
    """A device that wraps with other keys."""
    return DEVICES[behind].other()


@pytest.fixture(scope="session")
def able(behind: str) -> Capabilities:
    """What this device should be found to be able to do."""
    return DEVICES[behind].able


@pytest.fixture(scope="session")
def custody(able: Capabilities) -> Custody:
    """Where keys rest on this device when nobody says otherwise."""
    return able.custody


@pytest.fixture(scope="session")
def usual(behind: str) -> tuple[KeyKind, Algorithm]:
    """What most tests make, and sign with."""
    return DEVICES[behind].usual, default_algorithm(DEVICES[behind].usual)
