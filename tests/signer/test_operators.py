"""Operators' acts that stop half-way, come twice, or carry what nobody should send."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, select, update

from hsm.errors import DeviceUnavailable
from signing_service.db.tables import credential, key, seed
from signing_service.errors import NotAuthorized, NotFound, SigningError, WrongState
from signing_service.signer import codes, custody, seeds
from signing_service.wire import messages as m
from tests.support.city import City, Person, secret_of
from tests.support.memory_device import MemoryDevice

LONG_AGO = "0001-01-01T00:00:00+14:00"


def fresh(city: City) -> City:
    """The same city before anybody proved a code: what a bootstrap finds that was broken off."""
    with city.rt.db.write() as tx:
        tx.execute(delete(seed))
    return city


def test_a_bootstrap_that_the_device_broke_off_can_be_made_again(city: City, device: MemoryDevice) -> None:
    fresh(city)
    device.fail_next(DeviceUnavailable("away"), call="generate_seed")
    with pytest.raises(SigningError):
        city.desk.bootstrap(m.Bootstrap("Operator"))
    made = city.desk.bootstrap(m.Bootstrap("Operator")).results[0]
    assert made.uri is not None
    city.operator = Person(made.id, secret_of(made.uri))
    city.next_code()
    city.desk.complete(m.CompleteEnrolment(made.id, city.operator.code(city.clock.at)))
    with pytest.raises(WrongState, match="already"):
        city.desk.bootstrap(m.Bootstrap("Operator"))
    city.acts(m.AddSignatory("A", "H26.1", "head"))


def test_an_operator_who_never_proved_a_code_does_not_count_as_the_one_who_stays(city: City) -> None:
    city.acts(m.AddOperator("Second"))
    assert city.tries(m.SetOperatorState(city.operator.id, "suspended"))[0].error_code == "last-operator"


def test_the_second_last_operator_can_be_suspended(city: City) -> None:
    added = city.acts(m.AddOperator("Second"))[0]
    assert added.uri is not None
    city.next_code()
    city.desk.complete(m.CompleteEnrolment(added.id, Person(added.id, secret_of(added.uri)).code(city.clock.at)))
    city.acts(m.SetOperatorState(city.operator.id, "suspended"))
    with pytest.raises(NotFound):
        city.tries(m.AddSignatory("A", "H26.1", "head"))


def test_a_signatory_is_no_operator_whatever_the_code(city: City) -> None:
    """Over admin.sock nobody tries a signatory's codes."""
    official = city.official()
    city.next_code()
    act = m.Act(official.id, official.code(city.clock.at), (m.AddSignatory("A", "H26.1", "head"),))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(m.encoder.encode(act), type=m.AdminRequest)


