"""Stories of a device that fails to order (`faulty.py`); each runs in a process of its own (`in_child`)."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from hsm import Device, open_device
from hsm.algorithms import KeyKind
from hsm.device import Custody, KeyRef
from hsm.sealing import seal, unseal
from hsm.token import Pkcs11Device
from tests.support.device_stories import errors_until_it_signs, inside, refusal, signs
from tests.support.faulty import Faulty


def each_code(directory: Path, codes: list[int]) -> dict[int, tuple[str, str]]:
    """The device answers one C_Sign with each code. What that is to us, and what the next signature brings."""
    faulty = Faulty(directory)
    device = Pkcs11Device(faulty.settings)
    key = device.generate_key("key", KeyKind.P256, Custody.WRAPPED)
    signs(device, key)
    seen = {}
    for code in codes:
        faulty.order("C_Sign", "before", code, often="once")
        seen[code] = refusal(lambda: signs(device, key)).partition(":")[0], refusal(lambda: signs(device, key))
    device.close()
    return seen


def each_function(directory: Path, functions: list[str]) -> dict[str, tuple[set[str], list[str]]]:
    """Each function fails, for as long as we try, with CKR_DEVICE_ERROR: refusals meanwhile, and afterwards."""
    faulty = Faulty(directory)
    device = Pkcs11Device(faulty.settings)
    key = device.generate_key("key", KeyKind.P256, Custody.WRAPPED)
    seen = {}
    for function in functions:
        device.destroy(key)  # drop the resident copy: it must be unwrapped again
        inside(device).connection.close()  # and the idle sessions: they must be opened again
        faulty.order(function, "before", 0x30)
        meanwhile = {refusal(lambda: _everything(device, key)).partition(":")[0] for _ in range(3)}
        faulty.obey()
        seen[function] = meanwhile, errors_until_it_signs(device, key, 5)
    device.close()
    return seen


def _everything(device: Device, key: KeyRef) -> None:
    signs(device, key)
    signs(device, device.generate_key(f"new-{os.urandom(8).hex()}", KeyKind.P256, Custody.WRAPPED))
    device.generate_seed(f"seed-{os.urandom(8).hex()}")
    unseal(device, "owner", seal(device, "owner", b"secret"))
    device.self_test()


def reply_lost(directory: Path) -> tuple[str, str]:
    """The device signs and its reply is lost; then the next signature."""
    faulty = Faulty(directory)
    device = Pkcs11Device(faulty.settings)
    key = device.generate_key("key", KeyKind.P256, Custody.WRAPPED)
    signs(device, key)
    faulty.order("C_Sign", "after", 0x30, often="once")
    lost = refusal(lambda: signs(device, key)).partition(":")[0]
    return lost, refusal(lambda: signs(device, key))


def one_call_hangs(directory: Path) -> tuple[str, float, str]:
    """One C_Sign hangs. The refusal, its seconds, and what an HMAC in another thread brings meanwhile."""
    faulty = Faulty(directory)
    device = open_device(replace(faulty.settings, deadline=0.5))
    key = device.generate_key("key", KeyKind.P256, Custody.WRAPPED)
    signs(device, key)
    with faulty.hanging("C_Sign"):
        began = time.monotonic()
        hung = refusal(lambda: signs(device, key)).partition(":")[0]
        waited = time.monotonic() - began
        meanwhile = refusal(lambda: device.random(8))
    assert errors_until_it_signs(device, key, 5) == []
    return hung, waited, meanwhile
