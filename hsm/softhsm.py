"""A SoftHSM token of one's own in a directory: for development and tests. Not for production keys."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hsm.errors import DeviceUnavailable, Unsupported
from hsm.settings import DeviceSettings

PLACES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),  # Debian, Ubuntu
    Path("/usr/lib64/softhsm/libsofthsm2.so"),  # Fedora
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/lib/libsofthsm2.so"),  # Alpine, Arch
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
    Path("/opt/homebrew/lib/softhsm/libsofthsm2.so"),
)


def find_module() -> Path:
    """Where SoftHSM's library is. Raises Unsupported when it is not installed."""
    for place in PLACES:
        if place.is_file():
            return place
    raise Unsupported("SoftHSM is not installed: install the package softhsm2")


def provision(directory: Path, label: str, pin: str, so_pin: str) -> DeviceSettings:
    """A token in this directory, made unless it is there; everything readable by this user only.

    Repeatable: an existing token and PIN file are left as they are.
    """
    module = find_module()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens, conf, pin_file = directory / "tokens", directory / "softhsm2.conf", directory / "pin"
    tokens.mkdir(mode=0o700, exist_ok=True)
    _write_once(conf, f"directories.tokendir = {tokens.resolve()}\nobjectstore.backend = file\nlog.level = ERROR\n")
    _write_once(pin_file, pin + "\n")
    if not any(tokens.iterdir()):
        initialise(conf.resolve(), label, pin, so_pin)
    return DeviceSettings(module=module, token=label, pin_file=pin_file, softhsm_conf=conf.resolve())


def _write_once(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def initialise(conf: Path, label: str, pin: str, so_pin: str) -> None:
    """Make one more token. softhsm2-util takes PINs as arguments, where others on the machine can read them."""
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", so_pin]
    environment = {**os.environ, "SOFTHSM2_CONF": str(conf)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - fixed program, no shell
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unsupported("softhsm2-util did not run: install the package softhsm2") from error
    if done.returncode:
        raise DeviceUnavailable(f"softhsm2-util could not make the token: {done.stderr.strip()[:200]}")
