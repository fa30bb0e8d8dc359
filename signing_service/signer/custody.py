"""Custody of keys: made in the device, stored wrapped, each use outside signing on record."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from hashlib import new, sha256
from typing import Any

from asn1crypto import algos, csr, keys, pem, x509
from sqlalchemy import Connection, insert, select, update

from hsm.algorithms import Algorithm, KeyKind
from hsm.device import Custody, KeyRef
from hsm.errors import DeviceError
from hsm.verification import holds
from signing_service.audit import Event, Fact, record
from signing_service.credentials import State, check_move, split_der
from signing_service.db.tables import credential, key
from signing_service.errors import Invalid, NotFound, Unavailable, WrongState
from signing_service.ids import draw
from signing_service.signer.acting import By
from signing_service.signer.grounds import key_ref
from signing_service.signer.rows import mac_of
from signing_service.signer.runtime import Runtime
from signing_service.signer.timestamp_tokens import signature_algorithm

log = logging.getLogger(__name__)
MANY = 500  # rows of one transaction

ATTRIBUTES = {  # of a PKCS#10 subject, by the short names people use
    "C": "country_name", "ST": "state_or_province_name", "L": "locality_name", "O": "organization_name",
    "OU": "organizational_unit_name", "CN": "common_name", "T": "title", "SN": "surname", "GN": "given_name",
    "E": "email_address", "UID": "user_id", "SERIALNUMBER": "serial_number",
}


@dataclass(frozen=True)
class Change:
    """A new version of a credential's row, with its MAC: the only way to write one."""

    old_version: int
    row: dict[str, Any]


def revise(rt: Runtime, row: Any, **values: Any) -> Change:
    """The next version of a credential's row. Asks the device for the MAC: call it outside transactions."""
    revised = dict(row) | values | {"version": row["version"] + 1}
    return Change(row["version"], revised | {"mac": mac_of(rt.device, "credential", revised)})


def write(tx: Connection, change: Change) -> None:
    """Store it if nobody else changed the row meanwhile; WrongState otherwise. Say `wrote` when it is durable."""
    values = {name: value for name, value in change.row.items() if name != "id"}
    written = tx.execute(
        update(credential)
        .where(credential.c.id == change.row["id"], credential.c.version == change.old_version).values(values)
    )
    if written.rowcount != 1:
        raise WrongState("The credential was changed by somebody else at this moment.", code="credential-changed")


def credential_row(rt: Runtime, credential_id: str) -> Any:
    """A credential's row whose MAC was checked."""
    with rt.db.read() as tx:
        row = tx.execute(select(credential).where(credential.c.id == credential_id)).mappings().first()
    if row is None:
        raise NotFound(f"There is no credential {credential_id!r}.")
    rt.verified.check("credential", row)
    return row


def key_row(rt: Runtime, key_id: str | None) -> Any:
    """A key's row whose MAC was checked."""
    with rt.db.read() as tx:
        row = tx.execute(select(key).where(key.c.id == key_id)).mappings().first()
    if row is None:
        raise WrongState("The credential has no key yet.", code="no-key")
    rt.verified.check("key", row)
    return row


def make_key(rt: Runtime, credential_id: str) -> None:
    """Make the key of a credential that waits for one. Takes seconds for RSA: runs in the background.

    If we die while the device makes it, a wrapped key is simply lost (nobody has its blob), and the next start
    makes another under a new id.
    """
    row = credential_row(rt, credential_id)
    if row["state"] != State.MAKING_KEY:
        return
    key_id = draw("key")
    try:
        made = rt.device.generate_key(key_id, KeyKind(row["key_kind"]), Custody(row["custody"]))
    except (DeviceError, ValueError) as error:
        log.exception("a key could not be made")
        _give_up(rt, row, error)
        return
    try:
        _keep(rt, row, made)
    except WrongState:  # another signer made one first
        rt.device.destroy(made)
        raise


def _keep(rt: Runtime, row: Any, made: KeyRef) -> None:
    now = rt.now()
    stored = {
        "id": made.id, "purpose": "timestamp" if row["kind"] == "timestamp" else "credential",
        "kind": made.kind.value, "custody": made.custody.value, "public_key": made.public_key, "blob": made.blob,
        "owner": row["id"], "created_at": now, "destroyed_at": None,
    }
    stored["mac"] = mac_of(rt.device, "key", stored)
    change = revise(rt, row, key_id=made.id, state=State.KEY_READY.value)
    with rt.db.write() as tx:
        tx.execute(insert(key).values(stored))
        write(tx, change)
        record(tx, now, Fact(
            Event.KEY_MADE, f"signer:{rt.id}", credential_id=row["id"], signatory_id=row["signatory_id"],
            agency_code=row["agency_code"],
            data={"key": made.id, "kind": made.kind.value, "custody": made.custody.value},
        ), mac=rt.entry_mac)
    rt.verified.wrote("credential", change.row)


