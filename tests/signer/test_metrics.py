"""What is watched is what happened: outcomes, codes, and what stands open at the moment of asking."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, update

from hsm.errors import DeviceError
from signing_service import metrics, stock
from signing_service.db.tables import checkpoint, entry, intent, outbox, signature, signing_request
from signing_service.errors import NotAuthorized
from signing_service.ids import draw
from signing_service.signer import reconcile, sequencer
from tests.support.city import City
from tests.support.memory_device import MemoryDevice


def number(name: str, **labels: str) -> float:
    return metrics.registry().get_sample_value(name, labels) or 0.0


def signatures() -> Mapping[str, float]:
    return {kind: number("signing_signatures_total", outcome=kind) for kind in ("done", "failed", "unknown-outcome")}


def states() -> Mapping[str, float]:
    return {state: number("signing_requests_total", state=state) for state in ("signing", "finishing", "failed")}


def shown(city: City) -> None:
    with city.rt.db.read() as tx:
        stock.show(tx, city.clock.at)


def grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in before if after[name] != before[name]}


def test_each_signature_is_counted_with_its_outcome_and_its_moves(city: City) -> None:
    official = city.official()
    made, moved = signatures(), states()
    city.confirms(official, [city.submitted(official), city.submitted(official, b"another")])
    assert grown(made, signatures()) == {"done": 2}
    assert grown(moved, states()) == {"signing": 2, "finishing": 2}


def test_a_device_that_fails_is_counted_once(city: City, device: MemoryDevice) -> None:
    official = city.official()
    request = city.submitted(official)
    made, moved = signatures(), states()
    device.fail_next(DeviceError("no"), call="sign")
    city.confirms(official, [request])
    assert sum(grown(made, signatures()).values()) == 1
    assert "done" not in grown(made, signatures())
    assert grown(moved, states()) == {"signing": 1, "failed": 1}


def test_an_unknown_outcome_is_counted_when_it_is_recorded(city: City) -> None:
    official = city.official()
    request = city.submitted(official)
    city.confirms(official, [request])
    with city.rt.db.write() as tx:
        tx.execute(delete(signature).where(signature.c.signing_request_id == request))
        tx.execute(update(intent).where(intent.c.signing_request_id == request)
                   .values(outcome=None, outcome_at=None, signer_id="si_" + "0" * 32))
        tx.execute(update(signing_request).where(signing_request.c.id == request).values(state="signing"))
    shown(city)
    assert number("signing_open_intents") == 1
    made = signatures()
    city.clock.forward(31)
    reconcile.reconcile(city.rt)
    reconcile.reconcile(city.rt)
    assert grown(made, signatures()) == {"unknown-outcome": 1}
    shown(city)
    assert number("signing_open_intents") == 0


def test_accepted_and_rejected_codes_are_counted(city: City) -> None:
    official = city.official()
    request = city.submitted(official)
    accepted = number("signing_codes_total", result="accepted")
    rejected = number("signing_codes_total", result="rejected")
    city.next_code()
    wrong = f"{(int(official.code(city.clock.at)) + 1) % 10**6:06d}"
    with pytest.raises(NotAuthorized):
        city.confirms(official, [request], wrong)
    city.confirms(official, [request])
    assert number("signing_codes_total", result="accepted") == accepted + 1
    assert number("signing_codes_total", result="rejected") == rejected + 1


def test_the_log_shows_what_waits_and_how_old_its_proof_is(city: City) -> None:
    shown(city)
    assert number("signing_unsequenced_entries") > 0
    while sequencer.sequence(city.rt):
        pass
    city.clock.forward(90)
    shown(city)
    assert number("signing_unsequenced_entries") == 0
    assert number("signing_checkpoint_age_seconds") == 90


def test_a_log_without_any_checkpoint_is_as_old_as_its_first_entry(city: City) -> None:
    with city.rt.db.write() as tx:
        tx.execute(delete(checkpoint))
        tx.execute(update(entry).values(at=city.clock.at - timedelta(hours=1)))
    shown(city)
    assert number("signing_checkpoint_age_seconds") == 3600


def test_notices_that_wait_are_counted_and_delivered_ones_are_not(city: City) -> None:
    official = city.official()
    request = city.submitted(official)
    with city.rt.db.write() as tx:
        for done in (None, None, city.clock.at):
            tx.execute(insert(outbox).values(
                id=draw("wh"), client_id=city.client, signing_request_id=request, url="https://qlvb.example/",
                body="{}", created_at=city.clock.at, next_at=city.clock.at, done_at=done))
    shown(city)
    assert number("signing_webhook_outbox") == 2
