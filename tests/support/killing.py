"""Run one of our processes so that it can be killed, without warning, at a named step.

    python -m tests.support.killing ARMED signer

A step is `before:` or `after:` a function of STEPS. When the file ARMED names it, the process removes the file and
sends itself SIGKILL: no handler runs, nothing is flushed.

KILLING_LEAVES names a coroutine function that this process never does, as if it always died before it; it lives on.
KILLING_NURSERY is where its pdf workers come from (`nursery`). KILLING_GRACE is how many seconds jobs leave a signed
request to the front that confirmed it.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support import nursery

STEPS = {
    "signer": (
        "signing_service.signer.confirmations:Confirmations._count",
        "signing_service.signer.confirmations:Confirmations._evaluate",
        "signing_service.signer.confirmations:Confirmations._intend",
        "signing_service.signer.confirmations:Confirmations._conclude",
        "signing_service.signer.intents:perform",
        "signing_service.signer.timestamps:issue_all",
        "signing_service.signer.sequencer:_write",
    ),
    "front": (
        "signing_service.submission:_settle",
        "signing_service.tails:line_of",
        "signing_service.wire.client:SignerClient.ask",
        "signing_service.delivery:finish",
        "signing_service.delivery:_keep_first",
        "signing_service.delivery:_signed",
    ),
    "jobs": (
        "signing_service.delivery:finish",
        "signing_service.delivery:_signed",
    ),
}


def main(armed: str, *command: str) -> None:
    for name in STEPS[command[0]]:
        _patch(name, lambda original, name=name: _killing(original, name, Path(armed)))
    if left := os.environ.get("KILLING_LEAVES"):
        _patch(left, lambda _original: _left)
    if place := os.environ.get("KILLING_NURSERY"):
        nursery.adopt(place)
    if grace := os.environ.get("KILLING_GRACE"):
        _patch("signing_service.front.jobs:GRACE", lambda _original: timedelta(seconds=float(grace)))
    from signing_service.cli.main import main as run

    sys.argv = ["signing-service", *command]
    run()


async def _left(*_args: object, **_more: object) -> bool:
    return False


def _patch(name: str, changed: Callable[[Any], Any]) -> None:
    module, _, path = name.partition(":")
    *outer, function = path.split(".")
    place: Any = importlib.import_module(module)
    for part in outer:
        place = getattr(place, part)
    setattr(place, function, changed(getattr(place, function)))


def _killing(original: Callable[..., Any], name: str, armed: Path) -> Callable[..., Any]:
    def strike(when: str) -> None:
        try:
            if armed.read_text() != f"{when}:{name}":
                return
            armed.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    if asyncio.iscoroutinefunction(original):
        @functools.wraps(original)
        async def waiting(*args: Any, **kwargs: Any) -> Any:
            strike("before")
            result = await original(*args, **kwargs)
            strike("after")
            return result
        return waiting

    @functools.wraps(original)
    def plain(*args: Any, **kwargs: Any) -> Any:
        strike("before")
        result = original(*args, **kwargs)
        strike("after")
        return result
    return plain


if __name__ == "__main__":
    main(*sys.argv[1:])
