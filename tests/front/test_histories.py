"""One signature's story, and its evidence: what is told, and that the file can be checked where nothing of ours is."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from signing_service import evidence, histories, receipts, verification
from signing_service.db.tables import entry, signature
from signing_service.errors import NotFound, SigningError, Unavailable
from signing_service.front.web import evidence_file
from signing_service.inspection import Reader
from signing_service.signer import sequencer
from signing_service.tlog.entries import EntryLine
from tests.support import databases
from tests.support.city import POLICY
from tests.support.world import Client, Stage, World, plan

AUDITOR = Reader("auditor:au_test")


def told(world: World, made: dict[str, Any], reader: Reader = AUDITOR) -> histories.Story:
    return histories.story(world.rt.db, reader, world.clock(), made["id"])


def events(story: histories.Story) -> list[str]:
    return [step.event for step in story.steps]


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, stage: Stage, tmp_path: Path) -> Iterator[World]:
    url = databases.postgresql() if request.param == "postgresql" else None
    with World.open(stage, tmp_path, url=url) as made:
        yield made


def test_a_signature_is_told_from_its_submission_to_its_delivery(world: World) -> None:
    office, official = world.client(), world.official("Nguyễn Văn An")
    made = office.submits(official, external_id="VB-1")
    world.clock.forward(90)
    office.confirms(official, made)
    world.clock.forward(5)
    office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document")
    story = told(world, made)

    assert events(story) == [
        "signing-request:submit", "signing-request:confirm", "signature:intent", "signature:done",
        "signing-request:signed", "signing-request:deliver"]
    assert story.signatory == (official.id, "Nguyễn Văn An")
    assert story.client == (office.id, "QLVB")
    assert (story.state, story.external_id, story.document.mark) == ("signed", "VB-1", "201/KH-UBND")
    assert story.steps[0].since is None
    assert story.signed_after is not None
    assert story.signed_after >= timedelta(seconds=90)
    assert sum((step.since for step in story.steps if step.since), timedelta()) == story.steps[-1].at - story.created_at
    assert story.decided.policy == "default"
    assert all(finding.permits for finding in story.decided.findings)
    assert story.decided.hash_at_intent == story.decided.hash
    assert story.confirmed is not None
    assert (story.confirmed.channel, story.confirmed.matching_code) == ("client", made["matching_code"])
    assert story.certificate is not None
    assert "Nguyễn Văn An" in story.certificate.holder
    assert story.steps[0].actor == ("client", "QLVB")
    assert story.steps[1].actor == ("person", "Nguyễn Văn An")


def test_the_place_in_the_tree_is_told_once_there_is_one(world: World) -> None:
    office, official = world.client(), world.official()
    made = office.confirms(official, office.submits(official))
    sequencer.sequence(world.city.rt)
    story = told(world, made)
    places = [step.entry.index for step in story.steps]
    assert None not in places
    assert (story.place.first, story.place.last, story.place.waiting) == (min(places), max(places), 0)
    assert story.place.is_covered


def test_a_batch_and_the_one_confirmation_of_it_stand_in_each_story(world: World) -> None:
    office, official = world.client(), world.official()
    made = [office.submits(official, plan(str(each))) for each in range(2)]
    answer = office.asks("POST", "/api/v1/batches", json={"signing_requests": [each["id"] for each in made]})
    batch = answer.json()["id"]
    answer = office.asks("POST", f"/api/v1/batches/{batch}/confirm", json={"code": world.fresh_code(official)})
    assert answer.status_code == 200, answer.text
    for each in made:
        story = told(world, each)
        assert [events(story).count(event) for event in ("batch:create", "signing-request:confirm")] == [1, 1]
        assert events(story).count("signature:done") == 1


def refuses(office: Client, made: dict[str, Any]) -> None:
    office.asks("POST", f"/api/v1/signing-requests/{made['id']}/refuse", json={"reason": "Sai thể thức"})


def withdraws(office: Client, made: dict[str, Any]) -> None:
    office.asks("POST", f"/api/v1/signing-requests/{made['id']}/withdraw", json={"reason": "Gửi nhầm"})


ENDS: dict[str, tuple[Callable[[Client, dict[str, Any]], None], str, str]] = {
    "the official said no": (refuses, "signing-request:refuse", "Sai thể thức"),
    "the document system took it back": (withdraws, "signing-request:withdraw", "Gửi nhầm"),
}


@pytest.mark.parametrize(("act", "event", "reason"), ENDS.values(), ids=ENDS.keys())
def test_what_ended_otherwise_is_told_with_its_reason(
    world: World, act: Callable[[Client, dict[str, Any]], None], event: str, reason: str,
) -> None:
    office, official = world.client(), world.official()
    made = office.submits(official)
    act(office, made)
    story = told(world, made)
    assert story.reason == reason
    assert story.steps[-1].event == event
    assert story.steps[-1].is_bad
    assert ("reason", reason) in [(detail.name, detail.value) for detail in story.steps[-1].details]
    assert story.confirmed is None
    assert story.signed_after is None


def test_what_a_policy_denies_at_the_last_moment_is_told_with_its_rules(world: World) -> None:
    office, official = world.client(), world.official()
    made = office.submits(official)
    world.activates(POLICY.replace('way = "client"', 'way = "phone"').replace('confirm = "client"', ""))
    office.tries_to_confirm(made, world.fresh_code(official))
    story = told(world, made)
    assert events(story)[-1] == "signing-request:confirm:denied"
    assert [(finding.rule, finding.permits) for finding in story.steps[-1].findings] == [("confirmation", False)]
    assert story.steps[-1].is_bad


def test_a_story_of_another_agency_is_not_there_and_asking_is_on_record(world: World) -> None:
    office, official = world.client(), world.official()
    made = office.submits(official)
    narrow = Reader("auditor:au_narrow", frozenset({"H27"}))
    with pytest.raises(NotFound):
        told(world, made, narrow)
    with world.rt.db.read() as tx:
        body = tx.execute(select(entry.c.body).where(entry.c.actor == "auditor:au_narrow")).scalar_one()
    assert json.loads(body)["data"] == {"what": "story", "asked": {"signing_request": made["id"]}}


# -------------------------------------------------------------------------------------------------------- evidence


@dataclass(frozen=True)
class Packed:
    """A signed document with a timestamp, and its evidence."""

    world: World
    made: dict[str, Any]
    archive: bytes
    key: str
    signed: bytes

    def files(self, archive: bytes | None = None) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(archive or self.archive)) as opened:
            return {name: opened.read(name) for name in opened.namelist()}


def taken(world: World, request_id: str, reader: Reader = AUDITOR) -> bytes:
    gathered = world.stage.run(evidence.gather(world.rt, reader, request_id))
    return evidence_file.made(gathered, world.rt.settings)


@pytest.fixture(scope="module")
def packed(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packed]:
    with World.open(stage, tmp_path_factory.mktemp("evidence")) as world:
        world.timestamp_authority()
        office, official = world.client(), world.official("Nguyễn Văn An")
        made = office.confirms(official, office.submits(official, level="B-T"))
        assert made["state"] == "signed", made
        sequencer.sequence(world.city.rt)
        signed = office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document").content
        key = verification.verifier_keys(world.rt.db)[0]
        yield Packed(world, made, taken(world, made["id"]), key, signed)


def problems(files: dict[str, bytes], key: str, document: bytes) -> list[str]:
    """What the read-me tells people to check, done: with the log's key from elsewhere, and the document."""
    try:
        receipt = json.loads(files["receipt.json"])
        report = receipts.check(receipt, key, document)
        found = [finding.text for finding in report.findings]
        proven = receipt["proof"]["entries"]
        bodies = [each["body"] for each in proven]
        lines = [EntryLine.parse(line) for line in files["entries.jsonl"].decode().splitlines()]
        same = [EntryLine.of(each["index"], each["body"]) for each in proven]
        found += ["entries.jsonl says something else"] * (lines != same)
        under = receipt["proof"]["checkpoint"]
        found += ["checkpoint.txt is another one"] * (files["checkpoint.txt"].decode() != under)
        found += ["log.key is another one"] * (files["log.key"].decode().strip() != key)
        data = [body["data"] for body in bodies]
        for name in (each for each in files if each.startswith("policy-")):
            digest = hashlib.sha256(files[name]).hexdigest()
            known = {str(each.get("policy")) for each in data}
            found += [f"{name} is another policy"] * (name != f"policy-{digest}.toml" or digest not in known)
        fingerprint = x509.load_pem_x509_certificate(files["certificate.pem"]).fingerprint(SHA256()).hex()
        found += ["the certificate is another one"] * (fingerprint not in [each.get("certificate") for each in data])
    except (ValueError, KeyError, TypeError, SigningError) as error:
        return [str(error)]
    else:
        return found


