"""Who gives way where others want the processor.

Nice alone does nothing on most machines: where the kernel groups processes by session (sched_autogroup, sched(7);
Debian has it), it weighs within a session only, and each worker has one of its own, as have the halves of the service.
So the whole session is made nice as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Final

BACK: Final = 10        # the kernel's own scale: where others want all of the processor, a tenth of it. With less, who
                        # is costly and honest would wait for minutes where the machine is busy
_AGAIN: Final = 0.12    # seconds; the kernel takes one such word in 0.1 s from all that are not root
_TRIES: Final = 25


async def step_back(pid: int) -> None:
    """A process of ours that leads its own session, from now on and for ever: there is no way back without a
    privilege. Nothing happens where it is over.
    """
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PGRP, pid, BACK)
    for _ in range(_TRIES):
        if _session_is(pid, BACK):
            return
        await asyncio.sleep(_AGAIN)


def be_nicer(nice: int) -> None:
    """The calling process and its session."""
    os.nice(nice)
    for _ in range(_TRIES):
        if _session_is(os.getpid(), nice):
            return
        time.sleep(_AGAIN)


def _session_is(pid: int, nice: int) -> bool:
    """False where the kernel wants to be asked again; True also where it has no such groups, or the process is over."""
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
