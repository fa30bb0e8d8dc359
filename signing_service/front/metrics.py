"""What the front counts: a registry of its own, so that two runtimes in one process do not share numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True)
class Metrics:
    """Labels are routes, statuses and codes of our own, never anything a caller wrote."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    answers: Counter = field(init=False)
    seconds: Histogram = field(init=False)
    stages: Histogram = field(init=False)
    under_way: Gauge = field(init=False)
    waiting: Gauge = field(init=False)
    submissions: Counter = field(init=False)
    confirmations: Counter = field(init=False)
    unrecorded_refusals: Counter = field(init=False)

    def __post_init__(self) -> None:
        made = {
            "answers": Counter("signing_answers", "HTTP answers", ["route", "status"], registry=self.registry),
            "seconds": Histogram("signing_answer_seconds", "From the first byte asked to the last answered",
                                 ["route"], buckets=SECONDS, registry=self.registry),
            "stages": Histogram("signing_stage_seconds", "One stage of the work on a document", ["stage"],
                                buckets=SECONDS, registry=self.registry),
            "under_way": Gauge("signing_requests_under_way", "HTTP requests under way", registry=self.registry),
            "waiting": Gauge("signing_requests_waiting", "Long polls that wait", registry=self.registry),
            "submissions": Counter("signing_submissions", "Submissions by what became of them", ["outcome"],
                                   registry=self.registry),
            "confirmations": Counter("signing_confirmed_lines", "Confirmed lines by what became of them",
                                     ["outcome"], registry=self.registry),
            "unrecorded_refusals": Counter("signing_unrecorded_token_refusals",
                                           "Refused token requests beyond those that are put on record",
                                           registry=self.registry),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)  # frozen for everybody else
