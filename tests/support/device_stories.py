"""Stories in which a device is broken or shaken; each runs in a process of its own (`in_child`)."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pkcs11 import ObjectClass

from hsm import Device, DeviceSettings, open_device
from hsm.algorithms import Algorithm, KeyKind
from hsm.device import Custody, KeyRef, ServiceKey
from hsm.doctor import Check, examine
from hsm.errors import DeviceError
from hsm.keys import destroy, find, generate
from hsm.sealing import seal
from hsm.softhsm import find_module
from hsm.token import Pkcs11Device
from hsm.verification import checkpoint_holds, holds
from tests.support.remote_token import RemoteToken
from tests.support.softhsm import provisioned

DIGEST = hashlib.sha256(b"a document").digest()
SPY = Path("/usr/lib/x86_64-linux-gnu/pkcs11-spy.so")


def signs(device: Device, key: KeyRef) -> None:
    """One signature, verified."""
    value = device.sign(key, Algorithm.ECDSA_SHA256, DIGEST)
    assert holds(key.public_key, Algorithm.ECDSA_SHA256, DIGEST, value)


def errors_until_it_signs(device: Device, key: KeyRef, seconds: float) -> list[str]:
    """Ask again and again, as signing requests do, until a signature comes; the kinds of refusal on the way."""
    until, seen = time.monotonic() + seconds, list[str]()
    while time.monotonic() < until:
        try:
            signs(device, key)
        except DeviceError as error:
            seen.append(type(error).__name__)
            time.sleep(0.05)
        else:
            return seen
    raise AssertionError(f"no signature within {seconds} s; refused with {Counter(seen)}")


def inside(device: Pkcs11Device) -> Any:
    assert device._link is not None
    return device._link


def logged_out(directory: Path) -> list[str]:
    """Somebody logs the whole token out under us."""
    device = Pkcs11Device(provisioned(directory))
    wrapped = device.generate_key("wrapped", KeyKind.P256, Custody.WRAPPED)
    stored = device.generate_key("stored", KeyKind.P256, Custody.TOKEN)
    signs(device, wrapped)
    inside(device).connection.anchor.close()
    seen = errors_until_it_signs(device, stored, 5) + errors_until_it_signs(device, wrapped, 5)
    device.close()
    return seen


def finalised(directory: Path) -> list[str]:
    """Somebody finalises the module under us, as a library in the same process can."""
    device = Pkcs11Device(provisioned(directory))
    key = device.generate_key("wrapped", KeyKind.P256, Custody.WRAPPED)
    signs(device, key)
    inside(device).library.finalize()
    seen = errors_until_it_signs(device, key, 5)
    device.close()
    return seen


def emptied(directory: Path) -> tuple[str, str]:
    """The token is initialised again under the same name: our keys are gone."""
    settings = provisioned(directory)
    device = Pkcs11Device(settings)
    key = device.generate_key("wrapped", KeyKind.P256, Custody.WRAPPED)
    signs(device, key)
    for path in sorted((directory / "tokens").rglob("*.object")):
        if path.name != "token.object":
            path.unlink()
    inside(device).library.finalize()
    return refusal(lambda: signs(device, key)), refusal(lambda: signs(device, key))


def refusal(act: Callable[[], object]) -> str:
    try:
        act()
    except DeviceError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def frozen(directory: Path, deadline: float) -> tuple[float, list[str]]:
    """The device freezes, thaws, and signs again. Seconds until the refusal; refusals after the thaw."""
    remote = RemoteToken(directory)
    remote.start()
    try:
        device = open_device(replace(remote.settings, deadline=deadline))
        key = device.generate_key("stored", KeyKind.P256, Custody.TOKEN)
        signs(device, key)
        remote.freeze()
        began = time.monotonic()
        assert refusal(lambda: signs(device, key)).startswith("DeviceUnavailable")
        waited = time.monotonic() - began
        remote.thaw()
        return waited, errors_until_it_signs(device, key, 5)
    finally:
        remote.kill()


def all_threads_hang(directory: Path) -> tuple[bool, bool, float, bool]:
    """Every device thread hangs: hopeless before, then, seconds of one more call, and hopeless after the thaw."""
    remote = RemoteToken(directory)
    remote.start()
    try:
        device = open_device(replace(remote.settings, deadline=0.5, threads=2))
        key = device.generate_key("stored", KeyKind.P256, Custody.TOKEN)
        before = device.hopeless
        remote.freeze()
        for ask in (lambda: signs(device, key), device.recover):
            assert refusal(ask).startswith("DeviceUnavailable")
        then, began = device.hopeless, time.monotonic()
        assert refusal(lambda: signs(device, key)).startswith("DeviceUnavailable")
        waited = time.monotonic() - began
        remote.thaw()
        errors_until_it_signs(device, key, 5)
        return before, then, waited, device.hopeless
    finally:
        remote.kill()


def killed(directory: Path) -> tuple[list[str], list[str]]:
    """The device dies, is away for a while, and comes back. Refusals while away, and after the return."""
    remote = RemoteToken(directory)
    remote.start()
    try:
        device = open_device(replace(remote.settings, deadline=2.0))
        key = device.generate_key("stored", KeyKind.P256, Custody.TOKEN)
        signs(device, key)
        remote.kill()
        away = [refusal(lambda: signs(device, key)).partition(":")[0] for _ in range(5)]
        remote.start()
        return away, errors_until_it_signs(device, key, 5)
    finally:
        remote.kill()


def spied(directory: Path) -> tuple[DeviceSettings, Path]:
    """A token whose every call is written to a file by OpenSC's pkcs11-spy."""
    settings, log = provisioned(directory), directory / "spy.log"
    os.environ["PKCS11SPY"], os.environ["PKCS11SPY_OUTPUT"] = str(find_module()), str(log)
    return replace(settings, module=SPY), log


