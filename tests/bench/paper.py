"""The documents that everybody signs: the same files for us, for stock pyHanko and for PDFBox."""

from __future__ import annotations

import itertools
import random
import time
from functools import cache
from pathlib import Path

from tests.support import raw_pdf
from tests.support.service import PLAN

MIB = 1 << 20
SIZES = {"small": 0, "1mb": MIB, "20mb": 20 * MIB}
TOLD = {"small": f"{PLAN.stat().st_size // 1000} kB", "1mb": "1 MiB", "20mb": "20 MiB"}
_NUMBERS = itertools.count()
WIDTH = 1024  # pixels of a line of the scan, three bytes each


@cache
def model(size: int) -> bytes:
    """A plan as an office writes it; or, of so many bytes, a page that is one large scan."""
    return PLAN.read_bytes() if size == 0 else scan(size)


def scan(size: int) -> bytes:
    lines = size // (3 * WIDTH)
    image = raw_pdf.stream(random.Random(size).randbytes(3 * WIDTH * lines), (
        b"/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent 8 /ColorSpace /DeviceRGB"
        % (WIDTH, lines)))
    page = (b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
            b"/Resources << /XObject << /Im0 5 0 R >> >> >>")
    return raw_pdf.document(raw_pdf.one_page(page=page, content=b"q 595 0 0 842 0 0 cm /Im0 Do Q") | {5: image})


def another(size: int) -> bytes:
    """No two are the same: a comment behind the end of the file tells them apart."""
    return model(size) + b"\n%% %d %d\n" % (next(_NUMBERS), time.monotonic_ns())


def files(directory: Path) -> dict[str, Path]:
    """The models, as files."""
    written = {name: directory / f"{name}.pdf" for name in SIZES}
    for name, path in written.items():
        path.write_bytes(model(SIZES[name]))
    return written
