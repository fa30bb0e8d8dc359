"""What is answered, and put on record, when something is refused that anybody could send again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hsm.errors import DeviceError, Tampered
from signing_service.audit import Event, Fact, record
from signing_service.errors import Unavailable
from signing_service.signer.intents import report_tampering
from signing_service.signer.runtime import Runtime


def put_on_record(rt: Runtime, event: Event, data: dict[str, Any] | None = None, **where: Any) -> None:
    """A refusal, in a transaction of its own, as far as the bound lets it."""
    missed = rt.bound.admits(rt.now())
    if missed is None:
        return
    said = (data or {}) | ({"unrecorded_before": missed} if missed else {})
    with rt.db.write() as tx:
        record(tx, rt.now(), Fact(event, f"signer:{rt.id}", "refused", data=said, **where), mac=rt.entry_mac)


@contextmanager
def device_errors(rt: Runtime) -> Iterator[None]:
    """Device errors become refusals that a person understands."""
    try:
        yield
    except Tampered as error:
        raise report_tampering(rt, error) from error
    except DeviceError as error:
        raise Unavailable(f"The device could not do it: {error}", code="device-away") from error
