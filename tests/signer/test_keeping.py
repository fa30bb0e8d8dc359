"""What the signer keeps in order: the log's sequence, open intents, timestamps, operators' acts."""

from __future__ import annotations

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update

from hsm.errors import DeviceUnavailable
from signing_service.audit import Event, Fact, StoredTiles, record
from signing_service.db.tables import checkpoint, credential, entry, intent, key, lease, log_key, operator, tile
from signing_service.errors import NotAuthorized, NotFound, SigningError, Unavailable, WrongState
from signing_service.signer import anchor, custody, leases, reconcile, sequencer, timestamps
from signing_service.tlog import note, tiles, tree
from signing_service.wire import messages as m
from tests.support.city import City, Person, runtime
from tests.support.memory_device import MemoryDevice


def sequenced(city: City) -> int:
    total = 0
    while placed := sequencer.sequence(city.rt):
        total += placed
    return total


def test_every_entry_finds_its_place_under_a_signed_checkpoint(city: City) -> None:
    official = city.official()
    city.confirms(official, [city.submitted(official)])
    count = sequenced(city)
    with city.rt.db.read() as tx:
        bodies = [row.body for row in tx.execute(select(entry.c.body).order_by(entry.c.leaf_index))]
        newest = tx.execute(select(checkpoint.c.note).order_by(checkpoint.c.size.desc())).scalars().first()
        verifier = note.parse_verifier(tx.execute(select(log_key.c.verifier)).scalar_one())
    opened = note.open_note(newest or "", [verifier])
    assert opened.size == count == len(bodies)
    assert opened.root == tree.root([tree.leaf_hash(body.encode()) for body in bodies])


def test_the_log_continues_where_another_signer_left_it(city: City, tmp_path: Path, device: MemoryDevice) -> None:
    first = sequenced(city)
    leases.release(city.rt)
    other = runtime(city.rt.settings.signer_database_url, tmp_path, device, city.clock)
    with other.db.write() as tx:
        record(tx, city.clock.at, Fact(Event.ALIVE, "signer:other"), mac=other.entry_mac)
    assert sequencer.sequence(other) == 1
    with other.db.read() as tx:
        assert anchor.head(tx).size == first + 1
        assert tiles.root_at(StoredTiles(tx), first + 1) == anchor.head(tx).root
    other.db.close()


def test_only_the_holder_of_the_lease_sequences(city: City, tmp_path: Path, device: MemoryDevice) -> None:
    assert sequenced(city) > 0
    other = runtime(city.rt.settings.signer_database_url, tmp_path, device, city.clock)
    with other.db.write() as tx:
        record(tx, city.clock.at, Fact(Event.ALIVE, "signer:other"), mac=other.entry_mac)
    assert sequencer.sequence(other) == 0
    city.clock.forward(16)
    assert sequencer.sequence(other) == 1
    other.db.close()


def test_two_threads_of_one_signer_wait_for_each_other(city: City) -> None:
    """They hold the same lease, so the lease does not keep them apart."""
    with city.rt.db.write() as tx:
        record(tx, city.clock.at, *(Fact(Event.ALIVE, f"signer:{n}") for n in range(50)), mac=city.rt.entry_mac)
    with ThreadPoolExecutor(4) as threads:
        placed = [each.result() for each in [threads.submit(sequencer.sequence, city.rt) for _ in range(4)]]
    assert sorted(placed)[:3] == [0, 0, 0]
    assert max(placed) >= 50


def test_a_damaged_tree_is_not_built_upon(city: City) -> None:
    sequenced(city)
    with city.rt.db.write() as tx:
        tx.execute(update(tile).where(tile.c.level == 0).values(hashes=b"\x00" * 32 * 256))
        record(tx, city.clock.at, Fact(Event.ALIVE, "x"), mac=city.rt.entry_mac)
    with pytest.raises(SigningError, match=r"root|tree"):
        sequencer.sequence(city.rt)


def test_a_signers_entry_that_the_signer_did_not_write_raises_an_alarm(city: City) -> None:
    sequenced(city)
    with city.rt.db.write() as tx:
        record(tx, city.clock.at, Fact(Event.DONE, "person:nobody"))
    sequenced(city)
    assert city.events("log:entry-unproven") == 1


