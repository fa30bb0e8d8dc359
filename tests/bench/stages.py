"""What /metrics says of the time in each stage: the difference between two readings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.service import Service


@dataclass(frozen=True)
class Histograms:
    """Of `signing_stage_seconds`: for each stage how often and how long altogether."""

    count: dict[str, float]
    seconds: dict[str, float]

    @classmethod
    def of(cls, service: Service) -> Self:
        found: dict[str, dict[str, float]] = {"_count": {}, "_sum": {}}
        for family in text_string_to_metric_families(httpx.get(service.at("/metrics"), timeout=20).text):
            for sample in family.samples if family.name == "signing_stage_seconds" else ():
                end = sample.name.removeprefix("signing_stage_seconds")
                if end in found:
                    found[end][sample.labels["stage"]] = sample.value
        return cls(found["_count"], found["_sum"])

    def since(self, before: Histograms, documents: int) -> tuple[dict[str, float], dict[str, float]]:
        """The mean ms of each stage that was passed, and how often it was for one document."""
        times = {name: self.count[name] - before.count.get(name, 0.0) for name in self.count}
        mean = {name: (self.seconds[name] - before.seconds.get(name, 0.0)) / number * 1000
                for name, number in times.items() if number}
        return mean, {name: times[name] / documents for name in mean}
