"""What only the PKCS#11 device has: attributes, resident keys, names of tokens. SoftHSM, in this process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pkcs11 import Attribute, ObjectClass, TokenFlag

from hsm import DeviceSettings, keys, open_device
from hsm.algorithms import Algorithm, KeyKind
from hsm.device import Custody, KeyRef, ServiceKey
from hsm.encodings import subject_public_key
from hsm.errors import DeviceError, DeviceUnavailable, KeyNotFound, PinRejected, Unsupported
from hsm.link import Link
from hsm.module import Login
from hsm.token import Pkcs11Device
from hsm.verification import holds
from tests.support import device_stories as stories
from tests.support import softhsm
from tests.support.in_child import in_child


@pytest.fixture(scope="module")
def device() -> Iterator[Pkcs11Device]:
    device = Pkcs11Device(replace(softhsm.settings(), resident_keys=2))
    yield device
    device.close()


def link_of(device: Pkcs11Device) -> Link:
    device.describe()
    assert device._link is not None
    return device._link


def wrapped(device: Pkcs11Device) -> KeyRef:
    return device.generate_key(f"key_{uuid.uuid4().hex}", KeyKind.P256, Custody.WRAPPED)


def signs(device: Pkcs11Device, key: KeyRef) -> bool:
    return holds(key.public_key, Algorithm.ECDSA_SHA256, bytes(32), device.sign(key, Algorithm.ECDSA_SHA256, bytes(32)))


def session_objects(device: Pkcs11Device) -> set[str]:
    """Labels of all session objects in this process, of other tests' devices too."""
    with link_of(device).connection.session() as session:
        return {each[Attribute.LABEL] for each in session.get_objects({Attribute.TOKEN: False})}


SECRETS = [ServiceKey.WRAPPING, ServiceKey.SEALING, ServiceKey.ROW_MAC]
PAIRS = [ServiceKey.CHECKPOINT, ServiceKey.SELF_TEST]


@pytest.mark.parametrize("service", [*SECRETS, *PAIRS], ids=str)
def test_a_service_key_can_never_leave_and_does_one_thing(device: Pkcs11Device, service: ServiceKey) -> None:
    object_class = ObjectClass.SECRET_KEY if service in SECRETS else ObjectClass.PRIVATE_KEY
    allowed = {
        ServiceKey.WRAPPING: {Attribute.WRAP, Attribute.UNWRAP},
        ServiceKey.SEALING: {Attribute.ENCRYPT, Attribute.DECRYPT},
    }.get(service, {Attribute.SIGN})
    uses = [Attribute.DECRYPT, Attribute.SIGN, Attribute.UNWRAP, Attribute.DERIVE]
    if service in SECRETS:
        uses += [Attribute.ENCRYPT, Attribute.WRAP]
    link = link_of(device)
    with link.connection.session() as session:
        wanted = {Attribute.LABEL: service.key_id, Attribute.CLASS: object_class}
        (key,) = list(session.get_objects(wanted))
        assert key[Attribute.NEVER_EXTRACTABLE]
        assert key[Attribute.ALWAYS_SENSITIVE]
        assert key[Attribute.PRIVATE]
        assert {use for use in uses if key[use]} == allowed & set(uses)


def test_generating_a_wrapped_key_or_a_seed_leaves_nothing_in_the_device(device: Pkcs11Device) -> None:
    before = session_objects(device)
    wrapped(device)
    device.generate_seed(f"seed_{uuid.uuid4().hex}")
    assert session_objects(device) == before


def test_an_unwrapped_key_is_sensitive_and_can_never_be_wrapped_again(device: Pkcs11Device) -> None:
    key = wrapped(device)
    secret, _ = device.generate_seed(f"seed_{uuid.uuid4().hex}")
    assert signs(device, key)
    device.hmac_sha1(secret, b"message")
    with link_of(device).connection.session() as session:
        for each in (key, secret):
            (resident,) = list(session.get_objects({Attribute.LABEL: each.id, Attribute.TOKEN: False}))
            assert resident[Attribute.SENSITIVE]
            assert not resident[Attribute.EXTRACTABLE]
            assert not resident[Attribute.DECRYPT]
            assert not resident[Attribute.UNWRAP]


def test_no_more_than_the_limit_stay_resident_and_the_others_come_back(device: Pkcs11Device) -> None:
    made = [wrapped(device) for _ in range(5)]
    for key in made * 2:
        assert signs(device, key)
        assert key.id in session_objects(device)
        assert len(session_objects(device) & {each.id for each in made}) <= 2


def test_a_stored_key_is_never_extractable(device: Pkcs11Device) -> None:
    key = device.generate_key(f"key_{uuid.uuid4().hex}", KeyKind.P256, Custody.TOKEN)
    with link_of(device).connection.session() as session:
        wanted = {Attribute.LABEL: key.id, Attribute.CLASS: ObjectClass.PRIVATE_KEY}
        (private,) = list(session.get_objects(wanted))
        assert private[Attribute.NEVER_EXTRACTABLE]
        assert private[Attribute.SENSITIVE]
    with pytest.raises(ValueError, match="already a key"):
        device.generate_key(key.id, KeyKind.P256, Custody.TOKEN)
    device.destroy(key)


