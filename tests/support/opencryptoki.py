"""opencryptoki's soft token, with a daemon, a token and a configuration of its own.

Where everything is was compiled into it, and one machine has one daemon. So it runs in namespaces of its own, in which
those places are other directories, and whoever speaks to it is started in there, too:

    done = run([sys.executable, "-m", "pytest", ...])

A user namespace is enough, without any right on the machine. Where a container permits no namespaces, root uses the
machine's own places, provided that nobody else does.
"""

from __future__ import annotations

import atexit
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hsm import Device, DeviceSettings, open_device

LABEL, PIN, SO_PIN = "soft", "1234abcd", "5678efgh"  # eight characters are all it takes
FIRST = "87654321"  # the officer's PIN of a token that nobody initialised
PLACES = tuple(Path(place) for place in (
    "/usr/lib/x86_64-linux-gnu/pkcs11/libopencryptoki.so", "/usr/lib/aarch64-linux-gnu/pkcs11/libopencryptoki.so",
    "/usr/lib64/opencryptoki/libopencryptoki.so", "/usr/lib/pkcs11/libopencryptoki.so"))
OWN = "OPENCRYPTOKI_FOR_TESTS"  # set inside: the directory

# Its daemon wants the group pkcs11, its tokens a directory for locks; nothing of it stays when the first process ends.
PRIVATE = """
mkdir -p "$OWN/etc" "$OWN/run" "$OWN/lib/swtok/TOK_OBJ"
sed '/^pkcs11:/d' /etc/group > "$OWN/group"; echo 'pkcs11:x:0:root' >> "$OWN/group"
mount --bind "$OWN/group" /etc/group
mount --bind "$OWN/etc" /etc/opencryptoki
mount --bind "$OWN/lib" /var/lib/opencryptoki
mount --bind "$OWN/run" /run
mount -t tmpfs tmpfs /dev/shm
"""
UNUSED = """
test ! -e /run/pkcsslotd.socket || { echo 'a pkcsslotd is running' >&2; exit 70; }
test ! -e /var/lib/opencryptoki/swtok/NVTOK.DAT || { echo 'the soft token is in use' >&2; exit 70; }
cp /etc/opencryptoki/opencryptoki.conf "$OWN/conf"
trap 'kill "$(cat /run/pkcsslotd.pid)"; cp "$OWN/conf" /etc/opencryptoki/opencryptoki.conf
      rm -rf /var/lib/opencryptoki/swtok/NVTOK.DAT /var/lib/opencryptoki/swtok/MK_* \
             /var/lib/opencryptoki/swtok/TOK_OBJ/* /run/pkcsslotd.pid' EXIT
"""
STARTED = """
mkdir -p /run/lock/opencryptoki/swtok
printf 'version opencryptoki-3.1\\nslot 0\\n{\\nstdll = libpkcs11_sw.so\\n}\\n' > /etc/opencryptoki/opencryptoki.conf
pkcsslotd
for _ in $(seq 100); do test -S /run/pkcsslotd.socket && break; sleep 0.05; done
"$@"
"""
ALONE = ("unshare", "--map-root-user", "--mount", "--ipc", "--pid", "--fork", "--mount-proc")


def find_module() -> Path:
    found = [place for place in PLACES if place.is_file()]
    assert found, "opencryptoki is not installed"
    return found[0]


@cache
def obstacle() -> str | None:
    """Why it cannot run on this machine; None where it can."""
    there = _version()
    if there and not there.startswith("3.8."):  # others know curves, and hand a token over in other ways
        return f"opencryptoki {there} is not Debian 12's, of which these tests know what it can do"
    if _has_namespaces() or os.geteuid() == 0:
        return None
    return "opencryptoki's daemon wants root, or a kernel that gives this user namespaces of its own"


def _version() -> str:
    """As Debian's package has it; empty where there is none."""
    try:
        asked = subprocess.run(["dpkg-query", "--show", "--showformat=${Version}", "opencryptoki"],
                               capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return asked.stdout


def _has_namespaces() -> bool:
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Start a daemon with an uninitialised token, run the command beside it, and end both.

    Everything lies below /tmp: what is in /dev/shm outside is not to be seen inside.
    """
    find_module()
    before, alone = (PRIVATE, ALONE) if _has_namespaces() else (UNUSED, ())
    shell = [*alone, "sh", "-ec", before + STARTED, "sh", *command]
    with TemporaryDirectory(prefix="soft-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        environment = {**os.environ, OWN: directory, "OWN": directory, "TMPDIR": "/tmp"}
        return subprocess.run(shell, env=environment, timeout=600, capture_output=True, text=True, check=False)


def provisioned() -> DeviceSettings:
    """Inside: the token, initialised unless it is."""
    pin_file = Path(os.environ[OWN]) / "pin"
    settings = DeviceSettings(module=find_module(), token=LABEL, pin_file=pin_file)
    if not pin_file.exists():
        _initialise()
        pin_file.write_text(PIN + "\n")
        pin_file.chmod(0o600)
    return settings


@cache
def device() -> Device:
    """Inside: the shared device of this process."""
    opened = open_device(provisioned())
    atexit.register(opened.close)
    return opened


def with_pin(settings: DeviceSettings, pin: str) -> DeviceSettings:
    """The same token with another PIN file."""
    other = settings.pin_file.with_name("other-pin")
    other.write_text(pin + "\n")
    return replace(settings, pin_file=other)


def _initialise() -> None:
    """A token as its officer hands it over: what it came with must be changed before it does anything."""
    for words, told in (
        (("-I", "-S", FIRST), f"{LABEL}\n"),
        (("-P", "-S", FIRST, "-n", SO_PIN), ""),
        (("-u", "-S", SO_PIN, "-n", FIRST), ""),
        (("-p", "-U", FIRST, "-n", PIN), ""),
    ):
        subprocess.run(["pkcsconf", "-c", "0", *words], input=told, text=True, check=True, capture_output=True)
