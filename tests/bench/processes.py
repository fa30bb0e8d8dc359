"""How much memory the processes of a service took: the front, the jobs, the signer, their pdf workers."""

from __future__ import annotations

from pathlib import Path

from tests.support.memory import family
from tests.support.service import Service


def peaks(service: Service) -> dict[str, float]:
    """The most that each held at any moment (VmHWM), in MiB; of workers the largest that is alive."""
    told: dict[str, float] = {}
    for name, running in service.running.items():
        for pid in family(running.process.pid):
            whose = name if pid == running.process.pid else f"{name} pdf"
            told[whose] = max(told.get(whose, 0.0), _peak(pid))
    return told


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
