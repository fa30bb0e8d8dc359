"""What a device was really asked: the log of OpenSC's pkcs11-spy, which stands between us and the module.

    asked = signatures(log.read_text("utf-8", "replace"))     # every C_Sign that gave a value

The calls of several threads are written into each other, so let the signer use one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_PLACES = [Path("/usr/lib"), Path("/usr/lib64")]
_CALL = re.compile(r"^\d+: (C_\w+)$", re.MULTILINE)
_FIELD = re.compile(r"^\[(?:in|out)\] (\*?\w+)(?:->type)? = (\S+)", re.MULTILINE)
_DUMP = re.compile(r"^    [0-9A-F]{8}  ((?:[0-9A-F]{2} )+)", re.MULTILINE)


def find_spy() -> Path | None:
    found = (path for place in _PLACES for pattern in ("*/pkcs11-spy.so", "pkcs11-spy.so")
             for path in place.glob(pattern))
    return next(found, None)


@dataclass(frozen=True)
class Asked:
    """One signature (or HMAC: that is C_Sign, too) that the device gave."""

    at: datetime
    mechanism: str
    key: str            # handle
    is_unwrapped: bool  # a key that came in by C_UnwrapKey: a credential's, or a seed
    data: bytes


@dataclass(frozen=True)
class _Call:
    name: str
    text: str

    @property
    def fields(self) -> dict[str, str]:
        return dict(_FIELD.findall(self.text))

    @property
    def succeeded(self) -> bool:
        return "Returned:  0 CKR_OK" in self.text


def _calls(text: str) -> Iterator[_Call]:
    begins = list(_CALL.finditer(text))
    for at, found in enumerate(begins):
        end = begins[at + 1].start() if at + 1 < len(begins) else len(text)
        yield _Call(found[1], text[found.end():end])


def signatures(text: str) -> list[Asked]:
    """In the order in which they were asked for. The first of two C_Sign asks only for the length."""
    begun: dict[str, tuple[str, str]] = {}
    unwrapped: set[str] = set()
    asked = []
    for call in _calls(text):
        session = call.fields.get("hSession", "")
        match call.name:
            case "C_UnwrapKey" if call.succeeded:
                unwrapped.add(call.fields["hKey"])
            case "C_DestroyObject" if call.succeeded:
                unwrapped.discard(call.fields["hObject"])
            case "C_SignInit" if call.succeeded:
                begun[session] = (call.fields["pMechanism"], call.fields["hKey"])
            case "C_Sign" if call.succeeded and "pSignature[*pulSignatureLen] NULL" not in call.text:
                mechanism, key = begun.pop(session)
                asked.append(Asked(_moment(call), mechanism, key, key in unwrapped, _input(call)))
    return asked


def _moment(call: _Call) -> datetime:
    return datetime.strptime(call.text.split("\n")[1], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)


def _input(call: _Call) -> bytes:
    shown = call.text.partition("[out] pSignature")[0]
    return b"".join(bytes.fromhex(line) for line in _DUMP.findall(shown))
