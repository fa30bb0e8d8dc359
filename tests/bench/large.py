"""A document of 200 MB on its whole way, and the memory that each process took for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from signing_service.wire import messages as m
from tests.bench import paper
from tests.bench.figures import Figure, Memory, Told
from tests.bench.http_load import Load
from tests.bench.over_http import Case, Officials, worked
from tests.bench.processes import peaks
from tests.bench.served import Served
from tests.bench.short import less
from tests.support.city import POLICY

BYTES = less(200, 20) * 1_000_000
LIMIT = 256 << 20
ROOMY = POLICY.replace("size_mib = 50", "size_mib = 256").replace("size = 53_477_376", f"size = {LIMIT + 1}")


class Roomy(Served):
    """A service that takes documents of up to 256 MiB."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"SIGNING_MAX_DOCUMENT_BYTES": str(LIMIT)}


def measure(directory: Path) -> Iterator[Told]:
    paper.SIZES["large"], paper.TOLD["large"] = BYTES, f"{BYTES // 1_000_000} MB"
    service = Roomy(directory, f"sqlite:///{directory / 'service.db'}")
    try:
        service.city.acts(m.ActivatePolicy("roomy", ROOMY))
        officials = Officials({"p256": [service.official(f"Người thứ {n}") for n in range(2)]})
        service.start()
        load = Load(service, 1)
        list(worked(load, officials, Case("p256", "bt", "small", 1, 1)))
        yield Memory("memory-small", "after one small document", peaks(service))
        begun = time.perf_counter()
        yield from (each for each in worked(load, officials, Case("p256", "bt", "large", 1, 1))
                    if isinstance(each, Figure))
        what = f"a document of {paper.TOLD['large']}, {time.perf_counter() - begun:.1f} s from upload to download"
        yield Memory("memory-large", what, peaks(service))
    finally:
        service.close()