def _give_up(rt: Runtime, row: Any, error: Exception) -> None:
    change = revise(rt, row, state=State.KEY_FAILED.value, reason=str(error)[:500])
    with rt.db.write() as tx:
        write(tx, change)
        record(tx, rt.now(), Fact(Event.KEY_FAILED, f"signer:{rt.id}", "failed", credential_id=row["id"],
                                  data={"why": type(error).__name__}), mac=rt.entry_mac)
    rt.verified.wrote("credential", change.row)


def request_certificate(rt: Runtime, actor: str, credential_id: str, subject: tuple[tuple[str, str], ...]) -> str:
    """PKCS#10 in PEM (RFC 2986), signed with the credential's key: the use is on record before the device is asked."""
    row = credential_row(rt, credential_id)
    ref = key_ref(key_row(rt, row["key_id"]))
    algorithm = Algorithm(row["algorithm"])
    info = _request_info(ref, subject)
    digest = new(algorithm.digest.value, info.dump()).digest()
    with rt.db.write() as tx:
        record(tx, rt.now(), Fact(
            Event.CERTIFICATE_REQUESTED, actor, credential_id=credential_id, signatory_id=row["signatory_id"],
            agency_code=row["agency_code"],
            data={"subject": [f"{name}={value}" for name, value in subject], "to_sign": digest.hex()},
        ), mac=rt.entry_mac)
    value = rt.device.sign(ref, algorithm, digest)
    if not holds(ref.public_key, algorithm, digest, value):
        raise Unavailable("The device gave a value that does not verify.", code="device-wrong")
    request = csr.CertificationRequest({
        "certification_request_info": info, "signature": value,
        "signature_algorithm": algos.SignedDigestAlgorithm.load(signature_algorithm(algorithm)),
    })
    return str(pem.armor("CERTIFICATE REQUEST", request.dump()).decode())


def _request_info(ref: KeyRef, subject: tuple[tuple[str, str], ...]) -> csr.CertificationRequestInfo:
    unknown = [name for name, _ in subject if name not in ATTRIBUTES]
    if unknown:
        raise Invalid(f"Unknown in a subject: {', '.join(unknown)}. Known are {', '.join(ATTRIBUTES)}.")
    try:
        return csr.CertificationRequestInfo({
            "version": "v1", "subject": _name(subject),
            "subject_pk_info": keys.PublicKeyInfo.load(ref.public_key), "attributes": [],
        })
    except UnicodeError as error:
        raise Invalid("A country, a serial number and an e-mail address are written in ASCII.",
                      code="subject") from error


def _name(subject: tuple[tuple[str, str], ...]) -> x509.Name:
    """In the order given, country in PrintableString, the rest in UTF8String (RFC 5280 4.1.2.4)."""
    parts = []
    for name, value in subject:
        kind = ATTRIBUTES[name]
        encoded: Any = value
        if kind == "email_address":
            encoded = x509.EmailAddress(value)
        elif kind in ("country_name", "serial_number"):
            encoded = x509.DirectoryString("printable_string", value)
        elif kind != "user_id":
            encoded = x509.DirectoryString("utf8_string", value)
        parts.append(x509.RelativeDistinguishedName([x509.NameTypeAndValue({"type": kind, "value": encoded})]))
    return x509.Name("", x509.RDNSequence(parts))


def import_certificate(
    rt: Runtime, actor: str, credential_id: str, certificate: bytes, chain: tuple[bytes, ...], public_key: bytes,
    validity: tuple[datetime, datetime], serial: str | None = None,
) -> None:
    """Attach a certificate that the front half parsed and checked. The key it is for must be ours: compared here.

    A renewed credential takes the place of the old one in the same transaction.
    """
    row = credential_row(rt, credential_id)
    ref = key_ref(key_row(rt, row["key_id"]))
    if ref.public_key != public_key:
        raise Invalid("The certificate is for another key than the credential's. Was it issued for an older request?",
                      code="other-key")
    _check_certificate(certificate, chain, validity)
    check_move(State(row["state"]), State.ACTIVE)
    fingerprint = sha256(certificate).hexdigest()
    change = revise(rt, row, state=State.ACTIVE.value, certificate=certificate, chain=b"".join(chain),
                    not_before=validity[0], not_after=validity[1], serial=serial, fingerprint=fingerprint)
    old = _replaced(rt, row["replaces"])
    now = rt.now()
    with rt.db.write() as tx:
        write(tx, change)
        record(tx, now, _credential_fact(Event.CERTIFICATE_IMPORTED, actor, row, {
            "certificate": fingerprint, "not_after": validity[1].isoformat()}),
            mac=rt.entry_mac)
        if old is not None:
            write(tx, old)
            record(tx, now, _credential_fact(Event.CREDENTIAL_STATE, actor, old.row, {
                "state": old.row["state"], "reason": old.row["reason"]}), mac=rt.entry_mac)
    for each in (change, old):
        if each is not None:
            rt.verified.wrote("credential", each.row)


