"""The whole suite with OpenSC's pkcs11-spy between us and every SoftHSM token of the tests.

    SIGNING_TESTS_SPY=/some/empty/directory python -m pytest ...

Test processes and every `Service` then load the spy. When a service is closed, the logs of its signers are joined
with its database; when the session ends, the logs of the test processes must show no signature with a credential's
key at all, because only a signer may do that.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select

from hsm import DeviceSettings
from hsm.device import object_id
from hsm.softhsm import find_module
from signing_service.db.engine import Database
from signing_service.db.tables import key
from tests.support import campaign, ground_truth, spy_log

VARIABLE = "SIGNING_TESTS_SPY"
EVERYWHERE = VARIABLE in os.environ


def directory() -> Path:
    made = Path(os.environ[VARIABLE])
    made.mkdir(parents=True, exist_ok=True)
    return made


def place(service: Path) -> Path:
    """Where the logs of a service at this directory belong: PINs are in them, so beside what tests look through."""
    return Path(tempfile.mkdtemp(prefix="service-", dir=directory())) if EVERYWHERE else service


def environment(log: Path) -> dict[str, str]:
    """For a process that is to speak to SoftHSM through the spy: in one thread, so that its log can be read."""
    return {"PKCS11SPY": str(find_module()), "PKCS11SPY_OUTPUT": str(log), "TZ": "UTC",
            "SIGNING_PKCS11_MODULE": str(_spy()), "SIGNING_DEVICE_THREADS": "1"}


def spied(settings: DeviceSettings) -> DeviceSettings:
    """The same token for this test process: through the spy where everything is spied upon."""
    if not EVERYWHERE:
        return settings
    os.environ |= {"PKCS11SPY": str(find_module()), "PKCS11SPY_OUTPUT": str(directory() / f"tests-{os.getpid()}.log")}
    return replace(settings, module=_spy(), threads=1)


def _spy() -> Path:
    found = spy_log.find_spy()
    if found is None:
        raise RuntimeError("pkcs11-spy (OpenSC) is not installed")
    return found


def hold_against(logs: Iterable[Path], db: Database) -> None:
    """Join the logs of one service with its database, and keep the figures for the end of the session."""
    truth = ground_truth.joined(logs, db, closed=False)
    with db.read() as tx:
        keys = [object_id(each).hex() for each in tx.execute(
            select(key.c.id).where(key.c.purpose == "credential")).scalars()]
    with (directory() / "joined.jsonl").open("a") as kept:
        kept.write(json.dumps({"figures": truth.figures, "keys": keys}) + "\n")


def check_session() -> None:
    """The end: test processes have signed nothing with a credential's key; what the services did, added up."""
    services, total, keys = 0, Counter[str](), set[bytes]()
    joined = directory() / "joined.jsonl"
    for line in joined.read_text().splitlines() if joined.exists() else ():
        told = json.loads(line)
        services += 1
        keys |= {bytes.fromhex(each) for each in told["keys"]}
        total.update({name: value for name, value in told["figures"].items() if isinstance(value, int)})
    unread: list[str] = []  # some tests are about several threads, which write their calls into each other
    asked = [each for log in sorted(directory().glob("tests-*.log")) for each in spy_log.signatures(log, unread)]
    signed = [each for each in asked if each.key in keys and not each.is_hmac]
    assert not signed, f"signed without a signer: {signed[:3]}"
    campaign.proven("ground-truth-suite", services=services, **total, asked_by_tests=len(asked), unread=len(unread))
