"""What a device was really asked: the log of OpenSC's pkcs11-spy, which stands between us and the module.

    for asked in signatures(log): ...     # every C_Sign that gave a value, read as a stream: logs grow to gigabytes

The calls of several threads are written into each other, so let the signer use one. One log may hold several lives
of a process, one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

_PLACES = [Path("/usr/lib"), Path("/usr/lib64")]
_BLOCK = 1 << 20  # bytes read at a time
_CALL = re.compile(r"^\d+: (C_\w+)\n", re.MULTILINE)
_FIELD = re.compile(r"^\[(?:in|out)\] (\*?\w+)(?:->type)? = (\S+)", re.MULTILINE)
_DUMP = re.compile(r"^    [0-9A-F]{8}  ((?:[0-9A-F]{2} )+)", re.MULTILINE)
_ID = re.compile(r"^    CKA_ID .*\n    00000000  ((?:[0-9A-F]{2} )+)", re.MULTILINE)
_MATCH = re.compile(r"^Object (0x[0-9a-f]+) matches", re.MULTILINE)
_WANTED = frozenset({
    "C_Initialize", "C_FindObjectsInit", "C_FindObjects", "C_UnwrapKey", "C_DestroyObject", "C_SignInit", "C_Sign",
})
HMACS = frozenset({"CKM_SHA_1_HMAC", "CKM_SHA256_HMAC"})


def find_spy() -> Path | None:
    found = (path for place in _PLACES for pattern in ("*/pkcs11-spy.so", "pkcs11-spy.so")
             for path in place.glob(pattern))
    return next(found, None)


@dataclass(frozen=True)
class Asked:
    """One signature (or HMAC: that is C_Sign, too) that the device gave."""

    at: datetime
    mechanism: str
    key: bytes          # CKA_ID (`hsm.device.object_id`) with which it was unwrapped or found; b"" if that was not seen
    is_unwrapped: bool  # a key that came in by C_UnwrapKey: a credential's, or a seed
    data: bytes
    value: bytes

    @property
    def is_hmac(self) -> bool:
        return self.mechanism in HMACS


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

    @property
    def id(self) -> bytes:
        found = _ID.search(self.text)
        return bytes.fromhex(found[1]) if found else b""


@dataclass
class _Handles:
    """What handles mean at this place of the log. They begin anew with each C_Initialize."""

    begun: dict[str, tuple[str, str]] = field(default_factory=dict)   # session -> mechanism, handle
    sought: dict[str, bytes] = field(default_factory=dict)            # session -> id that is looked for
    ids: dict[str, bytes] = field(default_factory=dict)               # handle -> id
    unwrapped: set[str] = field(default_factory=set)

    def learn(self, call: _Call) -> None:
        told = call.fields
        match call.name:
            case "C_Initialize":
                self.begun, self.sought, self.ids, self.unwrapped = {}, {}, {}, set()
            case "C_FindObjectsInit":
                self.sought[told["hSession"]] = call.id
            case "C_FindObjects":
                self.ids |= dict.fromkeys(_MATCH.findall(call.text), self.sought.get(told["hSession"], b""))
            case "C_UnwrapKey":
                self.ids[told["hKey"]] = call.id
                self.unwrapped.add(told["hKey"])
            case "C_DestroyObject":
                self.unwrapped.discard(told["hObject"])
                self.ids.pop(told["hObject"], None)
            case "C_SignInit":
                self.begun[told["hSession"]] = (told["pMechanism"], told["hKey"])


def signatures(log: Path, unread: list[str] | None = None) -> Iterator[Asked]:
    """In the order in which they were asked for. Of two C_Sign the first may ask only for the length.

    Raises KeyError or ValueError at a call that cannot be read; or, where several threads wrote the log and `unread` is
    given, puts its name there and goes on: what is said of such a log holds for the others.
    """
    handles = _Handles()
    for call in _calls(log):
        try:
            made = _made(call, handles) if call.succeeded else None
        except (KeyError, ValueError):
            if unread is None:
                raise
            unread.append(call.name)
        else:
            if made is not None:
                yield made


def _made(call: _Call, handles: _Handles) -> Asked | None:
    if call.name != "C_Sign":
        handles.learn(call)
        return None
    if "pSignature[*pulSignatureLen] NULL" in call.text:
        return None
    mechanism, key = handles.begun.pop(call.fields["hSession"])
    given, _, value = call.text.partition("[out] pSignature")
    return Asked(_moment(call), mechanism, handles.ids.get(key, b""), key in handles.unwrapped,
                 _bytes_of(given), _bytes_of(value))


def _calls(log: Path) -> Iterator[_Call]:
    """Those that are of interest. What a killed process left half-written at the end is no call that returned."""
    rest = ""
    with log.open(encoding="utf-8", errors="replace") as file:
        while block := file.read(_BLOCK):
            whole, blank, rest = (rest + block).rpartition("\n\n")
            yield from _cut(whole + blank)
    yield from _cut(rest)


def _cut(text: str) -> Iterator[_Call]:
    begins = list(_CALL.finditer(text))
    for at, found in enumerate(begins):
        if found[1] in _WANTED:
            end = begins[at + 1].start() if at + 1 < len(begins) else len(text)
            yield _Call(found[1], text[found.end():end])


def _moment(call: _Call) -> datetime:
    return datetime.strptime(call.text.partition("\n")[0], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)


def _bytes_of(dump: str) -> bytes:
    return b"".join(bytes.fromhex(line) for line in _DUMP.findall(dump))
