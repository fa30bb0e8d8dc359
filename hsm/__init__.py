"""Keys that never leave the device.

This package knows PKCS#11 and nothing of documents or people. Everything outside speaks to it through `Device`
(`hsm/device.py`); `algorithms` and `errors` are pure and may be imported by anyone.

    device = open_device(DeviceSettings(module=..., token="signing", pin_file=...))
    key = device.generate_key("key_0192", KeyKind.P256, Custody.WRAPPED)
    value = device.sign(key, Algorithm.ECDSA_SHA256, digest)
    assert holds(key.public_key, Algorithm.ECDSA_SHA256, digest, value)   # hsm/verification.py: always
"""

from __future__ import annotations

from hsm.device import Device
from hsm.settings import DeviceSettings

__all__ = ["Device", "DeviceSettings", "open_device"]


def open_device(settings: DeviceSettings) -> Device:
    """The device, connected and proven by a signature with its own key. Close it at the end.

    On an empty token this makes the service keys. Raises PinRejected, DeviceUnavailable or Unsupported with what
    is wrong and what to do; the PIN is tried once.
    """
    from hsm.deadline import Deadlined  # here, so that the pure modules can be had without any PKCS#11
    from hsm.token import Pkcs11Device

    device = Deadlined(
        Pkcs11Device(settings),
        settings.deadline,
        settings.generation_deadline,
        settings.threads,
        settings.waiting,
    )
    try:
        device.open()
    except BaseException:
        device.close()
        raise
    return device
