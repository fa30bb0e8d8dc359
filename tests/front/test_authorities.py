"""Outside timestamp authorities: whatever one of them does, only a good token is used, and the next one is asked."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp
from cryptography.hazmat.primitives.serialization import Encoding

from signing_service.errors import Unavailable
from signing_service.front.authorities import Authorities, OutsideToken, granted, question, trust_roots
from signing_service.front.outbound import AllowList, Outbound
from signing_service.timestamp_check import TokenRejected
from tests.support.authority import POLICY, TestCa, TestTsa, response
from tests.support.outside import Outside, Question, Reply, plain, resolving

IMPRINT = hashlib.sha256(b"a signature value").digest()
CA, STRANGER = TestCa.fresh(), TestCa.fresh("Nobody")
TSA = CA.timestamping()
REPLY = "application/timestamp-reply"
NOW = datetime.now(UTC)


def now() -> datetime:
    return datetime.now(UTC)


def answering(tsa: TestTsa) -> Reply:
    async def reply(asked: Question, writer: asyncio.StreamWriter) -> None:
        await plain(tsa.answer(asked.body), content_type=REPLY)(asked, writer)

    return reply


async def ask(*replies: Reply, policy: str | None = None, allowed: bool = True) -> tuple[OutsideToken, list[Outside]]:
    """A token from authorities that reply like this, asked in this order."""
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(Outside(reply=reply)) for reply in replies]
        names = [f"tsa.example.vn:{host.port}" for host in hosts] if allowed else []
        outbound = Outbound(AllowList.of(names, ("127.0.0.0/8",)), resolve=resolving("127.0.0.1"))
        stack.push_async_callback(outbound.close)
        authorities = Authorities(outbound, tuple(host.url("/tsa") for host in hosts), (CA.root,), now,
                                  policy=policy, deadline=1.0)
        return await authorities.timestamp(IMPRINT, "sha256"), hosts


async def _silent(_: Question, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def status(number: int) -> Reply:
    async def reply(asked: Question, writer: asyncio.StreamWriter) -> None:
        await plain(TSA.answer(asked.body), number, content_type=REPLY, location="/elsewhere")(asked, writer)

    return reply


async def _other_type(asked: Question, writer: asyncio.StreamWriter) -> None:
    await plain(TSA.answer(asked.body), content_type="text/html")(asked, writer)


HOSTILE: dict[str, Reply] = {
    "another imprint": answering(TSA.lying(changed_imprint=bytes(32))),
    "another nonce": answering(TSA.lying(nonce=1)),
    "no nonce": answering(TSA.lying(nonce=None)),
    "another policy": answering(TSA.lying(policy="1.2.3.4")),
    "last week": answering(TSA.lying(time=NOW - timedelta(days=7))),
    "tomorrow": answering(TSA.lying(time=NOW + timedelta(days=1))),
    "a wrong signature": answering(TSA.lying(spoil_signature=True)),
    "content changed after signing": answering(TSA.lying(spoil_content=True)),
    "no certificate": answering(TSA.lying(certificates=())),
    "another ESSCertID": answering(TSA.lying(ess_of=b"another certificate")),
    "no ESSCertID": answering(TSA.lying(ess="none")),
    "an unknown root": answering(STRANGER.timestamping()),
    "a certificate for something else": answering(CA.timestamping(extensions=[])),
    "an expired certificate": answering(
        CA.timestamping(begins=NOW - timedelta(days=3), ends=NOW - timedelta(days=2))),
    "a token that was good for another question": plain(response(TSA.token(IMPRINT, nonce=9)), content_type=REPLY),
    "a rejection": plain(response(None, "rejection"), content_type=REPLY),
    "a rejection that carries a token": plain(response(TSA.token(IMPRINT), "rejection"), content_type=REPLY),
    "granted, without a token": plain(response(None), content_type=REPLY),
    "waiting": plain(response(None, "waiting"), content_type=REPLY),
    "garbage": plain(b"\x30\x82garbage", content_type=REPLY),
    "nothing": plain(b"", content_type=REPLY),
    "a web page": plain(b"<html>login</html>", content_type=REPLY),
    "another media type": _other_type,
    "an error with a good token": status(500),
    "a redirect with a good token": status(302),
    "a huge body": plain(bytes(200_000), content_type=REPLY),
    "silence": _silent,
}


@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_authority_that_misbehaves_is_refused_and_the_next_one_is_asked(reply: Reply) -> None:
    async def whole() -> None:
        token, (first, second) = await ask(reply, answering(TSA), policy=POLICY)
        assert (first.connections, second.connections) == (1, 1)
        assert token.authority == second.url("/tsa")

    asyncio.run(whole())


def test_when_none_is_good_there_is_no_timestamp() -> None:
    with pytest.raises(Unavailable) as refusal:
        asyncio.run(ask(HOSTILE["no nonce"], HOSTILE["a rejection"]))
    assert refusal.value.code == "timestamp-unavailable"


def test_the_first_good_one_is_enough() -> None:
    _, (first, second) = asyncio.run(ask(answering(TSA), answering(TSA)))
    assert (first.connections, second.connections) == (1, 0)


def test_an_authority_that_is_not_on_the_allow_list_is_not_called() -> None:
    with pytest.raises(Unavailable):
        asyncio.run(ask(answering(TSA), allowed=False))


def test_the_question_has_a_fresh_nonce_and_asks_for_the_certificate() -> None:
    async def whole() -> list[Any]:
        found = []
        for _ in range(2):
            _, (host,) = await ask(answering(TSA))
            found.append(tsp.TimeStampReq.load(host.questions[0].body, strict=True).native)
        return found

    one, other = asyncio.run(whole())
    assert one["nonce"] != other["nonce"]
    assert one["cert_req"] is True
    assert one["message_imprint"]["hashed_message"] == IMPRINT


def test_openssl_understands_the_question(tmp_path: Path) -> None:
    (tmp_path / "query").write_bytes(question(IMPRINT, "sha256", 5, POLICY))
    said = subprocess.run(["openssl", "ts", "-query", "-in", "query", "-text"], cwd=tmp_path, capture_output=True,
                          text=True, check=True).stdout
    assert "Nonce: 0x05" in said
    assert "Certificate required: yes" in said
    assert POLICY in said


def test_a_refusal_is_named() -> None:
    with pytest.raises(TokenRejected, match="rejection"):
        granted(response(None, "rejection"))


ROOTS: dict[str, Callable[[], bytes]] = {
    "DER": lambda: CA.root,
    "PEM": lambda: CA.certificate.public_bytes(Encoding.PEM),
    "several in one PEM file": lambda: CA.certificate.public_bytes(Encoding.PEM) * 2,
}


@pytest.mark.parametrize("make", ROOTS.values(), ids=ROOTS.keys())
def test_trust_roots_are_read_from_a_directory(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "root.crt").write_bytes(make())
    (tmp_path / "README").write_text("not a certificate")
    assert trust_roots(tmp_path) == (CA.root,)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="elsewhere"):
        trust_roots(tmp_path / "elsewhere")


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match=r"broken\.pem"):
        trust_roots(tmp_path)
