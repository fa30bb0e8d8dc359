"""The pdf workers and the policies must speak of the same warnings: an unknown one is refused for ever."""

from __future__ import annotations

import re
from pathlib import Path

from policies.decision import WARNINGS

PDF = Path(__file__).parents[2] / "signing_service" / "pdf"


def test_every_warning_of_the_pdf_workers_is_known_to_the_policies_and_the_other_way_round() -> None:
    sources = [(PDF / name).read_text(encoding="utf-8") for name in ("screen.py", "look.py")]
    given = {code for source in sources for code in re.findall(r'\.add\("([a-z-]+)"\)|\{"([a-z-]+)"\}', source)}
    assert {one or other for one, other in given} == set(WARNINGS)