def test_what_nobody_foresaw_in_one_command_does_not_lose_the_results_of_the_others(
    city: City, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of them is a seed that is shown only once."""
    official = city.official()

    def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(custody, "set_state", broken)
    results = city.tries(m.EnrolCode(official.id), m.SetCredentialState(official.credential, "suspended"),
                         m.AddSignatory("B", "H26.1", "head"))
    assert results[0].uri is not None
    assert [result.error_code for result in results] == [None, "signer-error", None]


def official_command(city: City, official: Person, name: str) -> m.Command:
    with city.rt.db.read() as tx:
        row = tx.execute(select(key.c.public_key).where(key.c.owner == official.credential)).one()
    public_key = bytes(row.public_key)
    good = city.import_of(official.credential, city.ca.issue(public_key, "A"), public_key)
    commands: dict[str, m.Command] = {
        "a country that no certificate can hold": m.RequestCertificate(official.credential, (("C", "Việt"),)),
        "an unknown attribute": m.RequestCertificate(official.credential, (("XX", "x"),)),
        "a moment before time": msgspec.structs.replace(good, not_before=LONG_AGO),
        "a moment without a zone": msgspec.structs.replace(good, not_before="2026-01-01T00:00:00"),
        "a certificate that ends before it begins": msgspec.structs.replace(
            good, not_before=good.not_after, not_after=good.not_before),
        "a chain that is no DER": msgspec.structs.replace(good, chain=(b"\x30\x82\xff\xff",)),
        "a certificate that is two": msgspec.structs.replace(good, certificate=good.certificate * 2),
    }
    return commands[name]


@pytest.mark.parametrize("name", [
    "a country that no certificate can hold", "an unknown attribute", "a moment before time",
    "a moment without a zone", "a certificate that ends before it begins", "a chain that is no DER",
    "a certificate that is two",
])
def test_what_cannot_be_is_invalid_and_nothing_changes(city: City, name: str) -> None:
    official = city.official()
    result = city.tries(official_command(city, official, name))[0]
    assert result.error_code not in (None, "signer-error", "credential-state"), result
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"


@pytest.mark.parametrize("command", [
    m.AddOperator("A\x00"), m.AddSignatory("A\x00", "H26.1", "head"), m.AddSignatory("A", "H26\x00", "head"),
    m.AddSignatory("A", "H26.1", "he\x00ad"), m.AddSignatory("A", "H26.1", "head", "1\x00"),
    m.SetSignatoryState("sg_" + "0" * 32, "active", "\x00"),
    m.SetCredentialState("cr_" + "0" * 32, "active", "\x00"), m.ActivatePolicy("n\x00", "format = 1"),
    m.ActivatePolicy("n" * 101, "format = 1"), m.RequestCertificate("cr_" + "0" * 32, (("CN", "\x00"),)),
    m.Bootstrap("A\x00"),
], ids=lambda command: type(command).__name__)
def test_zero_bytes_and_names_too_long_for_their_column_do_not_cross_the_boundary(command: Any) -> None:
    """PostgreSQL keeps neither, SQLite both."""
    act = command if isinstance(command, m.Bootstrap) else m.Act("op_" + "0" * 32, "123456", (command,))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(m.encoder.encode(act), type=m.AdminRequest)


def test_an_enrolment_is_completed_once(city: City) -> None:
    official = city.official()
    uri = city.acts(m.EnrolCode(official.id))[0].uri
    assert uri is not None
    renewed = Person(official.id, secret_of(uri), official.credential)
    city.next_code()
    city.desk.complete(m.CompleteEnrolment(official.id, renewed.code(city.clock.at)))
    city.next_code()
    with pytest.raises(NotAuthorized):
        city.desk.complete(m.CompleteEnrolment(official.id, renewed.code(city.clock.at)))
    assert states_of_seeds(city, official) == ["active", "retired"]


def test_a_seed_drawn_while_another_was_proven_is_not_taken_for_it(
    city: City, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two signers: the code proved the first seed; a second one was drawn before the first became active."""
    official = city.official()
    uri = city.acts(m.EnrolCode(official.id))[0].uri
    assert uri is not None
    first = Person(official.id, secret_of(uri), official.credential)
    evaluate = codes.evaluate

    def meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(codes, "evaluate", evaluate)
        seeds.enrol(city.rt, "operator:other", official.id, "Nguyễn Văn A")
        return evaluate(*args)

    monkeypatch.setattr(codes, "evaluate", meanwhile)
    city.next_code()
    with pytest.raises(WrongState):
        city.desk.complete(m.CompleteEnrolment(official.id, first.code(city.clock.at)))
    assert states_of_seeds(city, official) == ["active", "enrolling", "retired"]


def states_of_seeds(city: City, person: Person) -> list[str]:
    with city.rt.db.read() as tx:
        return sorted(tx.execute(select(seed.c.state).where(seed.c.owner == person.id)).scalars())


def test_a_token_key_that_the_device_did_not_destroy_at_once_is_destroyed_by_repeating_the_act(
    city: City, device: MemoryDevice,
) -> None:
    official = city.official(custody="token")
    city.acts(m.SetCredentialState(official.credential, "revoked", "left the office"))
    device.fail_next(DeviceUnavailable("away"), call="destroy")
    assert city.tries(m.DestroyKey(official.credential))[0].error_code == "device-away"
    with city.rt.db.read() as tx:
        key_id = tx.execute(select(key.c.id).where(key.c.owner == official.credential)).scalar_one()
    assert key_id in device._token
    city.acts(m.DestroyKey(official.credential))
    assert key_id not in device._token
    assert city.events("key:destroy") == 1


def test_a_credential_put_back_at_once_to_what_it_was_before_it_was_suspended_does_not_sign(
    city: City, device: MemoryDevice,
) -> None:
    """What we wrote ourselves we have seen, although nobody read it since."""
    official = city.official()
    request = city.submitted(official)
    city.confirms(official, [city.submitted(official, b"before")])
    with city.rt.db.read() as tx:
        old = dict(tx.execute(select(credential).where(credential.c.id == official.credential)).mappings().one())
    city.acts(m.SetCredentialState(official.credential, "suspended", "lost"))
    with city.rt.db.write() as tx:
        tx.execute(update(credential).where(credential.c.id == official.credential).values(old))
    made = len(device.signatures)
    with pytest.raises(SigningError, match="changed outside"):
        city.confirms(official, [request])
    assert len(device.signatures) == made


def test_a_key_that_two_signers_made_for_one_credential_is_on_the_token_once(
    city: City, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = city.official()
    generate = device.generate_key

    def made_meanwhile(key_id: str, kind: Any, where: Any) -> Any:
        ours = generate(key_id, kind, where)
        monkeypatch.setattr(device, "generate_key", generate)
        custody.make_key(city.rt, added)
        return ours

    before = len(device._token)
    monkeypatch.setattr(city.desk, "make_key", lambda _id: None)
    added = city.acts(m.AddCredential("personal", "H26.1", "p-256", None, official.id, "token"))[0].id
    monkeypatch.setattr(device, "generate_key", made_meanwhile)
    with pytest.raises(WrongState):
        custody.make_key(city.rt, added)
    assert len(device._token) == before + 1
    assert custody.credential_row(city.rt, added)["state"] == "key-ready"


def test_certificates_from_before_fingerprints_were_kept_get_theirs_and_sign_on(city: City) -> None:
    official = city.official()
    with city.rt.db.write() as tx:
        known = tx.execute(select(credential.c.fingerprint)).scalar_one()
        tx.execute(update(credential).values(fingerprint=None, serial=None))
    assert [custody.fill_fingerprints(city.rt) for _ in range(2)] == [1, 0]
    with city.rt.db.read() as tx:
        assert tx.execute(select(credential.c.fingerprint)).scalar_one() == known
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"
