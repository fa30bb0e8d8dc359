"""All bombs against the real processes, while others confirm, download, submit and look after its health.

Stretches without bombs and with them take turns, so that whatever else the machine does falls on both. In all of them
the same calls begin at the same rate (an open loop). Bombs come from two clients with one upload each, one after the
other, all of them in every campaign and again until the time is over; and while they do, from clients nobody has heard
of before, whose first document is a costly one.

    SIGNING_CAMPAIGN=full python -m pytest -q -s tests/faults/test_long_bombs.py       # six to eight minutes, alone

Whoever sends bombs would do so from machines of their own; their processes give way to all others here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from signing_service.db.engine import Database
from signing_service.pdf.priority import step_back
from signing_service.register import NewClient, add_client
from tests.support import campaign, memory
from tests.support.asking import Answer, Line, Lines, Load, counted, form, in_ms, p99, words
from tests.support.city import Person
from tests.support.crowd import crowd
from tests.support.hostile_documents import TRAPS
from tests.support.service import PLAN, Service, until

PAIRS, STRETCH = 3, 24.0                    # stretches of each kind, and how long one of them is, in seconds
CONFIRMED, DOWNLOADED, ASKED, SUBMITTED = 3.0, 5.0, 10.0, 1.0  # each second
OFFICIALS = 120                             # each confirms every 40 seconds, so that every code is a new one
NEWCOMERS = 3                               # of each stretch
COSTLY = "a table of contents with entries of no width"     # 141 bytes that take as long as anybody lets them
WORSE = 1.2                                 # times the p99 without bombs
LONGEST_WAIT = 5.0                          # seconds that an honest submission takes, whatever others send
LARGEST_WORKER = 1 << 30                    # bytes
KINDS = ("confirm", "download", "health", "submit")


@dataclass
class Town:
    """The service, and everybody's part in it."""

    service: Service
    officials: list[Person]
    tokens: dict[str, str] = field(default_factory=dict)
    pending: list[tuple[Person, str]] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    answered: dict[str, str] = field(default_factory=dict)   # a trap's name: the code of its answer
    slowest_bomb: float = 0.0
    largest_worker: int = 0
    attackers_cpu: float = 0.0
    numbers: Iterator[int] = field(default_factory=itertools.count)
    bombs: dict[str, str] = field(default_factory=dict)      # a file's name: the trap in it
    newcomers: list[str] = field(default_factory=list)       # clients that have sent nothing yet

    @property
    def unanswered(self) -> list[str]:
        return [file for file, name in self.bombs.items() if name not in self.answered]

    @property
    def lines(self) -> Lines:
        return Lines("127.0.0.1", self.service.ports[0])

    def authorized(self, who: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[who]}"}


def test_bombs_are_one_client_s_problem(tmp_path: Path) -> None:
    service = Service(tmp_path, f"sqlite:///{tmp_path / 'signing.db'}")
    town = Town(service, crowd(service.city, OFFICIALS))
    try:
        town.newcomers = [f"newcomer-{at}" for at in range(PAIRS * NEWCOMERS)]
        secrets = {name: registered(service, name)
                   for name in ("office", "honest", "hostile-0", "hostile-1", *town.newcomers)}
        service.start()
        loads = asyncio.run(_campaign(town, secrets))
        until(lambda: service.open_intents() == 0, 60)
        service.check()
    finally:
        service.close()
    _judge(town, *loads)


def registered(service: Service, name: str) -> tuple[str, str]:
    db = Database(service.url, pool_size=1)
    made = add_client(db, "operator:test", datetime.now(UTC), NewClient(name, "submitter", ("*",)))
    db.close()
    return made.client_id, made.secret


async def token_of(service: Service, client_id: str, secret: str) -> str:
    body, media_type = words(grant_type="client_credentials", client_id=client_id, client_secret=secret)
    async with Line("127.0.0.1", service.ports[0]) as line:
        answer = await line.asks("POST", "/oauth2/token", body, content_type=media_type)
    return str(answer.json()["access_token"])


Loads = dict[str, Load]


async def _campaign(town: Town, secrets: dict[str, tuple[str, str]]) -> tuple[Loads, Loads]:
    for name, (client_id, secret) in secrets.items():
        town.tokens[name] = await token_of(town.service, client_id, secret)
    await _prepare(town)
    quiet, bombed = ({kind: Load() for kind in KINDS} for _ in range(2))
    town.bombs = await asyncio.to_thread(_made, town.service.directory / "bombs")
    watching = asyncio.create_task(_watch(town))
    for _ in range(PAIRS):
        await _stretch(town, quiet)
        hostile = [asyncio.create_task(_bombards_on(town, at)) for at in range(2)]
        hostile += [asyncio.create_task(_comes(town, at)) for at in range(NEWCOMERS)]
        await _stretch(town, bombed)
        await _ended(hostile)
        await asyncio.sleep(3)  # what they left under way is over before the next quiet stretch
    await asyncio.gather(*(_bombards(town, f"hostile-{at}", town.unanswered[at::2]) for at in range(2)))
    watching.cancel()
    town.attackers_cpu = _attackers_cpu()
    return quiet, bombed


async def _prepare(town: Town) -> None:
    """Requests for every confirmation there will be, and a few signed documents to download."""
    wanted = int(CONFIRMED * STRETCH) * PAIRS * 2
    lines, turns = town.lines, itertools.cycle(town.officials)
    for _ in range(wanted + 5):
        person = next(turns)
        answer = await _submits(town, lines, "office", person)
        assert answer.status == 201, answer.body
        town.pending.append((person, answer.json()["id"]))
    for _ in range(5):
        person, request = town.pending.pop()
        assert (await _confirms(town, lines, person, request)).status == 200
        await asyncio.to_thread(until, lambda request=request: town.service.state(request) == "signed")
        town.signed.append(request)
    town.pending.reverse()
    lines.hang_up()


