"""House-keeping on bad days: what fails says so once, gives way to others, and ends when it is told to."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, func, select

from hsm.deadline import Deadlined
from hsm.errors import DeviceError, DeviceUnavailable
from signing_service.audit import Event, Fact, record
from signing_service.db.tables import clock as clock_table
from signing_service.db.tables import entry, lease
from signing_service.errors import SigningError, Unavailable
from signing_service.signer import clock, leases, process, sequencer, timestamps
from signing_service.signer.health import NAMES, STALE, Watch
from signing_service.signer.process import Signer
from signing_service.wire import messages as m
from signing_service.wire.client import SignerClient
from tests.support.city import City, Clock, runtime
from tests.support.memory_device import MemoryDevice
from tests.support.statements import statements


def note(city: City) -> None:
    with city.rt.db.write() as tx:
        record(tx, city.clock.at, Fact(Event.ALIVE, "signer:other"), mac=city.rt.entry_mac)


def test_a_signer_whose_device_cannot_sign_checkpoints_lets_another_sequence(
    city: City, tmp_path: Path, device: MemoryDevice,
) -> None:
    other = runtime(city.rt.settings.signer_database_url, tmp_path, device, city.clock)
    device.fail_next(DeviceUnavailable("away"), call="sign_checkpoint")
    with pytest.raises(DeviceError):
        sequencer.sequence(city.rt)
    assert sequencer.sequence(other) > 0
    other.db.close()


def test_a_lease_on_the_log_that_lasts_is_kept_by_the_transaction_that_writes_the_log(city: City) -> None:
    note(city)
    sequencer.sequence(city.rt)
    commits = {}
    for seconds in (1, 8):  # of fifteen
        city.later(seconds)
        note(city)
        with statements(city.rt.db) as asked:
            assert sequencer.sequence(city.rt) > 0
        commits[seconds] = asked.commits
        with city.rt.db.read() as tx:
            until = tx.execute(select(lease.c.expires_at).where(lease.c.name == leases.SEQUENCER)).scalar_one()
        assert until == city.clock.at + timedelta(seconds=city.rt.settings.lease_seconds)
    assert commits == {1: 1, 8: 2}


def test_silence_is_recorded_once_while_nobody_can_sequence_it(city: City) -> None:
    while sequencer.sequence(city.rt):
        pass
    city.clock.forward(601)
    for _ in range(3):
        sequencer.keep_alive(city.rt)
    assert city.events("log:alive") == 1


def test_the_first_mark_of_time_is_not_one_that_the_database_denies(city: City) -> None:
    """It would stop everybody for as long as the first clock was ahead."""
    with city.rt.db.write() as tx:
        tx.execute(delete(clock_table))
    ahead = runtime_with_clock_of_database(city, timedelta(hours=-1))
    with pytest.raises(Unavailable, match="disagree"), ahead.rt.db.write() as tx:
        clock.check(ahead.rt, tx)
    with city.rt.db.read() as tx:
        assert tx.execute(select(func.count()).select_from(clock_table)).scalar_one() == 0


def runtime_with_clock_of_database(city: City, ahead: timedelta) -> City:
    import copy
    from dataclasses import replace

    other = copy.copy(city)
    other.rt = replace(city.rt, database_clock=lambda _tx: city.clock.at + ahead)
    return other


# ---------------------------------------------------------------------------------------------------- timestamps


OPENSSL_TS = ("ts", "-verify", "-data", "data", "-in", "token", "-token_in", "-CAfile", "root.pem")
OPENSSL_CMS = ("cms", "-verify", "-inform", "DER", "-in", "token", "-CAfile", "root.pem", "-purpose", "timestampsign",
               "-out", "content")  # `openssl ts` does not speak PSS


@pytest.mark.parametrize(("key_kind", "algorithm", "verify"), [
    ("rsa-2048", "pss-sha256", OPENSSL_CMS), ("rsa-3072", "pss-sha384", OPENSSL_CMS),
    ("p-384", "ecdsa-sha384", OPENSSL_TS), ("rsa-2048", "rsa-sha512", OPENSSL_TS),
])
def test_openssl_accepts_our_timestamps_of_every_algorithm(
    city: City, tmp_path: Path, key_kind: str, algorithm: str, verify: tuple[str, ...],
) -> None:
    added = city.acts(m.AddCredential("timestamp", "H26.1", key_kind, algorithm, custody="token"))[0].id
    city.certify(added, "Authority", timestamping=True)
    asked = m.IssueTimestamp(hashlib.sha512(b"a document").digest(), "sha512")
    token = timestamps.issue_all(city.rt, [asked])[0]
    assert isinstance(token, m.TimestampIssued)
    (tmp_path / "data").write_bytes(b"a document")
    (tmp_path / "token").write_bytes(token.token)
    subprocess.run(["openssl", "x509", "-inform", "DER", "-out", tmp_path / "root.pem"], input=city.ca.root, check=True)
    verified = subprocess.run(["openssl", *verify], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.search("verification: ok|verification successful", verified.stdout + verified.stderr, re.IGNORECASE)


def test_an_authority_that_is_to_come_does_not_displace_the_one_of_today(city: City) -> None:
    today = city.timestamp_authority()
    later = city.acts(m.AddCredential("timestamp", "H26.1", "p-256", custody="token"))[0].id
    city.wait_for_keys()
    imported = future(city, later)
    city.acts(imported)
    assert timestamps.current(city.rt).credential.id == today
    city.clock.forward(20 * 86400)
    city.next_code()
    assert timestamps.current(city.rt).credential.id == later


def future(city: City, credential_id: str) -> m.ImportCertificate:
    from signing_service.db.tables import key

    with city.rt.db.read() as tx:
        public_key = bytes(tx.execute(select(key.c.public_key).where(key.c.owner == credential_id)).scalar_one())
    certificate = city.ca.issue(public_key, "Authority", timestamping=True)
    return msgspec.structs.replace(city.import_of(credential_id, certificate, public_key),
                                   not_before=(city.clock.at + timedelta(days=10)).isoformat())


def test_an_authority_whose_certificate_has_ended_says_so(city: City) -> None:
    city.timestamp_authority()
    city.clock.forward(301 * 86400)
    with pytest.raises(Unavailable) as refused:
        timestamps.current(city.rt)
    assert refused.value.code == "timestamp-certificate"


# -------------------------------------------------------------------------------------------------------- health


def test_a_chore_that_nobody_has_heard_of_for_long_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    for chore in NAMES:
        watch.went_well(chore)
    assert all(each.ok for each in watch.conditions())
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + STALE + 1)
    assert not any(each.ok for each in watch.conditions())


def test_a_fault_is_logged_when_it_comes_and_when_it_goes_and_not_every_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch()
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            watch.went_wrong("device", "away")
        for _ in range(5):
            watch.went_well("device")
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]


# ----------------------------------------------------------------------------------------------------------- the end


async def quiet(city: City) -> Signer:
    signer = Signer(city.rt)
    await signer.start()
    return signer


def test_leases_are_given_back_although_the_last_sequencing_failed(
    city: City, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_rt: object) -> int:
        raise Unavailable("The stored tree is damaged.")

    async def story() -> None:
        signer = await quiet(city)
        monkeypatch.setattr(sequencer, "sequence", fails)
        await signer.stop()

    asyncio.run(story())
    with city.rt.db.read() as tx:
        assert tx.execute(select(lease.c.name).where(lease.c.holder == city.rt.id)).first() is None


def test_at_the_end_everything_has_its_place_however_much_waits(
    city: City, monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        signer = await quiet(city)
        monkeypatch.setattr(sequencer, "MOST", 3)
        for _ in range(10):
            await asyncio.to_thread(note, city)
        await signer.stop()

    asyncio.run(story())
    with city.rt.db.read() as tx:
        assert tx.execute(select(func.count()).select_from(entry).where(entry.c.leaf_index.is_(None))).scalar_one() == 0


def test_who_asks_while_the_signer_stops_is_told_so(city: City) -> None:
    async def story() -> None:
        signer = await quiet(city)
        client = SignerClient(city.rt.settings.sign_socket)
        await client.ask(m.Health(), m.HealthReport)
        await signer.stop()
        with pytest.raises(SigningError):
            await client.ask(m.Health(), m.HealthReport, deadline=2)
        await client.close()

    asyncio.run(story())


def test_a_signer_stops_although_the_device_hangs(
    url: str, tmp_path: Path, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os._exit", lambda _code: None)
    bounded = Deadlined(device, 0.3, 1.0, 4, 64)
    moment = Clock()
    city = City(runtime(url, tmp_path, bounded, moment), moment)
    officials = [city.official(f"Người {n}") for n in range(6)]
    requests = [city.submitted(each, each.id.encode()) for each in officials]
    city.next_code()
    asked = [city.confirmation(who, [request]) for who, request in zip(officials, requests, strict=True)]

    async def story() -> list[object]:
        signer = await quiet(city)
        client = SignerClient(city.rt.settings.sign_socket)
        with device.hanging():
            waiting = [asyncio.create_task(client.ask(each, m.Confirmed)) for each in asked]
            await asyncio.sleep(0)
            began = time.monotonic()
            await asyncio.sleep(0.1)
            await signer.stop()
            assert time.monotonic() - began < 15
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        await client.close()
        return list(answers)

    for answer in asyncio.run(story()):
        assert isinstance(answer, SigningError | m.Confirmed)
    city.check()
    city.close()
    bounded.close()


def test_a_device_that_fails_right_after_it_was_opened_is_closed_again(
    city: City, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or each attempt to start leaves threads and sessions behind."""
    closed: list[bool] = []
    monkeypatch.setattr(device, "close", lambda: closed.append(True))
    monkeypatch.setattr("hsm.open_device", lambda _settings: device)
    device.fail_next(DeviceUnavailable("away"), call="mac")

    async def story() -> None:
        stopping = asyncio.Event()
        opening = asyncio.create_task(process._opened(city.rt.settings, stopping))
        while not closed:  # noqa: ASYNC110 - a device has no event of ours
            await asyncio.sleep(0.01)
        stopping.set()
        await opening

    asyncio.run(asyncio.wait_for(story(), 10))
