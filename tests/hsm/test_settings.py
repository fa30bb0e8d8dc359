from __future__ import annotations

from pathlib import Path

import pytest

from hsm import DeviceSettings
from hsm.settings import TokenName, parse_uri

URIS = {
    "nothing named": ("pkcs11:", TokenName()),
    "a label": ("pkcs11:token=signing", TokenName(label="signing")),
    "percent-encoded": ("pkcs11:token=K%C3%BD%20s%E1%BB%91", TokenName(label="Ký số")),
    "a plus is a plus": ("pkcs11:token=a+b", TokenName(label="a+b")),
    "a semicolon in the value": ("pkcs11:token=a%3Bb;serial=1", TokenName(label="a;b", serial="1")),
    "serial and slot": ("pkcs11:serial=42;slot-id=7", TokenName(serial="42", slot_id=7)),
    "model and manufacturer": (
        "pkcs11:model=M;manufacturer=Acme",
        TokenName(model="M", manufacturer="Acme"),
    ),
    "everything to open it": (
        "pkcs11:token=t?module-path=/usr/lib/x.so&pin-source=file:/etc/pin",
        TokenName(label="t", module=Path("/usr/lib/x.so"), pin_file=Path("/etc/pin")),
    ),
    "the PIN's file with an authority": (
        "pkcs11:token=t?pin-source=file:///etc/pin",
        TokenName(label="t", pin_file=Path("/etc/pin")),
    ),
    "the PIN's file without a scheme": (
        "pkcs11:token=t?pin-source=/etc/pin",
        TokenName(label="t", pin_file=Path("/etc/pin")),
    ),
}

REFUSED = {
    "another scheme": "https:token=t",
    "an authority": "pkcs11://host/token=t",
    "a fragment": "pkcs11:token=t#x",
    "a PIN in the URI": "pkcs11:token=t?pin-value=1234",
    "an attribute twice": "pkcs11:token=a;token=b",
    "an attribute of a key, not of a token": "pkcs11:token=t;object=key",
    "a vendor's attribute": "pkcs11:token=t;x-vendor=1",
    "a slot that is no number": "pkcs11:slot-id=one",
    "broken percent-encoding of UTF-8": "pkcs11:token=%FF",
}


@pytest.mark.parametrize("name", list(URIS))
def test_an_uri_names_a_token(name: str) -> None:
    uri, expected = URIS[name]
    assert parse_uri(uri) == expected


@pytest.mark.parametrize("name", list(REFUSED))
def test_an_uri_that_we_would_not_honour_wholly_is_refused(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any refusal will do
        parse_uri(REFUSED[name])


def test_settings_from_a_complete_uri() -> None:
    settings = DeviceSettings.from_uri("pkcs11:token=t?module-path=/x.so&pin-source=file:/pin")
    assert (settings.module, settings.pin_file) == (Path("/x.so"), Path("/pin"))
    assert settings.wanted.label == "t"


def test_what_the_uri_leaves_out_must_be_given() -> None:
    with pytest.raises(ValueError, match="module-path"):
        DeviceSettings.from_uri("pkcs11:token=t", pin_file=Path("/pin"))
    with pytest.raises(ValueError, match="pin-source"):
        DeviceSettings.from_uri("pkcs11:token=t", module=Path("/x.so"))
    assert DeviceSettings.from_uri("pkcs11:token=t", module=Path("/x.so"), pin_file=Path("/pin"))


def test_a_plain_label_is_a_label_even_with_signs_in_it() -> None:
    settings = DeviceSettings(module=Path("/x.so"), token="a;b=c", pin_file=Path("/pin"))
    assert settings.wanted == TokenName(label="a;b=c")
    assert str(settings.wanted) == "label 'a;b=c'"
