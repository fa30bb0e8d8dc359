"""A whole signer on a device that turns a bit of each signature; runs `in_child`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from hsm import open_device
from signing_service.db.migrate import upgrade
from signing_service.db.tables import intent, signature
from tests.support.city import City, Clock, runtime
from tests.support.faulty import Faulty

SIGNS_WITH = {"p-256": "C_Sign:1041", "rsa-2048": "C_Sign:1"}  # CKM_ECDSA, CKM_RSA_PKCS: no HMAC, no checkpoint
BATCH = 50


@dataclass(frozen=True)
class Caught:
    """Of so many turned signatures: refused by the signer, and values that left it. Then: signed well afterwards."""

    turned: int
    refused: int
    values: int
    recorded: int
    afterwards: str


def flipped(directory: Path, key_kind: str, times: int) -> Caught:
    """Confirmations in batches, through the one door; every bit of the value is turned in its turn."""
    faulty = Faulty(directory)
    url = f"sqlite:///{directory / 'signing.db'}"
    upgrade(url)
    device, clock = open_device(faulty.settings), Clock()
    city = City(runtime(url, directory, device, clock), clock)
    official = city.official(key_kind=key_kind)
    refused = turned = 0
    faulty.order(SIGNS_WITH[key_kind], "flip", 0)
    while turned < times:
        requests = [city.submitted(official, b"document %d" % n) for n in range(turned, min(turned + BATCH, times))]
        answer = city.confirms(official, requests)
        refused += sum(line.outcome == "failed" and "does not verify" in (line.message or "") for line in answer.lines)
        refused -= sum(city.state_of(request) != "failed" for request in requests)
        turned += len(requests)
        clock.forward(12 * 3600)  # the policy permits so many a day
    faulty.obey()
    afterwards = city.confirms(official, [city.submitted(official)]).lines[0].outcome
    with city.rt.db.read() as tx:
        values = tx.execute(select(func.count()).select_from(signature)).scalar_one()
        failed = tx.execute(select(func.count()).select_from(intent).where(intent.c.outcome == "failed")).scalar_one()
    city.check()
    city.close()
    device.close()
    return Caught(turned, refused, values - 1, failed, afterwards)