def test_silence_is_on_record(city: City) -> None:
    sequenced(city)
    city.clock.forward(601)
    sequencer.keep_alive(city.rt)
    assert sequenced(city) == 1
    sequencer.keep_alive(city.rt)
    assert city.events("log:alive") == 1


def left_open(city: City, official: Person, device: MemoryDevice) -> str:
    """An intent whose signer died between W3 and W4."""
    request = city.submitted(official)
    city.confirms(official, [request])
    with city.rt.db.write() as tx:
        from signing_service.db.tables import signature, signing_request
        tx.execute(delete(signature).where(signature.c.signing_request_id == request))
        tx.execute(update(intent).where(intent.c.signing_request_id == request)
                   .values(outcome=None, outcome_at=None, signer_id="si_" + "0" * 32))
        tx.execute(update(signing_request).where(signing_request.c.id == request).values(state="signing"))
    return request


def test_an_intent_of_a_dead_signer_becomes_an_unknown_outcome_after_its_deadline(
    city: City, device: MemoryDevice,
) -> None:
    request = left_open(city, city.official(), device)
    assert reconcile.reconcile(city.rt) == 0
    city.clock.forward(31)
    made = len(device.signatures)
    assert reconcile.reconcile(city.rt) == 1
    assert reconcile.reconcile(city.rt) == 0
    assert (city.state_of(request), len(device.signatures)) == ("failed", made)
    assert city.events("signature:unknown-outcome") == 1


def test_an_intent_of_a_living_signer_is_left_to_it(city: City, device: MemoryDevice) -> None:
    left_open(city, city.official(), device)
    city.clock.forward(31)
    with city.rt.db.write() as tx:
        tx.execute(insert(lease).values(name="signer:si_" + "0" * 32, holder="si_" + "0" * 32, epoch=1,
                                        expires_at=city.clock.at + timedelta(seconds=5)))
    assert reconcile.reconcile(city.rt) == 0
    city.clock.forward(6)
    assert reconcile.reconcile(city.rt) == 1


def test_a_signer_whose_lease_has_ended_counts_no_code_and_goes_on_with_the_next_beat(
    city: City, device: MemoryDevice,
) -> None:
    official = city.official()
    request = city.submitted(official)
    city.clock.forward(60)
    made, asked = len(device.signatures), city.confirmation(official, [request])
    refused = city.confirmations([asked])[0]
    assert isinstance(refused, Unavailable)
    assert refused.code == "lease"
    assert (city.state_of(request), len(device.signatures)) == ("pending", made)
    leases.beat(city.rt)
    answer = city.confirmations([asked])[0]  # the same code: nobody looked at it
    assert isinstance(answer, m.Confirmed)
    assert answer.lines[0].outcome == "done"


