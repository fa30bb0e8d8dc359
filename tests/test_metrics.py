"""What is counted, and that the texts of two processes become one that Prometheus can read."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from signing_service import metrics


def observed(stage: str) -> float:
    return metrics.registry().get_sample_value("signing_stage_seconds_count", {"stage": stage}) or 0.0


def value(text: str, name: str, labels: dict[str, str]) -> float | None:
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return next((s.value for s in samples if s.name == name and s.labels == labels), None)


def test_a_stage_is_observed_once_when_it_ends() -> None:
    before = observed("look")
    with metrics.stage("look"):
        assert observed("look") == before
    assert observed("look") == before + 1


def test_a_stage_that_fails_is_observed_too() -> None:
    before = observed("device")
    with pytest.raises(ConnectionError), metrics.stage("device"):
        raise ConnectionError
    assert observed("device") == before + 1


def test_a_stage_that_is_not_declared_is_an_error() -> None:
    with pytest.raises(KeyError), metrics.stage("lunch"):  # type: ignore[arg-type]  # the case itself
        pass


def test_a_time_measured_elsewhere_is_observed() -> None:
    before = metrics.registry().get_sample_value("signing_stage_seconds_sum", {"stage": "queue"}) or 0.0
    metrics.waited("queue", 1.5)
    assert metrics.registry().get_sample_value("signing_stage_seconds_sum", {"stage": "queue"}) == before + 1.5


def test_the_texts_of_two_processes_are_added_sample_by_sample() -> None:
    other = CollectorRegistry()
    codes = Counter("signing_codes", "One-time codes", ["result"], registry=other)
    codes.labels("accepted").inc(3)
    codes.labels("only-there").inc(2)
    Gauge("signing_elsewhere", "A metric that this process does not know", registry=other).set(7)
    metrics.CODES.labels("accepted").inc()
    own = metrics.registry().get_sample_value("signing_codes_total", {"result": "accepted"}) or 0.0
    text = metrics.exposition(generate_latest(other).decode())
    assert value(text, "signing_codes_total", {"result": "accepted"}) == own + 3
    assert value(text, "signing_codes_total", {"result": "only-there"}) == 2
    assert value(text, "signing_elsewhere", {}) == 7


def test_what_one_process_cannot_reach_is_not_ready() -> None:
    other = CollectorRegistry()
    ready = Gauge("signing_ready", "1 while a dependency answers", ["dependency"], registry=other)
    ready.labels("database").set(0)
    metrics.READY.labels("database").set(1)
    text = metrics.exposition(generate_latest(other).decode())
    assert value(text, "signing_ready", {"dependency": "database"}) == 0


def test_every_family_stands_in_the_text_once() -> None:
    text = metrics.exposition(generate_latest(metrics.registry()).decode())
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert not [name for name in types if name.endswith("_created")]


def test_a_text_that_is_not_prometheus_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="invalid metric name"):
        metrics.exposition("<html>502 Bad Gateway</html>")
