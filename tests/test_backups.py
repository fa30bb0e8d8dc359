"""A backup is made while the service runs and put back on another machine; the log's lost entries come back, too."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select

from signing_service import backups, exports, recovery, verification
from signing_service.backups import Manifest
from signing_service.db.engine import Database
from signing_service.db.tables import epoch, signing_request
from signing_service.errors import Invalid, NotAuthorized, SigningError, WrongState
from signing_service.exports import Form
from signing_service.filters import Wanted
from signing_service.inspection import Reader
from signing_service.signer import anchor, restoring, sequencer
from signing_service.signer.acting import By
from signing_service.signer.confirmations import Confirmations
from signing_service.signer.leases import beat
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m
from tests.support import databases, postgres
from tests.support.city import City, Clock, runtime
from tests.support.memory_device import MemoryDevice

READER = Reader("operator:op_test")
DOCUMENTS = (b"one document", b"another")


@dataclass
class Office:
    """A city with documents, its backup, and an empty database elsewhere."""

    city: City
    url: str
    elsewhere: str
    directory: Path
    opened: list[Database | Runtime] = field(default_factory=list)

    @property
    def documents(self) -> Path:
        return self.directory / "documents"

    @property
    def backup(self) -> Path:
        return self.directory / "backup"

    def keeps(self, *contents: bytes) -> None:
        for content in contents:
            place = kept_at(self.documents, content)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def sequences(self) -> None:
        while sequencer.sequence(self.city.rt):
            pass

    def makes(self) -> Manifest:
        return backups.make(self.url, self.documents, self.backup, self.city.clock.at)

    def restores(self) -> Manifest:
        return backups.restore(self.elsewhere, self.directory / "new-documents", self.backup, self.city.clock.at)

    def restored(self) -> Database:
        database = Database(self.elsewhere, pool_size=2)
        self.opened.append(database)
        return database

    def starts(self) -> Runtime:
        """A signer on the restored database, on a machine that has no anchor."""
        rt = runtime(self.elsewhere, self.directory, self.city.rt.device, self.city.clock,  # type: ignore[arg-type]
                     anchor=self.directory / "new-anchor")
        self.opened.append(rt)
        anchor.look(rt)
        return rt

    def exported(self) -> tuple[list[bytes], str]:
        """What an auditor holds: every entry, and the newest checkpoint."""
        text = "".join(exports.export(self.city.rt.db, READER, self.city.clock.at, Wanted(), Form.JSONL))
        return text.encode().splitlines(), verification.checkpoint_note(self.city.rt.db)


def kept_at(folder: Path, content: bytes) -> Path:
    """Where a document is; one of them where version 0.1 put it."""
    digest = hashlib.sha256(content).hexdigest()
    return folder / digest[:2] / (digest[2:4] if content == DOCUMENTS[1] else "") / digest


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.uncounted)])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    if request.param == "sqlite":
        url, elsewhere = databases.sqlite(tmp_path), f"sqlite:///{tmp_path / 'new' / 'signing.db'}"
        (tmp_path / "new").mkdir()
    else:
        url, elsewhere = databases.postgresql(), postgres.fresh_database()
    clock = Clock()
    made = Office(City(runtime(url, tmp_path, MemoryDevice(), clock), clock), url, elsewhere, tmp_path)
    made.keeps(*DOCUMENTS)
    made.sequences()
    yield made
    for each in made.opened:
        (each.db if isinstance(each, Runtime) else each).close()
    made.city.close()


def test_what_was_backed_up_is_there_again_and_nothing_is_signed_until_somebody_says_so(office: Office) -> None:
    city = office.city
    official = city.official()
    waiting = city.submitted(official)
    office.sequences()
    manifest = office.makes()
    assert office.restores() == manifest
    with city.rt.db.read() as tx:
        assert (manifest.documents, manifest.log_size) == (2, anchor.head(tx).size)
    assert [kept_at(office.directory / "new-documents", each).read_bytes() for each in DOCUMENTS] == list(DOCUMENTS)
    rt = office.starts()
    assert rt.guard.is_restored
    restoring.begin(rt, By("operator:op_1"), m.Restored("Moved"))
    with rt.db.read() as tx:
        state = tx.execute(select(signing_request.c.state).where(signing_request.c.id == waiting)).scalar_one()
        assert state == "expired"
        assert tx.execute(select(epoch.c.number, epoch.c.closed_by)).all() == [(1, "op_1")]


def test_the_code_that_was_spent_after_the_backup_is_spent(office: Office) -> None:
    city = office.city
    official = city.official()
    requests = [city.submitted(official, each) for each in DOCUMENTS]
    office.makes()
    city.next_code()
    asked = city.confirmation(official, requests)
    assert city.confirmations([asked])[0].lines[0].outcome == "done"  # type: ignore[union-attr]
    office.restores()
    rt = office.starts()
    restoring.begin(rt, By("operator:op_1"), m.Restored("Moved"))
    beat(rt)
    confirmations = Confirmations(rt, 1)
    again = confirmations([asked])[0]
    confirmations.close()
    assert isinstance(again, NotAuthorized)


def test_with_an_export_the_log_goes_on_from_the_checkpoint_that_was_seen_outside(office: Office) -> None:
    city = office.city
    official = city.official()
    manifest = office.makes()  # with entries that have no place yet
    city.confirms(official, [city.submitted(official)])
    city.acts(m.SetCredentialState(official.credential, "suspended", "Went away"))
    office.sequences()
    lines, outside = office.exported()
    office.restores()
    db = office.restored()
    found = recovery.recover(db, lines, outside, city.clock.at)
    assert found.first == manifest.log_size
    assert [each["event"] for each in found.to_do][-1:] == ["credential:state"]
    told = verification.verify_stored(db, READER, city.clock.at, verifier=None, outside=outside)
    assert told.report.ok, told.report.findings
    assert told.report.proven_size >= found.end
    rt = office.starts()
    restoring.begin(rt, By("operator:op_1"), m.Restored("Moved"))
    assert sequencer.sequence(rt) > 0
    assert verification.verify_stored(db, READER, city.clock.at, verifier=None, outside=outside).report.ok


def test_an_export_that_does_not_lead_to_the_checkpoint_brings_nothing_back(office: Office) -> None:
    city = office.city
    office.makes()
    city.official()
    office.sequences()
    lines, outside = office.exported()
    office.restores()
    db = office.restored()
    changed = json.loads(lines[-3])
    changed["body"]["outcome"] = "refused"
    own = json.dumps(changed).encode()
    forged = outside.replace("\n", "\n9", 1)
    for wrong, note in (([*lines[:-3], own, *lines[-2:]], outside), (lines[:-20], outside),
                        ([*lines[:5], *lines[20:]], outside), (lines, forged), (lines, "no note\n")):
        with pytest.raises(SigningError):
            recovery.recover(db, wrong, note, city.clock.at)
        assert verification.verify_stored(db, READER, city.clock.at).report.ok
    recovery.recover(db, lines, outside, city.clock.at)
    with pytest.raises(Invalid, match="nothing is lost"):
        recovery.recover(db, lines, outside, city.clock.at)


def test_a_backup_is_not_put_upon_a_database_that_is_there(office: Office) -> None:
    office.makes()
    office.restores()
    with pytest.raises(WrongState, match="already"):
        office.restores()


def test_a_damaged_or_incomplete_backup_is_named_before_anything_is_written(office: Office) -> None:
    office.makes()
    document = kept_at(office.backup / "documents", DOCUMENTS[0])
    document.chmod(0o640)
    document.write_bytes(b"something else")
    with pytest.raises(Invalid, match="not what its name says"):
        office.restores()
    document.write_bytes(DOCUMENTS[0])
    database = office.backup / office.makes().file
    with database.open("ab") as out:
        out.write(b"x")
    with pytest.raises(Invalid, match="not what the backup wrote"):
        office.restores()
    (office.backup / "manifest.json").unlink()
    with pytest.raises(Invalid, match="no complete backup"):
        office.restores()


def test_a_second_backup_into_the_same_folder_adds_to_it(office: Office) -> None:
    first = office.makes()
    office.keeps(b"a third")
    office.city.official()
    office.sequences()
    second = office.makes()
    assert (first.documents, second.documents) == (2, 3)
    assert second.log_size > first.log_size
    assert office.restores() == second


def test_the_password_of_the_database_stands_in_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, object] = {}

    def run(arguments: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.update(arguments=arguments, password=env.get("PGPASSWORD"))
        return subprocess.CompletedProcess(arguments, 1, "", "refused")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    with pytest.raises(SigningError, match="refused"):
        backups.dumps.dump("postgresql://signing:s3cret@db.example/signing", tmp_path)
    assert asked["password"] == "s3cret"
    assert "s3cret" not in repr(asked["arguments"])

