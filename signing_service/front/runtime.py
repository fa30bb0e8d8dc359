"""What the front's use cases are handed: one frozen value, opened once, closed in the opposite order."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from signing_service.access import Recognised
from signing_service.db.engine import Database
from signing_service.documents import Documents
from signing_service.front.authorities import Authorities, trust_roots
from signing_service.front.doorkeeper import Doorkeeper
from signing_service.front.freeing import Freeing
from signing_service.front.outbound import AllowList, Outbound
from signing_service.front.settings import FrontSettings
from signing_service.front.tally import Tally
from signing_service.front.together import Together
from signing_service.front.turns import Turns
from signing_service.front.watch import Watch
from signing_service.passwords import Hashing
from signing_service.pdf import Pool
from signing_service.wire.client import SignerClient

Clock = Callable[[], datetime]
WRONG_CODES = 30             # of one client, whoever's codes they were: a slip now and then, not a search
WRONG_CODES_SECONDS = 600.0


def system_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Runtime:
    """The front half at run time. It holds no key and no PIN: those are the signer's."""

    settings: FrontSettings
    db: Database
    documents: Documents
    pool: Pool
    signer: SignerClient
    outbound: Outbound
    authorities: Authorities
    clock: Clock
    watch: Watch
    turns: Turns        # one confirmation of a signing request at a time
    wrong_codes: Tally  # by client, phone or place; each right code pays for some of them
    freeing: Freeing    # keys of calls that broke off while the database was away
    together: Together  # visits to the database and the disk that several share
    secret: bytes  # 32 bytes that webhook keys and fingerprints derive from
    recognised: Recognised = field(default_factory=Recognised)  # tokens that were looked up a moment ago
    doorkeeper: Doorkeeper = field(default_factory=Doorkeeper)  # failed sign-ins, by place
    hashing: Hashing = field(default_factory=Hashing)           # passwords, a few at a time


@asynccontextmanager
async def open_runtime(
    settings: FrontSettings, *, signer: SignerClient | None = None, pool: Pool | None = None,
    outbound: Outbound | None = None, clock: Clock = system_clock,
) -> AsyncIterator[Runtime]:
    """Open everything the settings name. What is handed in is used as it is and stays open afterwards.

    ValueError when the secret's file is missing or has the wrong size; the database and the signer are asked
    only when they are needed.
    """
    secret = settings.front_secret()
    async with AsyncExitStack() as stack:
        db = Database(settings.database_url, pool_size=settings.database_connections)
        stack.callback(db.close)
        if outbound is None:
            outbound = Outbound(AllowList.of(settings.outbound_hosts, settings.outbound_networks))
            stack.push_async_callback(outbound.close)
        if signer is None:
            signer = SignerClient(settings.sign_socket)
            stack.push_async_callback(signer.close)
        documents = Documents(settings.documents)  # makes its folders: the walls of pdf workers are drawn around them
        if pool is None:
            pool = await stack.enter_async_context(_pool(settings))
        watch = Watch(db, most=settings.most_waiting)
        stack.push_async_callback(watch.close)
        freeing = Freeing()
        stack.push_async_callback(freeing.close)
        together = Together()
        stack.push_async_callback(together.close)
        yield Runtime(
            settings=settings, db=db, documents=documents, pool=pool, signer=signer,
            outbound=outbound, authorities=_authorities(settings, outbound, clock), clock=clock,
            watch=watch, turns=Turns(), wrong_codes=Tally(WRONG_CODES, WRONG_CODES_SECONDS), freeing=freeing,
            together=together, secret=secret,
        )


def _authorities(settings: FrontSettings, outbound: Outbound, clock: Clock) -> Authorities:
    return Authorities(outbound, settings.tsa_urls, trust_roots(settings.trust_roots), clock)


@asynccontextmanager
async def _pool(settings: FrontSettings) -> AsyncIterator[Pool]:
    pool = Pool(settings.pdf_workers or max(2, os.cpu_count() or 1), folders=(settings.documents,),
                fonts=(settings.stamp_font,))
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()
