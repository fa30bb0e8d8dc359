"""The story itself: the service starts, a document is signed, and others judge it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import typer
from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from signing_service import receipts, verification
from signing_service.cli import enrolment, exits
from signing_service.cli.demo import proofs, tour
from signing_service.cli.demo.handset import Page
from signing_service.cli.demo.office import DocumentSystem
from signing_service.cli.demo.place import Place, make_place
from signing_service.cli.demo.screens import matching_code
from signing_service.cli.demo.steps import Steps
from signing_service.cli.demo.town import WARD, Office, Town
from signing_service.cli.development_ca import DevelopmentCa
from signing_service.cli.processes import is_ready
from signing_service.cli.supervisor import SUPERVISED
from signing_service.db.engine import Database
from signing_service.errors import Invalid, SigningError, Unavailable
from signing_service.inspection import Reader

START_SECONDS = 90.0
ENDING_SECONDS = 120.0


def play(console: Console, document: Path, directory: Path, *, stay: bool) -> None:
    """Set a server up, sign a document and have the result judged by others; or stay. Raises typer.Exit if not true."""
    steps = Steps(console)
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us in the background, deaf to Ctrl-C
        signal.signal(number, signal.default_int_handler)
    missing = proofs.missing_programs()
    if missing:
        raise Invalid(f"Not installed: {', '.join(missing)}. `make demo` installs what is missing.", code="missing")
    try:
        with _running(steps, directory) as place, _database(place) as db:
            town = Office(place, steps, db).set_up()
            if stay:
                _stay(steps, place, town, document, directory)
            else:
                _sign(steps, place, town, db, document)
    except (SigningError, proofs.Untrue) as error:
        console.print(Text(f"\n ✗ {error}", "bold red"))
        console.print(Text(f"   {directory / 'service.log'} says more.", "dim"))
        raise typer.Exit(exits.FALSE) from error
    except KeyboardInterrupt:
        console.print("\nEnded.")
        return
    if not stay:
        _finish(console, steps, directory)


# ------------------------------------------------------------------------------------------------------ the service


@contextmanager
def _running(steps: Steps, directory: Path) -> Iterator[Place]:
    steps.chapter("A server of its own")
    with steps.step("A SoftHSM token, secrets and settings in a directory of their own") as said:
        place = make_place(directory)
        said.say(place.directory)
    with (place.directory / "service.log").open("wb") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "signing_service", "serve"], stdout=log, stderr=log, start_new_session=True,
            env=place.environment | {SUPERVISED: str(os.getpid())})
        try:
            with steps.step("signer, jobs and front start; only the signer knows the PIN") as said:
                _await_service(service, place)
                said.say(place.url)
            yield place
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(ENDING_SECONDS)


def _await_service(service: subprocess.Popen[bytes], place: Place) -> None:
    until = time.monotonic() + START_SECONDS
    while not is_ready(place.sign_socket, ("127.0.0.1", place.port)):
        if service.poll() is not None or time.monotonic() > until:
            raise Unavailable("The service did not start.", code="demo-start")
        time.sleep(0.2)


@contextmanager
def _database(place: Place) -> Iterator[Database]:
    database = Database(place.database_url, pool_size=2)
    try:
        yield database
    finally:
        database.close()


# -------------------------------------------------------------------------------------------------------- the story


def _sign(steps: Steps, place: Place, town: Town, db: Database, document: Path) -> None:
    steps.chapter("A document is signed")
    with steps.step("The document system signs in and submits a plan for the chairman") as said:
        office = DocumentSystem.sign_in(place.url, town.client)
        made = office.submit(document, town.chairman_id, WARD.code, "201")
        said.say(f"{made['id']}: {made['pages']} pages, level {made['level']}, {made['algorithm']}")
        said.say(f"matching code {made['matching_code']}")
    _is_for_the_phone(steps, office, made["id"])
    shown = _looked_at(steps, town, made)
    _is_refused(steps, town, shown)
    with steps.step("The chairman confirms on his phone with a code from his authenticator") as said:
        code = town.phone.codes.code()
        answer = town.phone.confirm(shown, code)
        done = office.signed(made["id"])
        if done["state"] != "signed":
            raise proofs.Untrue(f"the signing request is {done['state']}: {answer.text[:300]}")
        said.say(f"signed, {done['signed_size']:,} bytes, sha256 {done['signed_digest']}")
    _is_spent(steps, office, town, document, code)
    _prove(steps, place, town, db, _delivered(steps, place, office, made["id"], document))


def _is_for_the_phone(steps: Steps, office: DocumentSystem, request_id: str) -> None:
    with steps.step("A code that the document system sends is refused: the policy wants it from the phone") as said:
        answer = office.try_to_confirm(request_id, "123456")
        if answer.status_code != HTTPStatus.FORBIDDEN:
            raise proofs.Untrue(f"a code from the document system got the answer {answer.status_code}")
        said.say(f"{answer.status_code} {answer.json().get('code')}")


def _looked_at(steps: Steps, town: Town, made: dict[str, Any]) -> Page:
    with steps.step("The chairman finds it on his phone, with every page and the same matching code") as said:
        shown = town.phone.look(made["id"])
        if (found := matching_code(shown)) != made["matching_code"]:
            raise proofs.Untrue(f"the phone shows the matching code {found}")
        pages = town.phone.pages_of(shown, made["id"])
        if len(pages) != made["pages"]:
            raise proofs.Untrue(f"the phone shows {len(pages)} pages")
        said.say(f"{found[:3]} {found[3:]} on both screens; {len(pages)} pages drawn by the server")
    return shown


def _is_refused(steps: Steps, town: Town, shown: Page) -> None:
    with steps.step("A wrong code is refused, and nothing is asked of the device") as said:
        answer = town.phone.confirm(shown, town.phone.codes.wrong_code())
        if answer.status != HTTPStatus.FORBIDDEN:
            raise proofs.Untrue(f"a wrong code got the answer {answer.status}")
        said.say(f"{answer.status}, and the form again")


def _is_spent(steps: Steps, office: DocumentSystem, town: Town, document: Path, code: str) -> None:
    with steps.step("The same code for another document is refused: it is spent") as said:
        other = office.submit(document, town.chairman_id, WARD.code, "202")
        answer = town.phone.confirm(town.phone.look(other["id"]), code)
        if answer.status != HTTPStatus.FORBIDDEN:
            raise proofs.Untrue(f"a spent code got the answer {answer.status}")
        said.say(f"{answer.status}")
        office.withdraw(other["id"])


def _delivered(steps: Steps, place: Place, office: DocumentSystem, request_id: str, document: Path) -> dict[str, Any]:
    signed, receipt_file = place.directory / "signed.pdf", place.directory / "receipt.json"
    with steps.step("The signed document and its receipt are downloaded") as said:
        signed.write_bytes(office.download(request_id))
        receipt = office.receipt(request_id)
        receipt_file.write_text(json.dumps(receipt, ensure_ascii=False, indent=2), encoding="utf-8")
        said.say(f"it begins with the submitted bytes; {proofs.begins_with(signed, document):,} were added")
    return receipt


# ------------------------------------------------------------------------------------------------------- the proofs


def _prove(steps: Steps, place: Place, town: Town, db: Database, receipt: dict[str, Any]) -> None:
    signed, root = place.directory / "signed.pdf", place.directory / "ca" / "ca.pem"
    steps.chapter("Others say so")
    with steps.step("pyHanko: intact, trusted up to the root, timestamp intact and trusted") as said:
        judged = proofs.judged_by_pyhanko(signed, _root_der(place), datetime.now(UTC))
        said.say(f"{judged.verdict}: {judged.signer}, timestamp {judged.timestamp_time:%Y-%m-%d %H:%M:%S} UTC")
    with steps.step("poppler (pdfsig)") as said:
        said.say(proofs.judged_by_poppler(signed))
    with steps.step("OpenSSL: the CMS over the covered bytes, and the timestamp over the signature value"):
        proofs.verified_by_openssl(signed, root)
    with steps.step("qpdf: the file is sound"):
        proofs.sound_for_qpdf(signed)
    steps.chapter("And it is on a record that nobody can change unnoticed")
    _prove_log(steps, place, town, db, receipt)


def _prove_log(steps: Steps, place: Place, town: Town, db: Database, receipt: dict[str, Any]) -> None:
    key = verification.verifier_keys(db)[0]
    kept = verification.checkpoint_note(db)
    (place.directory / "checkpoint.txt").write_text(kept, encoding="utf-8")
    (place.directory / "log.key").write_text(key + "\n", encoding="utf-8")
    with steps.step("The whole log is verified against a checkpoint that was kept outside") as said:
        found = verification.verify_stored(db, Reader(f"operator:{town.operator.id}"), datetime.now(UTC),
                                           verifier=key, outside=kept)
        if not found.ok:
            raise proofs.Untrue(f"the log: {found.report.findings}, {found.columns}")
        said.say(f"{found.report.proven_size} entries proven")
    with steps.step("The receipt is checked offline, with the log's key and the document alone") as said:
        report = receipts.check(receipt, key, (place.directory / "signed.pdf").read_bytes())
        if not report.ok or report.not_proven:
            raise proofs.Untrue(f"the receipt: {report.findings}, {report.not_proven}")
        said.say(f"{report.proven_size} entries of this signing request, each in the log")


def _root_der(place: Place) -> bytes:
    return DevelopmentCa.open(place.directory / "ca").certificate.public_bytes(Encoding.DER)


def _finish(console: Console, steps: Steps, directory: Path) -> None:
    steps.write(directory / "summary.md", "What the demonstration did")
    left = "\n".join(f"{directory / name}" for name in (
        "signed.pdf", "receipt.json", "checkpoint.txt", "log.key", "summary.md", "service.log"))
    console.print(Panel(Text(left), title="Everything held. Left for you", border_style="green", expand=False))


# ---------------------------------------------------------------------------------------------------------- staying


def _stay(steps: Steps, place: Place, town: Town, document: Path, directory: Path) -> None:
    """Something to do for whoever comes, what to type and where to click; then wait for Ctrl-C."""
    with steps.step("Some documents wait for the deputy"):
        office = DocumentSystem.sign_in(place.url, town.client)
        for number, (subject, urgency) in enumerate(tour.WAITING, 301):
            office.submit(document, town.guests.deputy_id, WARD.code, str(number), subject=subject,
                          urgency=urgency)
    town.phone.put_away(place.directory / tour.PHONE)
    tour.write_tour(place, town, directory)
    console = steps.console
    console.print(enrolment.as_blocks(town.guests.auditor.phone.uri))
    console.print(Text("The auditor's seed, for an authenticator app; or use `code auditor`, as below.\n", "dim"))
    console.print(Text(f"{place.url} answers. In a browser on this machine:\n", "bold green"))
    console.print(Text(tour.doors(place, town.guests, directory)))
    console.print(Text("In another terminal:\n", "bold green"))
    console.print(Text(tour.commands(directory)))
    console.print(Text("Ctrl-C ends it.", "bold"))
    signal.pause()
