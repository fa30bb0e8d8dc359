"""A real signer whose device is killed, frozen, restarted, crashes, or loses replies; each runs `in_child`.

A device's own log, written where the device is, says in the end how often each value was signed.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hsm import open_device
from hsm.softhsm import find_module
from tests.support import spy_log
from tests.support.city import Person
from tests.support.faulty import Faulty
from tests.support.kept_signer import Answer, KeptSigner
from tests.support.lossy_proxy import Loss, LossyProxy
from tests.support.remote_token import RemoteToken

DEADLINE = 1.0  # seconds of one call to the device
BACK = 60.0     # seconds after which we do not wait any longer for a signature
TRIES = 4       # confirmations of which the one with the fewest calls is measured: house-keeping may come between


@dataclass
class Outage:
    """What was answered while the device was away, how long health took meanwhile, when it signed again, and whether
    another process had to.
    """

    answers: list[Answer]
    health: list[float]
    signed_after: float
    replaced: bool = False

    @property
    def slowest(self) -> float:
        return max(answer.seconds for answer in self.answers)


@dataclass
class Told:
    """All outages of a story; signatures made twice, and intents the device never heard of that say `done`."""

    outages: dict[str, Outage] = field(default_factory=dict)
    losses: dict[str, Answer] = field(default_factory=dict)
    calls: int = 0  # of one confirmation
    lost: int = 0   # replies
    signed: int = 0
    twice: int = 0
    unmade: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    lives: int = 0

    def joined(self, kept: KeptSigner, log: Path) -> Told:
        """The device's own log beside our intents."""
        kept.check()
        signatures = [asked.data for asked in spy_log.signatures(log)]
        intents = kept.intents()
        # RSA signs what is around the digest, too (RFC 8017 9.2); nothing else that is signed ends with one of these.
        made = {each: sum(data.endswith(each) for data in signatures) for each in intents}
        self.signed = sum(made[each] > 0 for each in intents)
        self.twice = sum(made[each] > 1 for each in intents)
        self.unmade = sum(outcome == "done" and not made[each] for each, outcome in intents.items())
        self.outcomes = dict(Counter(str(outcome) for outcome in intents.values()))
        self.lives = kept.lives
        return self


@contextmanager
def _kept(directory: Path) -> Iterator[tuple[RemoteToken, KeptSigner]]:
    remote = RemoteToken(directory, spied=True)
    remote.start()
    device = open_device(remote.settings)
    kept = KeptSigner(directory, device, remote.settings, DEADLINE)
    try:
        yield remote, kept
    finally:
        kept.close()
        device.close()
        remote.kill()


def away_and_back(directory: Path, rounds: int) -> Told:
    """The device's server is killed and started again; frozen and let go; and restarted at once. So many times."""
    told = Told()
    with _kept(directory) as (remote, kept):
        people = kept.officials(18 * rounds + 1)
        kept.start({"P11_KIT_SERVER_ADDRESS": f"unix:path={remote.socket}"})
        assert kept.confirms(next(people)).is_done

        def restart() -> None:
            remote.kill()
            remote.start()

        for number in range(rounds):
            told.outages[f"killed {number}"] = _outage(kept, people, remote.kill, remote.start)
            told.outages[f"frozen {number}"] = _outage(kept, people, remote.freeze, remote.thaw)
            told.outages[f"restarted {number}"] = _outage(kept, people, restart, lambda: None)
        return told.joined(kept, remote.log)


def _outage(
    kept: KeptSigner, people: Iterator[Person], begin: Callable[[], None], end: Callable[[], None]
) -> Outage:
    """Three people confirm at once while the device is away."""
    lives = kept.lives
    begin()
    with kept.health_watched() as health, ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(kept.confirms, [next(people) for _ in range(3)]))
    end()
    again = kept.signs_again(people, BACK)
    return Outage(answers, health, again, kept.lives > lives)


def lost_replies(directory: Path, at: list[float], losses: list[Loss]) -> Told:
    """Somebody confirms, and one reply of the device is lost: at each of these places (0 is the first call, 1 the
    last) of a confirmation, in each of these ways. An empty list: every call.
    """
    told = Told()
    path = directory / "proxy"
    with _kept(directory) as (remote, kept):
        proxy = LossyProxy(path, remote.socket)
        people = kept.officials(300 if not at else TRIES + 2 + 4 * len(at) * len(losses))
        through = {"P11_KIT_SERVER_ADDRESS": f"unix:path={path}"}
        kept.start(through)
        told.calls = min(_calls(kept, proxy, people) for _ in range(TRIES))
        numbers = [1 + round(each * (told.calls - 1)) for each in at] or list(range(1, told.calls + 1))
        for number, loss in ((number, loss) for loss in losses for number in numbers):
            proxy.lose(number, loss)
            told.losses[f"{loss} {number}"] = kept.confirms(next(people))
            proxy.lose_nothing()
            told.outages[f"{loss} {number}"] = Outage(
                [told.losses[f"{loss} {number}"]], [], kept.signs_again(people, BACK), loss is Loss.SILENCE)
            if loss is Loss.SILENCE:  # a supervisor of its own each: they grow slow with every death
                kept.stop()
                kept.start(through)
        told.lost = proxy.lost
        proxy.close()
        return told.joined(kept, remote.log)


def _calls(kept: KeptSigner, proxy: LossyProxy, people: Iterator[Person]) -> int:
    """How many calls one confirmation takes, those of the house-keeping between them included."""
    before = proxy.calls
    assert kept.confirms(next(people)).is_done
    return proxy.calls - before


def crashed(directory: Path, crashes: list[tuple[str, signal.Signals]]) -> Told:
    """The module takes the signer down with it, after the device did what was asked, while somebody confirms."""
    told = Told()
    spy = spy_log.find_spy()
    assert spy is not None, "OpenSC's pkcs11-spy is not installed"
    faulty = Faulty(directory)
    log = directory / "spy.log"
    device = open_device(faulty.settings)
    kept = KeptSigner(directory, device, faulty.settings, DEADLINE)
    people = kept.officials(6 * len(crashes), "rsa-2048")
    device.close()
    spied = {"FAULTY_MODULE": str(spy), "PKCS11SPY": str(find_module()),
             "PKCS11SPY_OUTPUT": str(log), "TZ": "UTC", "SIGNING_DEVICE_THREADS": "1"}
    try:
        for function, number in crashes:
            kept.start(faulty.environment | spied)  # a supervisor of its own each: they grow slow with every death
            faulty.order(function, "crash", number.value, often="once")
            with kept.health_watched() as health:
                answer = kept.confirms(next(people))
            assert not faulty.stands
            told.outages[f"{function} {number.name}"] = Outage([answer], health, kept.signs_again(people, BACK))
            kept.stop()
        kept.start(faulty.environment | spied)  # who closes what the last one left open
        return told.joined(kept, log)
    finally:
        kept.close()
