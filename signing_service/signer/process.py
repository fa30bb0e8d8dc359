"""The signer's life: open the device, answer on two sockets, keep the house, stop with nothing half-way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import hsm
from hsm.errors import DeviceError, PinRejected, Unsupported
from signing_service.audit import Event, Fact, record
from signing_service.errors import Invalid, SigningError, Unavailable
from signing_service.metrics import exposition
from signing_service.signer import (
    anchor,
    clock,
    custody,
    enrolments,
    health,
    leases,
    persons,
    reconcile,
    restoring,
    sequencer,
    suspending,
    tickets,
    timestamps,
)
from signing_service.signer.batching import Batcher
from signing_service.signer.confirmations import Confirmations
from signing_service.signer.operators import Desk
from signing_service.signer.runtime import Runtime, start
from signing_service.signer.settings import SignerSettings
from signing_service.wire import messages as m
from signing_service.wire.server import Server

log = logging.getLogger(__name__)

THREADS = 16   # for chores, batches and acts: a hung device must not keep the lease's beat from having one
AT_ONCE_FOR_THE_FRONT, MOST_FOR_THE_FRONT = 3, 64  # sign-ins, tickets, phones: at once, and waiting
MOST_HUNG_OPENINGS, OPENING_PAUSE = 2, 2.0  # seconds between two tries
HOPELESS = 75  # exit code (EX_TEMPFAIL): the device hangs in too many threads; only a new process helps
# Seconds between rounds of house-keeping.
EVERY = {"lease": 3.0, "sequence": 0.25, "reconcile": 2.0, "device": 1.0, "clock": 2.0}


def front_acts(rt: Runtime, desk: Desk) -> dict[type, Callable[[Any], m.Message]]:
    """Who answers each message of sign.sock that is neither a confirmation nor a timestamp."""
    return {
        m.RedeemTicket: partial(tickets.redeem, rt), m.CompletePhone: partial(enrolments.complete_phone, rt),
        m.CompleteAccount: partial(enrolments.complete_account, rt), m.ProveCode: partial(persons.prove, rt),
        m.SuspendOneself: partial(suspending.suspend_oneself, rt), m.Stop: partial(suspending.stop, rt),
        m.DeskAct: desk.act_through_the_web,
    }


class Signer:
    """Answers messages and keeps the house. Tests run it in their own process; `run` gives it one."""

    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self.health = health.Watch()
        self._confirmations = Confirmations(rt, rt.settings.device_threads)
        self._desk = Desk(rt)
        size, most = rt.settings.batch_size, rt.settings.most_waiting
        self._confirms: Batcher[m.Confirm, m.Confirmed] = Batcher(
            self._confirmations, size=size, most=most, weigh=lambda asked: len(asked.lines))
        self._stamps: Batcher[m.IssueTimestamp, m.TimestampIssued] = Batcher(
            lambda asked: timestamps.issue_all(rt, asked), size=size, most=most)
        self._acting = asyncio.Lock()
        self._front_acts = front_acts(rt, self._desk)
        self._front_acting, self._front_waiting = asyncio.Semaphore(AT_ONCE_FOR_THE_FRONT), 0
        self._stopping = asyncio.Event()
        self._chores: list[asyncio.Task[None]] = []
        self._servers: list[Server] = []

    async def start(self) -> None:
        """Alive on record, what a dead signer left is closed, then the sockets open."""
        rt = self.rt
        await asyncio.to_thread(anchor.look, rt)
        if rt.guard.is_restored:
            log.critical("%s", anchor.RESTORED)
            await asyncio.to_thread(restoring.open_epoch, rt)
        else:
            await asyncio.to_thread(leases.beat, rt)
        await asyncio.to_thread(self._record_start)
        await asyncio.to_thread(self._reconcile, rt)
        await asyncio.to_thread(custody.fill_fingerprints, rt)
        self._desk.take_up_keys()
        self._confirms.start()
        self._stamps.start()
        self._chores = [
            asyncio.create_task(self._every("lease", self._beat)),
            asyncio.create_task(self._every("sequence", self._sequence)),
            asyncio.create_task(self._every("reconcile", self._reconcile)),
            asyncio.create_task(self._every("device", self._look_after_device)),
            asyncio.create_task(self._every("clock", clock.look)),
        ]
        settings = rt.settings
        shared = settings.admin_users != {os.getuid()}  # then through the socket's group, and still by uid
        self._servers = [
            Server(settings.sign_socket, m.SignRequest, self._sign, users=settings.sign_users),
            Server(settings.admin_socket, m.AdminRequest, self._admin, users=settings.admin_users,
                   mode=0o660 if shared else 0o600, most_waiting=32),
        ]
        for server in self._servers:
            await server.start()
        log.info("signer %s answers", rt.id)

    def _record_start(self) -> None:
        described = self.rt.device.describe()
        with self.rt.db.write() as tx:
            record(tx, self.rt.now(), Fact(Event.SIGNER_STARTED, f"signer:{self.rt.id}", data={
                "module": described.module, "token": described.token, "serial": described.serial,
            }), mac=self.rt.entry_mac)

    async def stop(self) -> None:
        """Signatures under way finish, what is waiting in the log finds its place, leases are given back."""
        for server in self._servers:
            await server.stop()
        await self._confirms.close()
        await self._stamps.close()
        self._stopping.set()
        await asyncio.gather(*self._chores)  # each ends its round: one that is cut off would go on behind our back
        await asyncio.to_thread(self._desk.close)
        self._confirmations.close()
        for last in (self._sequence_all, leases.release):
            with contextlib.suppress(SigningError, DeviceError):
                await asyncio.to_thread(last, self.rt)

    async def _sign(self, message: m.SignRequest) -> m.Message:
        if not isinstance(message, m.Health):
            anchor.check(self.rt)
        match message:
            case m.Confirm():
                if len({line.signing_request_id for line in message.lines}) != len(message.lines):
                    raise Invalid("A signing request is in the confirmation twice.", code="line-twice")
                return await self._confirms.ask(message)
            case m.IssueTimestamp():
                return await self._stamps.ask(message)
            case m.Health():
                return self._report()
        return await self._for_the_front(message)

    async def _for_the_front(self, message: m.SignRequest) -> m.Message:
        """What people do at the front besides confirming: a few at a time, and never in the operators' way."""
        if self._front_waiting >= MOST_FOR_THE_FRONT:
            raise Unavailable("Too many wait for the signer. Try again shortly.", code="queue-full", retry_after=2)
        self._front_waiting += 1
        try:
            async with self._front_acting:
                return await asyncio.to_thread(self._front_acts[type(message)], message)
        finally:
            self._front_waiting -= 1

    async def _admin(self, message: m.AdminRequest) -> m.Message:
        if isinstance(message, m.Health):
            return self._report()
        if not isinstance(message, m.Act) or any(not isinstance(each, m.Restored) for each in message.commands):
            anchor.check(self.rt)
        work: dict[type, Callable[[Any], m.Done]] = {
            m.Act: self._desk.act, m.Bootstrap: self._desk.bootstrap, m.CompleteEnrolment: self._desk.complete,
        }
        async with self._acting:
            return await asyncio.to_thread(work[type(message)], message)

    def _report(self) -> m.HealthReport:
        return m.HealthReport(self.rt.id, self.health.conditions(), exposition())

    @staticmethod
    def _beat(rt: Runtime) -> None:
        """Without a lease nothing is signed, so a database that was put back gets none until an operator said so."""
        if rt.guard.is_restored:
            anchor.look(rt)
        anchor.check(rt)
        leases.beat(rt)

    def _sequence(self, rt: Runtime) -> None:
        self._sequence_all(rt)
        sequencer.keep_alive(rt)

    @staticmethod
    def _sequence_all(rt: Runtime) -> None:
        while sequencer.sequence(rt):
            pass

    @staticmethod
    def _reconcile(rt: Runtime) -> None:
        while reconcile.reconcile(rt):
            pass

    def _look_after_device(self, rt: Runtime) -> None:
        try:
            rt.device.recover()
        finally:
            self._end_if_hopeless(rt)

    @staticmethod
    def _end_if_hopeless(rt: Runtime) -> None:
        if rt.device.hopeless:
            _end_hopeless()

    async def _every(self, chore: str, work: Callable[[Runtime], object]) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(work, self.rt)
                self.health.went_well(chore)
            except (SigningError, DeviceError) as error:
                self.health.went_wrong(chore, str(error))
            except Exception as error:
                self.health.went_wrong(chore, type(error).__name__)
                log.exception("%s failed", chore)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), EVERY[chore])


