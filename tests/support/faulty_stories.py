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


REACHED_BY = {  # what makes us call a function
    "open": ("C_Initialize", "C_GetSlotList", "C_GetSlotInfo", "C_GetTokenInfo", "C_GetMechanismList",
             "C_Login", "C_GenerateKey"),
    "sign": ("C_OpenSession", "C_SignInit", "C_Sign", "C_UnwrapKey"),
    "make": ("C_GenerateKeyPair", "C_GetAttributeValue", "C_WrapKey", "C_CreateObject", "C_GenerateRandom",
             "C_DestroyObject"),
    "seal": ("C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt"),
    "find": ("C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal"),
}
FUNCTIONS = [name for names in REACHED_BY.values() for name in names]
ALSO_CALLED = {"C_CloseSession", "C_Finalize", "C_GetInfo"}  # what they answer does not matter to us


class Pairs:
    """A device that answers one call of a function with a code, before it does it, and then is well again."""

    def __init__(self, directory: Path) -> None:
        self.faulty = Faulty(directory)
        self._device = Pkcs11Device(self.faulty.settings)
        self._key = self._device.generate_key("key", KeyKind.P256, Custody.WRAPPED)
        self._acts = {"open": self._open, "sign": self._sign, "make": self._make, "seal": self._seal,
                      "find": self._device.self_test}

    def meets(self, function: str, code: int) -> tuple[str, str]:
        """The kind of refusal when it happens, and what the next call brings. Nothing but a DeviceError may leave."""
        (act,) = [act for name, act in self._acts.items() if function in REACHED_BY[name]]
        self.faulty.order(function, "before", code, often="once")
        met = refusal(act).partition(":")[0]
        assert not self.faulty.stands, f"{function} was not called"
        os.utime(self.faulty.settings.pin_file)  # a PIN that was refused is tried again only when the file changed
        return met, "; ".join(sorted(set(errors_until_it_signs(self._device, self._key, 5))))

    def _open(self) -> None:
        self._device.close()
        self._device = Pkcs11Device(self.faulty.settings)
        self._acts["find"] = self._device.self_test
        self._device.describe()

    def _sign(self) -> None:
        self._device.destroy(self._key)  # drop the resident copy: it must be unwrapped again
        inside(self._device).connection.close()  # and the idle sessions: they must be opened again
        signs(self._device, self._key)

    def _make(self) -> None:
        self._device.generate_key(f"new-{os.urandom(8).hex()}", KeyKind.P256, Custody.WRAPPED)
        self._device.generate_seed(f"seed-{os.urandom(8).hex()}")

    def _seal(self) -> None:
        unseal(self._device, "owner", seal(self._device, "owner", b"secret"))

    def close(self) -> set[str]:
        """Every function that was called."""
        self._device.close()
        return self.faulty.called


def each_pair(directory: Path, pairs: list[tuple[str, int]]) -> tuple[dict[tuple[str, int], tuple[str, str]], set[str]]:
    """What each pair of function and code met, and what was called at all."""
    device = Pairs(directory)
    met = {pair: device.meets(*pair) for pair in pairs}
    return met, device.close()


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


def one_call_hangs(directory: Path) -> tuple[str, float, list[str]]:
    """One C_Sign hangs. The refusal, its seconds, and the refusals until something else is done meanwhile."""
    faulty = Faulty(directory)
    device = open_device(replace(faulty.settings, deadline=0.5, threads=8))
    key = device.generate_key("key", KeyKind.P256, Custody.WRAPPED)
    signs(device, key)
    with faulty.hanging("C_Sign"):
        began = time.monotonic()
        hung = refusal(lambda: signs(device, key)).partition(":")[0]
        waited = time.monotonic() - began
        meanwhile = []
        while (said := refusal(lambda: device.random(8)).partition(":")[0]) != "no error":
            meanwhile.append(said)
            time.sleep(0.05)
    assert errors_until_it_signs(device, key, 5) == []
    return hung, waited, meanwhile
