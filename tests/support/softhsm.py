"""A SoftHSM token for this test process.

SoftHSM reads SOFTHSM2_CONF when it is initialised, so that a process has one directory of tokens: `settings()`
makes it once, with two tokens in it ("tests" and "other", for keys of another device). `device()` is the one
open device of the process, shared by the tests that do not break it. A test that does opens its own in a
subprocess. What was wrapped by a token is worth something only with it: `keep` has it stay.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from hsm import Device, DeviceSettings, open_device
from hsm.softhsm import initialise, provision
from tests.support import spying

PIN, SO_PIN = "1234-tests", "5678-tests"


def provisioned(directory: Path) -> DeviceSettings:
    """A fresh token in a directory of the caller's, for a subprocess."""
    return spying.spied(provision(directory, "tests", PIN, SO_PIN))


PATIENT = 60.0  # seconds: what is kept takes long to make, on a machine that does other things as well
_kept: list[Path] = []


def keep(directory: Path) -> None:
    """The token of this process is the one in this directory, and stays there. Before it is asked for."""
    _kept.append(directory)


@cache
def settings() -> DeviceSettings:
    """The token of this process; removed when the process ends, unless it is to be kept."""
    if _kept:
        return replace(provisioned(_kept[0]), deadline=PATIENT)
    directory = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    made = provisioned(directory)
    assert made.softhsm_conf is not None
    initialise(made.softhsm_conf, "other", PIN, SO_PIN)
    return made


@cache
def other_settings() -> DeviceSettings:
    """Another token, seen by the same process."""
    return replace(settings(), token="other")


@cache
def device() -> Device:
    """The shared device. Not to be closed by tests."""
    opened = open_device(settings())
    atexit.register(opened.close)
    return opened


@cache
def other_device() -> Device:
    """A device that wraps with other keys."""
    opened = open_device(other_settings())
    atexit.register(opened.close)
    return opened
