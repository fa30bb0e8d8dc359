"""A client submits a document."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.printed import printed
from tests.support.world import PLAN, Client, World, plan, told

DOCUMENTS = PLAN.parent
LONG = "x" * 501

WRONG_FIELDS: dict[str, tuple[dict[str, str], str]] = {
    "a document type that nobody knows": ({"document_type": "XX"}, "document_type"),
    "a number of twelve characters": ({"number": "123456789012"}, "number"),
    "a symbol of thirty-one characters": ({"symbol": "S" * 31}, "symbol"),
    "a subject of five hundred and one characters": ({"subject": LONG}, "subject"),
    "an empty subject": ({"subject": "  "}, "subject"),
    "a subject with a line break": ({"subject": "one\ntwo"}, "subject"),
    "a subject that turns the direction of writing": ({"subject": "kế hoạch \u202efdp"}, "subject"),
    "a subject with a zero byte": ({"subject": "a\u0000b"}, "subject"),
    "an agency code of thirty-six characters": ({"issuing_agency": "H" * 36}, "issuing_agency"),
    "a secrecy that is none of the four": ({"secrecy": "rather"}, "secrecy"),
    "an urgency that is none of the four": ({"urgency": "now"}, "urgency"),
    "a level we do not make": ({"level": "B-LTA"}, "level"),
    "an external id of two hundred and one characters": ({"external_id": "e" * 201}, "external_id"),
    "a field that we do not know": ({"colour": "blue"}, "colour"),
}
UNKNOWN_NAMES = {
    "an agency": {"issuing_agency": "H99"},
    "a credential": {"credential": "cr_" + "0" * 32},
}
REFUSED_FILES = {
    "no PDF at all": (b"hello, I am a text", "not-a-pdf"),
    "nothing": (b"", "not-a-pdf"),
    "a PDF that was cut off": (plan()[: len(plan()) // 2], "truncated"),
}


def test_a_submission_answers_everything_a_screen_needs_to_show(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official, external_id="VB-1")

    assert made["document_digest"] == hashlib.sha256(plan()).hexdigest()
    assert made["document_size"] == len(plan())
    assert (made["state"], made["pages"], made["confirm"]) == ("pending", 2, "client")
    assert (made["signatory_id"], made["credential_id"]) == (official.id, official.credential)
    assert made["external_id"] == "VB-1"
    assert made["matching_code"].isdigit()
    assert len(made["matching_code"]) == 6
    assert world.events("signing-request:submit") == 1


def test_the_document_is_on_disk_under_its_digest_and_nobody_may_write_it(world: World, office: Client) -> None:
    made = office.submits(world.official())
    (file,) = world.files()
    assert file.name == made["document_digest"]
    assert file.read_bytes() == plan()
    assert file.stat().st_mode & 0o777 == 0o440


def test_an_ascii_spelling_and_a_personnel_number_are_understood(world: World, office: Client) -> None:
    official = world.official()
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE signatory SET reference = 'CB-00017'")
    made = told(office.tries_to_submit("CB-00017", document_type="QD"), 201)
    assert (made["document_type"], made["signatory_id"]) == ("QĐ", official.id)


@pytest.mark.parametrize(("fields", "wrong"), WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_a_wrong_field_is_named(town: Any, fields: dict[str, str], wrong: str) -> None:
    problem = told(town.office.tries_to_submit(town.official, **fields), 400)
    assert problem["code"] == "invalid"
    assert wrong in {each["field"] for each in problem["errors"]}
    assert all(value not in str(problem["errors"]) for value in fields.values() if len(value) > 5)
    assert town.world.count("signing_request") == 0
    assert town.world.files() == []


@pytest.mark.parametrize("missing", ["document_type", "subject", "issuing_agency", "signatory", "file"])
def test_a_missing_field_is_named(town: Any, missing: str) -> None:
    fields = {"document_type": "KH", "subject": "s", "issuing_agency": "H26.1", "signatory": town.official.id}
    fields.pop(missing, None)
    files = {} if missing == "file" else {"file": ("a.pdf", plan())}
    answer = town.office.asks("POST", "/api/v1/signing-requests", data=fields, files=files or {"other": ("", b"")})
    assert missing in {each["field"] for each in told(answer, 400)["errors"]}


@pytest.mark.parametrize("fields", UNKNOWN_NAMES.values(), ids=UNKNOWN_NAMES)
def test_a_name_that_names_nothing_is_a_wrong_request(town: Any, fields: dict[str, str]) -> None:
    assert told(town.office.tries_to_submit(town.official, **fields), 400)["code"] == "unknown-name"
    assert town.world.files() == []


def test_an_unknown_signatory_is_a_wrong_request(town: Any) -> None:
    assert told(town.office.tries_to_submit("nobody"), 400)["code"] == "unknown-name"


@pytest.mark.parametrize(("content", "code"), REFUSED_FILES.values(), ids=REFUSED_FILES)
def test_a_file_that_cannot_be_signed_is_refused_with_the_reason(town: Any, content: bytes, code: str) -> None:
    before = town.world.events("signing-request:submit:refused")
    problem = told(town.office.tries_to_submit(town.official, content), 400)
    assert problem["code"] == code
    assert town.world.events("signing-request:submit:refused") == before + 1
    assert town.world.files() == []


@pytest.mark.parametrize("file", sorted(DOCUMENTS.glob("refused/*.pdf")), ids=lambda file: file.stem)
def test_hostile_documents_are_refused_and_leave_no_file(town: Any, file: Path) -> None:
    answer = town.office.tries_to_submit(town.official, file.read_bytes())
    assert answer.status_code in (400, 403)
    assert town.world.files() == []


def test_what_the_policy_does_not_permit_is_denied_with_findings_and_recorded(world: World, office: Client) -> None:
    official = world.official()
    stranger = world.client(agencies=("H26.1",))
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE client SET agencies = '[]' WHERE id = ?", (stranger.id,))

    problem = told(stranger.tries_to_submit(official), 403)

    assert problem["code"] == "denied"
    assert "client" in {each["rule"] for each in problem["findings"]}
    assert world.events("signing-request:submit:denied") == 1
    assert world.count("signing_request") == 0
    assert world.files() == []


def test_a_denied_copy_does_not_take_the_file_from_one_that_was_accepted(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    assert office.tries_to_submit(official, document_type="SY").status_code == 403
    assert office.asks("GET", f"/api/v1/signing-requests/{made['id']}/document").content == plan()


@pytest.mark.parametrize("secrecy", ["mat", "toi-mat", "tuyet-mat"])
def test_of_a_secret_document_nothing_is_left_behind(world: World, office: Client, secrecy: str) -> None:
    document = plan("tuyệt mật")
    subject = "một chủ đề bí mật"

    problem = told(office.tries_to_submit(world.official(), document, secrecy=secrecy, subject=subject), 403)

    assert [each["rule"] for each in problem["findings"]] == ["secrecy"]
    assert world.events("signing-request:submit:denied") == 1
    assert world.files() == []
    written = world.everything_written()
    digest = hashlib.sha256(document)
    for trace in (digest.hexdigest().encode(), digest.digest(), subject.encode(), b"ke-hoach.pdf"):
        assert trace not in written


@pytest.mark.parametrize("mark", ["MẬT", "TỐI MẬT", "TUYỆT MẬT"])
def test_of_a_document_that_bears_a_mark_of_secrecy_nothing_is_left_behind_whatever_was_declared(
    world: World, office: Client, tmp_path: Path, mark: str,
) -> None:
    document = printed(tmp_path / "marked.pdf", [(60, 780, mark), (60, 700, "Số: 01/BC")]).read_bytes()

    problem = told(office.tries_to_submit(world.official(), document, subject="một chủ đề"), 403)

    assert [each["rule"] for each in problem["findings"]] == ["secrecy"]
    assert world.files() == []
    written = world.everything_written()
    for trace in (hashlib.sha256(document).hexdigest().encode(), "một chủ đề".encode()):
        assert trace not in written


def test_a_dry_run_tells_the_decision_and_keeps_nothing(world: World, office: Client) -> None:
    official = world.official()
    before = world.count("entry")

    told_so = told(office.tries_to_submit(official, path="/dry-run"), 200)

    assert told_so["permitted"] is True
    assert told_so["terms"] == {"level": "B-B", "confirm": "client", "lifetime_seconds": 72 * 3600,
                                "algorithms": told_so["terms"]["algorithms"], "appearance": "text"}
    assert told_so["algorithm"] in told_so["terms"]["algorithms"]
    assert world.count("entry") == before
    assert world.count("signing_request") == 0
    assert world.files() == []


def test_a_dry_run_of_something_denied_says_which_rule_and_is_no_error(world: World, office: Client) -> None:
    told_so = told(office.tries_to_submit(world.official(), path="/dry-run", document_type="SY"), 200)
    assert told_so["permitted"] is False
    assert "terms" not in told_so
    assert "allow" in {each["rule"] for each in told_so["findings"] if not each["permits"]}


def test_a_dry_run_of_a_secret_document_answers_for_the_secrecy_alone(world: World, office: Client) -> None:
    told_so = told(office.tries_to_submit(world.official(), path="/dry-run", secrecy="mat"), 200)
    assert told_so["permitted"] is False
    assert [each["rule"] for each in told_so["findings"]] == ["secrecy"]


def test_without_an_active_credential_nobody_can_be_asked_to_sign(world: World, office: Client) -> None:
    official = world.official()
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE credential SET state = 'suspended'")
    assert told(office.tries_to_submit(official), 409)["code"] == "no-active-credential"
    assert world.files() == []


def test_without_an_active_policy_nothing_is_accepted(world: World, office: Client) -> None:
    official = world.official()
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE policy SET active = false")
    assert told(office.tries_to_submit(official), 503)["code"] == "no-policy"
    assert world.files() == []


def test_the_same_idempotency_key_gives_the_same_request(world: World, office: Client) -> None:
    official = world.official()
    first = office.tries_to_submit(official, key="7d1c")
    again = office.tries_to_submit(official, key="7d1c")

    assert told(again, 201) == told(first, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert world.count("signing_request") == 1


def test_the_same_key_with_another_document_or_field_is_a_conflict(world: World, office: Client) -> None:
    official = world.official()
    told(office.tries_to_submit(official, key="7d1c"), 201)
    for answer in (office.tries_to_submit(official, plan("other"), key="7d1c"),
                   office.tries_to_submit(official, key="7d1c", subject="another")):
        assert told(answer, 409)["code"] == "idempotency-key-reused"
    assert world.count("signing_request") == 1


def test_a_key_belongs_to_one_client(world: World, office: Client) -> None:
    official = world.official()
    other = world.client(name="another system")
    first, second = (told(each.tries_to_submit(official, key="7d1c"), 201) for each in (office, other))
    assert first["id"] != second["id"]


def test_a_refused_submission_frees_its_key(world: World, office: Client) -> None:
    official = world.official()
    assert office.tries_to_submit(official, b"no PDF", key="7d1c").status_code == 400
    assert office.tries_to_submit(official, key="7d1c").status_code == 201


def test_a_key_is_forgotten_after_a_day(world: World, office: Client) -> None:
    official = world.official()
    first = told(office.tries_to_submit(official, key="7d1c"), 201)
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE idempotency SET created_at = datetime(created_at, '-1 day') || '.000000'")
    assert told(office.tries_to_submit(official, key="7d1c"), 201)["id"] != first["id"]


def test_the_second_call_with_a_key_does_not_run_beside_the_first(world: World, office: Client) -> None:
    official = world.official()
    told(office.tries_to_submit(official, key="7d1c"), 201)
    with world.rt.db.write() as tx:  # as if the first call were still under way
        tx.exec_driver_sql("UPDATE idempotency SET status = NULL, body = NULL")
    assert told(office.tries_to_submit(official, key="7d1c"), 409)["code"] == "in-progress"


@pytest.mark.parametrize("key", ["", " ", "k" * 201, "kế hoạch".encode().decode("latin-1")])
def test_a_key_that_is_not_plain_text_is_refused(town: Any, key: str) -> None:
    answer = town.office.asks("POST", "/api/v1/batches", json={"signing_requests": ["sr_" + "0" * 32]},
                              headers={"Idempotency-Key": key.encode("latin-1")})
    assert told(answer, 400)["code"] == "idempotency-key"
