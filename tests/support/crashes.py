"""One crash: a process, or all of them, killed in the place of its n-th call while one document is signed.

    story = Story(service, crowd)                 # who signs; what was acknowledged is remembered
    length = story.calls("signer")                # how many calls a whole signing takes, measured
    struck = story.dies("signer", 17)             # the call that was not made; None where it needed fewer
    story.settle()                                # everything is explained: 0 lost, 0 unrecorded, 0 double

A signing is: submitted, confirmed, finished, its entries in the tree. The processes that live are kept, as are the
database, the token and the people; the dead are started again, as their supervisor would. After each crash everybody
answers again; what became of each request is looked at by `settle`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import select, update

from signing_service.db.tables import intent, job_lease, signing_request
from tests.support import ground_truth
from tests.support.city import Person
from tests.support.mortal import Mortal
from tests.support.points import Done, less
from tests.support.service import PLAN, until
from tests.support.signing_load import Signer

EVERYONE = "everyone"
CLEAN_RUNS = 3   # of which the middle one tells how many calls there are: the longest has more of what goes on anyhow
LEAVING = {"KILLING_LEAVES": "signing_service.delivery:finish"}  # for a front that dies before each finish
HURRIED = {"KILLING_GRACE": "0.5"}  # for jobs that take at once what it left
# What may become of a request, by the outcome of its intent (None: there is none).
EXPLAINED = {None: {"pending"}, "done": {"signed"}, "failed": {"failed"}, "unknown-outcome": {"failed"}}
ENDED = ("pending", "signed", "failed")


@dataclass(frozen=True)
class Told:
    """What a client was told before or after the crash, and holds us to."""

    request: str
    confirmed: bool


class Story:
    """Signings one after the other, each by somebody whose code is still good."""

    def __init__(self, service: Mortal, people: list[Person]) -> None:
        self.service = service
        self.told: list[Told] = []
        self.refusals: Counter[str] = Counter()
        self._settled: dict[str, Any] = {}
        self._people = itertools.cycle([Signer(each) for each in people])
        self._numbers = itertools.count(1)

    # ------------------------------------------------------------------------------------------------ one signing

    def begin(self, victim: str, fatal: int = 0) -> None:
        (self.service.everyone if victim == EVERYONE else self.service.boards[victim]).begin(fatal)

    def calls(self, victim: str) -> list[str]:
        """What the victim calls during a signing in which nobody dies."""
        runs: list[list[str]] = []
        for _ in range(CLEAN_RUNS):
            assert self.dies(victim, 0) is None
            assert self.service.state(self.told[-1].request) == "signed"
            board = self.service.everyone if victim == EVERYONE else self.service.boards[victim]
            runs.append(board.seen())
        return sorted(runs, key=len)[CLEAN_RUNS // 2]

    def dies(self, victim: str, call: int) -> str | None:
        """One signing, during which the victim dies instead of making that call. Everybody lives afterwards."""
        request = self._submits() if victim in ("signer", "jobs") else None
        self.begin(victim, call)
        request = request or self._submits()
        if request is not None:  # a signer or jobs that died meanwhile are no reason not to try
            self._confirms(request, front=1 if victim == "jobs" else 0)
        board = self.service.everyone if victim == EVERYONE else self.service.boards[victim]
        until(lambda: board.struck or self._is_over(request), what=f"{victim} died, or the signing was over")
        struck = board.struck
        board.disarm()
        if struck is not None:
            mortals = list(self.service.running) if victim == EVERYONE else [victim]
            until(lambda: set(mortals) <= set(self.service.dead), what=f"the death of {mortals}")
            if "jobs" in mortals:
                self._jobs_need_not_wait()
            self.service.revive()
        return struck

    def signs(self) -> None:
        """One signing in which nobody is meant to die."""
        request = self._submits()
        assert request is not None
        self._confirms(request, front=0)
        until(lambda: self._is_over(request), what="the signing is over")

    def _submits(self) -> str | None:
        """None where the front died meanwhile, or the document was refused because its worker did."""
        content = PLAN.read_bytes() + b"%% %d\n" % next(self._numbers)
        form = self.service.submission(self._signer().person, level="B-T")
        with contextlib.suppress(httpx.HTTPError), self.service.http() as http:
            answer = http.post("/api/v1/signing-requests", data=form, files={"file": ("a.pdf", content)})
            if answer.status_code == 201:
                self.told.append(Told(str(answer.json()["id"]), confirmed=False))
                return self.told[-1].request
            self.refusals[str(answer.json()["code"])] += 1
        return None

    def _confirms(self, request: str, front: int) -> None:
        with contextlib.suppress(httpx.HTTPError):
            answer = self.service.confirms(self._now.person, request, self._code, front=front)
            if answer.status_code == 200 and answer.json()["state"] in ("finishing", "signed"):
                self.told.append(Told(request, confirmed=True))

    def _signer(self) -> Signer:
        """Somebody with a code that was never typed."""
        def found() -> tuple[Signer, str] | None:
            for signer in itertools.islice(self._people, 200):
                if (code := signer.code()) is not None:
                    return signer, code
            return None

        self._now, self._code = until(found, what="a code that was never typed")
        return self._now

    def _is_over(self, request: str | None) -> bool:
        """Signed and in the tree, or refused by somebody who lives: then the victim will make no more calls."""
        if request is None or self.service.state(request) in ("pending", "failed"):
            return True
        return self.service.state(request) == "signed" and self.service.entries_waiting() == 0

    def _jobs_need_not_wait(self) -> None:
        """As if the leases of the jobs that died had run out: half a minute less for each crash, and nothing else."""
        with self.service.db.write() as tx:
            tx.execute(update(job_lease).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))

    # ---------------------------------------------------------------------------------------------- what must hold

    def settle(self) -> dict[str, Any]:
        """Wait until nothing is under way, and look at everything. Raises AssertionError for what cannot be.

        The figures are of what was added since the last time.
        """
        service = self.service
        for board in (service.everyone, *service.boards.values()):
            board.disarm()
        service.revive()
        until(lambda: service.open_intents() == 0, what="every intent has an outcome")
        until(lambda: self._states() <= set(ENDED), what="nothing is under way")
        until(lambda: service.entries_waiting() == 0, what="every entry is in the tree")
        service.check()
        self._nothing_is_lost()
        states = self._everything_is_explained()
        figures = ground_truth.joined(service.spy_logs, service.db).figures
        found = {"requests": dict(states), "acknowledged": len(self.told),
                 "refused": dict(self.refusals), "lost": 0, "unrecorded": 0, "double": 0,
                 "signatures": figures["signatures"], "outcomes": figures["outcomes"]}
        before, self._settled = self._settled, found
        return less(found, before)

    def _states(self) -> set[str]:
        with self.service.db.read() as tx:
            return set(tx.execute(select(signing_request.c.state).distinct()).scalars())

    def _nothing_is_lost(self) -> None:
        with self.service.db.read() as tx:
            rows = {row.id: row for row in tx.execute(select(signing_request))}
        lost = [each for each in self.told if each.request not in rows
                or (each.confirmed and rows[each.request].state != "signed")]
        assert not lost, f"{len(lost)} were acknowledged and are not there: {lost[:3]}"
        for each in self.told:
            assert self.service.stored(rows[each.request].document_digest)

    def _everything_is_explained(self) -> Counter[str]:
        with self.service.db.read() as tx:
            rows = tx.execute(select(signing_request.c.id, signing_request.c.state, intent.c.outcome).outerjoin(
                intent, intent.c.signing_request_id == signing_request.c.id)).all()
        strange = [row for row in rows if row.state not in EXPLAINED[row.outcome]]
        assert not strange, f"{len(strange)} cannot be explained: {strange[:3]}"
        return Counter(f"{row.state} ({row.outcome or 'no intent'})" for row in rows)


def crashes(story: Story, victim: str, chosen: list[int], within: float = math.inf) -> Done:
    """One signing for each chosen call; none is begun after so many seconds."""
    done, began = Done(), time.monotonic()
    for call in chosen:
        if time.monotonic() > began + within:
            break
        struck = story.dies(victim, call)
        if struck is None:
            done.missed.append(call)
        else:
            done.struck[call] = struck
    done.seconds = time.monotonic() - began
    return done
