"""The signer as it runs: sockets, peers, chores, a real token, a graceful end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from hsm.errors import DeviceUnavailable
from signing_service.errors import Invalid, NotAuthorized, SigningError, Unavailable
from signing_service.signer import process
from signing_service.signer.process import Signer
from signing_service.signer.runtime import Runtime
from signing_service.signer.settings import SignerSettings
from signing_service.wire import messages as m
from signing_service.wire.client import HEADER, SignerClient, ask_once, frame
from tests.support.city import City, settings
from tests.support.memory_device import MemoryDevice

Story = Callable[[Signer, SignerClient], Awaitable[None]]


def told(city: City, story: Story) -> None:
    """Run a story against a signer that answers on its sockets."""
    async def run() -> None:
        signer = Signer(city.rt)
        await signer.start()
        sign = SignerClient(city.rt.settings.sign_socket)
        try:
            await story(signer, sign)
        finally:
            await sign.close()
            await signer.stop()

    asyncio.run(run())


def test_confirmations_over_the_socket_are_signed_together(city: City) -> None:
    officials = [city.official(f"Người thứ {n}") for n in range(4)]
    requests = [city.submitted(each, each.id.encode()) for each in officials]
    city.next_code()
    asked = [city.confirmation(who, [request]) for who, request in zip(officials, requests, strict=True)]

    async def story(_signer: Signer, sign: SignerClient) -> None:
        answers = await asyncio.gather(*(sign.ask(each, m.Confirmed) for each in asked))
        assert [answer.lines[0].signing_request_id for answer in answers] == requests
        assert all(answer.lines[0].outcome == "done" for answer in answers)

    told(city, story)


def test_a_refusal_crosses_the_boundary_as_the_same_kind(city: City) -> None:
    official = city.official()
    asked = city.confirmation(official, [city.submitted(official)], "000000")

    async def story(_signer: Signer, sign: SignerClient) -> None:
        with pytest.raises(NotAuthorized) as refused:
            await sign.ask(asked, m.Confirmed)
        assert refused.value.tries_left == 4

    told(city, story)


def hostile(city: City) -> dict[str, bytes]:
    official = city.official()
    confirm = city.confirmation(official, [city.submitted(official)])
    extra = msgspec.msgpack.decode(m.encoder.encode(confirm)) | {"authorized": True}
    act = m.Act(city.operator.id, "123456", (m.AddSignatory("X", "H26.1", "head"),))
    return {
        "an operator's act": m.encoder.encode(act),
        "a bootstrap": m.encoder.encode(m.Bootstrap("Mallory")),
        "an enrolment": m.encoder.encode(m.CompleteEnrolment(official.id, "123456")),
        "an unknown message": msgspec.msgpack.encode({"type": "sign", "digest": b"x" * 32}),
        "an extra field": msgspec.msgpack.encode(extra),
        "no lines": m.encoder.encode(msgspec.structs.replace(confirm, lines=())),
        "too many lines": m.encoder.encode(msgspec.structs.replace(confirm, lines=confirm.lines * 201)),
        "one request twice": m.encoder.encode(msgspec.structs.replace(confirm, lines=confirm.lines * 2)),
        "a code of letters": m.encoder.encode(msgspec.structs.replace(confirm, code="abcdef")),
        "an unknown channel": m.encoder.encode(msgspec.structs.replace(confirm, channel="none")),
        "rubbish": os.urandom(64),
        "nothing": b"",
    }


def test_nothing_a_hostile_front_sends_is_signed_without_the_persons_code(city: City, device: MemoryDevice) -> None:
    messages = hostile(city)

    async def story(_signer: Signer, _sign: SignerClient) -> None:
        made = sum(1 for each in device.signatures if not each[0].startswith("service:"))
        for name, body in messages.items():
            reader, writer = await asyncio.open_unix_connection(str(city.rt.settings.sign_socket))
            writer.write(frame(7, body))
            length, number = HEADER.unpack(await reader.readexactly(HEADER.size))
            answer = msgspec.msgpack.decode(await reader.readexactly(length), type=m.Answer)
            assert (isinstance(answer, m.Failure), number) == (True, 7), name
            writer.close()
        assert sum(1 for each in device.signatures if not each[0].startswith("service:")) == made

    told(city, story)
    assert city.events("signature:intent") == 0


def test_a_frame_that_is_too_large_ends_the_connection(city: City) -> None:
    async def story(_signer: Signer, _sign: SignerClient) -> None:
        reader, writer = await asyncio.open_unix_connection(str(city.rt.settings.sign_socket))
        writer.write(HEADER.pack(1 << 30, 1))
        length, _ = HEADER.unpack(await reader.readexactly(HEADER.size))
        await reader.readexactly(length)
        assert await reader.read() == b""
        writer.close()

    told(city, story)


def test_a_user_who_is_not_of_the_front_is_turned_away(city: City) -> None:
    settings = city.rt.settings.model_copy(update={"sign_users": frozenset({987654})})
    stranger = replace(city.rt, settings=settings)

    async def run() -> None:
        signer = Signer(stranger)
        await signer.start()
        client = SignerClient(settings.sign_socket)
        with pytest.raises(SigningError):
            await client.ask(m.Health(), m.HealthReport)
        await client.close()
        await signer.stop()

    asyncio.run(run())


def test_only_the_operators_user_may_open_the_admin_socket(city: City) -> None:
    async def story(_signer: Signer, _sign: SignerClient) -> None:
        assert city.rt.settings.admin_socket.stat().st_mode & 0o777 == 0o600
        assert city.rt.settings.sign_socket.stat().st_mode & 0o777 == 0o660
        with pytest.raises(Invalid):
            await asyncio.to_thread(ask_once, city.rt.settings.sign_socket, m.Bootstrap("X"), m.Done)

    told(city, story)


def test_health_answers_while_the_device_hangs_and_says_so_when_it_is_away(city: City, device: MemoryDevice) -> None:
    async def story(_signer: Signer, sign: SignerClient) -> None:
        with device.hanging():
            report = await sign.ask(m.Health(), m.HealthReport, deadline=2)
            assert {condition.name for condition in report.conditions} == {
                "clock", "device", "log", "reconcile", "signer-database"}
        device.recover = lambda: (_ for _ in ()).throw(DeviceUnavailable("away"))  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            while ("device", False, "away") not in [(one.name, one.ok, one.detail) for one in report.conditions]:
                await asyncio.sleep(0.05)
                report = await sign.ask(m.Health(), m.HealthReport, deadline=2)

    told(city, story)


def test_a_clock_that_ran_back_is_seen_before_anybody_is_refused(city: City) -> None:
    async def story(_signer: Signer, sign: SignerClient) -> None:
        async def clock_is(ok: bool) -> None:
            for _ in range(400):
                report = await sign.ask(m.Health(), m.HealthReport, deadline=2)
                if [each.ok for each in report.conditions if each.name == "clock"] == [ok]:
                    return
                await asyncio.sleep(0.05)
            pytest.fail(f"the clock was never {'good' if ok else 'bad'}")

        await clock_is(True)
        city.clock.forward(-3600)
        await clock_is(False)
        city.clock.forward(3600)
        await clock_is(True)

    told(city, story)


def test_an_operators_user_of_its_own_may_open_the_admin_socket_through_its_group(city: City) -> None:
    settings = city.rt.settings.model_copy(update={"admin_users": frozenset({os.getuid(), 987654})})

    async def run() -> None:
        signer = Signer(replace(city.rt, settings=settings))
        await signer.start()
        assert settings.admin_socket.stat().st_mode & 0o777 == 0o660
        await signer.stop()

    asyncio.run(run())


def test_what_is_recorded_is_sequenced_by_itself_and_before_the_end(city: City) -> None:
    official = city.official()
    asked = city.confirmation(official, [city.submitted(official)])

    async def story(_signer: Signer, sign: SignerClient) -> None:
        await sign.ask(asked, m.Confirmed)

    told(city, story)
    from sqlalchemy import func, select

    from signing_service.db.tables import entry
    with city.rt.db.read() as tx:
        assert tx.execute(select(func.count()).select_from(entry).where(entry.c.leaf_index.is_(None))).scalar_one() == 0


def test_a_signer_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    async def story() -> None:
        client = SignerClient(tmp_path / "nobody.sock")
        with pytest.raises(Unavailable, match="not running"):
            await client.ask(m.Health(), m.HealthReport)

    asyncio.run(story())
    with pytest.raises(Unavailable, match="running"):
        ask_once(tmp_path / "nobody.sock", m.Health(), m.HealthReport)


def test_a_device_whose_opening_hangs_for_good_has_the_process_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that hangs in C_Initialize holds the module; only a new process gets past it."""
    passed, tried, ended = [0.0], [], asyncio.Event()

    def hangs(asked: SignerSettings) -> Runtime:
        tried.append(asked)
        passed[0] += 20.0 if len(tried) != 2 else 0.1  # once it is refused at once: then it did not hang
        raise DeviceUnavailable("no answer")

    def ends() -> None:
        ended.set()

    async def story() -> None:
        waiting = asyncio.create_task(process._opened(settings("sqlite://", tmp_path), ended))
        await asyncio.wait_for(waiting, 60)

    monkeypatch.setattr(process, "_open", hangs)
    monkeypatch.setattr(process, "_end_hopeless", ends)
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: passed[0]))
    monkeypatch.setattr(process, "OPENING_PAUSE", 0.0)
    asyncio.run(story())
    assert len(tried) == 4