def test_a_token_key_that_could_leave_is_not_used(device: Pkcs11Device) -> None:
    link, name = link_of(device), f"key_{uuid.uuid4().hex}"
    with link.connection.session() as session:
        public, private = keys.generate(session, name, KeyKind.P256, stored=False)
        for each in (public, private):
            each.copy({Attribute.TOKEN: True})
    key = KeyRef(name, KeyKind.P256, Custody.TOKEN, b"", None)
    with pytest.raises(Unsupported, match="could leave"):
        device.sign(key, Algorithm.ECDSA_SHA256, bytes(32))
    device.destroy(key)


def test_an_error_of_one_call_does_not_disturb_the_next(device: Pkcs11Device) -> None:
    key, link = wrapped(device), link_of(device)
    assert key.blob is not None
    for _ in range(20):
        with pytest.raises(KeyNotFound):
            device.sign(replace(key, id="unknown", blob=key.blob[::-1]), Algorithm.ECDSA_SHA256, bytes(32))
        assert signs(device, key)
    assert link_of(device) is link, "a refused blob is no reason to log in again"


def test_two_devices_of_one_process_do_not_log_each_other_out() -> None:
    one, two = Pkcs11Device(softhsm.settings()), Pkcs11Device(softhsm.settings())
    key = wrapped(one)
    assert signs(two, key)
    one.close()
    assert signs(two, key)
    two.close()


class TokenAtItsLastTry:
    """As much of a token as Login looks at."""

    label = "card"

    def __init__(self, flag: TokenFlag) -> None:
        self.flags = TokenFlag.LOGIN_REQUIRED | flag

    def open(self, **_: object) -> None:
        raise AssertionError("a PIN was tried")


@pytest.mark.parametrize("flag", [TokenFlag.USER_PIN_FINAL_TRY, TokenFlag.USER_PIN_LOCKED])
def test_a_token_that_would_lock_at_a_wrong_pin_is_left_alone(flag: TokenFlag) -> None:
    with pytest.raises(PinRejected, match="by hand"):
        Login(softhsm.settings().pin_file).anchor(TokenAtItsLastTry(flag))  # type: ignore[arg-type]  # a stand-in


def test_a_point_with_and_without_its_octet_string_is_the_same_key() -> None:
    point = bytes.fromhex("04") + bytes(range(64))
    wrapped_point = bytes.fromhex("0441") + point
    spki = [subject_public_key({Attribute.EC_POINT: each}, KeyKind.P256) for each in (point, wrapped_point)]  # type: ignore[arg-type]  # a stand-in
    assert spki[0] == spki[1]
    assert spki[0].endswith(point)


def test_a_module_that_learned_ed25519_keeps_the_checkpoint_key_of_the_token(tmp_path: Path) -> None:
    algorithm, holds_still = in_child(stories.a_checkpoint_key_from_before_ed25519, tmp_path)
    assert (algorithm, holds_still) == ("ecdsa-p256", True)


NAMES = {
    "no such label": ({"token": "nobody"}, DeviceUnavailable, "tokens seen: "),
    "no such serial": ({"token": "pkcs11:token=tests;serial=0"}, DeviceUnavailable, "tokens seen: "),
    "two tokens fit": ({"token": "pkcs11:"}, Unsupported, "name the serial"),
    "no module": ({"module": Path("/nowhere.so")}, Unsupported, "no PKCS#11 module"),
    "not a module": ({"module": Path("/etc/hostname")}, Unsupported, "not a PKCS#11 module"),
    "a library that is no module": ({"module": Path("/usr/lib/x86_64-linux-gnu/libz.so.1")}, Unsupported, "not a"),
    "no PIN file": ({"pin_file": Path("/nowhere/pin")}, PinRejected, "cannot be read"),
}


@pytest.mark.parametrize("name", list(NAMES))
def test_a_device_that_cannot_be_opened_says_why(name: str) -> None:
    changes, kind, words = NAMES[name]
    settings: DeviceSettings = replace(softhsm.settings(), **changes)  # type: ignore[arg-type]  # a table of both kinds
    with pytest.raises(kind, match=words):
        open_device(settings)


def test_whether_the_device_is_well_is_asked_without_searching_among_the_resident_keys(
        device: Pkcs11Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.self_test()
    searches: list[object] = []
    search = keys.find
    monkeypatch.setattr(keys, "find", lambda *asked: searches.append(asked) or search(*asked))
    device.recover()
    assert not searches
    device.self_test()
    assert len(searches) == 1


def test_a_self_test_key_whose_handle_is_worth_nothing_is_found_again(device: Pkcs11Device) -> None:
    device.recover()
    link_of(device)._tested = 999_999
    with pytest.raises(DeviceError):
        device.recover()
    device.recover()


def test_a_token_is_opened_by_its_uri() -> None:
    serial = softhsm.device().describe().serial
    named = replace(softhsm.settings(), token=f"pkcs11:token=tests;serial={serial}")
    device = open_device(named)
    assert device.describe().serial == serial
    device.close()


def test_the_pin_is_in_no_representation() -> None:
    device = Pkcs11Device(softhsm.settings())
    device.self_test()
    shown = repr(vars(device)) + repr(vars(device._login)) + repr(vars(link_of(device))) + repr(softhsm.settings())
    assert softhsm.PIN not in shown
    device.close()
