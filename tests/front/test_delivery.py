"""Finishing: from a signature value to a signed document, by anybody, any number of times, to the same bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from signing_service import delivery, receipts
from signing_service.db.tables import outbox, signature, signing_request, timestamp_token
from signing_service.errors import NotFound, Unavailable
from signing_service.pdf import JudgeOrder, Pool, Verdict
from signing_service.verification import verifier_keys
from signing_service.wire.messages import IssueTimestamp, TimestampIssued
from tests.support import databases
from tests.support.authority import TestCa, response
from tests.support.hall import DOCUMENT, Hall, hall, tell
from tests.support.outside import Outside, plain


async def authority(it: Hall) -> None:
    await asyncio.to_thread(it.city.timestamp_authority)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_signature_value_becomes_a_signed_document(tmp_path: Path, database: str) -> None:
    async def story(it: Hall) -> None:
        it.listens("https://client.example.vn/hook")
        request_id = await it.confirmed()
        assert await delivery.finish(it.rt, request_id)
        row = it.row(request_id)
        assert (row.state, row.finish_error) == ("signed", None)
        signed = it.rt.documents.path(row.signed_digest).read_bytes()
        assert signed.startswith(DOCUMENT.read_bytes())
        assert len(signed) == row.signed_size
        (recorded,) = it.entries("signing-request:signed")
        assert json.loads(recorded.body)["data"]["signed_digest"] == row.signed_digest
        with it.rt.db.read() as tx:
            notice = json.loads(tx.execute(select(outbox.c.body)).scalar_one())
        assert notice["signing_request"]["state"] == "signed"
        assert notice["signing_request"]["signed_digest"] == row.signed_digest

    tell(tmp_path, story, databases.postgresql() if database == "postgresql" else None)


def test_finishing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """As a front would that died after the file and before W5."""
    async def story(it: Hall) -> None:
        await authority(it)
        request_id = await it.confirmed(level="B-T")
        assert await delivery.finish(it.rt, request_id)
        first = it.row(request_id).signed_digest
        with it.rt.db.write() as tx:
            tx.execute(update(signing_request).values(state="finishing", signed_digest=None))
        it.rt.documents.remove(first)
        it.clock.forward(500)
        assert await delivery.finish(it.rt, request_id)
        assert it.row(request_id).signed_digest == first

    tell(tmp_path, story)


def test_many_finish_at_once_and_one_of_them_records_it(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        await authority(it)
        it.listens("https://client.example.vn/hook")
        request_id = await it.confirmed(level="B-T")
        done = await asyncio.gather(*(delivery.finish(it.rt, request_id) for _ in range(8)))
        assert done == [True] * 8
        assert len(it.entries("signing-request:signed")) == 1
        with it.rt.db.read() as tx:
            assert len(tx.execute(select(outbox)).all()) == 1
            assert len(tx.execute(select(timestamp_token)).all()) == 1
        assert await delivery.finish(it.rt, request_id)  # and once more, when all is done
        assert len(it.entries("signing-request:signed")) == 1

    tell(tmp_path, story)


LIES: dict[str, dict[str, Any]] = {
    "another imprint": {"changed_imprint": bytes(32)}, "last week": {"time": datetime(2026, 1, 1, tzinfo=UTC)},
    "a wrong signature": {"spoil_signature": True}, "nothing wrong, but somebody else's certificate": {},
}


@pytest.mark.parametrize("lies", LIES.values(), ids=LIES.keys())
def test_a_token_is_not_believed_because_it_came_from_our_own_signer(tmp_path: Path, lies: dict[str, Any]) -> None:
    async def story(it: Hall) -> None:
        await authority(it)
        request_id = await it.confirmed(level="B-T")
        tsa = TestCa.fresh().timestamping()

        async def ask(message: IssueTimestamp, expected: type, **_: object) -> TimestampIssued:
            return TimestampIssued(tsa.token(message.imprint, **{"time": it.clock()} | lies), "1")

        it.signer.ask = ask  # type: ignore[method-assign, assignment]
        assert not await delivery.finish(it.rt, request_id)
        assert "timestamp is refused" in it.row(request_id).finish_error
        with it.rt.db.read() as tx:
            assert tx.execute(select(timestamp_token)).all() == []

    tell(tmp_path, story)


def test_the_first_stored_timestamp_wins(tmp_path: Path) -> None:
    """Two fronts asked; the slower one uses the token of the faster one."""
    async def story(it: Hall) -> None:
        await authority(it)
        request_id = await it.confirmed(level="B-T")
        ours, theirs = (delivery.Received(request_id, b"", delivery.Token("https://tsa.example.vn", content))
                        for content in (b"slow", b"fast"))
        kept = [each for first in (theirs, ours) for each in await it.rt.db.run(delivery._keep_first, it.rt, [first])]
        assert all(isinstance(each, delivery.Token) for each in kept)
        assert [each.content for each in kept] == [b"fast", b"fast"]

    tell(tmp_path, story)


def test_without_a_timestamp_the_level_is_not_lowered(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        request_id = await it.confirmed(level="B-T")  # and there is no timestamp authority
        assert not await delivery.finish(it.rt, request_id)
        row = it.row(request_id)
        assert (row.state, row.finish_attempts, row.signed_digest) == ("finishing", 1, None)
        assert "timestamp" in row.finish_error
        assert row.finish_after == it.clock() + timedelta(seconds=5)
        assert it.pool.completed == 0
        assert it.entries("signing-request:finish:failed") == []
        await authority(it)  # it comes back
        assert await delivery.finish(it.rt, request_id)
        assert it.row(request_id).finish_error is None

    tell(tmp_path, story)


def test_at_the_end_of_its_lifetime_it_fails_on_record(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        it.listens("https://client.example.vn/hook")
        request_id = await it.confirmed()
        it.pool.broken = Unavailable("The document could not be worked on in time.")
        for _ in range(3):
            assert not await delivery.finish(it.rt, request_id)
        assert it.row(request_id).state == "finishing"
        it.clock.at = it.row(request_id).expires_at + delivery.FINISH_LIFETIME
        assert not await delivery.finish(it.rt, request_id)
        row = it.row(request_id)
        assert (row.state, row.reason) == ("failed", "The document could not be worked on in time.")
        assert len(it.entries("signing-request:finish:failed")) == 1
        it.pool.broken = None
        assert not await delivery.finish(it.rt, request_id)  # it has ended

    tell(tmp_path, story)


BROKEN = {
    "the document is gone": lambda it, row: it.rt.documents.remove(row.document_digest),
    "the tail is gone": lambda it, row: it.rt.documents.remove(row.tail_digest),
    "the value is gone": lambda it, row: _write(it, delete(signature)),
    "the value is another": lambda it, row: _write(it, update(signature).values(value=b"0" * 70)),
}


def _write(it: Hall, statement: object) -> None:
    with it.rt.db.write() as tx:
        tx.execute(statement)  # type: ignore[call-overload]  # any statement


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_finished_stays_visible(tmp_path: Path, spoil: Callable[..., None]) -> None:
    async def story(it: Hall) -> None:
        request_id = await it.confirmed()
        spoil(it, it.row(request_id))
        assert not await delivery.finish(it.rt, request_id)
        row = it.row(request_id)
        assert (row.state, row.finish_attempts) == ("finishing", 1)
        assert row.finish_error
        assert list(it.rt.documents.root.glob("incoming/*")) == []

    tell(tmp_path, story)


def test_an_unknown_request_is_not_found(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        with pytest.raises(NotFound):
            await delivery.finish(it.rt, "sr_" + "0" * 32)

    tell(tmp_path, story)


def test_an_outside_authority_is_asked_when_one_is_configured(tmp_path: Path) -> None:
    """Its token is checked, kept, put on record and part of the document."""
    ca = TestCa.fresh()
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "ca.der").write_bytes(ca.root)

    async def whole() -> None:
        async with Outside() as host, Outside() as liar:
            urls = (liar.url(), host.url())
            hosts = tuple(f"tsa.example.vn:{each.port}" for each in (liar, host))
            async with hall(tmp_path, hosts=hosts, tsa_urls=urls, trust_roots=tmp_path / "roots") as it:
                tsa = ca.timestamping()
                host.reply = lambda question, writer: plain(
                    tsa.lying(time=it.clock()).answer(question.body), content_type="application/timestamp-reply",
                )(question, writer)
                liar.reply = plain(response(None, "rejection"), content_type="application/timestamp-reply")
                request_id = await it.confirmed(level="B-T")
                assert await delivery.finish(it.rt, request_id), it.row(request_id).finish_error
                assert (liar.connections, host.connections) == (1, 1)
                (recorded,) = it.entries("timestamp:receive")
                assert json.loads(recorded.body)["data"]["authority"] == host.url()
                assert not any(type(each).__name__ == "IssueTimestamp" for each in it.signer.asked)

    asyncio.run(whole())


def test_the_signed_document_carries_its_signature_and_timestamp(tmp_path: Path) -> None:
    """Through a real pool of workers."""
    async def story(it: Hall) -> None:
        await authority(it)
        request_id = await it.confirmed(level="B-T")
        pool = Pool(2, folders=(tmp_path,))
        await pool.start()
        try:
            it.pool.complete = pool.complete  # type: ignore[method-assign]
            assert await delivery.finish(it.rt, request_id), it.row(request_id).finish_error
        finally:
            await pool.close()
        signed = it.rt.documents.path(it.row(request_id).signed_digest)
        (judged,) = await it.pool.judge(JudgeOrder(signed, (it.city.ca.root,), it.clock()))
        assert (judged.verdict, judged.problem) == (Verdict.VALID, None)
        assert judged.covers_whole_document
        assert judged.timestamp_time is not None

    tell(tmp_path, story)


def test_a_receipt_proves_a_signed_document_offline(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        request_id = await it.confirmed()
        assert await delivery.finish(it.rt, request_id)
        waiting = asyncio.create_task(delivery.receipt(it.rt, it.caller(), request_id))
        await asyncio.sleep(0)
        await asyncio.to_thread(it.sequence)
        receipt = json.loads(json.dumps(await waiting))
        (verifier,) = verifier_keys(it.rt.db)
        signed = it.rt.documents.path(it.row(request_id).signed_digest).read_bytes()
        report = receipts.check(receipt, verifier, signed)
        assert report.ok, report.findings
        assert report.not_proven == ()
        events = {each["body"]["event"] for each in receipt["proof"]["entries"]}
        assert {"signature:intent", "signature:done", "signing-request:signed"} <= events
        assert not receipts.check(receipt, verifier, signed + b" ").ok
        receipt["proof"]["entries"][0]["body"]["outcome"] = "denied"
        assert not receipts.check(receipt, verifier, signed).ok

    tell(tmp_path, story)


def test_a_receipt_waits_for_the_log_and_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "PATIENCE", 0.0)

    async def story(it: Hall) -> None:
        request_id = await it.confirmed()
        await asyncio.to_thread(it.sequence)
        assert await delivery.finish(it.rt, request_id)  # its entry waits
        with pytest.raises(Unavailable) as later:
            await delivery.receipt(it.rt, it.caller(), request_id)
        assert later.value.code == "not-sequenced"

    tell(tmp_path, story)


def test_a_receipt_is_for_the_client_of_the_request_only(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        request_id = await it.confirmed()
        stranger = type(it.caller())("cl_" + "0" * 32, "Other", it.caller().role, frozenset({"*"}))
        with pytest.raises(NotFound):
            await delivery.receipt(it.rt, stranger, request_id)

    tell(tmp_path, story)