async def _stretch(town: Town, loads: Loads) -> None:
    lines = town.lines
    signed, turns = itertools.cycle(town.signed), itertools.cycle(town.officials)
    office = town.authorized("office")

    async def confirm() -> Answer:
        return await _confirms(town, lines, *town.pending.pop())

    calls: dict[str, tuple[float, Callable[[], Awaitable[Answer]]]] = {
        "confirm": (CONFIRMED, confirm),
        "download": (DOWNLOADED, lambda: lines.asks(
            "GET", f"/api/v1/signing-requests/{next(signed)}/signed-document", **office)),
        "health": (ASKED, lambda: lines.asks("GET", "/healthz")),
        "submit": (SUBMITTED, lambda: _submits(town, lines, "honest", next(turns))),
    }
    await asyncio.gather(*(loads[kind].keeps(rate, STRETCH, call) for kind, (rate, call) in calls.items()))
    lines.hang_up()


async def _submits(town: Town, lines: Lines, who: str, person: Person) -> Answer:
    content = PLAN.read_bytes() + b"%% %d\n" % next(town.numbers)
    body, media_type = form(town.service.submission(person, level="B-B"), content)
    return await lines.asks("POST", "/api/v1/signing-requests", body, content_type=media_type, **town.authorized(who))


async def _confirms(town: Town, lines: Lines, person: Person, request: str) -> Answer:
    code = person.code(datetime.now(UTC))
    return await lines.asks("POST", f"/api/v1/signing-requests/{request}/confirm", b'{"code": "%s"}' % code.encode(),
                            content_type="application/json", **town.authorized("office"))


def _made(directory: Path) -> dict[str, str]:
    """Every trap as a file: making some of them takes longer than anything that is measured here."""
    directory.mkdir()
    files = {str(directory / f"{at}.pdf"): name for at, name in enumerate(TRAPS)}
    for file, name in files.items():
        Path(file).write_bytes(TRAPS[name].make())
    return files


async def _bombards_on(town: Town, at: int) -> None:
    """Send what nobody has sent yet, and then all of them again, until somebody ends it."""
    while True:
        await _bombards(town, f"hostile-{at}", town.unanswered[at::2] or list(town.bombs)[at::2])


async def _comes(town: Town, at: int) -> None:
    """Somebody new, in the course of a stretch, with one costly document."""
    who = town.newcomers.pop()
    await asyncio.sleep(at * STRETCH / NEWCOMERS)
    await _bombards(town, who, [file for file, name in town.bombs.items() if name == COSTLY])


async def _bombards(town: Town, who: str, files: list[str]) -> None:
    """One after the other, from a process of their own."""
    submission = json.dumps(town.service.submission(town.officials[0], level="B-B"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.bombarding", str(town.service.ports[0]), town.tokens[who], submission,
        *files, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    await step_back(process.pid)
    try:
        async for line in process.stdout:
            told = json.loads(line)
            _note(town, town.bombs[told["file"]], told["code"], told["seconds"])
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _note(town: Town, name: str, code: str, seconds: float) -> None:
    """A wrong answer is not forgotten for a right one later; who was told to come back does so."""
    if code == "busy":
        return
    town.answered[name] = code if code not in TRAPS[name].codes else town.answered.get(name, code)
    town.slowest_bomb = max(town.slowest_bomb, seconds)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(town: Town) -> None:
    """How large the processes of the front become, its pdf workers among them."""
    while True:
        with contextlib.suppress(OSError):  # one of them ended while it was looked at
            for pid in await asyncio.to_thread(memory.family, town.service.running["front0"].process.pid):
                town.largest_worker = max(town.largest_worker, resident(pid))
        await asyncio.sleep(0.2)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now; none when it is over."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize()


def _attackers_cpu() -> float:
    """Of our processes that have ended, which are theirs: the service still runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _judge(town: Town, quiet: Loads, bombed: Loads) -> None:
    figures: dict[str, object] = {}
    for kind in KINDS:
        before, under = (p99(loads[kind].taken(200, 201)) for loads in (quiet, bombed))
        figures[f"{kind}_p99_ms"] = (in_ms(before), in_ms(under))
        figures[f"{kind}_times"] = round(under / before, 2)
    others = {kind: counted(each.code for each in (*quiet[kind].answers, *bombed[kind].answers)) for kind in KINDS}
    waited = max(bombed["submit"].taken())
    campaign.proven(
        "bombs", traps=len(TRAPS), answered=len(town.answered), stretches=PAIRS * 2, seconds=STRETCH,
        answers=counted(town.answered.values()), slowest_answer_s=round(town.slowest_bomb, 2),
        longest_wait_of_others_s=round(waited, 2), newcomers=PAIRS * NEWCOMERS,
        largest_process_mib=town.largest_worker >> 20, attackers_cpu_s=round(town.attackers_cpu, 1),
        codes={kind: str(found) for kind, found in others.items()}, load=os.getloadavg(),
        at=time.strftime("%H:%M"), **figures)
    wrong = {name: code for name, code in town.answered.items() if code not in TRAPS[name].codes}
    assert wrong == {}
    assert town.answered.keys() == TRAPS.keys()
    assert all(found.keys() <= {"200", "201"} for found in others.values()), others
    assert town.largest_worker <= LARGEST_WORKER
    assert waited <= LONGEST_WAIT
    worse = {kind: figures[f"{kind}_times"] for kind in KINDS[:3] if float(str(figures[f"{kind}_times"])) > WORSE}
    assert worse == {}, figures
