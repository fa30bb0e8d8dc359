"""A SoftHSM token behind `p11-kit server`: a device in another process, that can be frozen and killed.

p11-kit's protocol knows neither CKM_AES_KEY_WRAP_PAD nor AES-GCM: such a device keeps keys and seeds on the token.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

from hsm import Device, DeviceSettings, open_device
from hsm.softhsm import find_module
from tests.support.softhsm import provisioned
from tests.support.spy_log import find_spy

CLIENT = Path("/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so")


class RemoteToken:
    """Start it, take `settings`, then `freeze`, `thaw`, `kill` and `start` as the story goes.

    `spied`: the server writes down what it was asked, whoever asked (`tests.support.spy_log`).
    """

    def __init__(self, directory: Path, *, spied: bool = False) -> None:
        self._token = provisioned(directory / "remote")
        self.socket = directory / "p11"
        self.log = directory / "spy.log"
        self._spied = spied
        self._server: subprocess.Popen[bytes] | None = None
        os.environ["P11_KIT_SERVER_ADDRESS"] = f"unix:path={self.socket}"
        self.settings: DeviceSettings = replace(self._token, module=CLIENT, softhsm_conf=None)

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        real = find_module()  # and not the spy that may stand before every token of the tests
        module = find_spy() if self._spied else real
        assert module is not None, "OpenSC's pkcs11-spy is not installed"
        provider = ("--provider", str(module), f"pkcs11:token={self._token.token}")
        spying = {"PKCS11SPY": str(real), "PKCS11SPY_OUTPUT": str(self.log), "TZ": "UTC"}
        self._server = subprocess.Popen(
            ["p11-kit", "server", "--foreground", "--name", str(self.socket), *provider],
            env={**os.environ, **spying, "SOFTHSM2_CONF": str(self._token.softhsm_conf)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it forks one process per connection: signals go to all of them
        )
        until = time.monotonic() + 10
        while not self.socket.exists():
            assert time.monotonic() < until, "p11-kit server did not start"
            time.sleep(0.02)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._server is not None:
            self._server.wait(10)

    def _signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, number)


@cache
def device() -> Device:
    """The shared device of this process. Not to be closed, and its server is not to be disturbed."""
    directory = Path(tempfile.mkdtemp(prefix="p11-kit-"))
    remote = RemoteToken(directory)
    remote.start()
    opened = open_device(remote.settings)
    for undo in (lambda: shutil.rmtree(directory, ignore_errors=True), remote.kill, opened.close):
        atexit.register(undo)  # the last first
    return opened
