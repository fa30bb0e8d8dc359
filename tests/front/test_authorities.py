"""Outside timestamp authorities: whatever one of them does, only a good token is used, and the next one is asked."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp
from cryptography.hazmat.primitives.serialization import Encoding

from signing_service.errors import Unavailable
from signing_service.front.authorities import Authorities, OutsideToken, granted, question, trust_roots
from signing_service.front.outbound import AllowList, Outbound
from signing_service.timestamp_check import TokenRejected
from tests.support.authority import POLICY, TestCa, response
from tests.support.hostile_authority import answering, misbehaviours
from tests.support.outside import Outside, Reply, resolving

IMPRINT = hashlib.sha256(b"a signature value").digest()
CA, STRANGER = TestCa.fresh(), TestCa.fresh("Nobody")
TSA = CA.timestamping()


def now() -> datetime:
    return datetime.now(UTC)


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


HOSTILE = misbehaviours(CA)


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