async def serve(settings: SignerSettings) -> int:
    """Run until SIGTERM or SIGINT. Waits for a device that is not there yet, and says so."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    rt = await _opened(settings, stopping)
    if rt is None:
        return 0
    signer = Signer(rt)
    await signer.start()
    await stopping.wait()
    await signer.stop()
    rt.device.close()
    rt.db.close()
    return 0


def _end_hopeless() -> None:
    log.critical("too many calls hang in the device; this process ends and must be replaced")
    os._exit(HOPELESS)  # the hung threads cannot be ended in any other way


async def _opened(settings: SignerSettings, stopping: asyncio.Event) -> Runtime | None:
    hung = 0
    while not stopping.is_set():
        begun = time.monotonic()
        try:
            return await asyncio.to_thread(_open, settings)
        except PinRejected:
            raise  # never tried again by itself: tokens lock after a few wrong PINs
        except (DeviceError, SigningError) as error:
            log.warning("waiting for device and database: %s", error)
            hung = hung + 1 if time.monotonic() - begun >= settings.device_deadline else 0
            if hung >= MOST_HUNG_OPENINGS:  # the first still holds the module: whoever comes after waits for it
                _end_hopeless()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), OPENING_PAUSE)
    return None


def _open(settings: SignerSettings) -> Runtime:
    device = hsm.open_device(settings.device())
    try:
        if not device.describe().capabilities.checkpoints:
            raise Unsupported("the device makes neither Ed25519 nor P-256 signatures: nobody could sign the log")
        return start(settings, device)
    except BaseException:
        device.close()
        raise


def run(settings: SignerSettings) -> int:
    """The signer's main function: its exit code."""
    return asyncio.run(serve(settings))