def fill_fingerprints(rt: Runtime) -> int:
    """Certificates from before fingerprints were kept get theirs, to be found by. Repeatable; returns how many."""
    filled = 0
    while True:
        with rt.db.write() as tx:
            rows = tx.execute(select(credential.c.id, credential.c.certificate).where(
                credential.c.fingerprint.is_(None), credential.c.certificate.is_not(None)).limit(MANY)).all()
            for row in rows:
                tx.execute(update(credential).where(credential.c.id == row.id).values(
                    fingerprint=sha256(row.certificate).hexdigest()))
        if not rows:
            return filled
        filled += len(rows)


def _check_certificate(certificate: bytes, chain: tuple[bytes, ...], validity: tuple[datetime, datetime]) -> None:
    """What everybody who uses the credential will rely on; whether the certificate is a good one was asked before."""
    try:
        is_cut_right = (split_der(certificate), split_der(b"".join(chain))) == ((certificate,), chain)
    except ValueError:
        is_cut_right = False
    if not is_cut_right:
        raise Invalid("A certificate is one DER value, and so is each of its chain.", code="certificate")
    if validity[0] >= validity[1]:
        raise Invalid("The certificate ends before it begins.", code="certificate")


def _replaced(rt: Runtime, credential_id: str | None) -> Change | None:
    if credential_id is None:
        return None
    row = credential_row(rt, credential_id)
    if row["state"] not in (State.ACTIVE, State.SUSPENDED):
        return None
    return revise(rt, row, state=State.REVOKED.value, reason="renewed")


def set_state(rt: Runtime, by: By, credential_id: str, state: State, reason: str) -> None:
    """Suspend, resume or revoke: in force for the very next signature."""
    row = credential_row(rt, credential_id)
    check_move(State(row["state"]), state)
    if state is State.ACTIVE and row["certificate"] is None:
        raise WrongState("The credential has no certificate yet.", code="no-certificate")
    change = revise(rt, row, state=state.value, reason=reason or None)
    with rt.db.write() as tx:
        write(tx, change)
        record(tx, rt.now(), by.fact(
            Event.CREDENTIAL_STATE, credential_id=row["id"], signatory_id=row["signatory_id"],
            agency_code=row["agency_code"], data={"state": state.value, "reason": reason}), mac=rt.entry_mac)
    rt.verified.wrote("credential", change.row)


def destroy_key(rt: Runtime, actor: str, credential_id: str) -> None:
    """For ever: on record first, then the blob and the device's copy are gone.

    To be repeated where the device did not do it, or we died before it could: then only the device is asked again.
    """
    row = credential_row(rt, credential_id)
    held = key_row(rt, row["key_id"])
    if row["state"] != State.KEY_DESTROYED:
        check_move(State(row["state"]), State.KEY_DESTROYED)
        _forget_key(rt, actor, row, held)
    rt.device.destroy(key_ref(held))


def _forget_key(rt: Runtime, actor: str, row: Any, held: Any) -> None:
    emptied = dict(held) | {"blob": None, "destroyed_at": rt.now()}
    emptied["mac"] = mac_of(rt.device, "key", emptied)
    change = revise(rt, row, state=State.KEY_DESTROYED.value)
    with rt.db.write() as tx:
        write(tx, change)
        tx.execute(update(key).where(key.c.id == held["id"]).values(
            blob=None, destroyed_at=emptied["destroyed_at"], mac=emptied["mac"]))
        record(tx, rt.now(), _credential_fact(Event.KEY_DESTROYED, actor, row, {"key": held["id"]}),
               mac=rt.entry_mac)
    rt.verified.wrote("credential", change.row)


def _credential_fact(event: Event, actor: str, row: Any, data: dict[str, Any]) -> Fact:
    return Fact(event, actor, credential_id=row["id"], signatory_id=row["signatory_id"],
                agency_code=row["agency_code"], data=data)
