"""All of it under its supervisor, as operators start it."""

from __future__ import annotations

import subprocess
import sys

from tests.support.service import ROOT, Running, Service


def serve(service: Service, *arguments: str, **more: str) -> None:
    """Start `signing-service serve`, with `more` in its environment; returns when it is ready."""
    environment = service.environment() | {"SIGNING_LISTEN_PORT": str(service.ports[0])} | more
    log = service.directory / "serve.log"
    with log.open("ab") as output:
        service.running["serve"] = Running(subprocess.Popen(
            [sys.executable, "-m", "signing_service", "serve", *arguments], cwd=ROOT, env=environment, stdout=output,
            stderr=output), log)
    service.await_ready()
