"""Credentials: a key in the device, its certificate, and who may use it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from asn1crypto import x509

from hsm.algorithms import KeyKind
from signing_service import register
from signing_service.certificates import CheckedCertificate, Purpose, check
from signing_service.cli import reading
from signing_service.cli.acts import act
from signing_service.cli.session import Session, held
from signing_service.credentials import State
from signing_service.errors import Invalid, NotFound, Unavailable, WrongState
from signing_service.wire import messages as m

app = typer.Typer(no_args_is_help=True, help="Keys in the device with their certificates.")
Cred = Annotated[str, typer.Argument(help="The credential's id, cr_…", metavar="CREDENTIAL")]
Why = Annotated[str, typer.Option("--reason", help="Stands in the log")]
POLL = 0.3  # seconds between two looks at a key that is being made


@app.command()
def add(
    context: typer.Context,
    agency: Annotated[str, typer.Option(help="The agency it signs for")],
    signatory: Annotated[str | None, typer.Option(help="Whose it is; for a seal its custodian")] = None,
    kind: Annotated[str, typer.Option(help="personal, agency (a seal) or timestamp (our own authority)")] = "personal",
    key: Annotated[KeyKind, typer.Option(help="The kind of key")] = KeyKind.P256,
    custody: Annotated[str, typer.Option(help="wrapped, or token: never leaves the device even encrypted")] = "wrapped",
) -> None:
    """Have a key made in the device. It takes up to some seconds: `credential wait` waits for it."""
    session = held(context)
    owner = register.find_owner(session.db, signatory) if signatory else (None, "the timestamp authority")
    command = m.AddCredential(kind=kind, agency_code=agency, key_kind=key.value, signatory_id=owner[0], custody=custody)
    result = act(session, f"A {key} key for {owner[1]}", command)[0]
    session.screen.record("Credential", {"id": result.id, "kind": kind, "key_kind": key.value, "owner": owner[0]})


@app.command("list")
def show_all(
    context: typer.Context, signatory: Annotated[str | None, typer.Option(help="Only this person's")] = None,
) -> None:
    """Every credential."""
    session = held(context)
    owner = register.find_owner(session.db, signatory)[0] if signatory else None
    columns = ("id", "kind", "signatory_id", "agency_code", "key_kind", "state", "not_after")
    session.screen.rows("Credentials", columns, register.credentials(session.db, owner))


@app.command()
def show(context: typer.Context, credential_id: Cred) -> None:
    """One credential."""
    session = held(context)
    session.screen.record("Credential", _find(session, credential_id))


@app.command()
def wait(
    context: typer.Context, credential_id: Cred,
    seconds: Annotated[float, typer.Option(help="Give up after so long")] = 120.0,
) -> None:
    """Wait until its key was made."""
    session = held(context)
    until = time.monotonic() + seconds
    while (found := _find(session, credential_id))["state"] == State.MAKING_KEY:
        if time.monotonic() > until:
            raise Unavailable("The key is not there yet. Is the signer running?", code="key-making")
        time.sleep(POLL)
    if found["state"] == State.KEY_FAILED:
        raise WrongState(f"The device could not make the key: {found['reason']}", code="key-failed")
    session.screen.record("Credential", {"id": credential_id, "state": found["state"]})


@app.command()
def csr(
    context: typer.Context, credential_id: Cred,
    subject: Annotated[list[str] | None, typer.Option(help="Such as CN=Nguyễn Văn An; repeat it, in order")] = None,
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead")] = None,
) -> None:
    """A certificate request (PKCS#10) for its key, to be sent to the authority.

    Without --subject it names the signatory, the agency and the country.
    """
    session = held(context)
    named = tuple(_attribute(text) for text in subject) if subject else _subject(session, credential_id)
    words = ", ".join(f"{name}={value}" for name, value in named)
    if out is not None:
        reading.check_writable(out)
    command = m.RequestCertificate(credential_id=credential_id, subject=named)
    pem = act(session, f"A request for {words}", command)[0].data or ""
    if out is not None:
        out.write_text(pem)
        session.screen.say(f"Written to {out}.")
    elif session.screen.as_json:
        session.screen.record("", {"id": credential_id, "csr": pem})
    else:
        session.screen.text(pem)


@app.command("import")
def bring(
    context: typer.Context, credential_id: Cred,
    file: Annotated[Path, typer.Argument(help="PEM, DER or PKCS#7, as the authority sent it")],
    chain: Annotated[list[Path] | None, typer.Option(help="Issuers' certificates that are not in the file")] = None,
) -> None:
    """Attach the certificate. It is checked whole first; compare the root's fingerprint with the published one."""
    session = held(context)
    kind, key = register.credential_key(session.db, credential_id)
    purpose = Purpose.TIMESTAMPS if kind == "timestamp" else Purpose.DOCUMENTS
    issuers = [reading.read_bytes(path) for path in chain or ()]
    checked = check(reading.read_bytes(file), issuers, key, session.now(), purpose)
    if not session.screen.as_json:
        session.screen.record("This certificate", _described(checked))
    act(session, "Attach it", import_command(credential_id, checked))
    session.screen.record("Credential", {"id": credential_id, "state": "active", **_described(checked)})


@app.command()
def suspend(context: typer.Context, credential_id: Cred, reason: Why) -> None:
    """Nothing is signed with it until it is resumed."""
    _set_state(held(context), credential_id, "suspended", reason)


@app.command()
def resume(context: typer.Context, credential_id: Cred, reason: Why = "") -> None:
    """Let a suspended credential sign again."""
    _set_state(held(context), credential_id, "active", reason)


@app.command()
def revoke(context: typer.Context, credential_id: Cred, reason: Why) -> None:
    """End it for ever. Tell the authority too: a revocation here is not in its list."""
    _set_state(held(context), credential_id, "revoked", reason)


@app.command()
def renew(
    context: typer.Context, credential_id: Cred,
    key: Annotated[KeyKind | None, typer.Option(help="Another kind of key than before")] = None,
) -> None:
    """A new key for the same holder. The old one works until the new one has its certificate."""
    session = held(context)
    old = _find(session, credential_id)
    command = m.AddCredential(
        kind=old["kind"], agency_code=old["agency_code"], key_kind=(key or KeyKind(old["key_kind"])).value,
        signatory_id=old["signatory_id"], custody=old["custody"], replaces=credential_id,
    )
    result = act(session, f"A new key in place of {credential_id}", command)[0]
    session.screen.record("Credential", {"id": result.id, "replaces": credential_id})


@app.command("destroy-key")
def destroy_key(context: typer.Context, credential_id: Cred) -> None:
    """Destroy the key of a revoked or expired credential. Nobody can bring it back."""
    session = held(context)
    act(session, f"DESTROY the key of {credential_id} for ever", m.DestroyKey(credential_id=credential_id))
    session.screen.record("Credential", {"id": credential_id, "state": "key-destroyed"})


def import_command(credential_id: str, checked: CheckedCertificate) -> m.ImportCertificate:
    """What the signer is told of a certificate that passed every check."""
    return m.ImportCertificate(
        credential_id=credential_id, certificate=checked.certificate, chain=checked.chain,
        public_key=checked.public_key, not_before=checked.not_before.isoformat(),
        not_after=checked.not_after.isoformat(), serial=_serial(checked.certificate),
    )


def _serial(certificate: bytes) -> str | None:
    """Lower-case hexadecimal; None for a negative one (RFC 5280 4.1.2.2 has none, some authorities had)."""
    number: int = x509.Certificate.load(certificate).serial_number
    return f"{number:x}" if number >= 0 else None


def _described(checked: CheckedCertificate) -> dict[str, Any]:
    return {
        "subject": checked.subject, "issuer": checked.issuer, "root": checked.root,
        "root_sha256": checked.root_fingerprint, "not_before": checked.not_before, "not_after": checked.not_after,
    }


def _find(session: Session, credential_id: str) -> Mapping[str, Any]:
    for row in register.credentials(session.db):
        if row["id"] == credential_id:
            return row
    raise NotFound(f"There is no credential {credential_id!r}.")


def _subject(session: Session, credential_id: str) -> tuple[tuple[str, str], ...]:
    row = _find(session, credential_id)
    agency = next(each["name"] for each in register.agencies(session.db) if each["code"] == row["agency_code"])
    person = [register.find_owner(session.db, row["signatory_id"])[1]] if row["kind"] == "personal" else []
    return (("CN", (*person, agency)[0]), ("O", agency), ("C", "VN"))


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise Invalid(f"{text!r} is not like CN=Nguyễn Văn An.", code="subject")
    return name.strip().upper(), value.strip()


def _set_state(session: Session, credential_id: str, state: str, reason: str) -> None:
    command = m.SetCredentialState(credential_id=credential_id, state=state, reason=reason)
    act(session, f"{credential_id} becomes {state}", command)
    session.screen.record("Credential", {"id": credential_id, "state": state})
