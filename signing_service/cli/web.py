"""One front: uvicorn with limits, on a socket that was bound for it."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket

import uvicorn

from signing_service.front.app import create_house
from signing_service.front.patience import MOST_OWING, PatientProtocol, doors, hold_little
from signing_service.front.runtime import open_runtime
from signing_service.front.settings import FrontSettings
from signing_service.front.web import pages

KEEP_ALIVE = 15      # seconds an idle connection may stay
ENDING = 35          # seconds for what is under way when we are told to stop; the supervisor waits a little longer
DESCRIPTORS = 65_536  # as many connections, files and pipes as we could ever use


async def run_front(settings: FrontSettings, listener: socket.socket, probes: socket.socket | None = None) -> None:
    """Until SIGTERM or SIGINT; what is under way then is ended first.

    Who comes to `probes` has a row of its own: each turn of the loop accepts from it, however many wait elsewhere. A
    crowd makes turns long, some ten a second, so one of them lets in more than one probe here, too.
    """
    hold_little(listener)
    PatientProtocol.most_owing = min(MOST_OWING, _take_descriptors() // 2)
    async with open_runtime(settings) as rt:
        app, PatientProtocol.threshold = create_house(rt)
        config = uvicorn.Config(
            app, http=PatientProtocol, lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, ws="none",
            h11_max_incomplete_event_size=settings.max_header_bytes,
            # No limit_concurrency: it counts connections that only stand open, too, and refuses health with all others.
            # What is under way is limited by `limits.Crowd`, which says when to come back; they by PatientProtocol.
            timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=ENDING,
        )
        warming = asyncio.create_task(_warm())
        await uvicorn.Server(config).serve(sockets=[*doors(listener), *(doors(probes) if probes else [])])
        warming.cancel()


async def _warm() -> None:
    """A template at a time, when we answer already: all of them take as long as everything else at our start, and after
    a crash somebody waits who wants none of them.
    """
    for _ in pages.warmed():
        await asyncio.sleep(0)
    _keep_what_is_there()


def _keep_what_is_there() -> None:
    """What was made at the start lives as long as we do: each full collection would look at 120,000 objects again, and
    hold everybody up for 50 ms.
    """
    gc.collect()
    gc.freeze()


def _take_descriptors() -> int:
    """Shells and systemd begin with 1,024, for programs that use select(2); as many as the hard limit are ours to take.

    With fewer descriptors than connections no new ones are accepted, health's among them.
    """
    begun, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, DESCRIPTORS)
    if resource.RLIM_INFINITY != begun < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return wanted
