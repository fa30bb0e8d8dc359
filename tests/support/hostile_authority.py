"""A timestamp authority behind HTTP that misbehaves in every way we could think of.

    host.reply = misbehaviours(ca, now)["another nonce"]     # `host` is an `Outside`
    host.reply = answering(ca.timestamping().lying(time=now()))   # and a good one
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from asn1crypto import cms
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.authority import TestCa, TestTsa, response, rsa_key, timestamping_extensions
from tests.support.outside import Question, Reply, plain

REPLY = "application/timestamp-reply"
DAY = timedelta(days=1)
Clock = Callable[[], datetime]


def system_clock() -> datetime:
    return datetime.now(UTC)


def answering(tsa: TestTsa, clock: Clock | None = None) -> Reply:
    """What it was told to answer; by this clock, if one is given."""
    async def reply(asked: Question, writer: asyncio.StreamWriter) -> None:
        timed = tsa.lying(time=clock()) if clock is not None and "time" not in tsa.lies else tsa
        await plain(timed.answer(asked.body), content_type=REPLY)(asked, writer)

    return reply


def misbehaviours(ca: TestCa, clock: Clock = system_clock) -> dict[str, Reply]:
    """Each of them alone is enough to refuse the answer; everything else about it is good."""
    tsa, stranger, now = ca.timestamping(), TestCa.fresh("Nobody"), clock()
    time_and_more = (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CLIENT_AUTH)

    def lying(**lies: Any) -> Reply:
        return answering(tsa.lying(**lies), clock)

    def certified(*args: Any, **changes: Any) -> Reply:
        return answering(ca.timestamping(*args, **changes), clock)

    def changed(change: Callable[[bytes], bytes]) -> Reply:
        async def reply(asked: Question, writer: asyncio.StreamWriter) -> None:
            good = tsa.lying(time=clock()).answer(asked.body)
            await plain(change(good), content_type=REPLY)(asked, writer)
        return reply

    def status(number: int) -> Reply:
        async def reply(asked: Question, writer: asyncio.StreamWriter) -> None:
            good = tsa.lying(time=clock()).answer(asked.body)
            await plain(good, number, content_type=REPLY, location="/elsewhere")(asked, writer)
        return reply

    async def other_type(asked: Question, writer: asyncio.StreamWriter) -> None:
        await plain(tsa.lying(time=clock()).answer(asked.body), content_type="text/html")(asked, writer)

    return {
        "another imprint": lying(changed_imprint=bytes(32)),
        "another nonce": lying(nonce=1),
        "no nonce": lying(nonce=None),
        "another policy": lying(policy="1.2.3.4"),
        "last week": lying(time=now - 7 * DAY),
        "tomorrow": lying(time=now + DAY),
        "a critical extension": lying(critical_extension=True),
        "a wrong signature": lying(spoil_signature=True),
        "content changed after signing": lying(spoil_content=True),
        "another content that is signed": lying(signed_type="data"),
        "another content that is carried": changed(_carrying_data),
        "no content": changed(_detached),
        "no certificate": lying(certificates=()),
        "another ESSCertID": lying(ess_of=b"another certificate"),
        "no ESSCertID": lying(ess="none"),
        "two signatures": lying(signers=2),
        "SHA-1 under the signature": answering(ca.timestamping(rsa_key()).lying(signed_with="sha1"), clock),
        "an RSA key of 1024 bits": certified(rsa_key(bits=1024)),
        "an unknown root": answering(stranger.timestamping(), clock),
        "a root that only has the right name": answering(TestCa.fresh().timestamping(), clock),
        "a certificate for something else": certified(extensions=[]),
        "a purpose that is not critical": certified(extensions=timestamping_extensions(critical=False)),
        "a purpose among others": certified(extensions=timestamping_extensions(time_and_more)),
        "an expired certificate": certified(begins=now - 3 * DAY, ends=now - 2 * DAY),
        "a certificate that begins tomorrow": certified(begins=now + DAY),
        "a token that was good for another question": plain(
            response(tsa.token(bytes(32), nonce=9, time=now)), content_type=REPLY),
        "bytes after the answer": changed(lambda good: good + b"\0"),
        "half an answer": changed(lambda good: good[: len(good) // 2]),
        "a rejection": plain(response(None, "rejection"), content_type=REPLY),
        "a rejection that carries a token": changed(
            lambda good: response(_token(good).dump(), "rejection")),
        "granted, without a token": plain(response(None), content_type=REPLY),
        "waiting": plain(response(None, "waiting"), content_type=REPLY),
        "garbage": plain(b"\x30\x82garbage", content_type=REPLY),
        "nothing": plain(b"", content_type=REPLY),
        "a web page": plain(b"<html>login</html>", content_type=REPLY),
        "another media type": other_type,
        "an error with a good token": status(500),
        "a redirect with a good token": status(302),
        "a huge body": plain(bytes(200_000), content_type=REPLY),
        "a body without end": _endless,
        "one byte at a time": _dripping,
        "silence": _silent,
        "another protocol": _ssh,
    }


def _token(answer: bytes) -> Any:
    from signing_service.timestamp_check import TimeStampResp  # only these changes take an answer apart

    return TimeStampResp.load(answer)["time_stamp_token"]


def _detached(answer: bytes) -> bytes:
    """The same signed data without what it signs."""
    held = cms.ContentInfo.load(_token(answer).dump())
    signed = held["content"]
    signed["encap_content_info"] = {"content_type": "tst_info"}
    return response(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump(force=True))


def _carrying_data(answer: bytes) -> bytes:
    """The same signed data, which says that its content is no TSTInfo."""
    held = cms.ContentInfo.load(_token(answer).dump())
    signed = held["content"]
    content = signed["encap_content_info"]["content"].contents
    signed["encap_content_info"] = {"content_type": "data", "content": content}
    return response(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump(force=True))


async def _silent(_: Question, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _dripping(_: Question, writer: asyncio.StreamWriter) -> None:
    writer.write(f"HTTP/1.1 200 X\r\ncontent-type: {REPLY}\r\ncontent-length: 5000\r\n\r\n".encode())
    while True:
        writer.write(b"\x30")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _endless(_: Question, writer: asyncio.StreamWriter) -> None:
    writer.write(f"HTTP/1.1 200 X\r\ncontent-type: {REPLY}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


async def _ssh(_: Question, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n" * 3)
    await writer.drain()
