"""Looks at a front from outside while others press it, in a process of its own: who presses has no time to look.

    python -m tests.support.probing PORT SECONDS TOKEN

Asks for health ten times a second and for a list of signing requests five times, each on a fresh connection, and prints
as JSON what came: for each of the two a list of answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict

from tests.support.asking import Answer, Line, Load

HEALTH, WORK = 10, 5  # each second


async def looked(port: int, seconds: float, token: str) -> dict[str, Load]:
    """Health, and the work of somebody with this token."""
    async def fresh(path: str, **headers: str) -> Answer:
        async with Line("127.0.0.1", port) as line:
            return await line.asks("GET", path, connection="close", **headers)

    health, work = Load(), Load()
    await asyncio.gather(
        health.keeps(HEALTH, seconds, lambda: fresh("/healthz")),
        work.keeps(WORK, seconds, lambda: fresh("/api/v1/signing-requests?limit=5", authorization=f"Bearer {token}")))
    return {"health": health, "work": work}


async def from_elsewhere(port: int, seconds: float, token: str) -> dict[str, Load]:
    """The same, by a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.probing", str(port), str(seconds), token, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return {name: Load([Answer(**(each | {"body": each["body"].encode()})) for each in answers])
            for name, answers in json.loads(said).items()}


def main(port: str, seconds: str, token: str) -> None:
    loads = asyncio.run(looked(int(port), float(seconds), token))
    print(json.dumps({name: [asdict(each) | {"body": each.body.decode(), "headers": dict(each.headers)}
                             for each in load.answers] for name, load in loads.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