def wrong_pin(directory: Path) -> tuple[int, int, list[str]]:
    """Logins tried with a wrong PIN over many calls and devices, and in all after the PIN file was corrected."""
    settings, log = spied(directory)
    right = settings.pin_file.read_text()
    settings.pin_file.write_text("not the PIN\n")
    device = Pkcs11Device(settings)
    seen = [refusal(device.self_test) for _ in range(3)]
    seen += [refusal(lambda: open_device(settings)) for _ in range(2)]
    tried = _logins(log)
    settings.pin_file.write_text(right)
    time.sleep(0.6)  # longer than the pause in which the last failure is repeated
    device.self_test()
    device.close()
    return tried, _logins(log), seen


def _logins(log: Path) -> int:
    return sum(line.endswith(": C_Login") for line in log.read_text("utf-8", "replace").splitlines())


def counted_signatures(directory: Path, times: int) -> tuple[int, int]:
    """How many C_SignInit with CKM_ECDSA the device saw for that many signatures, and for none."""
    settings, log = spied(directory)
    device = open_device(settings)
    key = device.generate_key("wrapped", KeyKind.P256, Custody.WRAPPED)
    before = log.read_text("utf-8", "replace").count("CKM_ECDSA ")
    for _ in range(times):
        signs(device, key)
    after = log.read_text("utf-8", "replace").count("CKM_ECDSA ")
    for bad in (b"", DIGEST[:-1], DIGEST + b"x"):
        assert not _signed(device, key, bad)
    refused = log.read_text("utf-8", "replace").count("CKM_ECDSA ")
    device.close()
    return after - before, refused - after


def _signed(device: Device, key: KeyRef, digest: bytes) -> bool:
    try:
        device.sign(key, Algorithm.ECDSA_SHA256, digest)
    except ValueError:
        return False
    return True


def used_after_a_fork(directory: Path) -> str:
    """A device in a forked child says so instead of crashing."""
    device = Pkcs11Device(provisioned(directory))
    device.self_test()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, refusal(device.self_test).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reading, 1000).decode()


