"""RFC 3161 over HTTP: proper tokens for proper questions, and a proper answer for every other one."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp

from signing_service import errors
from signing_service.front import tsa
from signing_service.front.authorities import question
from signing_service.timestamp_check import Demand, TimeStampResp, check
from signing_service.wire import failures
from signing_service.wire.messages import IssueTimestamp
from tests.support.authority import POLICY
from tests.support.world import Client, Stage, World

IMPRINT = hashlib.sha256(b"something").digest()
QUERY = {"Content-Type": "application/timestamp-query"}
OUR_POLICY = "1.3.6.1.4.1.99999.1.1"


@pytest.fixture
def open_world(stage: Stage, tmp_path: Path) -> Any:
    with World.open(stage, tmp_path, tsa_public=True) as made:
        yield made


def ask(world: World, body: bytes, **headers: str) -> TimeStampResp:
    answer = world.asks("POST", "/tsa", content=body, headers=QUERY | headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/timestamp-reply")
    return TimeStampResp.load(answer.content, strict=True)


def test_a_good_question_gets_a_good_token(open_world: World) -> None:
    open_world.timestamp_authority()
    answer = ask(open_world, question(IMPRINT, "sha256", 2**64 + 5, None))
    assert answer["status"]["status"].native == "granted"
    token = answer["time_stamp_token"].dump()
    demand = Demand(IMPRINT, "sha256", (open_world.city.ca.root,), nonce=2**64 + 5)
    proven = check(token, demand, open_world.clock())
    assert abs(proven.time - open_world.clock()) < timedelta(seconds=1)
    assert open_world.events("timestamp:issue") == 1


def test_openssl_asks_and_verifies(open_world: World, tmp_path: Path) -> None:
    open_world.timestamp_authority()
    (tmp_path / "data").write_bytes(b"something")
    (tmp_path / "root.pem").write_bytes(_pem(open_world.city.ca.root))

    def openssl(*arguments: str) -> str:
        done = subprocess.run(["openssl", "ts", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    for option in (
        ["-sha256", "-cert"],
        ["-sha512", "-cert", "-tspolicy", OUR_POLICY],
        ["-sha384", "-cert", "-no_nonce"],
    ):
        openssl("-query", "-data", "data", *option, "-out", "query")
        answer = open_world.asks("POST", "/tsa", content=(tmp_path / "query").read_bytes(), headers=QUERY)
        (tmp_path / "reply").write_bytes(answer.content)
        said = openssl("-verify", "-in", "reply", "-queryfile", "query", "-CAfile", "root.pem")
        assert "Verification: OK" in said, said


def test_openssl_reads_a_refusal(open_world: World, tmp_path: Path) -> None:
    answer = open_world.asks("POST", "/tsa", content=question(IMPRINT, "sha256", 1, "1.2.3.4"), headers=QUERY)
    (tmp_path / "reply").write_bytes(answer.content)
    done = subprocess.run(["openssl", "ts", "-reply", "-in", "reply", "-text"], cwd=tmp_path, capture_output=True,
                          text=True, check=False)
    assert "Status: Rejected" in done.stdout


def _pem(der: bytes) -> bytes:
    return subprocess.run(["openssl", "x509", "-inform", "DER"], input=der, capture_output=True, check=True).stdout


def request(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "version": "v1", "nonce": 7, "cert_req": True,
        "message_imprint": {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": IMPRINT},
    }
    encoded: bytes = tsp.TimeStampReq(fields | changes).dump()
    return encoded


def imprint(algorithm: str, size: int) -> dict[str, Any]:
    return {"message_imprint": {"hash_algorithm": {"algorithm": algorithm}, "hashed_message": bytes(size)}}


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "bad_data_format"),
    "a web page": (b"<html></html>", "bad_data_format"),
    "a question and more": (request() + b"\0", "bad_data_format"),
    "half a question": (request()[:-5], "bad_data_format"),
    "a JPEG": (b"\xff\xd8\xff\xe0" + bytes(100), "bad_data_format"),
    "a deep nest": (b"\x30\x80" * 4000, "bad_data_format"),
    "a length that lies": (b"\x30\x84\xff\xff\xff\xff" + request()[2:], "bad_data_format"),
    "more than anybody needs": (request() + bytes(20_000), "bad_data_format"),
    "SHA-1": (request(**imprint("sha1", 20)), "bad_alg"),
    "MD5": (request(**imprint("md5", 16)), "bad_alg"),
    "SHA3-256": (request(**imprint("sha3_256", 32)), "bad_alg"),
    "a hash function nobody knows": (request(**imprint("1.2.3.4.5", 32)), "bad_alg"),
    "an imprint that is too short": (request(**imprint("sha256", 20)), "bad_data_format"),
    "an imprint that is too long": (request(**imprint("sha256", 64)), "bad_data_format"),
    "an empty imprint": (request(**imprint("sha256", 0)), "bad_data_format"),
    "another version": (request(version=2), "bad_request"),
    "a negative nonce": (request(nonce=-1), "bad_request"),
    "a nonce of a kilobyte": (request(nonce=1 << 8192), "bad_request"),
    "an extension": (request(extensions=[{"extn_id": "1.2.3", "critical": False, "extn_value": b"\x05\x00"}]),
                     "unaccepted_extensions"),
    "a critical extension": (request(extensions=[{"extn_id": "1.2.3", "critical": True, "extn_value": b"\x05\x00"}]),
                             "unaccepted_extensions"),
    "another policy": (request(req_policy=POLICY), "unaccepted_policy"),
    "a policy of a thousand arcs": (request(req_policy="1.2." + ".".join(["3"] * 1000)), "unaccepted_policy"),
}


@pytest.fixture(scope="module")
def shared_world(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with World.open(stage, tmp_path_factory.mktemp("tsa"), tsa_public=True) as made:
        made.timestamp_authority()
        yield made


@pytest.mark.parametrize(("body", "failure"), REFUSED.values(), ids=REFUSED.keys())
def test_every_other_question_gets_its_reason(shared_world: World, body: bytes, failure: str) -> None:
    answer = ask(shared_world, body)
    assert answer["status"]["status"].native == "rejection"
    assert answer["status"]["fail_info"].native == {failure}
    assert answer["status"]["status_string"].native
    assert answer["time_stamp_token"].native is None
    assert shared_world.events("timestamp:issue") == 0


def test_without_a_certificate_the_authority_says_system_failure(open_world: World) -> None:
    answer = ask(open_world, request())
    assert answer["status"]["fail_info"].native == {"system_failure"}


def test_when_the_clock_is_wrong_it_says_so(open_world: World) -> None:
    open_world.timestamp_authority()
    assert ask(open_world, request())["status"]["status"].native == "granted"
    open_world.clock.forward(-600)
    assert ask(open_world, request())["status"]["fail_info"].native == {"time_not_available"}


KINDS: dict[str, errors.SigningError] = {kind: make("no") for kind, make in failures.KINDS.items()}


@pytest.mark.parametrize("error", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_refusal_has_its_failure(error: errors.SigningError) -> None:
    assert TimeStampResp.load(tsa.refusal(error))["status"]["fail_info"].native


def test_without_a_token_it_is_for_nobody_unless_the_settings_say_so(world: World, office: Client) -> None:
    world.timestamp_authority()
    assert world.asks("POST", "/tsa", content=request(), headers=QUERY).status_code == 401
    answer = office.asks("POST", "/tsa", content=request(), headers=QUERY)
    assert TimeStampResp.load(answer.content)["status"]["status"].native == "granted"


def test_another_media_type_is_not_a_question(open_world: World) -> None:
    answer = open_world.asks("POST", "/tsa", content=request(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 415


def test_no_damaged_question_breaks_the_answer(shared_world: World) -> None:
    """One bit at a time, over the whole of a question: a token, or a refusal, and never anything else."""
    body = request(req_policy=OUR_POLICY)
    for bit in range(0, len(body) * 8, 3):
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        outcome = _outcome(bytes(damaged))
        if isinstance(outcome, IssueTimestamp):
            assert len(outcome.imprint) == {"sha256": 32, "sha384": 48, "sha512": 64}[outcome.digest]
        else:
            assert TimeStampResp.load(outcome)["status"]["status"].native == "rejection"


def _outcome(body: bytes) -> IssueTimestamp | bytes:
    try:
        return tsa.parsed(body, None)
    except errors.SigningError as error:
        return tsa.refusal(error)
