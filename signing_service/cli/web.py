"""One front: uvicorn with limits, on a socket that was bound for it."""

from __future__ import annotations

import socket

import uvicorn

from signing_service.front.app import create_app
from signing_service.front.patience import PatientProtocol
from signing_service.front.runtime import open_runtime
from signing_service.front.settings import FrontSettings
from signing_service.front.web import pages

KEEP_ALIVE = 15      # seconds an idle connection may stay
ENDING = 35          # seconds for what is under way when we are told to stop; the supervisor waits a little longer
SPARE = 64           # connections beyond what the application takes, so that its own answer (503) is given


async def run_front(settings: FrontSettings, listener: socket.socket) -> None:
    """Until SIGTERM or SIGINT; what is under way then is ended first."""
    pages.warm()
    async with open_runtime(settings) as rt:
        config = uvicorn.Config(
            create_app(rt), http=PatientProtocol, lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, ws="none",
            h11_max_incomplete_event_size=settings.max_header_bytes,
            limit_concurrency=settings.most_requests + settings.most_waiting + SPARE,
            timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=ENDING,
        )
        await uvicorn.Server(config).serve(sockets=[listener])
