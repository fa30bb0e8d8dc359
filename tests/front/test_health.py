"""Alive, ready, counted: and what each of them says while something is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from signing_service.db.tables import policy
from signing_service.errors import SigningError, TooMany, Unavailable
from signing_service.front import health
from signing_service.pdf import Pool, Wall
from signing_service.wire.messages import Condition, HealthReport
from tests.support.hall import Hall, tell
from tests.support.world import World


def test_a_whole_front_is_ready(world: World) -> None:
    ready = world.asks("GET", "/readyz")
    told = ready.json()
    assert set(told["dependencies"]) >= {"database", "policy", "signer", "documents", "pdf"}
    mine = {name: each for name, each in told["dependencies"].items() if not name.startswith("signer ")}
    assert all(each["ok"] for each in mine.values()), told
    assert "landlock" in mine["pdf"]["detail"]
    assert "seccomp" in mine["pdf"]["detail"]


def test_alive_without_anything_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing may be asked")

    monkeypatch.setattr(type(world.rt.db), "run", nothing)
    answer = world.asks("GET", "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def _signer_away(it: Hall) -> None:
    it.signer.away = Unavailable("The signer is not running.", code="signer-away")


async def _device_away(it: Hall) -> None:
    async def ask(*_: Any, **__: Any) -> HealthReport:
        return HealthReport("si_" + "0" * 32, (Condition("device", False, "the device does not answer"),), "")

    it.signer.ask = ask  # type: ignore[method-assign]


async def _no_policy(it: Hall) -> None:
    with it.rt.db.write() as tx:
        tx.execute(update(policy).values(active=False))


async def _no_folder(it: Hall) -> None:
    (it.rt.documents.root / "incoming").rmdir()


async def _no_room(it: Hall) -> None:
    it.rt.documents.free_bytes = lambda: 1 << 20  # type: ignore[method-assign]


async def _no_workers(it: Hall) -> None:
    async def look(*_: Any, **__: Any) -> Any:
        raise Unavailable("The workers that read documents cannot be started.")

    it.pool.look = look  # type: ignore[method-assign]


AWAY: dict[str, tuple[Callable[[Hall], Awaitable[None]], str]] = {
    "the signer": (_signer_away, "signer"), "the device": (_device_away, "signer device"),
    "the policy": (_no_policy, "policy"), "the folder": (_no_folder, "documents"), "the room": (_no_room, "documents"),
    "the workers": (_no_workers, "pdf"),
}


@pytest.mark.parametrize(("take", "name"), AWAY.values(), ids=AWAY.keys())
def test_what_is_away_is_named_and_the_rest_is_answered(
    tmp_path: Path, take: Callable[[Hall], Awaitable[None]], name: str
) -> None:
    async def story(it: Hall) -> None:
        before = await health.ask_all(it.rt)
        assert all(each.ok for each in before.values()), before
        await take(it)
        after = await health.ask_all(it.rt)
        assert not after[name].ok
        assert after[name].detail
        assert after["database"].ok

    tell(tmp_path, story)


def test_a_dependency_that_hangs_costs_its_limit_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SECONDS", 0.2)

    async def story(it: Hall) -> None:
        async def hang(*_: Any, **__: Any) -> Any:
            await asyncio.Event().wait()

        it.signer.ask = hang  # type: ignore[method-assign]
        answers = await health.ask_all(it.rt)
        assert answers["signer"] == health.Answer(ok=False, detail="no answer within 0.2 s")
        assert answers["database"].ok

    tell(tmp_path, story)


def test_a_bug_in_a_question_does_not_hide_the_other_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_rt: object) -> dict[str, health.Answer]:
        raise KeyError("a bug")

    monkeypatch.setattr(health, "QUESTIONS", {**health.QUESTIONS, "policy": broken})
    caplog.set_level(logging.CRITICAL)

    async def story(it: Hall) -> None:
        answers = await health.ask_all(it.rt)
        assert not answers["policy"].ok
        assert answers["database"].ok

    tell(tmp_path, story)


BUSY: dict[str, SigningError] = {
    "a full queue": Unavailable("Too many documents are waiting to be read.", code="busy"),
    "too many of ours": TooMany("Too many of your documents are waiting to be looked at."),
}


@pytest.mark.parametrize("error", BUSY.values(), ids=BUSY.keys())
def test_a_pool_that_is_busy_works(tmp_path: Path, error: SigningError) -> None:
    async def story(it: Hall) -> None:
        async def look(*_: Any, **__: Any) -> Any:
            raise error

        it.pool.look = look  # type: ignore[method-assign]
        assert (await health.ask_all(it.rt))["pdf"] == health.Answer(ok=True, detail="busy")

    tell(tmp_path, story)


WALLS: dict[str, tuple[frozenset[Wall], str]] = {
    "all of them": (frozenset(Wall), "sandbox: landlock, network, seccomp"),
    "no namespace here": (frozenset({Wall.FILES, Wall.CALLS}), "sandbox: landlock, seccomp"),
    "none": (frozenset(), "sandbox: none"),
}


@pytest.mark.parametrize(("walls", "said"), WALLS.values(), ids=WALLS.keys())
def test_readiness_says_which_walls_stand_around_those_who_read(
    tmp_path: Path, walls: frozenset[Wall], said: str
) -> None:
    async def story(it: Hall) -> None:
        it.pool.walls = walls
        assert (await health.ask_all(it.rt))["pdf"] == health.Answer(ok=True, detail=said)

    tell(tmp_path, story)


def test_a_worker_really_reads_the_page(tmp_path: Path) -> None:
    async def whole() -> None:
        pool = Pool(2, folders=(tmp_path,))
        await pool.start()
        try:
            (tmp_path / "page.pdf").write_bytes(health.PAGE)
            assert (await pool.look(tmp_path / "page.pdf")).pages == 1
        finally:
            await pool.close()

    asyncio.run(whole())


def test_asking_often_does_not_cost_often(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        readiness = health.Readiness()
        await asyncio.gather(*(readiness.of(it.rt) for _ in range(20)))
        assert len(it.signer.asked) == 1

    tell(tmp_path, story)


def test_a_front_that_is_not_ready_says_503_and_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.rt.db.write() as tx:
        tx.execute(update(policy).values(active=False))
    answer = world.asks("GET", "/readyz")
    assert answer.status_code == 503
    assert "No policy is active" in answer.json()["dependencies"]["policy"]["detail"]


def test_metrics_are_prometheus_text_and_come_without_the_signer_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for away in (False, True):
        if away:
            async def gone(*_: Any, **__: Any) -> Any:
                raise Unavailable("The signer is not running.")

            monkeypatch.setattr(type(world.rt.signer), "ask", gone)
        answer = world.asks("GET", "/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        families = {each.name: each for each in text_string_to_metric_families(answer.text)}
        assert {"signing_webhook_outbox", "signing_requests", "signing_http_requests"} <= set(families)
