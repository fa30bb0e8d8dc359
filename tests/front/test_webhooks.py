"""Notices to clients: signed so that a client can tell, delivered at least once, given up on record."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from signing_service import delivery
from signing_service.db.tables import outbox
from signing_service.front import jobs, webhooks
from signing_service.front.webhooks import PAUSES, signature, webhook_secret
from tests.support.hall import Hall, hall
from tests.support.outside import Outside, Reply, plain

CHAPTER = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
NAMES: dict[str, Any] = {}
exec(re.search(r"```python\n(.*?)```", CHAPTER, re.DOTALL)[1], NAMES)  # type: ignore[index]  # the recipe is there
is_genuine = NAMES["is_genuine"]
VECTORS = re.findall(r"^\| `(whsec_\S+)` \| `(\d+)` \| (?:`(.*)`|\*\(empty\)\*) \| `(v1=[0-9a-f]{64})` \|$", CHAPTER,
                     re.MULTILINE)


def test_the_vectors_of_the_documentation_are_there() -> None:
    assert len(VECTORS) == 4


@pytest.mark.parametrize(("secret", "timestamp", "body", "expected"), VECTORS)
def test_the_vectors_of_the_documentation_hold(secret: str, timestamp: str, body: str, expected: str) -> None:
    assert signature(secret, int(timestamp), body.encode()) == expected
    assert is_genuine(secret, timestamp, body.encode(), expected, int(timestamp) + 10)


@pytest.mark.parametrize(("secret", "timestamp", "body", "expected"), VECTORS)
def test_the_openssl_recipe_of_the_documentation_holds(secret: str, timestamp: str, body: str, expected: str) -> None:
    recipe = re.search(r"```sh\n(.*?)```", CHAPTER, re.DOTALL)
    assert recipe is not None
    done = subprocess.run(["sh", "-c", recipe[1]], capture_output=True, text=True, check=True,
                          env={"SECRET": secret, "TIMESTAMP": timestamp, "BODY": body, "PATH": "/usr/bin:/bin"})
    assert f"v1={done.stdout.strip()}" == expected


SECRET, _, _, SIGNED = VECTORS[0]
FORGED = {
    "another body": (SECRET, "1772418600", b'{"id":"ev_2"}', SIGNED, 1772418600),
    "another time": (SECRET, "1772418601", b'{"id":"ev_1"}', SIGNED, 1772418600),
    "another secret": (SECRET + "x", "1772418600", b'{"id":"ev_1"}', SIGNED, 1772418600),
    "too old": (SECRET, "1772418600", b'{"id":"ev_1"}', SIGNED, 1772418901),
    "from the future": (SECRET, "1772418600", b'{"id":"ev_1"}', SIGNED, 1772418299),
    "no signature": (SECRET, "1772418600", b'{"id":"ev_1"}', "", 1772418600),
    "another version": (SECRET, "1772418600", b'{"id":"ev_1"}', SIGNED.replace("v1", "v0"), 1772418600),
    "no time": (SECRET, "now", b'{"id":"ev_1"}', SIGNED, 1772418600),
}


@pytest.mark.parametrize("case", FORGED.values(), ids=FORGED.keys())
def test_the_recipe_refuses(case: tuple[Any, ...]) -> None:
    assert not is_genuine(*case)


def test_secrets_of_two_clients_and_of_two_services_differ() -> None:
    secrets = {webhook_secret(front, client) for front in (b"a" * 32, b"b" * 32) for client in ("cl_1", "cl_2")}
    assert len(secrets) == 4


# ------------------------------------------------------------------------------------------------------- delivery


async def told(it: Hall, host: Outside) -> str:
    """A signed request whose client listens at this host; the notice is waiting."""
    it.listens(host.url("/hooks/signing"))
    request_id = await it.confirmed()
    assert await delivery.finish(it.rt, request_id)
    return request_id


def waiting(it: Hall) -> Any:
    with it.rt.db.read() as tx:
        return tx.execute(select(outbox)).one()


def with_host(tmp_path: Path, story: Any, reply: Reply | None = None) -> None:
    async def whole() -> None:
        async with Outside(reply=reply) as host, hall(tmp_path, hosts=(f"tsa.example.vn:{host.port}",)) as it:
            await story(it, host)

    asyncio.run(whole())


def test_a_notice_arrives_and_the_client_can_verify_it(tmp_path: Path) -> None:
    async def story(it: Hall, host: Outside) -> None:
        request_id = await told(it, host)
        assert await webhooks.deliver_due(it.rt) == 1
        (asked,) = host.questions
        secret = webhook_secret(it.rt.secret, it.city.client)
        assert is_genuine(secret, asked.headers["signing-timestamp"], asked.body, asked.headers["signing-signature"],
                          it.clock().timestamp())
        notice = json.loads(asked.body)
        assert notice["id"] == asked.headers["signing-event-id"]
        assert notice["type"] == "signing-request.signed"
        assert notice["signing_request"]["id"] == request_id
        (recorded,) = it.entries("webhook:deliver")
        assert json.loads(recorded.body)["data"]["host"] == "tsa.example.vn"
        assert "/hooks" not in recorded.body  # an address may hold a secret
        assert await webhooks.deliver_due(it.rt) == 0  # once is enough
        assert host.connections == 1

    with_host(tmp_path, story)


def test_a_client_that_is_down_is_tried_again_for_a_day_and_then_given_up(tmp_path: Path) -> None:
    async def story(it: Hall, host: Outside) -> None:
        await told(it, host)
        begun = it.clock()
        for number, planned in enumerate(PAUSES, start=1):
            assert await webhooks.deliver_due(it.rt) == 0
            row = waiting(it)
            assert (row.attempts, row.done_at) == (number, None)
            assert planned * 0.79 <= row.next_at - it.clock() <= planned * 1.21
            assert await webhooks.deliver_due(it.rt) == 0  # not before its time
            assert host.connections == number
            it.clock.at = row.next_at
        assert it.entries("webhook:give-up") == []
        await webhooks.deliver_due(it.rt)
        assert len(it.entries("webhook:give-up")) == 1
        assert waiting(it).done_at is not None
        assert timedelta(hours=18) < it.clock() - begun < timedelta(hours=29)
        it.clock.forward(1e6)
        await webhooks.deliver_due(it.rt)
        assert host.connections == len(PAUSES) + 1

    with_host(tmp_path, story, plain(b"", 503))


def test_a_client_that_comes_back_gets_the_same_event(tmp_path: Path) -> None:
    async def story(it: Hall, host: Outside) -> None:
        await told(it, host)
        await webhooks.deliver_due(it.rt)
        host.reply = plain(b"", 204)
        it.clock.forward(60)
        assert await webhooks.deliver_due(it.rt) == 1
        first, second = host.questions
        assert first.body == second.body
        assert first.headers["signing-event-id"] == second.headers["signing-event-id"]
        assert first.headers["signing-signature"] != second.headers["signing-signature"]  # signed at its own time

    with_host(tmp_path, story, plain(b"", 500))


FAILURES: dict[str, Reply] = {
    "a redirect": plain(b"", 302, location="http://127.0.0.1/"), "not found": plain(b"", 404), "gone": plain(b"", 410),
    "a huge answer": plain(b"x" * 100_000),
}


@pytest.mark.parametrize("reply", FAILURES.values(), ids=FAILURES.keys())
def test_whatever_is_not_a_yes_is_a_failure(tmp_path: Path, reply: Reply) -> None:
    async def story(it: Hall, host: Outside) -> None:
        await told(it, host)
        assert await webhooks.deliver_due(it.rt) == 0
        assert waiting(it).last_error
        assert host.connections == 1

    with_host(tmp_path, story, reply)


def test_two_processes_do_not_send_one_notice_twice(tmp_path: Path) -> None:
    async def story(it: Hall, host: Outside) -> None:
        await told(it, host)
        (message,) = await it.rt.db.run(webhooks._due, it.rt, it.clock())
        taken = await asyncio.gather(*(webhooks.deliver(it.rt, message) for _ in range(5)))
        assert sorted(taken) == [False, False, False, False, True]
        assert host.connections == 1

    with_host(tmp_path, story)


def test_a_process_that_dies_while_sending_leaves_the_notice_to_the_next(tmp_path: Path) -> None:
    async def story(it: Hall, host: Outside) -> None:
        await told(it, host)
        (message,) = await it.rt.db.run(webhooks._due, it.rt, it.clock())
        assert await it.rt.db.run(webhooks._claim, it.rt, message, it.clock())  # and here it dies
        assert await webhooks.deliver_due(it.rt) == 0
        it.clock.forward(15)
        assert await webhooks.deliver_due(it.rt) == 1

    with_host(tmp_path, story)


def test_a_forbidden_address_is_never_called(tmp_path: Path) -> None:
    async def story(it: Hall, host: Outside) -> None:
        it.listens(host.url("/", "localhost"))
        request_id = await it.confirmed()
        assert await delivery.finish(it.rt, request_id)
        assert await webhooks.deliver_due(it.rt) == 0
        assert "list of hosts" in waiting(it).last_error
        assert host.connections == 0

    with_host(tmp_path, story)


def test_without_a_webhook_nothing_is_kept(tmp_path: Path) -> None:
    async def story(it: Hall, host: Outside) -> None:
        request_id = await it.confirmed()
        assert await delivery.finish(it.rt, request_id)
        with it.rt.db.read() as tx:
            assert tx.execute(select(outbox)).all() == []
        assert (await jobs.run_once(it.rt))["webhooks"] == 0

    with_host(tmp_path, story)