def test_a_lease_that_ends_after_the_intents_does_not_ask_the_device(
    city: City, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = city.official()
    request = city.submitted(official)
    city.next_code()
    made, intend = len(device.signatures), city.confirmations._intend

    def late(cases: list[Any]) -> None:
        intend(cases)
        city.rt.lease.until = city.clock.at

    monkeypatch.setattr(city.confirmations, "_intend", late)
    answer = city.confirmations([city.confirmation(official, [request])])[0]
    assert isinstance(answer, m.Confirmed)
    assert answer.lines[0].outcome == "failed"
    assert len(device.signatures) == made


# ---------------------------------------------------------------------------------------------------- timestamps


def stamped(city: City, data: bytes, **more: object) -> m.TimestampIssued:
    asked = m.IssueTimestamp(**{"imprint": hashlib.sha256(data).digest(), "digest": "sha256"} | more)
    answer = timestamps.issue_all(city.rt, [asked])[0]
    if isinstance(answer, SigningError):
        raise answer
    return answer


def test_openssl_accepts_our_timestamps(city: City, tmp_path: Path) -> None:
    city.timestamp_authority()
    token = stamped(city, b"a document", nonce="123456789012345678901234567890")
    (tmp_path / "data").write_bytes(b"a document")
    (tmp_path / "token").write_bytes(token.token)
    subprocess.run(["openssl", "x509", "-inform", "DER", "-out", tmp_path / "root.pem"], input=city.ca.root, check=True)
    verified = subprocess.run(
        ["openssl", "ts", "-verify", "-data", "data", "-in", "token", "-token_in", "-CAfile", "root.pem"],
        cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verification: OK" in verified.stdout + verified.stderr


def test_serial_numbers_are_unique_and_on_record_before_the_token(city: City) -> None:
    city.timestamp_authority()
    serials = {stamped(city, bytes([n])).serial for n in range(20)}
    assert len(serials) == 20
    assert city.events("timestamp:issue") == 20


@pytest.mark.parametrize(("more", "code"), [
    ({"policy": "1.2.3.4"}, "unaccepted-policy"), ({"imprint": b"x" * 48}, "bad-imprint"),
])
def test_a_timestamp_that_cannot_be_given_is_refused(city: City, more: dict[str, object], code: str) -> None:
    city.timestamp_authority()
    with pytest.raises(SigningError) as refused:
        stamped(city, b"", **more)
    assert refused.value.code == code
    assert city.events("timestamp:issue") == 0


def test_without_a_timestamp_credential_the_answer_says_so(city: City) -> None:
    with pytest.raises(Unavailable, match="no certificate yet"):
        stamped(city, b"")


def test_a_device_that_is_away_gives_no_timestamp(city: City, device: MemoryDevice) -> None:
    city.timestamp_authority()
    device.fail_next(DeviceUnavailable("away"), call="sign")
    with pytest.raises(Unavailable):
        stamped(city, b"")


# ----------------------------------------------------------------------------------------------- operators' acts


def test_there_is_one_first_operator(city: City) -> None:
    with pytest.raises(WrongState, match="already"):
        city.desk.bootstrap(m.Bootstrap("Another"))


def test_an_operators_code_is_spent_by_one_act(city: City) -> None:
    city.next_code()
    code = city.operator.code(city.clock.at)
    city.desk.act(m.Act(city.operator.id, code, (m.AddSignatory("A", "H26.1", "head"),)))
    with pytest.raises(NotAuthorized):
        city.desk.act(m.Act(city.operator.id, code, (m.AddSignatory("B", "H26.1", "head"),)))


def test_a_suspended_operator_does_nothing(city: City) -> None:
    added = city.acts(m.AddOperator("Second"))[0]
    city.acts(m.SetOperatorState(added.id, "suspended"))
    assert added.uri is not None
    second = Person(added.id, added.uri.split("secret=")[1].split("&")[0])
    city.next_code()
    city.desk.complete(m.CompleteEnrolment(second.id, second.code(city.clock.at)))
    city.next_code()
    with pytest.raises(NotFound):
        city.desk.act(m.Act(second.id, second.code(city.clock.at), (m.AddSignatory("B", "H26.1", "head"),)))


def test_the_last_operator_cannot_be_suspended(city: City) -> None:
    assert city.tries(m.SetOperatorState(city.operator.id, "suspended"))[0].error_code == "last-operator"
    with city.rt.db.read() as tx:
        assert tx.execute(select(func.count()).select_from(operator)).scalar_one() == 1


def test_a_refused_command_does_not_stop_the_next(city: City) -> None:
    results = city.tries(m.AddSignatory("A", "H99", "head"), m.AddSignatory("B", "H26.1", "head"))
    assert [bool(result.error) for result in results] == [True, False]


def test_a_certificate_for_another_key_is_refused(city: City) -> None:
    official = city.official()
    added = city.acts(m.AddCredential("personal", "H26.1", "p-256", None, official.id))[0]
    city.wait_for_keys()
    other = bytes(city.ca.issue(other_key(city, official), "Other"))
    result = city.tries(city.import_of(added.id, other, other_key(city, official)))[0]
    assert result.error_code == "other-key"


def other_key(city: City, official: Person) -> bytes:
    with city.rt.db.read() as tx:
        return bytes(tx.execute(select(key.c.public_key).where(key.c.owner == official.credential)).scalar_one())


def test_a_renewed_credential_takes_the_old_ones_place(city: City) -> None:
    official = city.official()
    renewed = city.acts(m.AddCredential("personal", "H26.1", "p-384", None, official.id, "wrapped",
                                        official.credential))[0].id
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"
    city.certify(renewed, "Nguyễn Văn A")
    assert city.confirms(official, [city.submitted(official, b"1")]).lines[0].code == "credential-not-usable"
    new = Person(official.id, official.secret, renewed)
    assert city.confirms(new, [city.submitted(new, b"2")]).lines[0].outcome == "done"


def test_a_certificate_request_is_on_record_and_openssl_accepts_it(city: City) -> None:
    official = city.official()
    subject = (("C", "VN"), ("O", "ỦY BAN NHÂN DÂN PHƯỜNG HOA SEN"), ("CN", "Nguyễn Văn A"))
    pem = city.acts(m.RequestCertificate(official.credential, subject))[0].data
    shown = subprocess.run(["openssl", "req", "-verify", "-noout", "-subject", "-nameopt", "utf8"],
                           input=pem or "", capture_output=True, text=True, check=True)
    assert "verify OK" in shown.stderr + shown.stdout
    assert "Nguyễn Văn A" in shown.stdout
    assert city.events("credential:csr") == 1


def test_a_destroyed_key_signs_no_more_and_its_blob_is_gone(city: City) -> None:
    official = city.official()
    city.acts(m.SetCredentialState(official.credential, "revoked", "left the office"))
    city.acts(m.DestroyKey(official.credential))
    with city.rt.db.read() as tx:
        row = tx.execute(select(key.c.blob, key.c.destroyed_at).where(key.c.owner == official.credential)).one()
    assert row.blob is None
    assert row.destroyed_at is not None
    assert city.confirms(official, [city.submitted(official)]).lines[0].code == "credential-not-usable"


def test_a_policy_that_does_not_load_is_not_activated(city: City) -> None:
    result = city.tries(m.ActivatePolicy("broken", "format = 1\nnonsense = true\n"))[0]
    assert result.error_code == "policy"
    official = city.official()
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"


def test_a_key_that_was_being_made_when_the_signer_died_is_made_by_the_next(city: City) -> None:
    official = city.official()
    added = city.acts(m.AddCredential("personal", "H26.1", "p-256", None, official.id))[0].id
    city.wait_for_keys()
    with city.rt.db.write() as tx:
        tx.execute(delete(key).where(key.c.owner == added))
    row = custody.credential_row(city.rt, added)
    change = custody.revise(city.rt, row, state="making-key", key_id=None)
    with city.rt.db.write() as tx:
        custody.write(tx, change)
    city.desk.take_up_keys()
    city.wait_for_keys()
    assert custody.credential_row(city.rt, added)["state"] == "key-ready"


# -------------------------------------------------------------------------------------------------- tampered rows


@pytest.mark.parametrize("change", [
    {"state": "active"}, {"not_after": None}, {"key_id": "key_" + "0" * 32}, {"agency_code": "H26.9"},
    {"certificate": b"other"}, {"version": 99},
], ids=lambda change: next(iter(change)))
def test_a_credential_row_that_was_edited_is_refused(
    city: City, device: MemoryDevice, change: dict[str, object],
) -> None:
    official = city.official()
    request = city.submitted(official)
    city.acts(m.SetCredentialState(official.credential, "suspended"))
    with city.rt.db.write() as tx:
        tx.execute(update(credential).where(credential.c.id == official.credential).values(**change))
    made = len(device.signatures)
    with pytest.raises(SigningError, match="changed outside"):
        city.confirms(official, [request])
    assert len(device.signatures) == made


def test_a_credential_put_back_to_an_older_version_is_refused(city: City, device: MemoryDevice) -> None:
    official = city.official()
    old = custody.credential_row(city.rt, official.credential)
    city.acts(m.SetCredentialState(official.credential, "revoked"))
    custody.credential_row(city.rt, official.credential)
    with city.rt.db.write() as tx:
        tx.execute(update(credential).where(credential.c.id == official.credential).values(dict(old)))
    made = len(device.signatures)
    with pytest.raises(SigningError, match="changed outside"):
        city.confirms(official, [city.submitted(official)])
    assert len(device.signatures) == made


def test_two_swapped_keys_are_refused(city: City, device: MemoryDevice) -> None:
    first, second = city.official(), city.official("Trần Thị B")
    with city.rt.db.write() as tx:
        other = tx.execute(select(key.c.blob).where(key.c.owner == second.credential)).scalar_one()
        tx.execute(update(key).where(key.c.owner == first.credential).values(blob=other))
    made = len(device.signatures)
    with pytest.raises(SigningError, match="changed outside"):
        city.confirms(first, [city.submitted(first)])
    assert len(device.signatures) == made
