"""Somebody who submits one document after the other, in a process of their own so that nobody's clock stands still.

    python -m tests.support.bombarding PORT TOKEN SUBMISSION FILE…

Says of each, as a line of JSON, which it was, the code of the answer and how long it took.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.support.asking import Line, form


async def main(port: str, token: str, submission: str, *files: str) -> None:
    fields = json.loads(submission)
    async with Line("127.0.0.1", int(port)) as line:
        for each in files:
            body, media_type = form(fields, Path(each).read_bytes())  # noqa: ASYNC240  # nobody else is in this process
            answer = await line.asks("POST", "/api/v1/signing-requests", body, content_type=media_type,
                                     authorization=f"Bearer {token}")
            code = "accepted" if answer.status == 201 else answer.code
            print(json.dumps({"file": each, "code": code, "seconds": answer.seconds}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
