"""What the front asks of its database, counted: a statement more is a decision, not an accident."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from signing_service import delivery, submission
from signing_service.submission import Arrived, Submission, nothing_more
from tests.support.hall import DOCUMENT, Hall, hall
from tests.support.statements import Asked, statements
from tests.support.world import Client, World, plan


def costs(world: World, what: Any) -> Asked:
    """Of one HTTP request, by a client that was recognised a moment ago."""
    with statements(world.rt.db) as asked:
        what()
    return asked


def test_what_one_document_costs_on_its_way(world: World, office: Client) -> None:
    official = world.official()
    office.submits(official, plan("another one"))  # the policy is loaded, the client recognised
    made: dict[str, Any] = {}
    submitted = costs(world, lambda: made.update(office.submits(official)))
    # Whom it names (signatory, credential, policy) and what is known of them (4); then document, request and entry.
    assert (len(submitted), submitted.commits) == (10, 1)

    code = world.fresh_code(official)
    office.sees(made)  # recognised again: time moved on
    confirmed = costs(world, lambda: office.tries_to_confirm(made, code))
    # The request, its decision, credential, person and agency; request and credential to finish; the move, the
    # document, the entry and the client's address; and the answer.
    assert (len(confirmed), confirmed.commits) == (12, 1)

    fetched = costs(world, lambda: office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document"))
    assert (len(fetched), fetched.commits) == (2, 1)  # the request, and the entry of its delivery
    assert len(costs(world, lambda: office.sees(made))) == 1


def test_submissions_that_come_together_share_what_they_name_and_their_transaction(tmp_path: Path) -> None:
    async def story() -> None:
        async with hall(tmp_path) as it:
            official = await it.official()
            arrived = [await _arrived(it, official.id, number) for number in range(10)]
            with statements(it.rt.db) as asked:
                made = await it.rt.db.run(submission._settle, it.rt, arrived)
            assert {each.state for each in made} == {"pending"}  # type: ignore[union-attr]  # none is a refusal
            assert (len(asked), asked.commits) == (7 + 3 * 10, 1)

    asyncio.run(story())


async def _arrived(it: Hall, signatory: str, number: int) -> Arrived:
    said = Submission(document_type="KH", subject="Kế hoạch", issuing_agency="H26.1", signatory=signatory,
                      filename="ke-hoach.pdf")
    draft = it.rt.documents.receive(io.BytesIO(DOCUMENT.read_bytes() + b"%% %d\n" % number))
    return Arrived(it.caller(), said, draft, await it.rt.pool.look(draft.path), nothing_more)


def test_what_is_finished_together_is_recorded_in_one_transaction(tmp_path: Path) -> None:
    async def story() -> None:
        async with hall(tmp_path) as it:
            official = await it.official()
            ids = [await it.confirmed(official) for _ in range(3)]
            with statements(it.rt.db) as asked:
                works = await it.rt.db.run(delivery._unfinished, it.rt, ids)
            assert len(asked) == 2  # they, and their one credential
            made = [await _completed(it, each) for each in works]
            with statements(it.rt.db) as asked:
                assert await it.rt.db.run(delivery._signed, it.rt, made) == [True] * 3
            assert (len(asked), asked.commits) == (4 * 3, 1)
            assert len(it.entries("signing-request:signed")) == 3

    asyncio.run(story())


async def _completed(it: Hall, work: object) -> delivery.Made:
    assert isinstance(work, delivery.Unfinished)
    draft = it.rt.documents.draft_path(".signed")
    return delivery.Made(work, await it.pool.complete(replace(work.order, output=draft)), draft, None)


def test_a_document_that_changed_on_its_way_to_the_disk_fails_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with hall(tmp_path) as it:
            official = await it.official()
            ids = [await it.confirmed(official) for _ in range(2)]
            made = [await _completed(it, each) for each in await it.rt.db.run(delivery._unfinished, it.rt, ids)]
            made[0].draft.chmod(0o640)
            made[0].draft.write_bytes(made[0].draft.read_bytes() + b" ")
            first, second = await it.rt.db.run(delivery._signed, it.rt, made)
            assert (getattr(first, "code", None), second) == ("storage", True)
            assert [it.row(each).state for each in ids] == ["finishing", "signed"]
            made[0].draft.unlink(missing_ok=True)

    asyncio.run(story())
