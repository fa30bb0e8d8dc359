"""NSS's softokn on a database that certutil made: a second real module, in this process.

It reads its configuration from pReserved of C_Initialize. Its slot 2 is the token with a PIN and keys that last; what
it makes in memory, session objects, it keeps apart from that.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from hsm import Device, DeviceSettings, open_device

PLACES = (
    Path("/usr/lib/x86_64-linux-gnu/libsoftokn3.so"), Path("/usr/lib/aarch64-linux-gnu/libsoftokn3.so"),
    Path("/usr/lib64/libsoftokn3.so"), Path("/usr/lib/x86_64-linux-gnu/nss/libsoftokn3.so"),
)
PIN = "1234-tests"


def find_module() -> Path:
    found = [place for place in PLACES if place.is_file()]
    assert found, "NSS's softokn is not installed: libnss3 (and certutil: libnss3-tools)"
    return found[0]


def provisioned(directory: Path) -> DeviceSettings:
    """A fresh database in a directory of the caller's. A process can have one."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pin_file = directory / "pin"
    pin_file.write_text(PIN + "\n")
    pin_file.chmod(0o600)
    made = ["certutil", "-N", "-d", f"sql:{directory}", "-f", pin_file]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    reserved = (f"configdir='sql:{directory}' certPrefix='' keyPrefix='' secmod='' flags= updatedir='' "
                "updateCertPrefix='' updateKeyPrefix='' updateid='' updateTokenDescription=''")
    return DeviceSettings(module=find_module(), token="pkcs11:slot-id=2", pin_file=pin_file, reserved=reserved)


@cache
def device() -> Device:
    """The shared device of this process."""
    directory = Path(tempfile.mkdtemp(prefix="softokn-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    opened = open_device(provisioned(directory))
    atexit.register(opened.close)
    return opened
