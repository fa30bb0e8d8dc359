"""Which device to open, and how a `pkcs11:` URI (RFC 7512) names it. Pure; the PIN itself is never in here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class DeviceSettings:
    """How to reach one token. The PIN stays in its file and is read at each login.

    `token` is the token's label or a `pkcs11:` URI (`token`, `serial`, `slot-id`); an URI that also carries
    `module-path` and `pin-source` is complete by itself: `DeviceSettings.from_uri`.
    """

    module: Path
    token: str
    pin_file: Path
    softhsm_conf: Path | None = None  # exported as SOFTHSM2_CONF before the module is loaded
    reserved: str | None = None  # pReserved of C_Initialize: NSS's softokn wants its configuration there
    make_service_keys: bool = True  # on a token that has none; never on one that had them and lost them
    resident_keys: int = 20_000  # unwrapped keys kept in the device: ~10 KB each in SoftHSM
    deadline: float = 5.0  # seconds one call may take; PKCS#11 itself has no time-outs
    generation_deadline: float = 120.0  # seconds for making a key: RSA-4096 takes long on small devices
    threads: int = 4  # calls that may be in the device at once
    waiting: int = 1024  # calls that may wait for a thread before DeviceBusy

    @classmethod
    def from_uri(cls, uri: str, module: Path | None = None, pin_file: Path | None = None) -> DeviceSettings:
        """Settings from an URI; what it does not say must be given. Raises ValueError for what is missing."""
        named = parse_uri(uri)
        module, pin_file = module or named.module, pin_file or named.pin_file
        if module is None:
            raise ValueError("the URI has no module-path: name the PKCS#11 module")
        if pin_file is None:
            raise ValueError("the URI has no pin-source: name the file that holds the PIN")
        return cls(module=module, token=uri, pin_file=pin_file)

    @property
    def wanted(self) -> TokenName:
        """What the token must be called."""
        return parse_uri(self.token) if self.token.startswith("pkcs11:") else TokenName(label=self.token)


@dataclass(frozen=True)
class TokenName:
    """The parts of a `pkcs11:` URI that we understand. None: any."""

    label: str | None = None
    serial: str | None = None
    slot_id: int | None = None
    manufacturer: str | None = None
    model: str | None = None
    module: Path | None = None
    pin_file: Path | None = None

    def __str__(self) -> str:
        said = (("label", self.label), ("serial", self.serial), ("slot", self.slot_id), ("model", self.model))
        return ", ".join(f"{name} {value!r}" for name, value in said if value is not None) or "any token"


def parse_uri(uri: str) -> TokenName:
    """RFC 7512 2.3. Raises ValueError for an attribute we do not honour: ignoring one could open another token."""
    parts = urlsplit(uri)
    if parts.scheme != "pkcs11" or parts.netloc or parts.fragment:
        raise ValueError("not a pkcs11: URI")
    name = TokenName()
    for attribute, value in _attributes(parts.path, ";") + _attributes(parts.query, "&"):
        name = _with(name, attribute, value)
    return name


def _attributes(text: str, separator: str) -> list[tuple[str, str]]:
    found = [part.partition("=") for part in text.split(separator) if part]
    names = [name for name, _, _ in found]
    if len(names) != len(set(names)):
        raise ValueError("an attribute is there twice (RFC 7512 2.3 allows each once)")
    return [(name, unquote(value, errors="strict")) for name, _, value in found]


_TEXTS = {"token": "label", "serial": "serial", "manufacturer": "manufacturer", "model": "model"}


def _with(name: TokenName, attribute: str, value: str) -> TokenName:
    if attribute in _TEXTS:
        return replace(name, **{_TEXTS[attribute]: value})  # type: ignore[arg-type]  # all of these are texts
    if attribute == "slot-id":
        return replace(name, slot_id=int(value))
    if attribute == "module-path":
        return replace(name, module=Path(value))
    if attribute == "pin-source":
        return replace(name, pin_file=Path(value.removeprefix("file://").removeprefix("file:")))
    if attribute == "pin-value":
        raise ValueError("a PIN does not belong into an URI: put it into a file and name it with pin-source")
    raise ValueError(f"the attribute {attribute!r} is not understood")
