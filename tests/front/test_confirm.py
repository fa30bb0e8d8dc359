"""A person confirms, through a client."""

from __future__ import annotations

from tests.support.world import Client, World, plan


def test_a_submitted_document_is_signed_with_the_signatorys_code(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    assert made["state"] == "pending"

    signed = office.confirms(official, made)

    assert signed["state"] == "signed"
    answer = office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document")
    assert answer.status_code == 200
    assert answer.content.startswith(plan())
    assert answer.headers["etag"] == f'"{signed["signed_digest"]}"'
    assert world.events("signing-request:deliver") == 1
