"""A device that fails to order: a compiled module between us and SoftHSM (`faulty_module.c`).

Unlike `RemoteToken` it can do all that SoftHSM can, so that a whole server can stand on it:

    faulty = Faulty(directory)
    device = open_device(faulty.settings)
    faulty.order("C_Sign", "after", 0x30, often="once")   # the next signature is made, and its reply lost
    with faulty.hanging("C_Sign"): ...                      # calls do not return before the block ends

One per process: the settings are in its environment. Orders may come from any process.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hsm import DeviceSettings
from tests.support.softhsm import provisioned

SOURCE = Path(__file__).with_name("faulty_module.c")


class Faulty:
    """Compile the module into a directory, with a fresh token behind it."""

    def __init__(self, directory: Path) -> None:
        token = provisioned(directory / "behind")
        module = directory / "faulty_module.so"
        self._orders = directory / "orders"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", module, SOURCE, "-ldl"], check=True)
        self.environment = {"FAULTY_MODULE": str(token.module), "FAULTY_ORDERS": str(self._orders)}
        os.environ.update(self.environment)
        self.settings: DeviceSettings = replace(token, module=module)

    def order(self, function: str, when: str, code: int, often: str = "always") -> None:
        """From now on, or `once`: fail this function `before` or `after` the device did it, or what else it can.

        `faulty_module.c` says what that is, and how a function of one mechanism only is named.
        """
        written = self._orders.with_suffix(".new")
        written.write_text(f"{function} {when} {code:#x} {often}\n")
        written.replace(self._orders)

    def obey(self) -> None:
        """No more faults."""
        self._orders.unlink(missing_ok=True)

    @property
    def stands(self) -> bool:
        """Is there an order that was not obeyed yet?"""
        return self._orders.exists()

    @property
    def called(self) -> set[str]:
        """Every function that was called before the module was finalised last."""
        return set(self._orders.with_suffix(".called").read_text().split())

    @contextmanager
    def hanging(self, function: str) -> Iterator[None]:
        self.order(function, "hang", 0)
        try:
            yield
        finally:
            self.obey()