def test_the_evidence_is_proven_offline_with_the_logs_key_and_the_document(packed: Packed) -> None:
    files = packed.files()
    assert problems(files, packed.key, packed.signed) == []
    assert problems(files, packed.key, plan()) == []  # as it was submitted
    report = receipts.check(json.loads(files["receipt.json"]), packed.key, packed.signed)
    assert any("certificate" in sentence for sentence in report.proven)
    assert {"README.txt", "story.vi.html", "story.en.html", "timestamp.tst", "chain.pem"} <= files.keys()


CHECKED = ("receipt.json", "entries.jsonl", "checkpoint.txt", "log.key", "certificate.pem", "policy-")


@pytest.mark.parametrize("prefix", CHECKED)
def test_a_changed_byte_is_found_wherever_it_matters(packed: Packed, prefix: str) -> None:
    files = packed.files()
    (name,) = [each for each in files if each.startswith(prefix)]
    content = files[name]
    # The entries within the receipt and their proofs; the names of digests and what stands around are for people.
    begin = content.index(b'"entries":[') if name == "receipt.json" else 0
    end = content.index(b'"signing_request":{', begin) if name == "receipt.json" else len(content)
    for at in range(begin, end, max(1, (end - begin) // 60)):
        if chr(content[at]).isspace() or (name == "certificate.pem" and b"-----" in content[max(0, at - 30):at + 30]):
            continue  # neither JSON nor PEM minds these
        changed = content[:at] + (b"1" if content[at:at + 1] != b"1" else b"2") + content[at + 1:]
        assert problems({**files, name: changed}, packed.key, packed.signed), (name, at, content[at - 40:at + 20])


def test_another_document_or_another_key_is_found(packed: Packed) -> None:
    assert problems(packed.files(), packed.key, packed.signed + b" ")
    other = packed.key[:-4] + ("AAA=" if not packed.key.endswith("AAA=") else "AAE=")
    assert problems(packed.files(), packed.key.replace(packed.key, other), packed.signed)


def test_the_commands_of_the_read_me_do_what_it_says(packed: Packed, tmp_path: Path) -> None:
    for name, content in packed.files().items():
        (tmp_path / name).write_bytes(content)
    root = x509.load_der_x509_certificate(packed.world.city.ca.root)
    (tmp_path / "ROOT.pem").write_bytes(root.public_bytes(Encoding.PEM))
    text = (tmp_path / "README.txt").read_text()
    commands = [line.strip() for line in text.partition("ENGLISH")[2].splitlines() if line.startswith("     openssl")]
    assert [command.split()[1] for command in commands] == ["x509", "verify", "ts"]
    for command in commands:
        if " verify " in command and "chain.pem" in command and not (tmp_path / "chain.pem").read_bytes():
            command = command.replace("-untrusted chain.pem ", "")  # here the root itself has issued it
        done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_the_same_signature_gives_the_same_bytes_however_the_log_grows(packed: Packed) -> None:
    world = packed.world
    world.client(name="Another").asks("GET", "/api/v1/signing-requests")
    sequencer.sequence(world.city.rt)
    assert taken(world, packed.made["id"]) == packed.archive


def test_nothing_of_the_document_is_in_it(packed: Packed) -> None:
    with packed.world.rt.db.read() as tx:
        value = tx.execute(select(signature.c.value)).scalar_one()
    for content in packed.files().values():
        assert b"%PDF" not in content
        assert value not in content
        assert value.hex().encode() not in content


def test_the_story_on_paper_needs_nothing_around_it_and_is_in_both_languages(packed: Packed) -> None:
    files = packed.files()
    for language, sentence in (("vi", "Diễn biến một chữ ký"), ("en", "One signature's story".replace("'", "&#39;"))):
        page = files[f"story.{language}.html"].decode()
        assert sentence in page
        assert packed.made["signed_digest"] in page
        assert not re.search(r"\b(src|href)=", page)
        assert "<script" not in page


def test_evidence_waits_for_the_log_and_says_so(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "PATIENCE", 0.0)
    with World.open(stage, tmp_path) as world:
        office, official = world.client(), world.official()
        made = office.submits(official)
        with world.without_signer():
            office.asks("POST", f"/api/v1/signing-requests/{made['id']}/withdraw", json={"reason": "x"})
            with pytest.raises(Unavailable):
                taken(world, made["id"])
