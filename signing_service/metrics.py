"""What this server counts and times, in one place: every name, label and unit that `/metrics` shows.

Labels are words of our own (states, stages, routes as they are declared), never anything a caller wrote, so
their number is bounded. Each process has its own registry; the front's `/metrics` shows its own numbers together
with those the signer sends along with its health (`exposition`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import add
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

Stage = Literal["queue", "look", "prepare", "code", "device", "timestamp", "finish", "database"]

# From one HMAC in the device to the wall deadline of a pdf worker.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_registry = CollectorRegistry()

STAGE_SECONDS = Histogram(
    "signing_stage_seconds", "Seconds spent in one stage of a signing request, failures included",
    ["stage"], buckets=SECONDS, registry=_registry,
)
"""Where the time goes. `queue` is waiting for the signer's next batch, `device` every call to the HSM."""

REQUESTS = Counter(
    "signing_requests", "Signing requests that came into a state", ["state"], registry=_registry,
)
"""Moves, not stock: a request that is signed has been counted as pending, signing, finishing and signed."""

SIGNATURES = Counter(
    "signing_signatures", "Intents that have an outcome: done, failed or unknown-outcome", ["outcome"],
    registry=_registry,
)
"""Counted after the outcome is durable. `unknown-outcome` means that the device may have signed."""

CODES = Counter(
    "signing_codes", "One-time codes: accepted, rejected, locked", ["result"], registry=_registry,
)
"""Many rejected ones at once are somebody guessing."""

ALARMS = Counter(
    "signing_alarms", "People who stopped what is done in their name: not-me, lost-phone, stop-code", ["reason"],
    registry=_registry,
)
"""`not-me`: somebody was asked for a signature that they know nothing of."""

OPEN_INTENTS = Gauge(
    "signing_open_intents", "Intents without an outcome", registry=_registry,
)
"""More than a batch for longer than an intent lives means that reconciling does not happen."""

UNSEQUENCED_ENTRIES = Gauge(
    "signing_unsequenced_entries", "Entries of the log that have no place in the tree yet", registry=_registry,
)
"""Until they have one, only their MAC protects them."""

CHECKPOINT_AGE = Gauge(
    "signing_checkpoint_age_seconds", "Seconds since the latest checkpoint of the log was signed",
    registry=_registry,
)
"""Checkpoints come also when nothing happens, so an old one is a fault."""

READY = Gauge(
    "signing_ready", "1 while a dependency answers, else 0", ["dependency"], registry=_registry,
)
"""The words of the health reports of both halves, such as database, device, log, reconcile."""

WEBHOOK_OUTBOX = Gauge(
    "signing_webhook_outbox", "Notices to clients that are not delivered yet", registry=_registry,
)
"""It grows while a client's address does not answer; its requests are not held up by that."""

HTTP_REQUESTS = Counter(
    "signing_http_requests", "HTTP requests by declared route and status", ["route", "status"],
    registry=_registry,
)
"""`route` is the template (`/api/v1/signing-requests/{id}`), or `unknown`."""

UNRECORDED_TOKEN_REFUSALS = Counter(
    "signing_unrecorded_token_refusals", "Refused token requests beyond those that are put on record",
    registry=_registry,
)
"""Anybody can ask for a token with a wrong secret; the log does not grow with it for ever."""

_STAGES = {name: STAGE_SECONDS.labels(name) for name in get_args(Stage)}  # all shown from the start, as zeros


def registry() -> CollectorRegistry:
    """The registry of this process."""
    return _registry


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Observes how long the block takes, also when it raises. KeyError for a stage that is not declared."""
    seconds = _STAGES[name]
    begun = time.perf_counter()
    try:
        yield
    finally:
        seconds.observe(time.perf_counter() - begun)


def waited(name: Stage, seconds: float) -> None:
    """Observes a time that was measured elsewhere, such as how long a confirmation stood in the queue."""
    _STAGES[name].observe(seconds)


def exposition(*others: str) -> str:
    """This process's metrics as Prometheus text, with those of other processes (their texts) added in.

    Equal samples are summed: right for counters and histograms, and for gauges because each is set by one
    process only and is zero in the others. Of `signing_ready` the least counts: what one half cannot reach is
    not ready. ValueError when a text is not Prometheus text.
    """
    own = generate_latest(_registry).decode()
    families: dict[str, Metric] = {}
    for text in (own, *others):
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):  # moments of birth: a sum of them means nothing
                continue
            _add(families.setdefault(family.name, Metric(family.name, family.documentation, family.type)), family)
    return generate_latest(_Collected(list(families.values()))).decode()


def _add(total: Metric, family: Metric) -> None:
    together = min if family.name == "signing_ready" else add
    known = {(sample.name, tuple(sorted(sample.labels.items()))): at for at, sample in enumerate(total.samples)}
    for sample in family.samples:
        at = known.get((sample.name, tuple(sorted(sample.labels.items()))))
        if at is None:
            total.samples.append(sample)
        else:
            total.samples[at] = sample._replace(value=together(total.samples[at].value, sample.value))


class _Collected(CollectorRegistry):
    """A registry that holds finished families instead of collectors."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
