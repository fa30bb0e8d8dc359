"""Rows that cannot be swapped and small secrets that can be read only through the device.

A row the signer relies on carries a MAC of a device key over (table, row, owner, version, content): whoever can
write to the database can neither change it, nor move it to another owner or table, nor bring back an old version
if the reader knows which version is due.
"""

from __future__ import annotations

import hmac

from hsm.device import LONGEST_SEALED, Device
from hsm.errors import Tampered

_CONTEXT = b"signing-service row v1"


def row_mac(device: Device, table: str, row: str, owner: str, content: bytes, version: int) -> bytes:
    """The MAC (32 bytes) of one row. `content` is the digest or canonical bytes of what must not change."""
    return device.mac(_encoded(table, row, owner, content, version))


def verify_row_mac(
    device: Device, table: str, row: str, owner: str, content: bytes, version: int, mac: bytes
) -> None:
    """Raises Tampered unless `mac` is the MAC of exactly this row. Compares in constant time."""
    if not hmac.compare_digest(row_mac(device, table, row, owner, content, version), mac):
        raise Tampered(f"the MAC of {table}/{row} does not fit: the row was changed, moved or brought back")


def seal(device: Device, owner: str, secret: bytes) -> bytes:
    """Encrypt a small secret (at most 64 KiB) under a device key, so that it opens only for this owner."""
    if not owner or len(secret) > LONGEST_SEALED:
        raise ValueError("a sealed secret has an owner and at most 64 KiB")
    return device.encrypt(owner, secret)


def unseal(device: Device, owner: str, blob: bytes) -> bytes:
    """What was sealed for this owner. Raises Tampered for another owner, a changed blob or another device."""
    return device.decrypt(owner, blob)


def _encoded(table: str, row: str, owner: str, content: bytes, version: int) -> bytes:
    """Length before each part: no two different rows share an encoding."""
    parts = (_CONTEXT, table.encode(), row.encode(), owner.encode(), version.to_bytes(8, "big"), content)
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