def opened_at_one_moment(directory: Path) -> str:
    """Open, sign and close, as one of several processes on one fresh token."""
    device = open_device(provisioned(directory))
    key = device.generate_key(f"key-{os.getpid()}", KeyKind.P256, Custody.WRAPPED)
    signs(device, key)
    mac = device.mac(b"the same key for all").hex()
    device.close()
    return mac


def doctor_with_a_wrong_pin(directory: Path) -> list[Check]:
    settings = provisioned(directory)
    settings.pin_file.write_text("wrong\n")
    return examine(settings) + examine(settings)


def doctor_on_a_fresh_token(directory: Path) -> tuple[list[Check], int]:
    """The findings, and how many objects are on the token afterwards."""
    settings = provisioned(directory)
    checks = examine(settings)
    objects = [path for path in (directory / "tokens").rglob("*.object") if path.name != "token.object"]
    return checks, len(objects)


def doctor_of_a_remote_token(directory: Path) -> list[Check]:
    remote = RemoteToken(directory)
    remote.start()
    try:
        return examine(remote.settings)
    finally:
        remote.kill()


def doctor_of_a_frozen_token(directory: Path) -> list[Check]:
    remote = RemoteToken(directory)
    remote.start()
    try:
        remote.freeze()
        return examine(replace(remote.settings, deadline=0.2))
    finally:
        remote.kill()


def two_devices_and_an_outage(directory: Path) -> list[str]:
    """Two devices of one process on one token; the module is finalised under both."""
    settings = provisioned(directory)
    one, two = Pkcs11Device(settings), Pkcs11Device(settings)
    key = one.generate_key("key", KeyKind.P256, Custody.WRAPPED)
    signs(two, key)
    inside(one).library.finalize()
    seen = [kind for device in (one, two, one, two) for kind in errors_until_it_signs(device, key, 5)]
    one.close()
    two.close()
    return seen


def a_lost_wrapping_key(directory: Path) -> tuple[str, str]:
    """Only the wrapping key was destroyed: what a fresh start says, and one that may not make keys, on no token."""
    settings = provisioned(directory / "one")
    device = Pkcs11Device(settings)
    device.describe()
    with inside(device).connection.session() as session:
        for each in find(session, ServiceKey.WRAPPING.key_id, ObjectClass.SECRET_KEY):
            each.destroy()
    device.close()
    fresh = refusal(Pkcs11Device(settings).describe)
    for path in (directory / "one" / "tokens").rglob("*.object"):
        if path.name != "token.object":
            path.unlink()
    return fresh, refusal(Pkcs11Device(replace(settings, make_service_keys=False)).describe)


def a_module_that_cannot_wrap(directory: Path) -> tuple[list[str], str, bool]:
    """Refusals of what needs wrapping; the checkpoint's algorithm and whether it holds."""
    remote = RemoteToken(directory)
    remote.start()
    try:
        device = open_device(remote.settings)
        acts: list[Callable[[], object]] = [
            lambda: device.generate_key("wrapped", KeyKind.P256, Custody.WRAPPED),
            lambda: seal(device, "owner", b"secret"),
        ]
        key = device.checkpoint_key()
        return [refusal(act) for act in acts], key.algorithm, checkpoint_holds(key, b"m", device.sign_checkpoint(b"m"))
    finally:
        remote.kill()


def a_checkpoint_key_from_before_ed25519(directory: Path) -> tuple[str, bool]:
    """A P-256 checkpoint key is on the token; the module can do Ed25519."""
    device = Pkcs11Device(provisioned(directory))
    device.describe()
    with inside(device).connection.session() as session:
        destroy(session, ServiceKey.CHECKPOINT.key_id)
        generate(session, ServiceKey.CHECKPOINT.key_id, KeyKind.P256, stored=True)
    device.close()
    key = device.checkpoint_key()
    holds_still = checkpoint_holds(key, b"m", device.sign_checkpoint(b"m"))
    device.close()
    return key.algorithm, holds_still
