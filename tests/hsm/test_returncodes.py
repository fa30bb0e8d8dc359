from __future__ import annotations

import inspect

import pkcs11.exceptions
import pytest
from pkcs11 import PKCS11Error

from hsm.errors import DeviceBusy, DeviceUnavailable, KeyNotFound, PinRejected, Tampered, Unsupported
from hsm.returncodes import BLOB_REFUSED, KINDS, NOT_FOUND, PIN_REJECTED, UNAVAILABLE, UNSUPPORTED, kind_of

EXCEPTIONS = [
    each
    for _, each in inspect.getmembers(pkcs11.exceptions, inspect.isclass)
    if issubclass(each, PKCS11Error)
]

CASES = {
    "a vendor's code": (PKCS11Error("Unmapped error code 0x80000001"), DeviceUnavailable),
    "a session that somebody closed": (pkcs11.exceptions.SessionHandleInvalid(), DeviceUnavailable),
    "an object that went with its session": (pkcs11.exceptions.ObjectHandleInvalid(), DeviceUnavailable),
    "a token pulled out": (pkcs11.exceptions.TokenNotPresent(), DeviceUnavailable),
    "a device that failed": (pkcs11.exceptions.DeviceError(), DeviceUnavailable),
    "a device pulled out": (pkcs11.exceptions.DeviceRemoved(), DeviceUnavailable),
    "logged out": (pkcs11.exceptions.UserNotLoggedIn(), DeviceUnavailable),
    "anything at all": (pkcs11.exceptions.GeneralError(), DeviceUnavailable),
    "a wrong PIN": (pkcs11.exceptions.PinIncorrect(), PinRejected),
    "a locked PIN": (pkcs11.exceptions.PinLocked(), PinRejected),
    "an unknown mechanism": (pkcs11.exceptions.MechanismInvalid(), Unsupported),
    "a key too short for the device": (pkcs11.exceptions.KeySizeRange(), Unsupported),
    "a look-up without result": (pkcs11.exceptions.NoSuchKey(), KeyNotFound),
    "a blob of another device": (pkcs11.exceptions.WrappedKeyInvalid(), KeyNotFound),
}


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda each: each.__name__)
def test_every_exception_of_the_library_has_a_kind(exception: type[PKCS11Error]) -> None:
    assert exception in KINDS


def test_no_exception_is_in_the_table_twice() -> None:
    listed = [*UNAVAILABLE, *NOT_FOUND, *PIN_REJECTED, *UNSUPPORTED]
    assert len(listed) == len(set(listed)) == len(KINDS)
    assert len(EXCEPTIONS) > 70


@pytest.mark.parametrize("name", list(CASES))
def test_a_code_means_what_the_table_says(name: str) -> None:
    error, kind = CASES[name]
    assert kind_of(error) is kind


def test_an_exception_that_a_later_library_invents_counts_as_unavailable() -> None:
    class Invented(PKCS11Error):
        pass

    assert kind_of(Invented()) is DeviceUnavailable


def test_a_code_never_means_that_our_queue_is_full_or_a_row_was_changed() -> None:
    """Both are said only by us, who know."""
    assert not {DeviceBusy, Tampered} & set(KINDS.values())


def test_a_wrong_pin_is_never_taken_for_a_refused_blob() -> None:
    assert not set(BLOB_REFUSED) & set(PIN_REJECTED)
