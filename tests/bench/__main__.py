"""`make bench`: what one signature costs at each layer, side by side in one run, as ratios of figures of that run.

    python -m tests.bench [--only device,signer,http,stock,pdfbox,memory,searching,screens] [--quick]

Machines are noisy and unlike each other, so a rate alone says little; ratios say what is left of the device's own
rate, and how others do on the same files with the same device. Everything is real: SoftHSM, a database that waits
for the disk, HTTP, PDF workers. Nothing is left out to reach a figure. A whole run is kept in `var/proof/bench.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from tests.bench import aims, device, large, over_http, pdfbox, running, screens, searching, signing, stock
from tests.bench.figures import as_json, table
from tests.support import campaign

PARTS: dict[str, running.Part] = {
    "device": device.measure, "signer": signing.measure, "stock": stock.measure, "pdfbox": pdfbox.measure,
    "http": over_http.measure, "memory": large.measure,
}
OF_THEIR_OWN: dict[str, Callable[[], None]] = {"searching": searching.main, "screens": screens.main}


def main() -> None:
    known = [*PARTS, *OF_THEIR_OWN]
    asked = running.options("python -m tests.bench", str(__doc__), known, quick=PARTS)
    if told := running.measured(PARTS, asked):
        judged = aims.verdicts(told)
        print(table(told) + "\n\n" + aims.table(judged))
        keep = campaign.keep if running.is_whole(asked, PARTS) else campaign.tell
        keep("bench", **as_json(told), aims=[asdict(each) for each in judged])
    for part in (each for each in OF_THEIR_OWN if each in asked):
        OF_THEIR_OWN[part]()
    running.end()


if __name__ == "__main__":
    main()
